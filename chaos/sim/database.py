"""A member's database in memory: the real state machine over rows that can be taken back.

Rules, as `metaraft.store` has them over LMDB:
* One transaction for the entries of one `execute`, with the applied index in it. Answers see only what is committed.
* A process that dies loses the transaction under way. A power cut may also take the last ones that were committed, as
  `metasync=False` allows: whole, and in order, but none from before the last `sync`.
"""

from collections.abc import Sequence
from random import Random

from cluster.limits import Limits
from metaraft import answering, machine
from metaraft.journal_records import Entry
from metaraft.machine import Machine
from metaraft.memory_rows import MemoryRows
from metaraft.rows import Kind

_APPLIED_KEY = bytes([Kind.LOCAL]) + b"applied"

UNSYNCED_MAX = 40
"""Transactions that a power cut may take: older ones have long been written (chosen)."""

type _Changes = list[tuple[bytes, bytes | None, bytes | None]]


class Rows(MemoryRows):
    """Rows that remember what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: _Changes = []

    @classmethod
    def of(cls, rows: MemoryRows) -> "Rows":
        """The same rows, apart from these."""
        other = cls()
        other._values, other._keys, other.set_hash = dict(rows._values), list(rows._keys), rows.set_hash
        return other

    def put(self, key: bytes, value: bytes) -> None:
        """Write, over what is there."""
        self.changes.append((key, self.get(key), value))
        super().put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove a row that is known to be there."""
        self.changes.append((key, self.get(key), None))
        super().delete(key)

    def take_back(self, changes: _Changes) -> None:
        """Be as before these changes, which were the last."""
        for key, before, _ in reversed(changes):
            self._set(key, before)

    def do_again(self, changes: _Changes) -> None:
        """Be as after these changes."""
        for key, _, after in changes:
            self._set(key, after)

    def _set(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            MemoryRows.delete(self, key)
        else:
            MemoryRows.put(self, key, value)


class Database:
    """An open database. `Rows` outlive it, the machine over them does not."""

    def __init__(self, rows: Rows, limits: Limits) -> None:
        self.rows = rows
        self.failed = False
        self._limits = limits
        self._machine = Machine(rows)
        self._under_way: int | None = None
        self._unsynced: list[_Changes] = []
        self._publish()
        rows.changes = []

    @classmethod
    def create(cls) -> Rows:
        """The rows of a new member."""
        rows = Rows()
        machine.found(rows)
        rows.put(_APPLIED_KEY, (0).to_bytes(8, "big"))
        return rows

    def _publish(self) -> None:
        self.applied = int.from_bytes(self.rows.get(_APPLIED_KEY) or b"", "big")
        self.state_time_ms = self._machine.state_time_ms
        self.level = self._machine.level
        self.set_hash = self.rows.set_hash

    def execute(self, entries: Sequence[Entry]) -> list[list[bytes]]:
        """Begin a transaction with these entries in it: the results of each."""
        assert self._under_way is None, "one transaction at a time"
        applied = self.applied
        results = []
        for entry in entries:
            assert entry.index == applied + 1, "entries are applied in order, without a gap"
            applied = entry.index
            results.append(self._machine.apply(entry.data) if entry.data else [])
        self._machine.flush()
        self.rows.put(_APPLIED_KEY, applied.to_bytes(8, "big"))
        self._under_way = applied
        return results

    def commit(self) -> None:
        """End the transaction."""
        assert self._under_way is not None, "something was executed"
        self._under_way = None
        self._unsynced.append(self.rows.changes)
        del self._unsynced[:-UNSYNCED_MAX]
        self.rows.changes = []
        self._publish()

    def answer(self, ask: bytes) -> bytes:
        """The encoded answer, from what is committed."""
        changes = self.rows.changes
        if not changes:
            return answering.answer(self.rows, ask, self._limits.scan_rows_max)
        self.rows.take_back(changes)
        try:
            return answering.answer(self.rows, ask, self._limits.scan_rows_max)
        finally:
            self.rows.do_again(changes)

    def committed_rows(self) -> MemoryRows:
        """A copy of the rows as of what is committed."""
        changes = self.rows.changes
        self.rows.take_back(changes)
        copy = self.rows.copy()
        self.rows.do_again(changes)
        return copy

    def sync(self) -> int:
        """Make all that is applied durable; the index up to which it is."""
        self._unsynced = []
        return self.applied

    def end(self, random: Random, *, power_cut: bool) -> int:
        """The process is gone: leave the rows as the next one finds them. How many transactions were lost."""
        lost = [self.rows.changes]
        if power_cut and self._unsynced:
            count = random.choice((0, 1, 1, 2, 3, len(self._unsynced)))
            lost += [self._unsynced.pop() for _ in range(min(count, len(self._unsynced)))]
        for changes in lost:
            self.rows.take_back(changes)
        self.rows.changes = []
        return len(lost) - 1
