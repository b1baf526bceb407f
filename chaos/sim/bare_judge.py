"""What must be true of a cluster of the bare library: the promises of `chaos.sim.judge`, as far as it makes them.

Unlike there a broken promise does not end the history: each is noted the first time, so that one does not hide another.

* Election safety, log matching, leader completeness, state machine safety: as in the Raft paper, figure 3.
* What a client was told to be done is in every member's state in the end, and each command is there once (no client
  asks twice for one).
* A read at a member that takes itself for the leader shows all that had been acknowledged, or read, before it began.
  (At other members it need not: the library answers from what is there.)
* In the end, healed, all follow one leader and hold the same.
"""

from collections.abc import Sequence

from chaos.sim.world import World

type Entry = tuple[bytes, int, int]
"""The library's: command, index, term."""


class BareJudge:
    """What is known of all members at once. `broken` has each promise that was broken, in that order."""

    def __init__(self, world: World) -> None:
        self.broken: dict[str, str] = {}
        self.acknowledged: set[int] = set()
        self._seen: set[int] = set()
        self._world = world
        self._leaders: dict[int, tuple[int, int]] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self._committed: dict[int, tuple[Entry, int]] = {}

    def breaks(self, promise: str, how: str, *arguments: object) -> None:
        """A promise was broken."""
        if promise not in self.broken:
            self.broken[promise] = how.format(*arguments)
            self._world.note("!!", "{}: {}", promise, self.broken[promise])

    def added(self, entry: Entry, prev: Entry | None) -> None:
        """A member added an entry to its log."""
        command, index, term = entry
        found = command, prev[2] if prev is not None else None
        known = self._entries.setdefault((index, term), found)
        if known[0] != command or (None not in (known[1], found[1]) and known[1] != found[1]):
            self.breaks("log matching", "entry {} of term {} is not the same everywhere", index, term)

    def committed(self, slot: int, entry: Entry, term: int) -> None:
        """A member of that term takes an entry for committed."""
        known, _ = self._committed.setdefault(entry[1], (entry, term))
        if known != entry:
            said = "S{} has an entry of term {} committed at {}, another had one of term {}"
            self.breaks("state machine safety", said, slot, entry[2], entry[1], known[2])

    def led(self, slot: int, life: int, term: int, log: Sequence[Entry]) -> None:
        """A member leads."""
        known = self._leaders.get(term)
        if known is None:
            self._leaders[term] = slot, life
            self._complete(slot, term, log)
        elif known != (slot, life):
            self.breaks("election safety", "S{} and S{} both led term {}", known[0], slot, term)

    def _complete(self, slot: int, term: int, log: Sequence[Entry]) -> None:
        terms = {index: term for _, index, term in log}
        first = min(terms, default=1)
        for index, (entry, by) in self._committed.items():
            if by < term and index >= first and terms.get(index) != entry[2]:
                self.breaks("leader completeness", "S{} leads term {} without the entry {}", slot, term, index)

    def applied(self, slot: int, values: Sequence[int], value: int) -> None:
        """A member applies a command that it has already applied?"""
        if value in values:
            self.breaks("applied once", "S{} applies {} twice", slot, value)

    def must_see(self) -> set[int]:
        """What a read that begins now must show."""
        return self.acknowledged | self._seen

    def read(self, slot: int, values: Sequence[int]) -> None:
        """A read at a leader that began and ended now."""
        missing = self.must_see().difference(values)
        if missing:
            self.breaks("linearizable reads", "S{} leads, and does not show {}", slot, min(missing))
        self._seen.update(values)

    def end(self, states: Sequence[Sequence[int]]) -> None:
        """It is healed, and this is what the members hold."""
        for state in states:
            lost = self.acknowledged.difference(state)
            if lost:
                self.breaks("acknowledged lost", "{} acknowledged commands are not there, so {}", len(lost), min(lost))
