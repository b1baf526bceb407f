"""A plot against the answer to a client: a leader is deposed that has its commands on every disk and does not know it.

Clients reach only L, the leader. What its followers answer is held back, then L is not heard either, and they elect one
of them, which commits all that L had sent. Now L hears of it and must tell its clients what became of their commands:
it does not know, and they can ask nobody else before they give up.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.plot import Plot

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

ALONE_S = 2.5
"""How long the clients have nobody else (chosen: until those of 3 s have given up)."""


class LateAnswers(Plot):
    """One such plot."""

    slots_min = 3
    succeeded = "leaders deposed before they heard what they had done"

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        super().__init__(cluster, leader, end)
        self._usurper = 0

    def begin(self) -> None:
        """Clients reach only the leader."""
        for client in self.clients:
            for slot in self.rest:
                self.cluster.network.close(client, slot, told=True)
        self.when(self._waits, self._deafen)

    def _waits(self) -> bool:
        """Whether a client's call has just come to the leader."""
        process = self.cluster.members[self.leader].process
        return process is not None and process.turns.commits.pending > 0

    def _deafen(self) -> None:
        """What followers answer is held back."""
        self.hold(self.rest, [self.leader])
        self.when(self._all_have_all, self._silence)

    def _all_have_all(self) -> bool:
        status, last_index = self.status(self.leader), self.last_index(self.leader)
        if status is None or status.commit == last_index:
            return False
        return all(self.last_index(slot) == last_index for slot in self.rest)

    def _silence(self) -> None:
        self.hold([self.leader], self.rest)
        self.when(self._is_deposed, self._tell)

    def _is_deposed(self) -> bool:
        self._usurper = self.leads(self.rest) or 0
        return bool(self._usurper)

    def _tell(self) -> None:
        """The old leader hears of the new one."""
        self.join([self.leader], [self._usurper])
        self.after(ALONE_S, self.end)
