"""A plot against reads: nobody but a leader knows what is committed last, and then nobody hears it.

L has told its clients of an entry of which its followers do not know yet that it is committed. Now L is cut off with
some of the clients. The followers elect one of them, which has the entry but cannot know at once that it is committed;
the other clients ask it all the same. The first ones go on to ask L, which takes itself for the leader for a while.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.plot import Plot

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

DEPOSED_S = 1.0
"""How long there are two that take themselves for the leader, about: the old one gives up soon after."""


class StaleReads(Plot):
    """One such plot."""

    slots_min = 3
    succeeded = "leaders deposed while they were asked"

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        super().__init__(cluster, leader, end)
        self._near = self.world.random.sample(self.clients, len(self.clients) // 2)

    def begin(self) -> None:
        """The last commit is known to the leader alone."""
        self.when(self._knows_alone, self._cut_off)

    def _knows_alone(self) -> bool:
        mine = self.status(self.leader)
        others = [status for slot in self.rest if (status := self.status(slot)) is not None]
        return mine is not None and len(others) == len(self.rest) and all(it.commit < mine.commit for it in others)

    def _cut_off(self) -> None:
        """Each client reaches one side alone."""
        self.part([self.leader], self.rest)
        for client in self.clients:
            for slot in self.rest if client in self._near else [self.leader]:
                self.cluster.network.close(client, slot, told=True)
        self.when(lambda: self.leads(self.rest) is not None, self._see)

    def _see(self) -> None:
        self.after(DEPOSED_S, self.end)
