"""The leader's side of a copy: makes one of its database when a member asks that is too far behind, and hands it out.

Rules: one copy at a time, made at a limited rate and sent at a limited rate, all who fetch it together; a copy is
handed out again as long as the log goes on where it ends, and nobody has found it damaged: its file may rot where it
lies, and would be offered for ever. (The next one may have the same BLAKE3, if nothing was written between.) From its
beginning until all who used it have installed it, or were not heard of for a while, the log is kept from its index on
(`hold`): who has installed it finds what follows. Its file goes when nobody fetches it any more, and with the process.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import trio

from cluster.errors import UNDECODABLE, Refused, Unavailable
from cluster.limits import Limits
from cluster.log import get_logger
from cluster.rpc import Request
from metaraft.applier import failing_disk
from metaraft.snapshot_copy import Copied, copy_in_thread
from metaraft.snapshot_holds import KEEP_S, Holds
from metaraft.store import Store
from metaraft.wire import CopyPiece, decode_copy_piece, decode_copy_wanted, encode

COPY_FILE = "copy.mdb"

RETRY_S = 10.0
"""After a copy could not be made, none is begun for this long (chosen)."""

PIECE_BYTES_MAX = 1024 * 1024
"""The most that one read is answered with."""

_log = get_logger("metaraft")


class Copies:
    """The copies of one member's database, one after the other, each with `copying` held while it is made.

    `leads`, `first_index` (from which on the log is kept) and `match` (the index up to which a slot is known to have
    it) are asked when needed.
    """

    def __init__(
        self,
        store: Store,
        member: Path,
        limits: Limits,
        *,
        copying: trio.Lock,
        slot_of: Callable[[Request], int],
        leads: Callable[[], bool],
        first_index: Callable[[], int],
        match: Callable[[int], int],
        keep_s: float = KEEP_S,
    ) -> None:
        self._store = store
        self._file = member / COPY_FILE
        self._limits = limits
        self._copying = copying
        self._slot_of = slot_of
        self._leads = leads
        self._first_index = first_index
        self._match = match
        self._keep_s = keep_s
        self._copied: Copied | None = None
        self._holds = Holds(keep_s)
        self._asked_at: dict[int, float] = {}  # slot that does not have the copy yet -> when it last asked for it
        self._failure: tuple[float, str] | None = None
        self._send_at = 0.0  # when the next piece may leave
        self._wanted = False
        self._from = 0  # a copy that is wanted or being made will not be of an earlier entry
        self._bell = trio.Event()

    @property
    def hold(self) -> int | None:
        """The log is to be kept from this index on, for who installs a copy; None if for nobody, or if this member does
        not lead: what follows is another one's to send then."""
        return self._holds.lowest(trio.current_time(), self._match) if self._leads() else None

    async def run(self) -> NoReturn:
        """Make copies that are wanted, and remove those that are not. Raises DiskFailed."""
        await self._remove()
        while True:
            with trio.move_on_after(self._keep_s / 2 if self._copied is not None else float("inf")):
                await self._bell.wait()
            self._bell = trio.Event()
            if self._wanted:
                with failing_disk():
                    async with self._copying:
                        await self._make()
                self._wanted = False
            elif self._copied is None or not self._in_use():
                await self._remove()

    def _in_use(self) -> bool:
        oldest = trio.current_time() - self._keep_s
        return any(at > oldest for at in self._asked_at.values())

    # ---- what members ask

    async def offer(self, request: Request) -> bytes:
        """COPY_OFFER."""
        await trio.lowlevel.checkpoint()
        slot = self._slot_of(request)
        try:
            wanted = decode_copy_wanted(request.body)
        except UNDECODABLE as error:
            raise Refused("BadCopyRequest", f"it cannot be read: {error}") from error
        if not self._leads():
            raise Unavailable("NotLeader", "this member does not lead; copies are the leader's to make")
        copied, now = self._copied, trio.current_time()
        if copied is not None and copied.blake3 == wanted.refused:
            _log.warning("copy_found_damaged", slot=slot, blake3=copied.blake3)
            self._copied = copied = None
            self._bell.set()
        if copied is not None and copied.index > wanted.last_index and copied.index >= self._first_index():
            self._use(slot, copied)
            return encode(copied)
        if self._failure is not None and now < self._failure[0] + RETRY_S:
            raise Unavailable("CopyFailed", self._failure[1], retry_after_s=RETRY_S)
        if self._store.applied <= wanted.last_index:
            said = f"nothing beyond entry {wanted.last_index} is applied here"
            raise Unavailable("CopyNotNeeded", said, retry_after_s=1.0)
        if not self._wanted:
            self._wanted, self._from = True, self._store.applied
            self._bell.set()  # only here: rung while it is made, it would have what was made looked through at once
        self._holds.use(slot, self._from, now)
        self._asked_at[slot] = now
        raise Unavailable("CopyUnderWay", "the copy is being made", retry_after_s=1.0)

    async def read(self, request: Request) -> bytes:
        """COPY_READ. Leaves when it may: all pieces together keep `limits.copy_bytes_per_s`."""
        slot = self._slot_of(request)
        piece = self._piece(request)
        copied = self._copied
        if copied is None or copied.blake3 != piece.blake3:
            raise Unavailable("NoSuchCopy", "this copy is not kept here any more")
        if not 0 <= piece.offset <= copied.size or not 0 <= piece.length <= PIECE_BYTES_MAX:
            raise Refused("BadCopyRequest", f"{piece.length} bytes at {piece.offset} of {copied.size} cannot be read")
        self._use(slot, copied)
        leaves = max(trio.current_time(), self._send_at)
        self._send_at = leaves + piece.length / max(1, self._limits.copy_bytes_per_s)
        await trio.sleep_until(leaves)
        if not piece.length:
            return b""
        try:
            return await trio.to_thread.run_sync(_read, self._file, piece)
        except OSError as error:
            raise Unavailable("NoSuchCopy", f"this copy cannot be read any more: {error}") from error

    async def done(self, request: Request) -> bytes:
        """COPY_DONE: the file is of no more use to that member, the log behind it is."""
        await trio.lowlevel.checkpoint()
        slot = self._slot_of(request)
        if self._copied is not None and self._copied.blake3 == self._piece(request).blake3:
            self._use(slot, self._copied)
            del self._asked_at[slot]
            self._bell.set()
        _log.info("copy_fetched", slot=slot)
        return b""

    def _piece(self, request: Request) -> CopyPiece:
        try:
            return decode_copy_piece(request.body)
        except UNDECODABLE as error:
            raise Refused("BadCopyRequest", f"it cannot be read: {error}") from error

    def _use(self, slot: int, copied: Copied) -> None:
        now = trio.current_time()
        self._asked_at[slot] = now
        self._holds.use(slot, copied.index, now)

    # ---- the file

    async def _make(self) -> None:
        await self._remove()
        self._failure = None
        began = trio.current_time()
        try:
            copied = await copy_in_thread(
                self._store, self._file, bytes_per_s=self._limits.copy_bytes_per_s, meanwhile=trio.sleep_forever
            )
        except (Unavailable, OSError) as error:  # of the copy's own file; the database is read through a map
            self._failure = trio.current_time(), f"a copy could not be made: {error}"
            _log.warning("copy_failed", reason=str(error))
            return
        self._copied = copied
        took = round(trio.current_time() - began, 2)
        _log.info(
            "copy_made", index=copied.index, term=copied.term, size=copied.size, blake3=copied.blake3, took_s=took
        )

    async def _remove(self) -> None:
        self._copied = None
        with failing_disk():
            await trio.to_thread.run_sync(partial(self._file.unlink, missing_ok=True))


def _read(file: Path, piece: CopyPiece) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, piece.length, piece.offset)
    finally:
        os.close(descriptor)
