"""What all plots share: harm that is aimed, in acts, each of which waits for what the one before it led to.

Chance alone comes hardly ever to what takes five wires to be closed and opened in the right order, and yet a network
may do just that. A plot closes wires and opens them, and looks only at what members do in any case, so it does the same
to those that are right and those that are not. It gives up if what it waits for does not come, and ends with all wires
open.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster
    from metaraft.core import CoreStatus
    from metaraft.journal import Journal

LOOK_S = 0.01
"""How often a plotter looks. Frames between members take longer in the seeds that are made of plots."""

ACT_S = 3.0
"""How long it waits for what it wants."""


class Plot(ABC):
    """One plot against a leader. `end` is called when it is over, however it went."""

    slots_min = 5
    succeeded = ""
    """What is counted if it came to its end."""

    def __init__(self, cluster: "Cluster", leader: int, end: Callable[[], None]) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.leader = leader
        self.rest = [slot for slot in cluster.slots if slot != leader]
        self.clients = [client.host for client in cluster.clients]
        self.abandoned = False
        """Harm has ended: no act follows any more."""
        self._end = end

    @abstractmethod
    def begin(self) -> None:
        """The first act."""

    # ---- acts

    def when(self, holds: Callable[[], bool], then: Callable[[], None], wait_s: float = ACT_S) -> None:
        """Go on with the next act as soon as something holds."""
        if self.abandoned:
            return
        if holds():
            then()
        elif wait_s > 0:
            self.world.at(LOOK_S, self.when, holds, then, wait_s - LOOK_S)
        else:
            self._end()

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Go on with the next act then."""
        self.world.at(seconds, self.when, lambda: True, then)

    def end(self) -> None:
        """It came to its end."""
        self.cluster.count(self.succeeded)
        self._end()

    # ---- what members do

    def status(self, slot: int) -> "CoreStatus | None":
        """How a member stands after its last step; None: it is down."""
        process = self.cluster.members[slot].process
        return None if process is None else process.turns.status

    def journal(self, slot: int) -> "Journal | None":
        """A member's log; None: it is down."""
        process = self.cluster.members[slot].process
        return None if process is None else process.journal

    def last_index(self, slot: int) -> int:
        """Where a member's log ends; 0: it is down."""
        journal = self.journal(slot)
        return 0 if journal is None else journal.last_index

    def leads(self, slots: Collection[int], above: int = 0) -> int | None:
        """The one of these slots that leads the newest term, if that is above some other."""
        slot = self.cluster.leading()
        if slot is None or slot not in slots:
            return None
        status = self.status(slot)
        return slot if status is not None and status.term > above else None

    # ---- means

    def hold(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """Hold back what these send to those."""
        for sender in senders:
            for to in receivers:
                if sender != to:
                    self.cluster.network.hold(sender, to)

    def open(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """Let it pass."""
        for sender in senders:
            for to in receivers:
                if sender != to:
                    self.cluster.network.open(sender, to)

    def part(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Hold back what passes between these and those, in both directions."""
        some, others = list(some), list(others)
        self.hold(some, others)
        self.hold(others, some)

    def join(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Let all of it pass."""
        some, others = list(some), list(others)
        self.open(some, others)
        self.open(others, some)
