"""Carries committed entries from the journal into the database, apart from the Ready loop.

Rules: entries are applied in order, in slices of bounded bytes, each slice one transaction in one thread call, never
two at once; nobody is told a result before its transaction is done. The Ready loop never waits for this, and what it
hands over is only how far the log is committed: the entries lie in the journal, so a long backlog takes no memory.
Where nobody waits for a result the slices are made larger by waiting a moment, which spares fsyncs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import lmdb
import trio

from cluster.errors import Corrupt
from metaraft.commits import Applied

SLICE_BYTES_MAX = 1024 * 1024
"""Entries in one transaction: some ten milliseconds of work (chosen)."""

LINGER_S = 0.03
"""How long a follower gathers committed entries before it applies them (chosen; 20 to 50 ms)."""


class DiskFailed(Exception):
    """Journal or database cannot be relied on any more: end the process, and do not start it again."""


@contextmanager
def failing_disk() -> Iterator[None]:
    """Whatever journal or database raise inside ends the process: as DiskFailed."""
    try:
        yield
    except (OSError, lmdb.Error, Corrupt) as error:
        raise DiskFailed(f"{type(error).__name__}: {error}") from error


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

    def apply(self, entries: Sequence[E]) -> list[list[bytes]]:
        """Apply in one transaction (blocking)."""


class Applier[E: LogEntry]:
    """One task. `on_applied` is called on the event loop after each transaction with what it did."""

    def __init__(
        self,
        log: Log[E],
        database: Database[E],
        *,
        on_applied: Callable[[Sequence[Applied]], None],
        linger_s: float = LINGER_S,
    ) -> None:
        self._log = log
        self._database = database
        self._on_applied = on_applied
        self._linger_s = linger_s
        self._thread = trio.CapacityLimiter(1)
        self._committed = trio.Event()
        self._hurried = trio.Event()
        self._hurry_to = 0
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
                await self._apply_slice()

    async def _linger(self) -> None:
        self._hurried = trio.Event()
        with trio.move_on_after(self._linger_s):
            await self._hurried.wait()

    async def _apply_slice(self) -> None:
        entries = self._log.entries(self.applied + 1, self.commit + 1, SLICE_BYTES_MAX)
        assert entries, "a committed entry is in the journal"
        assert entries[0].index == self.applied + 1, "entries are applied in order"
        results = await trio.to_thread.run_sync(self._database.apply, entries, limiter=self._thread)
        self.applied = entries[-1].index
        self._on_applied([Applied(entry.index, entry.term, done) for entry, done in zip(entries, results, strict=True)])
