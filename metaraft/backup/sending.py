"""A member's side of a backup: its database, copied to a file and sent, over a transfer of its own (method COPY).

    ask: CopyAsk | empty response | [Progress | pieces of it] ...

A stream of records, each a `Progress` as eight bytes (what was copied so far), one a second at most, so that neither
end takes a copy at a limited rate for a stalled one; then `COPIED`, the length of a `Copied` as eight bytes and that
`Copied`; then the bytes of the copy.

Rules: one copy of the database at a time, whoever wants it. It is made at once, of what is applied; a member that is
not at `at_least` yet says so, and waits for nothing. The file is in the member's own folder, has no name any more
before its first byte is sent, and is gone with the transfer, however that ends. A client that goes away stops the copy.
Copying and sending each keep `limits.copy_bytes_per_s`.
"""

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from cluster.errors import UNDECODABLE, Refused, TrilithError, Unavailable
from cluster.limits import MIB, Limits
from cluster.log import get_logger
from cluster.rpc import Request, TransferStream
from metaraft.callers import Callers
from metaraft.snapshot_copy import Copied, copy_in_thread
from metaraft.store import Store
from metaraft.wire import decode_copy_ask

BACKUP_FILE = "backup.mdb"
"""What a process that was killed left of it is gone with the next one."""

PROGRESS_S = 1.0
RECORD = struct.Struct(">Q")
COPIED = (1 << 64) - 1

_PIECE_BYTES = MIB
_log = get_logger("backup")
_encode = msgspec.msgpack.Encoder().encode


class Backups:
    """The copies that one member makes for operators. `copying` is held while a copy is made."""

    def __init__(
        self, store: Store, folder: Path, name: str, limits: Limits, copying: trio.Lock, callers: Callers
    ) -> None:
        self._callers = callers
        self._store = store
        self._file = folder / BACKUP_FILE
        self._name = name
        self._bytes_per_s = limits.copy_bytes_per_s
        self._copying = copying
        self._under_way = False
        self._file.unlink(missing_ok=True)

    async def send(self, request: Request, stream: TransferStream) -> None:
        """Make a copy and send it.

        Raises Refused (NotAnOperator, BadQuery), Unavailable (NotThereYet, CopyUnderWay, NoRoom, CopyFailed: the disk
        takes no more, or worse), Corrupt (StoreRot).
        """
        self._callers.refuse_but_operators(request)
        _log.info("copy_asked", by=request.peer.name)  # whoever has half of it has seen that
        try:
            ask = decode_copy_ask(request.body)
        except UNDECODABLE as error:
            raise Refused("BadQuery", f"what was asked for is not known: {error}") from error
        if self._store.applied < ask.at_least:
            raise Unavailable("NotThereYet", f"{self._name} is at {self._store.applied}, not yet at {ask.at_least}")
        if self._under_way or self._copying.locked():
            said = f"{self._name} makes a copy already; one at a time"
            raise Unavailable("CopyUnderWay", said, retry_after_s=1.0)
        self._under_way = True
        try:
            copied = await self._copy_and_send(stream)
        except OSError as error:  # of the copy's own file; the database is read through a map
            _log.warning("copy_failed", reason=str(error))
            raise Unavailable("CopyFailed", f"{self._name} could not make a copy: {error}") from error
        finally:
            self._under_way = False
        _log.info("copy_sent", to=request.peer.name, index=copied.index, bytes=copied.size)

    async def _copy_and_send(self, stream: TransferStream) -> Copied:
        try:
            await stream.send_response(b"")
            async with self._copying:
                copied = await self._copy(stream)
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._file.unlink()
                await _send(stream, copied, descriptor, self._bytes_per_s)
            finally:
                await _let_go(partial(os.close, descriptor))
        finally:
            await _let_go(partial(self._file.unlink, missing_ok=True))
        return copied

    async def _copy(self, stream: TransferStream) -> Copied:
        """Copy, and tell how far it is. A client that is gone stops it: Unavailable (CopyStopped)."""

        async def tell() -> None:
            try:
                while True:
                    await trio.sleep(PROGRESS_S)
                    await stream.send_raw(RECORD.pack(_size(self._file)))
            except TrilithError as error:
                _log.info("copy_not_wanted", code=error.code, reason=error.message)

        return await copy_in_thread(self._store, self._file, bytes_per_s=self._bytes_per_s, meanwhile=tell)


async def _send(stream: TransferStream, copied: Copied, descriptor: int, bytes_per_s: int) -> None:
    encoded = _encode(copied)
    await stream.send_raw(RECORD.pack(COPIED) + RECORD.pack(len(encoded)) + encoded)
    left, offset, began = copied.size, 0, trio.current_time()
    while left:
        piece = await trio.to_thread.run_sync(os.pread, descriptor, min(left, _PIECE_BYTES), offset)
        assert piece, "the file is as long as it was when it was written"
        await stream.send_raw(piece)
        offset, left = offset + len(piece), left - len(piece)
        await trio.sleep_until(began + offset / max(1, bytes_per_s))


async def _let_go(last_name_or_descriptor: Callable[[], None]) -> None:
    """In a thread, whatever happens: to free a file of gigabytes takes a disk seconds."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(last_name_or_descriptor)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
