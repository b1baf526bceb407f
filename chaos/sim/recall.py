"""A plot against the term in an answer: a leader is deposed and leads again, while what a follower answered to it in
its first reign is still on its way.

Of five members L leads; F's answers to it are held back from now on. The other three hear nothing of L and elect one of
them, which makes F drop what only L had sent it, and then L too. Then the new leader is cut off and F is not heard, so
that L may be elected again; if it is, it hears at last what F had said. Chance alone comes to this hardly ever.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster
    from metaraft.core import CoreStatus

SLOTS_MIN = 5
"""With three members whoever has the follower's entries is elected, and nothing is dropped."""

LOOK_S = 0.01
"""How often the plotter looks."""

ACT_S = 3.0
"""How long it waits for what it wants."""


class Recall:
    """One such plot. It ends with all wires open."""

    def __init__(self, cluster: "Cluster", leader: int, follower: int, end: Callable[[], None]) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.leader = leader
        self.follower = follower
        self.others = [slot for slot in cluster.slots if slot not in (leader, follower)]
        self.clients = [client.host for client in cluster.clients]
        self._usurper = 0
        self._end = end

    def begin(self) -> None:
        """Leader and follower alone go on; clients reach only these."""
        self._hold([self.follower], [self.leader])
        self._hold([self.leader], self.others)
        self._hold(self.others, [self.leader])
        self._hold(self.clients, self.others)
        self._when(self._is_deposed, self._tell)

    def _is_deposed(self) -> bool:
        usurper = self.cluster.leading()
        if usurper not in self.others:
            return False
        self._usurper = usurper
        return self._follows(self.follower)

    def _tell(self) -> None:
        """The old leader hears of the new one."""
        self._hold([self.leader], [self.follower])
        self._open([self.leader], [self._usurper])
        self._open([self._usurper], [self.leader])
        self._when(lambda: self._follows(self.leader), self._recall)

    def _recall(self) -> None:
        """The new leader is gone; of the rest the old one has the best chance."""
        rest = [slot for slot in self.others if slot != self._usurper]
        self._hold([self._usurper], self.cluster.slots)
        self._hold(self.cluster.slots, [self._usurper])
        self._hold([self.follower], rest)
        self._open([self.leader], rest)
        self._open(rest, [self.leader])
        self._when(lambda: self.cluster.leading() not in (None, self._usurper), self._listen)

    def _listen(self) -> None:
        """What the follower said in the first reign arrives."""
        if self.cluster.leading() == self.leader:
            self.cluster.count("leaders deposed and recalled")
        self._open([self.follower], [self.leader])
        self.world.at(3 * LOOK_S, self._end)

    # ---- means

    def _follows(self, slot: int) -> bool:
        """Whether a member's log is the usurper's."""
        mine, theirs = self._status(slot), self._status(self._usurper)
        if mine is None or theirs is None:
            return False
        return (mine.term, mine.last_index) == (theirs.term, theirs.last_index)

    def _status(self, slot: int) -> "CoreStatus | None":
        process = self.cluster.members[slot].process
        return None if process is None else process.turns.status

    def _when(self, holds: Callable[[], bool], then: Callable[[], None], waited_s: float = 0.0) -> None:
        if holds():
            then()
        elif waited_s < ACT_S:
            self.world.at(LOOK_S, self._when, holds, then, waited_s + LOOK_S)
        else:
            self._end()

    def _hold(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        for sender in senders:
            for to in receivers:
                if sender != to:
                    self.cluster.network.hold(sender, to)

    def _open(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        for sender in senders:
            for to in receivers:
                if sender != to:
                    self.cluster.network.open(sender, to)
