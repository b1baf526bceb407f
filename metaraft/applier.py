"""Carries committed entries from the journal into the database, apart from the Ready loop.

Rules: entries are applied in order, in slices of bounded bytes, each slice one transaction, never two at once: a
short one is executed on the event loop, a long one, or one on a slow disk, in a thread. A result is told when all of
its slice is executed: the entry is durable in the journals of a majority and has this result wherever and whenever it
is executed, so nothing is gained by waiting for the database's own sync; reads see it once the transaction is done, and
wait for that. The Ready loop never waits for a slow disk, and what it hands over is only how far the log is committed:
the entries lie in the journal, so a long backlog takes no memory. Where nobody waits for a result the slices are made
larger by waiting a moment, which spares fsyncs. A disk that is full ends nothing: smaller slices are tried, and then it
waits for room.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import lmdb
import trio

from cluster.errors import Corrupt
from cluster.log import get_logger
from metaraft.commits import Executed
from metaraft.files import FULL
from metaraft.pace import Pace

SLICE_BYTES_MAX = 1024 * 1024
"""Entries in one transaction: some ten milliseconds of work (chosen)."""

SLICE_ENTRIES_MAX = 4096
"""... and as many: a small entry costs 16 us and has 60 bytes, and one without data costs its place in the log."""

INLINE_BYTES_MAX = 32 * 1024
"""Entries executed on the event loop in one go: some milliseconds of work at most (chosen)."""

LINGER_S = 0.03
"""How long a follower gathers committed entries before it applies them (chosen; 20 to 50 ms)."""

ROOM_PAUSE_S = 1.0
"""How long it waits for room on a full disk before it tries again (the member makes room as often)."""

_log = get_logger("applier")


class DiskFailed(Exception):
    """Journal or database cannot be relied on any more: end the process, and do not start it again."""


@contextmanager
def failing_disk() -> Iterator[None]:
    """Whatever journal or database raise inside ends the process: as DiskFailed."""
    try:
        yield
    except (OSError, lmdb.Error, Corrupt) as error:
        what = error.code if isinstance(error, Corrupt) else type(error).__name__
        raise DiskFailed(f"{what}: {error}") from error


class LogEntry(Protocol):
    """An entry of the journal."""

    @property
    def index(self) -> int:
        """Place in the log."""

    @property
    def term(self) -> int:
        """Term of the leader that proposed it."""

    @property
    def data(self) -> bytes:
        """Encoded `Batch`, or empty."""


class Log[E: LogEntry](Protocol):
    """What is needed of the journal."""

    def entries(self, start: int, stop: int, bytes_max: int) -> list[E]:
        """Entries [start, stop), at least one, then up to `bytes_max`."""


class Database[E: LogEntry](Protocol):
    """What is needed of the store."""

    @property
    def applied(self) -> int:
        """Index of the last entry applied."""

    def execute(self, entries: Sequence[E]) -> list[list[bytes]]:
        """Begin a transaction with these entries in it: the results of each. `commit` must follow, in this thread.

        Raises OSError: if the disk was full (`metaraft.files.FULL`) nothing of it was done, and it can be tried again.
        """

    def commit(self) -> None:
        """End the transaction (blocking). Raises OSError, as `execute`."""


class Applier[E: LogEntry]:
    """One task. It calls, on the loop, `on_executed` with what a slice did, and `on_applied` after its transaction."""

    def __init__(
        self,
        log: Log[E],
        database: Database[E],
        *,
        on_executed: Callable[[Iterable[Executed]], None],
        on_applied: Callable[[], None],
        linger_s: float = LINGER_S,
    ) -> None:
        self._log = log
        self._database = database
        self._on_executed = on_executed
        self._on_applied = on_applied
        self._linger_s = linger_s
        self._pace = Pace()
        self._thread = trio.CapacityLimiter(1)
        self._committed = trio.Event()
        self._hurried = trio.Event()
        self._hurry_to = 0
        self._entries_max = SLICE_ENTRIES_MAX
        self._waits_for_room = False
        self.commit = database.applied
        """The index up to which entries may be applied."""
        self.applied = database.applied
        """The index up to which they are, transaction done."""

    def commit_to(self, index: int) -> None:
        """Entries up to `index` are committed."""
        if index > self.commit:
            self.commit = index
            self._committed.set()

    def hurry(self, index: int) -> None:
        """Somebody waits for `index`: do not linger before it."""
        if index > self._hurry_to:
            self._hurry_to = index
            self._hurried.set()

    async def run(self) -> None:
        """Apply what is committed, forever. Raises DiskFailed."""
        while True:
            if self.applied == self.commit:
                self._committed = trio.Event()
                await self._committed.wait()
            if self._linger_s > 0 and self._hurry_to <= self.applied:
                await self._linger()
            with failing_disk():
                try:
                    await self._apply_slice()
                except OSError as error:
                    if error.errno not in FULL:
                        raise
                    await self._make_do(error)

    async def _make_do(self, error: OSError) -> None:
        """There was no room for a slice: try half of it, and with one entry wait."""
        if self._entries_max > 1:
            self._entries_max //= 2
            await trio.lowlevel.checkpoint()
            return
        if not self._waits_for_room:
            self._waits_for_room = True
            _log.error("waits_for_room", index=self.applied + 1, reason=str(error))
        await trio.sleep(ROOM_PAUSE_S)

    async def _linger(self) -> None:
        self._hurried = trio.Event()
        with trio.move_on_after(self._linger_s):
            await self._hurried.wait()

    async def _apply_slice(self) -> None:
        first = self.applied + 1
        entries = self._log.entries(first, min(self.commit + 1, first + self._entries_max), SLICE_BYTES_MAX)
        assert entries, "a committed entry is in the journal"
        assert entries[0].index == first, "entries are applied in order"
        if self._pace.quick and sum(len(entry.data) for entry in entries) <= INLINE_BYTES_MAX:
            self._executed(entries, self._database.execute(entries))
            await trio.lowlevel.cancel_shielded_checkpoint()  # the answers leave
            self._pace.timed(self._database.commit)
        else:
            on_loop = trio.lowlevel.current_trio_token().run_sync_soon
            await trio.to_thread.run_sync(self._apply_in_thread, entries, on_loop, limiter=self._thread)
        self.applied = entries[-1].index
        self._entries_max = min(2 * self._entries_max, SLICE_ENTRIES_MAX)
        if self._waits_for_room:
            self._waits_for_room = False
            _log.info("has_room_again", applied=self.applied)
        self._on_applied()

    def _apply_in_thread(self, entries: Sequence[E], on_loop: Callable[..., None]) -> None:
        results = self._database.execute(entries)
        on_loop(self._executed, entries, results)
        self._pace.timed(self._database.commit)

    def _executed(self, entries: Sequence[E], results: list[list[bytes]]) -> None:
        assert len(entries) == len(results), "each entry has its results"
        self._on_executed(Executed(entry.index, entry.term, each) for entry, each in zip(entries, results, strict=True))
