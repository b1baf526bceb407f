"""A lagging member's side of a copy: fetches the leader's, believes nothing of it, and ends the process to install it.

Rules: it fetches when the leader's notes say that the log it needs is gone, and asks again until it has a copy or needs
none any more; a transfer that was cut goes on where it ended, if the same copy is still there, and begins anew if the
disk was full; a copy is refused unless it goes beyond this member's log, has the BLAKE3 that was told, is of this
cluster and entry, and every row of it is right. A refused one is fetched anew, and the leader is told, so that it makes
it anew before. Nothing of the member changes before the marker (`snapshot_install`).
"""

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import trio

from cluster.errors import UNDECODABLE, Corrupt, Refused, TrilithError, Unavailable
from cluster.limits import MIB
from cluster.log import get_logger
from metaraft.applier import DiskFailed, failing_disk
from metaraft.files import FULL
from metaraft.journal import Journal
from metaraft.journal_disk import Disk
from metaraft.snapshot_copy import Copied, FileSink, damaged, require_room, verify_copy
from metaraft.snapshot_install import BeginAnew, mark, next_file, require_beyond
from metaraft.wire import CopyPiece, CopyWanted, Method, encode

PIECE_BYTES = 256 * 1024
"""Asked for at a time: little enough that a slow link answers within `CALL_S` (chosen)."""

WRITE_BYTES = 4 * MIB
"""Written and hashed at a time, in a thread."""

CALL_S = 10.0
"""How long one call to the leader may take."""

RETRY_S = 1.0
"""Between two attempts."""

ALIVE_S = 10.0
"""While the copy is verified the leader is told this often that its log is still needed."""

_FULL = (*FULL, errno.EFBIG)

_log = get_logger("metaraft")
_decode_copied = msgspec.msgpack.Decoder(Copied).decode

type Call = Callable[[int, Method, bytes, float], Awaitable[bytes]]
"""Asks a slot's member: (slot, method, body, deadline)."""


class _Part:
    """What was fetched of a copy so far."""

    def __init__(self, file: Path, copied: Copied) -> None:
        self.copied = copied
        self.descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.sink = FileSink(self.descriptor)


class Fetcher:
    """Fetches copies for one member. `told` is called with each note of the leader."""

    def __init__(
        self, member: Path, journal: Journal, *, cluster_id: str, call: Call, disk: Disk | None = None
    ) -> None:
        self._member = member
        self._file = next_file(member)
        self._journal = journal
        self._cluster_id = cluster_id
        self._call = call
        self._disk = disk or Disk()
        self._leader = 0
        self._needed = trio.Event()
        self._part: _Part | None = None
        self._refused = ""  # the copy that was found damaged, until a leader has heard of it

    def told(self, leader: int, *, needed: bool) -> None:
        """The leader says whether this member needs a copy."""
        self._leader = leader
        if needed:
            self._needed.set()
        elif self._needed.is_set():
            self._needed = trio.Event()

    async def run(self) -> NoReturn:
        """Fetch when needed, until a copy is there: then BeginAnew. Raises DiskFailed."""
        try:
            while True:
                await self._needed.wait()
                try:
                    await self._fetch(self._leader)
                except TrilithError as error:
                    wait_s = max(RETRY_S, error.retry_after_s or 0.0)
                    if error.code != "CopyUnderWay":
                        _log.warning("copy_not_fetched", code=error.code, reason=error.message)
                    if isinstance(error, Corrupt | Refused):
                        await self._drop()
                    await trio.sleep(wait_s)
        finally:
            if self._part is not None:
                os.close(self._part.descriptor)

    async def _fetch(self, leader: int) -> None:
        """One attempt, which goes on with what an earlier one has. Raises TrilithError: not this time."""
        copied = await self._offered(leader)
        part = await self._begin(copied)
        try:
            await self._receive(leader, part)
            await self._verify(leader, part)
        except (Corrupt, Refused):
            self._refused = copied.blake3
            raise
        with contextlib.suppress(TrilithError):  # it sees in time that nobody asks any more
            await self._ask(leader, Method.COPY_DONE, encode(CopyPiece(copied.blake3)))
        if not self._needed.is_set():
            await self._drop()
            raise Unavailable("CopyNotNeeded", f"slot {leader} has the log that this member needs")
        with failing_disk():
            mark(self._member, copied, self._journal, self._disk)
        raise BeginAnew(f"a copy of the database at entry {copied.index} is there, and is installed at the next start")

    async def _offered(self, leader: int) -> Copied:
        wanted = CopyWanted(self._journal.last_index, self._refused)
        try:
            body = await self._ask(leader, Method.COPY_OFFER, encode(wanted))
        except Unavailable as error:
            if error.code == "CopyUnderWay":
                self._refused = ""
            raise
        self._refused = ""
        try:
            return _decode_copied(body)
        except UNDECODABLE as error:
            raise Refused("BadCopy", f"what slot {leader} offers cannot be read: {error}") from error

    async def _begin(self, copied: Copied) -> _Part:
        if copied.cluster_id != self._cluster_id:
            raise Refused("WrongStore", f"the copy is of cluster {copied.cluster_id}, not {self._cluster_id}")
        require_beyond(copied, self._journal)
        if self._part is not None and self._part.copied == copied:
            return self._part
        await self._drop()
        with _full_disk():
            require_room(self._file.parent, copied.size)
            self._part = part = await trio.to_thread.run_sync(_Part, self._file, copied)
        _log.info("copy_begun", index=copied.index, size=copied.size, slot=self._leader)
        return part

    async def _receive(self, leader: int, part: _Part) -> None:
        """The rest of its bytes."""
        size = part.copied.size
        while part.sink.size < size:
            pieces: list[bytes] = []
            have = part.sink.size
            while have < size and have - part.sink.size < WRITE_BYTES:
                ask = CopyPiece(part.copied.blake3, have, min(PIECE_BYTES, size - have))
                piece = await self._ask(leader, Method.COPY_READ, encode(ask))
                if len(piece) != ask.length:
                    raise damaged(self._file, f"slot {leader} sent {len(piece)} bytes, not {ask.length}")
                pieces.append(piece)
                have += len(piece)
            await self._to_disk(partial(part.sink.write, b"".join(pieces)))

    async def _verify(self, leader: int, part: _Part) -> None:
        """All of it, synced. The leader goes on keeping its log meanwhile."""
        await self._to_disk(part.sink.sync)
        if part.sink.blake3 != part.copied.blake3:
            raise damaged(self._file, f"its BLAKE3 is {part.sink.blake3}, not {part.copied.blake3}")
        failure: TrilithError | OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stay_alive, leader, part.copied)
            try:
                await trio.to_thread.run_sync(verify_copy, self._file, part.copied, abandon_on_cancel=True)
            except (TrilithError, OSError) as error:  # a nursery would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if isinstance(failure, OSError):
            raise DiskFailed(f"{self._file} cannot be read: {failure}") from failure
        if failure is not None:
            raise failure

    async def _to_disk(self, work: Callable[[], None]) -> None:
        """Write or sync. Where there is no room the part is dropped: what a call that failed has left of it nobody
        knows, and a sync that failed may succeed the next time without having written anything."""
        try:
            with _full_disk():
                await trio.to_thread.run_sync(work)
        except Unavailable:
            await self._drop()
            raise

    async def _stay_alive(self, leader: int, copied: Copied) -> None:
        while True:
            with contextlib.suppress(TrilithError):
                await self._ask(leader, Method.COPY_READ, encode(CopyPiece(copied.blake3)))
            await trio.sleep(ALIVE_S)

    async def _ask(self, leader: int, method: Method, body: bytes) -> bytes:
        return await self._call(leader, method, body, trio.current_time() + CALL_S)

    async def _drop(self) -> None:
        """Forget what was fetched. (In a thread: to free a file of gigabytes takes a disk seconds.)"""
        part, self._part = self._part, None

        def free() -> None:
            self._file.unlink(missing_ok=True)
            if part is not None:
                os.close(part.descriptor)

        with failing_disk(), trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(free)


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    """No room is no failure of the disk: the copy waits for room. Anything else is."""
    with failing_disk():
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise Unavailable("NoRoom", str(error)) from error
