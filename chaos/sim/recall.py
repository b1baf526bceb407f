"""A plot against the term in an answer: a leader is deposed and leads again, while what a follower answered to it in
its first reign is still on its way.

Of five members L leads; F's answers to it are held back from now on. The other three hear nothing of L and elect one of
them, which makes F drop what only L had sent it, and then L too. Then the new leader is cut off, F is not heard, and
the two that are left reach only L, which is elected again; now it hears at last what F had said.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.plot import LOOK_S, Plot

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

HELD_MIN = 2
"""Entries that only L and F have: as many as the two that follow in the next reigns, so that F's answers name them."""


class Recall(Plot):
    """One such plot. (With three members whoever has the follower's entries is elected, and nothing is dropped.)"""

    succeeded = "leaders deposed and recalled"

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        super().__init__(cluster, leader, end)
        self.follower = self.world.random.choice(self.rest)
        self.others = [slot for slot in self.rest if slot != self.follower]
        self._usurper = 0

    def begin(self) -> None:
        """Leader and follower alone go on; clients reach only these."""
        self.part([self.leader], self.others)
        self.hold(self.clients, self.others)
        self.hold([self.follower], [self.leader])
        self.when(self._have_more, lambda: self.when(self._is_deposed, self._tell))

    def _have_more(self) -> bool:
        """Whether the follower has what nobody but the leader has."""
        return self.last_index(self.follower) >= HELD_MIN + max(self.last_index(slot) for slot in self.others)

    def _is_deposed(self) -> bool:
        self._usurper = self.leads(self.others) or 0
        return bool(self._usurper) and self._follows(self.follower)

    def _tell(self) -> None:
        """The old leader hears of the new one."""
        self.hold([self.leader], [self.follower])
        self.join([self.leader], [self._usurper])
        self.when(lambda: self._follows(self.leader), self._recall)

    def _recall(self) -> None:
        """The new leader is gone; of the rest only the old one can gather a majority."""
        rest = [slot for slot in self.others if slot != self._usurper]
        self.part([self._usurper], self.cluster.slots)
        self.hold([self.follower], rest)
        self.part(rest, rest)
        self.join([self.leader], rest)
        self.when(lambda: self.cluster.leading() == self.leader, self._listen)

    def _listen(self) -> None:
        """What the follower said in the first reign arrives."""
        self.open([self.follower], [self.leader])
        self.after(10 * LOOK_S, self.end)

    def _follows(self, slot: int) -> bool:
        """Whether a member's log is the usurper's."""
        mine, theirs = self.status(slot), self.status(self._usurper)
        if mine is None or theirs is None:
            return False
        return (mine.term, mine.last_index) == (theirs.term, theirs.last_index)
