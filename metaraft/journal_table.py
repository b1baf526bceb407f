"""Where each entry of the log lies: a compact table in memory, eight bytes per entry. Pure.

The segments hold records in the order they were written, void entries too; the table holds the live ones. Both the
running journal and its replay at the start go through the same few steps, so a restart cannot see another log.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator


class Span:
    """The live entries of one segment: `first` and on, entry `first + n` at `positions[n]`."""

    __slots__ = ("first", "positions", "sequence")

    def __init__(self, sequence: int, first: int) -> None:
        self.sequence = sequence
        self.first = first
        self.positions = array("Q")

    @property
    def stop(self) -> int:
        """Index behind the last live entry of the segment."""
        return self.first + len(self.positions)


class Table:
    """Live entries `first_index` to `next_index - 1`, by segment in order of writing, and their terms."""

    def __init__(self, sequence: int, next_index: int) -> None:
        self.first_index = next_index
        self.next_index = next_index
        self.spans = [Span(sequence, next_index)]
        self._term_starts: list[int] = []  # runs of equal terms: a log of millions has a handful
        self._terms: list[int] = []

    def begin_segment(self, sequence: int) -> None:
        """Entries from now on are in that segment."""
        self.spans.append(Span(sequence, self.next_index))

    def append(self, index: int, term: int, position: int) -> None:
        """The next entry lies at `position` of the newest segment."""
        assert index == self.next_index, f"entry {index} does not follow {self.next_index - 1}"
        assert term >= self.last_term, f"entry {index} of term {term} follows one of term {self.last_term}"
        if not self._terms or self._terms[-1] != term:
            self._term_starts.append(index)
            self._terms.append(term)
        self.spans[-1].positions.append(position)
        self.next_index = index + 1

    def truncate_from(self, index: int) -> None:
        """Entries from `index` on are void. Below the first entry the log is empty and goes on with `index`."""
        assert index <= self.next_index
        for span in reversed(self.spans):
            if span.first < index:
                del span.positions[index - span.first :]
                break
            del span.positions[:]
            span.first = index
        self.next_index = index
        self.first_index = min(self.first_index, index)
        while self._term_starts and self._term_starts[-1] >= index:
            self._term_starts.pop()
            self._terms.pop()

    def reset(self, index: int, term: int, position: int) -> None:
        """The log is the one entry that lies at `position` of the newest segment, beyond all that there was."""
        assert index >= self.next_index, f"entry {index} is not beyond {self.next_index - 1}"
        for span in self.spans:
            span.first = index
            del span.positions[:]
        self.first_index = self.next_index = index
        self._term_starts, self._terms = [], []
        self.append(index, term, position)

    @property
    def last_term(self) -> int:
        """Term of the last entry; 0 in an empty log."""
        return self._terms[-1] if self._terms else 0

    def term_at(self, index: int) -> int | None:
        """Term of a live entry, else None."""
        if not self.first_index <= index < self.next_index:
            return None
        return self._terms[bisect_right(self._term_starts, index) - 1]

    def locate(self, index: int) -> tuple[int, int]:
        """(sequence of the segment, position) of a live entry."""
        for span in reversed(self.spans):
            if span.first <= index < span.stop:
                return span.sequence, span.positions[index - span.first]
        raise IndexError(f"entry {index} is not in the log, which is {self.first_index} to {self.next_index - 1}")

    def positions_from(self, index: int, stop: int) -> Iterator[tuple[int, int]]:
        """(index, position) of the entries from `index` to `stop - 1` that are in the same segment as `index`."""
        for span in reversed(self.spans):
            if span.first <= index < span.stop:
                positions = span.positions[index - span.first : stop - span.first]
                return zip(range(index, stop), positions, strict=False)
        return iter(())

    def droppable(self, below_index: int, durable_index: int) -> int:
        """How many of the oldest segments hold no live entry from `below_index` on, while a later one holds an entry
        that is on the disk for good (at or below `durable_index`)."""
        count = 0
        first_behind = self.next_index
        firsts = [first_behind]
        for span in reversed(self.spans[1:]):
            if span.positions:
                first_behind = span.first
            firsts.append(first_behind)
        firsts.reverse()  # firsts[k]: first live index behind span k
        for span, behind in zip(self.spans[:-1], firsts, strict=False):
            if (span.positions and span.stop > below_index) or behind > durable_index:
                break
            count += 1
        return count

    def drop_oldest(self, count: int) -> list[int]:
        """Forgets the oldest `count` segments and returns their sequences."""
        dropped = [span.sequence for span in self.spans[:count]]
        del self.spans[:count]
        self.first_index = next((span.first for span in self.spans if span.positions), self.next_index)
        keep = max(0, bisect_right(self._term_starts, self.first_index) - 1)
        del self._term_starts[:keep], self._terms[:keep]
        return dropped
