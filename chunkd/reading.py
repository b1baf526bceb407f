"""Reading a chunk file: its checked header, then ranges; and the full check of a copy.

The header is checked against the name when the file is opened. Data is handed on as it lies on the disk: whoever
reads it verifies each block against the hash list.
"""

import threading
from pathlib import Path

from chunkd.blocks import DATA_OFFSET, decode_header, first_wrong, invalid
from chunkd.files import Files, read_all, read_cached
from cluster.errors import Corrupt
from cluster.limits import BLOCK_BYTES, MIB

PIECE_BYTES = MIB
"""How much is read, hashed and sent at once: many blocks per thread hop, few buffers in memory."""


class OpenChunk:
    """An open chunk file with a header that belongs to its name. Close it."""

    def __init__(self, files: Files, fd: int, name: bytes, *, wait: bool = True) -> None:
        """Takes over the descriptor only when it returns. Raises Corrupt (BadHeader, ReadFailed).

        Not `wait`: BlockingIOError if the header is not in the page cache.
        """
        self._files = files
        self._fd = fd
        header = bytearray(DATA_OFFSET)
        try:
            size = (read_all if wait else read_cached)(files, fd, memoryview(header), 0)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _read_failed(name, 0, error) from error
        self.length, self.hashes = decode_header(bytes(header[:size]))
        reason = invalid(name, self.length, self.hashes)
        if reason is not None:
            raise Corrupt("BadHeader", reason)
        self.name = name

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a buffer with the chunk's bytes from `offset`. Raises Corrupt (ChunkShort, ReadFailed)."""
        try:
            got = read_all(self._files, self._fd, view, DATA_OFFSET + offset)
        except OSError as error:
            raise _read_failed(self.name, offset, error) from error
        if got < len(view):
            raise Corrupt("ChunkShort", f"the file of chunk {self.name.hex()} ends after {offset + got} bytes of data")

    def read_nowait(self, view: memoryview, offset: int) -> bool:
        """As `read_into`, if all of it lies in the page cache; False if not (or the file is short or unreadable)."""
        try:
            return self._files.read_nowait(self._fd, view, DATA_OFFSET + offset) == len(view)
        except OSError:
            return False

    def expect(self, offset: int, length: int) -> None:
        """Say that a range will be read soon."""
        self._files.expect(self._fd, DATA_OFFSET + offset, length)

    def close(self) -> None:
        """Close the file. May be repeated."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._files.close(fd)


def check_copy(files: Files, path: Path, name: bytes, *, sync: bool) -> str | None:
    """Re-read a chunk file in full, from the disk and not from the cache: what is wrong with it, or None.

    `sync`: bring it to the disk first. Raises FileNotFoundError, and the OSError of the sync; an error of reading is
    a wrong copy.
    """
    fd = files.open(path)
    try:
        if sync:
            files.sync_data(fd)
        files.forget(fd)
        try:
            _check_data(OpenChunk(files, fd, name), files.size(fd))
        except Corrupt as error:
            return error.message
        return None
    finally:
        files.close(fd)


def _check_data(chunk: OpenChunk, file_bytes: int) -> None:
    if file_bytes != DATA_OFFSET + chunk.length:
        raise Corrupt("ChunkShort", f"the file has {file_bytes} bytes and should have {DATA_OFFSET + chunk.length}")
    buffer = _thread_buffer()
    for offset in range(0, chunk.length, PIECE_BYTES):
        view = buffer[: min(PIECE_BYTES, chunk.length - offset)]
        chunk.read_into(view, offset)
        wrong = first_wrong(view, chunk.hashes, offset // BLOCK_BYTES)
        if wrong is not None:
            raise Corrupt("ChunkCorrupt", f"block {wrong} of chunk {chunk.name.hex()} is not what its name says")


def _read_failed(name: bytes, offset: int, error: OSError) -> Corrupt:
    return Corrupt("ReadFailed", f"chunk {name.hex()} cannot be read at {offset}: {error.strerror or error}")


_BUFFERS = threading.local()


def _thread_buffer() -> memoryview:
    """One buffer per thread, kept: fresh megabytes cost a page fault per 4 KiB."""
    if not hasattr(_BUFFERS, "view"):
        _BUFFERS.view = memoryview(bytearray(PIECE_BYTES))
    view: memoryview = _BUFFERS.view
    return view
