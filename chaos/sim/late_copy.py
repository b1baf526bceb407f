"""A plot against the copy of a database: it comes when the member that fetches it needs it no more.

M is cut off until L, the leader, has lost the log that M needs. M begins to fetch a copy; its pieces are held back, L
is cut off from all others, and these elect one of them. If that one still has the log, M gets it, says so for entries
beyond the copy, and then the copy arrives.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.plot import LOOK_S, Plot

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

CUT_S = 5.0
"""How long it is waited for that a log is cut, which is done once a second."""


class LateCopy(Plot):
    """One such plot."""

    slots_min = 3
    succeeded = "copies that came too late"

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        super().__init__(cluster, leader, end)
        self._lagging = self.world.random.choice(self.rest)
        self._others = [slot for slot in self.rest if slot != self._lagging]
        self._index = 0

    def begin(self) -> None:
        """One member is cut off."""
        for other in (self.leader, *self._others, *self.clients):  # what is held back would come in the end
            self.cluster.network.close(self._lagging, other, told=True)
            self.cluster.network.close(other, self._lagging, told=True)
        self.when(self._is_behind, self._tell, wait_s=CUT_S)

    def _is_behind(self) -> bool:
        journal = self.journal(self.leader)
        return journal is not None and 0 < self.last_index(self._lagging) < journal.first_index

    def _tell(self) -> None:
        """It hears of the leader alone, and asks for a copy."""
        self.join([self._lagging], [self.leader])
        self.when(self._fetches, self._depose)

    def _fetches(self) -> bool:
        process = self.cluster.members[self._lagging].process
        part = None if process is None else process.copies.part
        self._index = 0 if part is None else part.copied.index
        return self._index > 0

    def _depose(self) -> None:
        """The others go on without the leader, and with the member."""
        self.hold([self.leader], [self._lagging])
        self.part([self.leader], self._others)
        self.join([self._lagging], [*self._others, *self.clients])
        self.when(lambda: self.last_index(self._lagging) > self._index, self._deliver)

    def _deliver(self) -> None:
        """The copy comes."""
        self.open([self.leader], [self._lagging])
        self.after(50 * LOOK_S, self.end)
