"""The members of a simulated world (`core_world`): real cores on disks in memory, and the judge of what they do."""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cluster.limits import Limits
from metaraft.core import Change, Core, Message, Ready
from metaraft.core_membership import CHANGE, decode_change
from metaraft.journal_records import Entry
from tests.metaraft.bare import newly_committed
from tests.metaraft.memory_journal import MemoryDisk, MemoryJournal

if TYPE_CHECKING:
    from tests.metaraft.core_world import World

LIMITS = Limits(append_bytes_max=256)


class Broken(Exception):
    """A promise did not hold."""


@dataclass
class Link:
    """One direction between two members."""

    up: bool = True
    stalled: bool = False
    delay_s: float = 0.001
    loss: float = 0.0
    epoch: int = 0
    last_arrival: float = 0.0
    held: list[tuple[str, Message]] = field(default_factory=list)


@dataclass
class Read:
    """A read that was asked, and what it must at least see."""

    must_see: int
    slot: int
    index: int | None = None


class Judge:
    """What is known to be true of the whole cluster."""

    def __init__(self) -> None:
        self.leaders: dict[int, tuple[str, int]] = {}
        self.entries: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self.committed: dict[int, Entry] = {}
        self.committed_by: dict[int, int] = {}  # the term by which it was
        self.acknowledged = 1
        self.reads = 0

    def added(self, entry: Entry, prev_term: int | None) -> None:
        """Some member added an entry."""
        known = self.entries.setdefault((entry.index, entry.term), (entry.data, prev_term))
        if known != (entry.data, prev_term):
            raise Broken(f"log matching: {entry} follows term {prev_term}, elsewhere it is {known}")

    def led(self, incarnation: str, life: int, term: int, journal: MemoryJournal) -> None:
        """A member led in a term."""
        known = self.leaders.get(term)
        if known is None:
            self.leaders[term] = (incarnation, life)
            for index, entry in self.committed.items():
                before = self.committed_by[index] < term and index >= journal.first_index
                if before and journal.term_at(index) != entry.term:
                    raise Broken(f"leader completeness: {incarnation} leads term {term} without entry {index}")
        elif known != (incarnation, life):
            raise Broken(f"election safety: {known} and {(incarnation, life)} both led term {term}")

    def commit(self, entry: Entry, term: int) -> None:
        """Some member of that term handed an entry out to be applied."""
        self.committed_by.setdefault(entry.index, term)
        known = self.committed.setdefault(entry.index, entry)
        if known != entry:
            raise Broken(f"state machine safety: {entry} is committed here and {known} elsewhere")

    def read(self, read: Read, applied: int) -> None:
        """A read was answered."""
        if applied < read.must_see:
            raise Broken(f"linearizability: a read at slot {read.slot} saw {applied}, not {read.must_see}")
        self.acknowledged = max(self.acknowledged, applied)
        self.reads += 1


class Machine:
    """One member: a core, its disk, its state machine (an index), its driver."""

    def __init__(self, world: "World", slot: int, incarnation: str) -> None:
        self.world = world
        self.slot = slot
        self.incarnation = incarnation
        self.disk = MemoryDisk()
        self.state_synced = 0, world.first_seats
        self.lost = False
        self.life = 0
        self.alive = False
        self.paused = False
        self.sync_s = 0.001
        self.start()

    def start(self) -> None:
        """Begin a new process on what the disk kept."""
        self.life += 1
        self.alive = True
        self.paused = False
        self.busy = False
        self.journal = MemoryJournal(self.disk, self.world.judge.added)
        self.applied, self.membership = self.state_synced
        self.inbox: list[tuple[int, str, Message]] = []
        self.change: Change | None = None
        self.proposals: list[bytes] = []
        self.proposed: dict[int, int] = {}
        self.reads: list[Read] = []
        self.rounds: dict[int, list[Read]] = {}
        self.confirmed: list[Read] = []
        self.wake_at = -1.0
        self.core = Core(
            slot=self.slot,
            incarnation=self.incarnation,
            membership=self.membership,
            journal=self.journal,
            applied=self.applied,
            now=self.world.now,
            random=random.Random(self.world.random.random()),
            timings=self.world.timings,
            limits=LIMITS,
        )
        for other in self.world.slots:
            if other != self.slot and self.world.links[self.slot, other].up:
                self.core.peer_connected(other)
        self.wake()

    def crash(self) -> None:
        """The process dies; the disk keeps what was synced."""
        self.alive = False
        self.disk = self.journal.power_cut(self.world.random)
        for other in self.world.slots:
            if other != self.slot:
                self.world.reconnect(self.slot, other)
                self.world.reconnect(other, self.slot)

    def wake(self) -> None:
        """Step now, or when what hinders it is over."""
        if self.alive and not self.paused and not self.busy:
            self.busy = True
            self.world.at(0.0, self._step, self.life)

    def _step(self, life: int) -> None:
        if life != self.life or not self.alive:
            return
        if self.paused:
            self.busy = False
            return
        self.wake_at = -1.0
        inbox, self.inbox = self.inbox, []
        proposals, self.proposals = self.proposals, []
        reads, self.reads = self.reads, []
        change, self.change = self.change, None
        ready = self.core.step(inbox=inbox, proposals=proposals, reads=len(reads), now=self.world.now, change=change)
        for place in ready.proposed:
            if place is not None:
                self.proposed[place[0]] = place[1]
        if ready.read_round is not None:
            self.rounds.setdefault(ready.read_round, []).extend(reads)
        if ready.status.state == "leader" and self.disk.term == ready.status.term:  # alone, it leads before the sync
            self.world.judge.led(self.incarnation, self.life, ready.status.term, self.journal)
            self.world.safe_cut = max(self.world.safe_cut, ready.status.safe_cut)
        for slot, message in ready.appends:
            self.world.send(self, slot, message)
        self.world.at(self.sync_s * self.world.random.random() if ready.sync else 0.0, self._synced, life, ready)

    def _synced(self, life: int, ready: Ready) -> None:
        if life != self.life or not self.alive:
            return
        self.journal.sync()
        for slot, message in ready.messages:
            self.world.send(self, slot, message)
        for entry in newly_committed(self.journal, self.applied, ready):
            self._apply(entry, ready.status.term)
        for confirmed in ready.reads_confirmed:
            for read in self.rounds.pop(confirmed.round):
                read.index = confirmed.index
                self.confirmed.append(read)
        if ready.status.state != "leader":
            self.rounds.clear()
        for read in [read for read in self.confirmed if (read.index or 0) <= self.applied]:
            self.world.judge.read(read, self.applied)
            self.confirmed.remove(read)
        self.busy = False
        if self.inbox or self.proposals or self.reads:
            self.wake()
        else:
            self.set_timer()

    def _apply(self, entry: Entry, term: int) -> None:
        if entry.index != self.applied + 1:
            raise Broken(f"slot {self.slot} applied {self.applied} and is handed {entry.index}")
        self.world.judge.commit(entry, term)
        self.applied = entry.index
        if entry.data[:1] == CHANGE:
            self.membership = self.membership.changed(decode_change(entry.data), entry.index)
        if self.proposed.pop(entry.index, None) == entry.term:
            self.world.judge.acknowledged = max(self.world.judge.acknowledged, entry.index)
            self.world.acknowledged += 1

    def sync_state(self) -> None:
        """What is applied will be there after a crash."""
        self.state_synced = self.applied, self.membership

    def install(self, donor: "Machine") -> None:
        """Take over what another one has applied, as a process that begins anew with it."""
        entry = next(iter(donor.journal.entries(donor.applied, donor.applied + 1, 0)))
        self.crash()
        self.disk.log = [entry]
        self.disk.term = max(self.disk.term, entry.term)
        self.state_synced = donor.applied, donor.membership
        self.start()

    def set_timer(self) -> None:
        """Wake when the core asks for it."""
        wake_at = self.core.next_wakeup(self.world.now)
        if wake_at != self.wake_at and wake_at < float("inf"):
            self.wake_at = wake_at
            self.world.at(wake_at - self.world.now, self._timer, self.life, wake_at)

    def _timer(self, life: int, wake_at: float) -> None:
        if life == self.life and wake_at == self.wake_at:
            self.wake()
