"""ReadIndex at the leader: rounds that prove it still led after the reads of the round were asked. Pure.

Rules:
* One round at a time; reads that are asked meanwhile share the next. A round begins only once an entry of the leader's
  own term is committed, and notes the commit index then.
* It is confirmed when a majority, the leader among it, answered appends that were numbered after it began.
* When leadership ends every open round is lost.

Source: Ongaro's dissertation, 6.4.
"""

import msgspec


class ReadRound(msgspec.Struct, frozen=True):
    """A confirmed round: what was committed at `index` when it began is all that its reads must see."""

    round: int
    index: int


class ReadRounds:
    """The rounds of one core. Numbers are never used twice in a process."""

    def __init__(self) -> None:
        self.waiting: int | None = None
        """The round that reads wait for."""
        self.open: ReadRound | None = None
        """The round that awaits its confirmation."""
        self.after = 0
        """Appends with a higher number confirm the open round."""
        self._last = 0

    def ask(self) -> int:
        """The round that reads asked now will belong to."""
        if self.waiting is None:
            self.waiting = self._last = self._last + 1
        return self.waiting

    def begin(self, index: int, sequence: int) -> None:
        """Begin the round that reads wait for; `sequence` is the highest append number used so far."""
        assert self.waiting is not None
        assert self.open is None
        self.open = ReadRound(self.waiting, index)
        self.waiting = None
        self.after = sequence

    def confirm(self) -> ReadRound:
        """A majority answered the open round."""
        assert self.open is not None
        confirmed, self.open = self.open, None
        return confirmed

    def lose(self) -> None:
        """Leadership ended: what was asked and not confirmed never will be."""
        self.open = self.waiting = None
