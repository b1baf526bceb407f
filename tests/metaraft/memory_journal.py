"""The journal's twin in memory, on a disk that forgets at a power cut what was not synced."""

import random
from collections.abc import Callable, Sequence

from metaraft.journal_records import Entry

type _Change = tuple[str, int, int | None, bytes]


class MemoryDisk:
    """What survives: entries, term and vote as of the last sync."""

    def __init__(self) -> None:
        self.term = 0
        self.voted_for: int | None = None
        self.log = [Entry(1, 0, b"")]

    def apply(self, change: _Change) -> None:
        """Make one change."""
        kind, number, other, data = change
        if kind == "add":
            self.log.append(Entry(number, other or 0, data))
        elif kind == "truncate":
            del self.log[number - self.log[0].index :]
        elif kind == "term":
            self.term, self.voted_for = number, other
        else:
            del self.log[: number - self.log[0].index]


class MemoryJournal:
    """`metaraft.core_log.Log` with `sync` and `cut` as the real one has them. `on_add` sees every entry added."""

    def __init__(
        self, disk: MemoryDisk | None = None, on_add: Callable[[Entry, int | None], None] | None = None
    ) -> None:
        self.disk = disk or MemoryDisk()
        self._on_add = on_add
        self._unsynced: list[_Change] = []
        self._log = list(self.disk.log)
        self.term = self.disk.term
        self.voted_for = self.disk.voted_for
        self.syncs = 0

    @property
    def first_index(self) -> int:
        return self._log[0].index

    @property
    def last_index(self) -> int:
        return self._log[-1].index

    @property
    def dirty(self) -> bool:
        return bool(self._unsynced)

    def term_at(self, index: int) -> int | None:
        place = index - self._log[0].index
        return self._log[place].term if 0 <= place < len(self._log) else None

    def entries(self, start: int, stop: int, bytes_max: int) -> Sequence[Entry]:
        first = self._log[0].index
        assert first <= start < stop <= self.last_index + 1, (first, start, stop, self.last_index)
        size = 0
        for count, entry in enumerate(self._log[start - first : stop - first]):
            size += len(entry.data)
            if count and size > bytes_max:
                return self._log[start - first : start - first + count]
        return self._log[start - first : stop - first]

    def add(self, index: int, term: int, data: bytes) -> None:
        assert index == self.last_index + 1, (index, self.last_index)
        if self._on_add is not None:
            self._on_add(Entry(index, term, data), self.term_at(index - 1))
        self._log.append(Entry(index, term, data))
        self._unsynced.append(("add", index, term, data))

    def truncate_from(self, index: int) -> None:
        assert self.first_index < index <= self.last_index, index
        del self._log[index - self._log[0].index :]
        self._unsynced.append(("truncate", index, None, b""))

    def set_term(self, term: int, voted_for: int | None) -> None:
        assert term >= self.term, (term, self.term)
        assert term > self.term or self.voted_for in (None, voted_for), (term, self.voted_for, voted_for)
        self.term, self.voted_for = term, voted_for
        self._unsynced.append(("term", term, voted_for, b""))

    def sync(self) -> None:
        for change in self._unsynced:
            self.disk.apply(change)
        self._unsynced = []
        self.syncs += 1

    def cut(self, below_index: int) -> None:
        """Drop entries below the index, but the last."""
        below = min(below_index, self.last_index)
        if below > self.first_index:
            assert not self.dirty
            del self._log[: below - self.first_index]
            self.disk.apply(("cut", below, None, b""))

    def power_cut(self, random: random.Random) -> MemoryDisk:
        """The disk as it is afterwards: a part of what was not synced may have reached it, in order."""
        for change in self._unsynced[: random.randint(0, len(self._unsynced))]:
            self.disk.apply(change)
        return self.disk
