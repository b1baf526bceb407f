"""Two clusters for one script: the bare library, and the same engine behind the guard.

Both run in virtual time over FIFO queues that the script empties as it likes, and both hold elections only when told
(`campaign`), so that a test can play one story on both and compare the ends. `BareCluster` is PySyncObj as shipped but
for clock and randomness: its own class, its own journal, its own messages; a `Transport` that queues is its public
hook. Messages that it reads come in at the end of a tick, as from its own poller.
"""

import contextlib
import logging
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import pysyncobj.syncobj as library
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj, replicated
from pysyncobj.transport import Transport

from cluster.limits import Limits, Timings
from metaraft.core import Change, Core, Membership, Ready, Seat
from metaraft.core_membership import CHANGE
from metaraft.core_messages import Message, asker_of
from metaraft.journal_records import Entry
from tests.metaraft.memory_journal import MemoryJournal

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
ROUND_S = 0.11  # above a heartbeat: the bare library sends by its timer


class Cluster(Protocol):
    """What a script needs."""

    now: float
    queues: dict[tuple[int, int], deque[Any]]

    def tick(self, slot: int) -> None:
        """Let one member act."""

    def deliver(self, sender: int, to: int, count: int | None = None) -> None:
        """Hand queued messages over."""

    def propose(self, slot: int, value: int) -> None:
        """Submit a value at a member."""

    def campaign(self, slot: int) -> None:
        """Let a member's election timer run out, and act."""

    def release_elections(self) -> None:
        """From now on election timers run as they like."""

    def leads(self, slot: int) -> bool:
        """Whether a member thinks it leads."""

    def term(self, slot: int) -> int:
        """A member's term."""

    def values(self, slot: int) -> list[int]:
        """What a member has applied."""

    def log(self, slot: int) -> list[tuple[int, int]]:
        """A member's log as (index, term)."""

    @property
    def acknowledged(self) -> list[int]:
        """Values whose clients were told that they are committed."""


def settle(cluster: Cluster, *slots: int, rounds: int = 6, held: tuple[tuple[int, int], ...] = ()) -> None:
    """Let members act and talk among themselves; on `held` directions messages stay queued."""
    for _ in range(rounds):
        cluster.now += ROUND_S
        for slot in slots:
            cluster.tick(slot)
        for sender in slots:
            for to in slots:
                if sender != to and (sender, to) not in held:
                    cluster.deliver(sender, to)
    for slot in slots:
        cluster.tick(slot)


def drop(cluster: Cluster, *slots: int) -> None:
    """Lose all that is on its way from or to the members: their connections broke."""
    for pair, queue in cluster.queues.items():
        if pair[0] in slots or pair[1] in slots:
            queue.clear()


def elect(cluster: Cluster, slot: int, *voters: int, held: tuple[tuple[int, int], ...] = ()) -> None:
    """Make a member the leader with the others' votes; their logs become equal."""
    cluster.now += 2.0
    cluster.campaign(slot)
    settle(cluster, slot, *voters, held=held)
    assert cluster.leads(slot)


# ---- the bare library


class BareTransport(Transport):
    """Queues what is sent. The library's public hook."""

    def __init__(self, cluster: "BareCluster", slot: int) -> None:
        super().__init__(None, None, [])
        self._cluster = cluster
        self._slot = slot

    def send(self, node: Node, message: Any) -> bool:
        self._cluster.queues[self._slot, slot_of(node)].append(message)
        return True

    def connect(self, node: Node) -> None:
        self._onNodeConnected(node)

    def receive(self, node: Node, message: Any) -> None:
        self._onMessageReceived(node, message)


def node_of(slot: int) -> Node:
    """The library's name of a slot."""
    return Node(f"n{slot}")


def slot_of(node: Node) -> int:
    """And back."""
    return int(node.id[1:])


class _Inbox:
    """In the place of the poller: reads what has come in, as the library does, at the end of a tick."""

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read

    def poll(self, _: float) -> None:
        self._read()


class BareMember(SyncObj):
    """The library as a user would use it: a list that `put` appends to."""

    def __init__(self, cluster: "BareCluster", slot: int, conf: SyncObjConf) -> None:
        self.transport = BareTransport(cluster, slot)
        others = [node_of(other) for other in cluster.slots if other != slot]
        super().__init__(node_of(slot), others, conf, transport=self.transport)
        self.applied: list[int] = []

    @replicated
    def put(self, value: int) -> None:
        """Add a value."""
        if value < 0:
            raise ValueError(f"{value} cannot be applied")
        self.applied.append(value)


class BareCluster:
    """Members of the bare library. Make it with `bare_cluster`."""

    def __init__(self, size: int, settings: dict[str, Any]) -> None:
        self.now = 1000.0
        self.hold_elections = True
        self.slots = tuple(range(size))
        self.queues: dict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.arrived: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        self.acknowledged: list[int] = []
        self.refused: list[tuple[int, int]] = []
        self.members: dict[int, BareMember] = {}
        self.started: list[BareMember] = []
        self.reading_s = 1e-6
        self.settings = settings

    def start(self, slot: int, **settings: Any) -> BareMember:
        """Start a member, or start it again."""
        conf = SyncObjConf(autoTick=False, raftMinTimeout=0.5, raftMaxTimeout=1.0, **{**self.settings, **settings})
        member = self.members[slot] = BareMember(self, slot, conf)
        self.started.append(member)
        member._poller = _Inbox(lambda: self._read(slot))
        for other in self.slots:
            if other != slot:
                member.transport.connect(node_of(other))
        self._hold_elections(slot)
        return member

    def tick(self, slot: int) -> None:
        self.members[slot].doTick(0.0)
        self._hold_elections(slot)

    def deliver(self, sender: int, to: int, count: int | None = None) -> None:
        queue = self.queues[sender, to]
        for _ in range(len(queue) if count is None else count):
            self.members[to].transport.receive(node_of(sender), queue.popleft())
        self._hold_elections(to)

    def propose(self, slot: int, value: int) -> None:
        def done(_: Any, reason: int) -> None:
            if reason == 0:
                self.acknowledged.append(value)
            else:
                self.refused.append((value, reason))

        self.members[slot].put(value, callback=done)
        self.tick(slot)

    def campaign(self, slot: int) -> None:
        self.members[slot]._SyncObj__raftElectionDeadline = 0.0
        self.tick(slot)

    def release_elections(self) -> None:
        self.hold_elections = False
        for member in self.members.values():
            member._SyncObj__raftElectionDeadline = self.now + 1.0

    def leads(self, slot: int) -> bool:
        return self.members[slot]._isLeader()

    def term(self, slot: int) -> int:
        return self.members[slot]._SyncObj__raftCurrentTerm

    def values(self, slot: int) -> list[int]:
        return self.members[slot].applied

    def log(self, slot: int) -> list[tuple[int, int]]:
        journal = self.members[slot]._SyncObj__raftLog
        return [(journal[place][1], journal[place][2]) for place in range(len(journal))]

    def _read(self, slot: int) -> None:
        arrived, self.arrived[slot] = self.arrived[slot], []
        for sender, message in arrived:
            self.members[slot].transport.receive(node_of(sender), message)

    def _hold_elections(self, slot: int) -> None:
        if self.hold_elections:
            self.members[slot]._SyncObj__raftElectionDeadline = self.now + 1e6


@contextlib.contextmanager
def bare_cluster(size: int, *, start: bool = True, **settings: Any) -> Iterator[BareCluster]:
    """The library's own cluster, in virtual time that advances by a microsecond at each reading."""
    cluster = BareCluster(size, settings)

    def clock() -> float:
        cluster.now += cluster.reading_s
        return cluster.now

    real = library.monotonicTime, library.random
    logger = logging.getLogger("pysyncobj.serializer")
    logger.disabled = True  # it reports dumps that it does not have, thousands of times
    library.monotonicTime, library.random = clock, random.Random(7)
    try:
        for slot in cluster.slots if start else ():
            cluster.start(slot)
        yield cluster
    finally:
        library.monotonicTime, library.random = real
        logger.disabled = False
        for member in cluster.started:
            member.destroy()


# ---- the same behind the guard


def seats_of(slots: Iterable[int]) -> Membership:
    """The first seats of slots, whose incarnations are `incarnation_of` them."""
    return Membership({slot: Seat(incarnation_of(slot)) for slot in slots})


def incarnation_of(slot: int) -> str:
    """The first incarnation of a slot."""
    return f"{slot}.0"


def newly_committed(journal: MemoryJournal, applied: int, ready: Ready) -> Sequence[Entry]:
    """What a step committed beyond what is applied, as who applies reads it."""
    if ready.status.commit <= applied:
        return ()
    return journal.entries(applied + 1, ready.status.commit + 1, 1 << 40)


class GuardedCluster:
    """Members of the product's core, each with a journal in memory that is synced after every step."""

    def __init__(self, size: int, *, limits: Limits | None = None, start: bool = True) -> None:
        self.now = 1000.0
        self.hold_elections = True
        self.slots = tuple(range(size))
        self.limits = limits or Limits()
        self.queues: dict[tuple[int, int], deque[Message]] = defaultdict(deque)
        self.acknowledged: list[int] = []
        self.refused: list[int] = []
        self.incarnations = {slot: incarnation_of(slot) for slot in self.slots}
        self.journals = {slot: MemoryJournal() for slot in self.slots}
        self.cores: dict[int, Core] = {}
        self.committed: dict[int, list[Entry]] = {slot: [] for slot in self.slots}
        self._applied: dict[int, int] = {}
        self._proposed: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
        for slot in self.slots if start else ():
            self.start(slot)

    def start(self, slot: int, applied: int = 0, membership: Membership | None = None) -> Core:
        """Start a member, or start it again, on its journal."""
        core = self.cores[slot] = Core(
            slot=slot,
            incarnation=self.incarnations[slot],
            membership=membership or seats_of(self.slots),
            journal=self.journals[slot],
            applied=applied,
            now=self.now,
            random=random.Random(slot),
            timings=Timings(),
            limits=self.limits,
        )
        self.committed[slot] = []
        self._applied[slot] = applied
        for other in self.slots:
            if other != slot:
                core.peer_connected(other)
        self._hold_elections(slot)
        return core

    def step(
        self,
        slot: int,
        *,
        inbox: tuple[tuple[int, Message], ...] = (),
        proposals: tuple[bytes, ...] = (),
        reads: int = 0,
        change: Change | None = None,
    ) -> Ready:
        """One step with its sync, its messages queued and its commits applied."""
        said = [
            (sender, self.incarnations.get(sender, ""), self._addressed(slot, message)) for sender, message in inbox
        ]
        ready = self.cores[slot].step(inbox=said, proposals=proposals, reads=reads, now=self.now, change=change)
        self.journals[slot].sync()
        for to, message in (*ready.appends, *ready.messages):
            self.queues[slot, to].append(message)
        for entry in newly_committed(self.journals[slot], self._applied[slot], ready):
            self._applied[slot] = entry.index
            self.committed[slot].append(entry)
            proposed = self._proposed[slot].pop(entry.index, None)
            if proposed is not None and proposed[0] == entry.term:
                self.acknowledged.append(proposed[1])
        self._hold_elections(slot)
        return ready

    def _addressed(self, slot: int, message: Message) -> Message:
        """An answer that a test made up answers the member that gets it."""
        return msgspec.structs.replace(message, asker=self.incarnations[slot]) if asker_of(message) == "" else message

    def tick(self, slot: int) -> None:
        self.step(slot)

    def deliver(self, sender: int, to: int, count: int | None = None) -> None:
        queue = self.queues[sender, to]
        messages = [queue.popleft() for _ in range(len(queue) if count is None else count)]
        self.step(to, inbox=tuple((sender, message) for message in messages))

    def propose(self, slot: int, value: int) -> None:
        place = self.step(slot, proposals=(b"%d" % value,)).proposed[0]
        if place is None:
            self.refused.append(value)
        else:
            self._proposed[slot][place[0]] = place[1], value

    def campaign(self, slot: int) -> None:
        self.cores[slot]._member._SyncObj__raftElectionDeadline = self.now
        self.tick(slot)

    def release_elections(self) -> None:
        self.hold_elections = False
        for core in self.cores.values():
            core._member._SyncObj__raftElectionDeadline = self.now + 1.0

    def leads(self, slot: int) -> bool:
        return self.cores[slot].status.state == "leader"

    def term(self, slot: int) -> int:
        return self.cores[slot].status.term

    def values(self, slot: int) -> list[int]:
        return [int(entry.data) for entry in self.committed[slot] if entry.data and entry.data[:1] != CHANGE]

    def log(self, slot: int) -> list[tuple[int, int]]:
        journal = self.journals[slot]
        return [(index, journal.term_at(index) or 0) for index in range(journal.first_index, journal.last_index + 1)]

    def _hold_elections(self, slot: int) -> None:
        member = self.cores[slot]._member
        if self.hold_elections and member._SyncObj__raftElectionDeadline >= 0:
            member._SyncObj__raftElectionDeadline = self.now + 1e6
