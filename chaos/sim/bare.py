"""The bare library in the simulator: PySyncObj 0.3.17 as shipped, under the same network, crashes and time.

Its class, its messages and its rules are its own. Replaced are only its ends: clock, random source, sockets (the
simulated network), and the files, which are modelled by what its `FileJournal`, `MetaStorer` and `Serializer` do:
* Journal and dump are never synced. A process that is killed leaves all of them in the page cache, where its successor
  finds them. A power cut leaves the journal as it was at some moment of the last 30 s, and the file with term and vote,
  and the dump, as they were in the last 5 s: as the kernel writes dirty pages and commits its journal by default. (The
  pages of one moment come together, which is kinder than a kernel is.)
* The commit index is written once a second, term and vote at once.

The application is a list of numbers; each is put once, at any member, and the list is read at whoever takes itself for
the leader: the best that a user can do with it. The library's own loop goes on after an exception, and so does this.
"""

import copy
import logging
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node

from chaos.sim.bare_judge import BareJudge
from chaos.sim.bare_library import BareDisk, BareJournal, Dumps, Transport, clock, library
from chaos.sim.faults import Faults
from chaos.sim.network import Channel, Network
from chaos.sim.transcript import Transcript
from chaos.sim.world import START_S, World
from cluster.limits import Timings

TICK_S = 0.05
"""The library's own period."""

SIZES = (3, 3, 3, 5)

CALM_S, HARM_S, REST_S = 1.5, 10.0, 60.0

KINDS = (
    "pause",
    "close one way",
    "close both ways",
    "partition",
    "hold back",
    "slow wire",
    "break connection",
)
"""Harm besides crashes: all that the network and processes suffer, but for frames that come twice."""

FAILURES = (
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    library.pickle.pickle.UnpicklingError,
    struct.error,
)
"""Exceptions that its loop survives."""


class _Wires(Transport):  # type: ignore[misc]
    """The library's public hook for a network."""

    def __init__(self, process: "BareProcess") -> None:
        super().__init__(None, None, [])
        self._process = process

    def send(self, node: Node, message: Any) -> bool:
        return self._process.send(node.id, message)

    def connect(self, node: Node) -> None:
        self._onNodeConnected(node)

    def disconnect(self, node: Node) -> None:
        self._onNodeDisconnected(node)

    def receive(self, node: Node, message: Any) -> None:
        self._onMessageReceived(node, message)


class _List(library.SyncObj):  # type: ignore[misc]
    """The library as a user would use it."""

    def __init__(self, process: "BareProcess", conf: SyncObjConf) -> None:
        self.wires = _Wires(process)
        others = [Node(other) for other in process.cluster.slots if other != process.member.slot]
        self.process = process
        super().__init__(Node(process.member.slot), others, conf, transport=self.wires)
        self.values: tuple[int, ...] = ()

    @library.replicated  # type: ignore[untyped-decorator]
    def put(self, value: int) -> None:
        """Add a number."""
        self.process.cluster.judge.applied(self.process.member.slot, self.values, value)
        self.values = (*self.values, value)


class BareProcess:
    """One life of a member."""

    def __init__(self, member: "BareMember", life: int) -> None:
        self.member, self.cluster, self.life = member, member.cluster, life
        cluster = self.cluster
        world = self.world = cluster.world
        self.frozen: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._inbox: list[tuple[int, Any]] = []
        self._turning = False
        self._commit = 1
        self.journal = BareJournal(member.disk, cluster.judge, world)
        self.channels: dict[int, Channel] = {}
        clock.now = world.now
        library.random = world.random
        library.Serializer = lambda *_: Dumps(member.disk, lambda: world.now)
        timings = Timings()
        self.list = _List(
            self,
            SyncObjConf(
                autoTick=False,
                journalFile=self.journal,
                fullDumpFile=__file__ if member.disk.dump.content else None,  # (only looked at for being there)
                useFork=False,
                raftMinTimeout=timings.election_timeout_min_s,
                raftMaxTimeout=timings.election_timeout_max_s,
                appendEntriesPeriod=timings.heartbeat_s,
                logCompactionMinEntries=20 if cluster.compacts else 1 << 40,
                logCompactionMinTime=2 if cluster.compacts else 1 << 40,
            ),
        )

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return bool(self.list._isLeader())

    @property
    def leader(self) -> int | None:
        """Whom it follows."""
        node = self.list._getLeader()
        return None if node is None else node.id

    @property
    def term(self) -> int:
        """Its term."""
        return int(self.list.raftCurrentTerm)

    def begin(self) -> None:
        """Connect, and act."""
        for other in self.cluster.members.values():
            if other is not self.member:
                changed = partial(self.run, self._changed, other.slot)
                self.channels[other.slot] = self.cluster.network.channel(self.member, other, changed)
        self._tick()

    def leave(self) -> None:
        """It is gone."""
        for channel in self.channels.values():
            self.cluster.network.forget(channel)
        self.cluster.network.gone(self.member, told=not self.cluster.power)

    def run(self, what: Callable[..., None], *arguments: object) -> None:
        """Do something now, or when the pause is over."""
        if self.member.process is not self:
            return
        if self.member.paused:
            self.frozen.append((what, arguments))
            return
        what(*arguments)

    def thaw(self) -> None:
        """The pause is over."""
        frozen, self.frozen = self.frozen, []
        for what, arguments in frozen:
            self.world.at(0.0, self.run, what, *arguments)

    def _changed(self, slot: int, connected: bool) -> None:
        (self.list.wires.connect if connected else self.list.wires.disconnect)(Node(slot))

    def send(self, slot: int, message: Any) -> bool:
        """Send, if there is a connection."""
        channel = self.channels.get(slot)
        if channel is None:
            return False
        frame = copy.deepcopy(message)  # the library's transport pickles it
        self.world.note(self.member.name, "to S{}: {}", slot, message)
        to = self.cluster.members[slot]
        return self.cluster.network.send(channel.forth, len(repr(frame)), to.hand_over, self.member.slot, frame)

    def receive(self, sender: int, frame: Any) -> None:
        """A message arrives: its loop wakes."""
        self._inbox.append((sender, frame))
        self.wake()

    def wake(self) -> None:
        """Take a turn soon."""
        if not self._turning:
            self._turning = True
            self.world.at(0.0, self.run, self._turn)

    def _tick(self) -> None:
        self.wake()
        self.world.at(TICK_S, self.run, self._tick)

    def _turn(self) -> None:
        self._turning = False
        inbox, self._inbox = self._inbox, []
        clock.now = self.world.now
        library.random = self.world.random
        for sender, frame in inbox:
            self._attempt(self.list.wires.receive, Node(sender), frame)
        self._attempt(self.list.doTick, 0.0)
        self._judge()

    def _attempt(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            what(*arguments)
        except FAILURES as error:
            self.cluster.count("exceptions in its loop")
            self.world.note(self.member.name, "survives {}", repr(error))

    def _judge(self) -> None:
        judge, log, slot = self.cluster.judge, self.journal.all(), self.member.slot
        if self.leads:
            judge.led(slot, self.life, self.term, log)
        commit = min(int(self.list.raftCommitIndex), int(self.list.raftLastApplied))
        if commit > self._commit and log:
            for entry in log[max(0, self._commit + 1 - log[0][1]) : max(0, commit + 1 - log[0][1])]:
                judge.committed(slot, entry, self.term)
            self._commit = commit


class BareMember:
    """A slot's machine."""

    def __init__(self, cluster: "BareCluster", slot: int) -> None:
        self.cluster = cluster
        self.slot = self.host = slot
        self.name = f"S{slot}"
        self.disk = BareDisk()
        self.process: BareProcess | None = None
        self.lives = 0
        self.paused = False

    @property
    def life(self) -> int:
        """Number of the process that answers here; 0: none does."""
        return 0 if self.process is None or self.paused else self.process.life

    def start(self) -> None:
        """Begin a process on what is there."""
        if self.process is None:
            self.lives += 1
            self.process = BareProcess(self, self.lives)
            self.process.begin()

    def end(self, *, power_cut: bool) -> None:
        """The process dies, and maybe the machine with it."""
        process, self.process = self.process, None
        self.paused = False
        self.cluster.world.note(self.name, "dies{}", " by a power cut" * power_cut)
        if process is not None:
            process.leave()
        if power_cut:
            self.disk.lose(self.cluster.world.now, self.cluster.world.random)

    def resume(self) -> None:
        """A pause is over."""
        if self.paused:
            self.paused = False
            if self.process is not None:
                self.process.thaw()

    def hand_over(self, life: int, sender: int, frame: Any) -> None:
        """A message arrives at the process of that life."""
        if self.process is not None and self.process.life == life:
            self.process.run(self.process.receive, sender, frame)


class _BareFaults(Faults):
    """The kinds of harm that the library is put to."""

    def __init__(self, cluster: "BareCluster") -> None:
        super().__init__(cluster)  # type: ignore[arg-type]
        draw = self.world.random
        crash = "power cut" if cluster.power else "kill"
        self._kinds = [*draw.sample(KINDS, draw.randint(1, len(KINDS))), crash, draw.choice((crash, "kill all"))]
        self._power = cluster.power

    def _end(self, member: Any, *, power_cut: bool) -> bool:
        return super()._end(member, power_cut=self._power)


class BareCluster:
    """Members of the bare library, and who uses them. `power`: crashes are power cuts, else kill -9."""

    def __init__(self, world: World, *, power: bool, compacts: bool) -> None:
        self.world, self.power, self.compacts = world, power, compacts
        self.colliding = self.plotted = False
        self.slots = tuple(range(1, world.random.choice(SIZES) + 1))
        self.judge = BareJudge(world)
        self.counts: dict[str, int] = {}
        self.network = Network(world, self.count)
        self.members = {slot: BareMember(self, slot) for slot in self.slots}
        self.clients: list[Any] = []
        self._value = 0
        self.resting = False
        for member in self.members.values():
            world.at(world.spread(0.1), member.start)
        self._pause_s = world.random.choice((0.02, 0.05, 0.1))
        world.at(0.5, self._use)

    def count(self, what: str) -> None:
        """Something happened that is told in the end."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def leading(self) -> int | None:
        """The slot that leads the newest term."""
        led = [(m.process.term, m.slot) for m in self.members.values() if m.process is not None and m.process.leads]
        return max(led)[1] if led else None

    def _use(self) -> None:
        """Put a number at some member, or read at one that takes itself for the leader."""
        draw = self.world.random
        process = self.members[draw.choice(self.slots)].process
        if process is not None and not process.member.paused:
            if draw.random() < 0.5:
                self._put(process)
            elif process.leads:
                self.count("reads")
                self.judge.read(process.member.slot, process.list.values)
        if not self.resting:
            self.world.at(self.world.spread(self._pause_s), self._use)

    def _put(self, process: BareProcess) -> None:
        self._value += 1
        value = self._value

        def done(_: object, reason: int) -> None:
            if reason == library.FAIL_REASON.SUCCESS:
                self.count("acknowledged commands")
                self.judge.acknowledged.add(value)

        process.list.put(value, callback=done)
        process.wake()

    def come_to_rest(self) -> None:
        """Heal, and see what there is."""
        for sender, to in self.network.wires:
            self.network.open(sender, to)
        for wire in self.network.wires.values():
            wire.reset()
        for member in self.members.values():
            member.resume()
            member.start()
        self.world.run(1.0)
        self.resting = True
        end = self.world.now + REST_S
        while self.world.now < end and not self._equal():
            self.world.run(0.5)
        if not self._equal():
            self.judge.breaks("convergence", "after {} s without faults members differ or have no leader", REST_S)
        self.judge.end([member.process.list.values for member in self.members.values() if member.process is not None])

    def _equal(self) -> bool:
        said = set()
        for member in self.members.values():
            process = member.process
            assert process is not None
            applied = int(process.list.raftLastApplied)
            said.add((process.leader, process.term, applied, len(process.list.values), process.list.values))
        return len(said) == 1 and None not in next(iter(said))


class BareOutcome(msgspec.Struct, frozen=True):
    """What a seed came to: each broken promise, in the order in which they were noted."""

    seed: int
    virtual_s: float
    counts: dict[str, int]
    broken: dict[str, str]


def simulate(seed: int, *, power: bool, compacts: bool, transcript: Transcript | None = None) -> BareOutcome:
    """Live through one seed."""
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL + 1)  # it reports what it survives
    world = World(seed, transcript or Transcript())
    cluster = BareCluster(world, power=power, compacts=compacts)
    faults = _BareFaults(cluster)
    world.run(CALM_S)
    faults.begin()
    world.run(HARM_S)
    faults.end()
    cluster.come_to_rest()
    return BareOutcome(seed, world.now - START_S, dict(sorted(cluster.counts.items())), cluster.judge.broken)
