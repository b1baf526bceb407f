"""Figure 8 of the Raft paper as a plot: what a former term left may have a majority and be replaced all the same.

(a) Of five members L leads, and only F has what it added last. (b) The other three elect U, which adds an entry of its
own at the same index and is cut off before anybody has it. (c) L or F is elected again and goes on to spread the old
entry: three have it now, but none of the two beyond it has the new leader's own entry yet. (d) Who has that is cut
off, and U, whose last term is newer than the old entry's, is elected by those two, and replaces the entry. So nobody
may have called it committed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.plot import LOOK_S, Plot

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster


class FigureEight(Plot):
    """One such plot. It takes appends of one entry each, or (c) has no such moment."""

    succeeded = "entries of former terms replaced on a majority"

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        super().__init__(cluster, leader, end)
        follower = self.world.random.choice(self.rest)
        self.old = [leader, follower]
        self.others = [slot for slot in self.rest if slot != follower]
        self._usurper = self._again = 0
        self._voters: list[int] = []
        self._reign = self._old_index = 0

    def begin(self) -> None:
        """(a) Leader and follower alone go on; clients reach only these."""
        self.part([self.leader], self.others)
        self.hold(self.clients, self.others)
        self.when(self._have_more, lambda: self.when(self._is_voted_for, self._silence))

    def _have_more(self) -> bool:
        self._old_index = 1 + max(self.last_index(slot) for slot in self.others)
        return self.last_index(self.old[1]) >= self._old_index

    def _is_voted_for(self) -> bool:
        """(b) Whether one of the others has the others' votes, and does not know it yet."""
        for slot in self.others:
            mine, voters = self.journal(slot), [other for other in self.others if other != slot]
            journals = [self.journal(voter) for voter in voters]
            said = {(journal.term, journal.voted_for) for journal in journals if journal is not None}
            if mine is not None and mine.last_index < self._old_index and said == {(mine.term, slot)}:
                self._usurper, self._voters, self._reign = slot, voters, mine.term
                return True
        return False

    def _silence(self) -> None:
        """It hears that it is elected, and is not heard."""
        self.hold([self._usurper], self.rest)
        self.part(self.old, [self._usurper])
        self.when(self._has_its_own, self._recall)

    def _has_its_own(self) -> bool:
        return self.leads([self._usurper]) is not None and self.last_index(self._usurper) >= self._old_index

    def _recall(self) -> None:
        """(c) One of those that have the old entry is elected by those that voted for the usurper."""
        self.part([self._usurper], self.cluster.slots)
        self.join(self.old, self._voters)
        self.when(self._leads_again, lambda: self.when(self._have_old_alone, self._stop))

    def _leads_again(self) -> bool:
        self._again = self.leads(self.old, self._reign) or 0
        return bool(self._again)

    def _have_old_alone(self) -> bool:
        """Whether one of the voters has the old entry and nothing of the new reign."""
        return any(self.last_index(slot) >= self._old_index for slot in self._voters)

    def _stop(self) -> None:
        """What follows is held back, but not the answers."""
        self.hold([self._again], self._voters)
        self.when(self._is_heard, self._replace)

    def _is_heard(self) -> bool:
        """Whether the leader knows that a majority has the old entry."""
        status = self.status(self._again)
        matches = () if status is None else status.match.values()
        return 1 + sum(match >= self._old_index for match in matches) > len(self.cluster.slots) // 2

    def _replace(self) -> None:
        """(d) The usurper is elected by those that have the old entry."""
        self.part(self.old, [*self._voters, self._usurper])
        self.join([self._usurper], self._voters)
        self.when(lambda: self.leads([self._usurper], self._reign + 1) is not None, self._see)

    def _see(self) -> None:
        self.after(10 * LOOK_S, self.end)
