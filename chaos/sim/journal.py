"""The real journal, watched: each entry added is shown to the judge, and a twin knows what the disk must still hold.

After a crash the journal must be what was synced, and of what was added since then some first part, for its records are
written in order: nothing less, and nothing else.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

from metaraft.journal import Journal
from metaraft.journal_records import RECORD_BYTES, Entry


class Watch(Protocol):
    """Who is shown the entries."""

    def added(self, entry: Entry, prev_term: int | None) -> None:
        """A member added an entry."""


class _Change(NamedTuple):
    kind: str
    number: int
    other: int | None


class Twin:
    """What one member's journal has promised to hold: terms of the entries from `first` on, term and vote."""

    def __init__(self) -> None:
        self.first = 1
        self.terms = [0]
        self.term = 0
        self.voted_for: int | None = None
        self.pending: list[_Change] = []

    @property
    def last_index(self) -> int:
        """Highest index that is durable."""
        return self.first + len(self.terms) - 1

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry is durable here, or was, before the log was cut."""
        return index < self.first or (index <= self.last_index and self.terms[index - self.first] == term)

    def note(self, kind: str, number: int, other: int | None = None) -> None:
        """A change in memory."""
        self.pending.append(_Change(kind, number, other))

    def synced(self) -> None:
        """All of it is durable."""
        for change in self.pending:
            self._make(change)
        self.pending = []

    def _make(self, change: _Change) -> None:
        kind, number, other = change
        if kind == "add":
            self.terms.append(other or 0)
        elif kind == "truncate":
            del self.terms[max(0, number - self.first) :]
        elif kind == "reset":
            self.first, self.terms = number, [other or 0]
        else:
            self.term, self.voted_for = number, other

    def cut(self, first: int) -> None:
        """Entries below were dropped."""
        del self.terms[: max(0, first - self.first)]
        self.first = max(self.first, first)

    def wrong(self, journal: Journal) -> str | None:
        """Why a journal that was just opened is not what it may be, or None. If it is, this twin is like it."""
        kept = [journal.term_at(index) or 0 for index in range(journal.first_index, journal.last_index + 1)]
        promised = f"{self.first} to {self.last_index} of terms up to {self.terms[-1]}, term {self.term}"
        for change in (None, *self.pending):
            if change is not None:
                self._make(change)
            terms = self.terms[max(0, journal.first_index - self.first) :] if self.first <= journal.first_index else []
            if (terms, self.term, self.voted_for) == (kept, journal.term, journal.voted_for):
                self.cut(journal.first_index)
                self.pending = []
                return None
        return (
            f"the journal came back with {journal.first_index} to {journal.last_index} of terms up to {kept[-1]}, term "
            f"{journal.term} and vote {journal.voted_for}; synced were {promised}"
        )


class WatchedJournal(Journal):
    """A journal with its twin."""

    twin: Twin
    watch: Watch
    vouched: list[tuple[Path, int]]
    """Files, and how much of each was known to be synced as it was opened: where no turned bit may go unnoticed."""

    def begin(self, twin: Twin, watch: Watch) -> None:
        """It was opened."""
        self.twin, self.watch = twin, watch
        active = self._active
        self.vouched = [(segment.path, segment.end) for segment in self._segments.values() if segment is not active]
        self.vouched.append((active.path, active.end - RECORD_BYTES))  # its last record is the mark

    def add(self, index: int, term: int, data: bytes) -> None:
        """Add the next entry."""
        prev_term = self.term_at(index - 1)
        super().add(index, term, data)
        self.twin.note("add", index, term)
        self.watch.added(Entry(index, term, data), prev_term)

    def truncate_from(self, index: int) -> None:
        """Make entries void."""
        if index <= self.last_index:
            self.twin.note("truncate", index)
        super().truncate_from(index)

    def reset(self, index: int, term: int) -> None:
        """Begin the log anew behind a copy."""
        super().reset(index, term)
        self.twin.note("reset", index, term)

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Set term and vote."""
        if (term, voted_for) != (self.term, self.voted_for):
            self.twin.note("term", term, voted_for)
        super().set_term(term, voted_for)

    def sync(self) -> None:
        """Sync, as the real one does."""
        super().sync()
        self.twin.synced()

    def cut(self, below_index: int, segments_max: int | None = None) -> bool:
        """Drop whole segments."""
        more = super().cut(below_index, segments_max)
        self.twin.cut(self.first_index)
        return more
