"""The Raft log as the core sees it: what it needs of a journal, and how a follower takes entries in. Pure but for the
journal it is given.

Rules:
* Entries that are there already are passed over; the log is truncated only at an entry whose term differs from the
  leader's (Raft 5.3), and never at or below what is committed or applied here: that would undo an acknowledged write,
  so it ends the process instead (`BrokenInvariant`).
* A conflict's hint skips all of a term, or goes to the follower's last index, at once. Terms never fall along the log,
  so both sides find it by bisection.
* What is committed here is the same in every leader's log, so no hint lies below it.

Source: Ongaro and Ousterhout (2014), figure 2 and section 5.3; the hint is etcd raft's `findConflictByTerm`.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from metaraft.core_messages import Append
from metaraft.journal_records import Entry

FIRST_INDEX = 1
"""Index of the entry that every new journal begins with; it counts as committed everywhere."""


class BrokenInvariant(Exception):
    """Something happened that Raft rules out: a bug, or a member that forgot what it had promised.

    The process must end; going on could lose acknowledged writes.
    """


class LostEntries(BrokenInvariant):
    """This member's log lacks what it had acknowledged: whatever it votes or acknowledges from now on is worth nothing,
    until it is another incarnation's."""


class Log(Protocol):
    """What the core needs of `metaraft.journal.Journal`; see there."""

    @property
    def term(self) -> int:
        """Current term."""

    @property
    def voted_for(self) -> int | None:
        """The slot that was voted for in it."""

    @property
    def first_index(self) -> int:
        """Lowest index whose entry is kept."""

    @property
    def last_index(self) -> int:
        """Highest index."""

    @property
    def dirty(self) -> bool:
        """Whether anything was added that no sync has covered."""

    def term_at(self, index: int) -> int | None:
        """Term of an entry, None if it is not kept or not there."""

    def entries(self, start: int, stop: int, bytes_max: int) -> Sequence[Entry]:
        """Entries from `start` to before `stop`: at least one, then as many as fit `bytes_max`."""

    def add(self, index: int, term: int, data: bytes) -> None:
        """Append an entry, in memory."""

    def truncate_from(self, index: int) -> None:
        """Drop entries from `index` on, in memory."""

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Change term and vote, in memory."""


class Accepted(msgspec.Struct, frozen=True):
    """The append matches: up to `index` this log is the leader's."""

    index: int


class Conflict(msgspec.Struct, frozen=True):
    """The append does not follow this log, which cannot match above `index`, where it has `term`."""

    index: int
    term: int


def last_index_with(log: Log, index: int, term: int) -> int | None:
    """The highest index up to `index` whose entry's term is at most `term`; None if no kept entry is."""
    low, high = log.first_index, min(index, log.last_index)
    if high < low or _term(log, low) > term:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if _term(log, middle) <= term:
            low = middle
        else:
            high = middle - 1
    return low


def take(log: Log, append: Append, committed: int) -> Accepted | Conflict:
    """Take an append of the current leader into a follower's log. `committed` is the follower's commit index."""
    conflict = _conflict(log, append, committed)
    if conflict is not None:
        return conflict
    index = append.prev_index
    for term, data in append.entries:
        index += 1
        if index <= log.last_index:
            kept = log.term_at(index)
            if kept == term or (kept is None and index <= committed):
                continue
            if index <= committed:
                raise BrokenInvariant(
                    f"a leader of term {append.term} replaces the committed entry {index} (committed: {committed}) "
                    f"of term {kept} by one of term {term}"
                )
            log.truncate_from(index)
        log.add(index, term, data)
    return Accepted(index)


def _conflict(log: Log, append: Append, committed: int) -> Conflict | None:
    kept = log.term_at(append.prev_index)
    if kept == append.prev_term:
        return None
    if append.prev_index <= committed:
        if kept is None:  # cut away: it was applied, and every leader has it
            return None
        raise BrokenInvariant(
            f"a leader of term {append.term} has term {append.prev_term} at the committed index {append.prev_index} "
            f"(committed: {committed}), where this log has term {kept}"
        )
    index = last_index_with(log, append.prev_index, append.prev_term)
    hint = max(index if index is not None else committed, committed)
    return Conflict(hint, log.term_at(hint) or 0)


def _term(log: Log, index: int) -> int:
    term = log.term_at(index)
    if term is None:
        raise BrokenInvariant(f"the journal keeps {log.first_index} to {log.last_index} but has no entry {index}")
    return term
