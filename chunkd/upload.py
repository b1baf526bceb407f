"""A chunk on its way to the disk: a temporary file that takes only bytes that hash to its name."""

from pathlib import Path

from chunkd.blocks import DATA_OFFSET, encode_header, first_wrong
from chunkd.files import Files, write_all
from chunkd.health import Health
from chunkd.seen import Name
from cluster.errors import Refused
from cluster.limits import BLOCK_BYTES


class Upload:
    """The temporary file of one put. Its end is `Store.finish` or `discard`; both may be called in any state."""

    def __init__(self, files: Files, health: Health, path: Path, name: Name, length: int, hashes: bytes) -> None:
        """Make the file. Raises Unavailable (DiskFull, DiskFailed, ...)."""
        self._files = files
        self._health = health
        self.path = path
        self.name = name
        self.length = length
        self._hashes = hashes
        self._written = 0
        try:
            self._fd = files.create(path)
        except OSError as error:
            raise health.blame(error, f"making a file for chunk {name[1].hex()}") from error
        self.open = True

    def write(self, data: memoryview) -> None:
        """Take the next bytes: whole blocks, or the rest.

        Raises Refused (ChunkMismatch) before a wrong block is written, or Unavailable.
        """
        first_block, rest = divmod(self._written, BLOCK_BYTES)
        end = self._written + len(data)
        assert rest == 0
        assert end == self.length or (end < self.length and len(data) % BLOCK_BYTES == 0)
        wrong = first_wrong(data, self._hashes, first_block)
        if wrong is not None:
            raise Refused("ChunkMismatch", f"block {wrong} is not that of chunk {self.name[1].hex()}")
        try:
            if self._written == 0:
                write_all(self._files, self._fd, [encode_header(self.length, self._hashes), data], 0)
            else:
                write_all(self._files, self._fd, [data], DATA_OFFSET + self._written)
        except OSError as error:
            raise self._health.blame(error, f"writing chunk {self.name[1].hex()}") from error
        if end < self.length:  # the disk is busy while the rest arrives; the last piece is for `sync`
            self._files.write_out(self._fd, DATA_OFFSET + self._written, len(data))
        self._written = end

    def sync(self) -> None:
        """Bring the whole file to the disk and close it. Raises Unavailable."""
        assert self._written == self.length
        try:
            self._files.sync_data(self._fd)
        except OSError as error:
            raise self._health.blame(error, f"fdatasync of chunk {self.name[1].hex()}") from error
        self._close()

    def moved(self) -> None:
        """The file has its final name now, or none: nothing is left to discard."""
        self.open = False

    def discard(self) -> None:
        """Close and remove what there is; nothing happens after `moved`. Never fails: a start sweeps what stayed."""
        self._close()
        if self.open:
            self.open = False
            try:
                self._files.unlink(self.path)
            except OSError as error:
                if self._health.state == "ok":
                    self._health.blame(error, f"removing the temporary file of chunk {self.name[1].hex()}")

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._files.close(fd)
