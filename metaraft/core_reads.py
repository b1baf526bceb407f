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
        self._last = 0
        self._waiting: int | None = None
        self._open: ReadRound | None = None
        self._after = 0

    @property
    def waiting(self) -> bool:
        """Whether reads wait for a round to begin."""
        return self._waiting is not None

    @property
    def open(self) -> bool:
        """Whether a round awaits its confirmation."""
        return self._open is not None

    @property
    def after(self) -> int:
        """Appends with a higher number confirm the open round."""
        return self._after

    def ask(self) -> int:
        """The round that reads asked now will belong to."""
        if self._waiting is None:
            self._last += 1
            self._waiting = self._last
        return self._waiting

    def begin(self, index: int, sequence: int) -> None:
        """Begin the round that reads wait for; `sequence` is the highest append number used so far."""
        assert self._waiting is not None
        assert self._open is None
        self._open = ReadRound(self._waiting, index)
        self._waiting = None
        self._after = sequence

    def confirm(self) -> ReadRound:
        """A majority answered the open round."""
        assert self._open is not None
        confirmed, self._open = self._open, None
        return confirmed

    def lose(self) -> None:
        """Leadership ended: what was asked and not confirmed never will be."""
        self._open = self._waiting = None
