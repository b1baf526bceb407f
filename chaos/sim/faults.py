"""Harm, drawn from the seed: which kinds a seed has, when each happens, and when it ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chaos.sim.figure_eight import FigureEight
from chaos.sim.late_answers import LateAnswers
from chaos.sim.late_copy import LateCopy
from chaos.sim.member import RESTART_S, SYNC_CALLS, Member
from chaos.sim.plot import Plot
from chaos.sim.recall import Recall
from chaos.sim.stale_reads import StaleReads
from cluster.limits import MIB

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

TAIL_BYTES_MAX = 64 * MIB
"""How much log a member keeps that loses none in a seed."""

KINDS_MAX = 8
"""Kinds of harm in one seed: few, so that each of them comes often enough to meet itself (chosen)."""

LEADER_CHANCE = 0.3
"""How often harm is meant for the leader."""

HARM_S = 1.5
"""How long harm lasts on average (chosen: around the election timeouts)."""


AWAY_S = 2.0
"""How long a member is away at least: a log is cut once a second."""


class Faults:
    """All kinds of harm to one cluster. A seed has some of them."""

    def __init__(self, cluster: "Cluster") -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.network = cluster.network
        self.going = False
        draw = self.world.random
        kinds = list(KINDS)
        if len(cluster.slots) == 1:
            kinds = [kind for kind in kinds if kind not in BETWEEN_MEMBERS]
        if cluster.colliding:
            kinds = [kind for kind in kinds if kind in COLLIDING]
        self._kinds = draw.sample(kinds, draw.randint(1, min(len(kinds), KINDS_MAX)))
        if cluster.plotted:
            self._kinds = list(PLOTS)
        self._pause_s = draw.choice((0.2, 0.6, 1.5))
        self._partitions = 0
        self._plot: Plot | None = None

    def begin(self) -> None:
        """Do harm from now on."""
        self.going = True
        self._next()

    def end(self) -> None:
        """Do no more; what was done stays until it is healed."""
        self.going = False
        if self._plot is not None:
            self._plot.abandoned = True

    def _next(self) -> None:
        if not self.going:
            return
        kind = self.world.random.choice(self._kinds)
        if KINDS[kind](self):
            self.cluster.count(f"fault: {kind}")
        self.world.at(self.world.spread(self._pause_s), self._next)

    # ---- drawing

    def _any(self) -> Member:
        """Some member; often the leader, if there is one."""
        leader = self.cluster.leading()
        if leader is not None and self.world.chance(LEADER_CHANCE):
            return self.cluster.members[leader]
        return self.cluster.members[self.world.random.choice(self.cluster.slots)]

    def _pair(self) -> tuple[int, int]:
        """Two hosts, at least one of which is a member."""
        draw = self.world.random
        hosts = [*self.cluster.slots, *(client.host for client in self.cluster.clients)]
        one = self._any().slot
        other = draw.choice([host for host in hosts if host != one])
        return (one, other) if self.world.chance(0.5) else (other, one)

    def _later(self, mean_s: float, what: Callable[..., None], *arguments: object) -> None:
        self.world.at(self.world.spread(mean_s), what, *arguments)

    def _say(self, what: str, *arguments: object) -> None:
        self.world.note("--", what, *arguments)

    # ---- processes and machines

    def kill(self) -> bool:
        """kill -9; the machine goes on."""
        return self._end(self._any(), power_cut=False)

    def cut_power(self) -> bool:
        """A machine loses its power."""
        return self._end(self._any(), power_cut=True)

    def kill_all(self) -> bool:
        """All die at once, by kill -9 or with their machines."""
        power_cut = self.world.chance(0.6)
        ended = [self._end(member, power_cut=power_cut) for member in self.cluster.members.values()]
        return any(ended)

    def _end(self, member: Member, *, power_cut: bool) -> bool:
        if member.process is None:
            return False
        member.end(power_cut=power_cut)
        self._later(RESTART_S, self._start, member)
        return True

    def die_soon(self) -> bool:
        """A process dies at one of the next places between two steps, or at a call to its disk."""
        member = self._any()
        if member.process is None or member.fuse is not None:
            return False
        member.fuse = self.world.random.randint(1, 60)
        member.power_fails = self.world.chance(0.6)
        return True

    def cut_power_syncing(self) -> bool:
        """A machine loses its power in its next sync, where a busy one is most of the time."""
        return self._end_syncing(self._any(), power_cut=True)

    def kill_syncing(self) -> bool:
        """A process is killed in its next sync, and its machine loses its power in the first sync of the next one: it
        had read from the page cache what no sync had covered."""
        return self._end_syncing(self._any(), power_cut=False)

    def _end_syncing(self, member: Member, *, power_cut: bool) -> bool:
        if member.process is None or member.fuse is not None:
            return False
        member.sync_fuse = self.world.random.choice(SYNC_CALLS)
        member.power_fails, member.dies_again = power_cut, not power_cut
        return True

    def die_starting(self) -> bool:
        """A process dies as it opens its journal."""
        member = self._any()
        if member.process is not None:
            return False
        member.fuse = self.world.random.randint(1, 12)
        member.power_fails = self.world.chance(0.6)
        member.start()
        return True

    def start(self) -> bool:
        """Somebody starts a process."""
        member = self._any()
        if member.process is not None:
            return False
        member.start()
        return True

    def _start(self, member: Member) -> None:
        if self.going:
            member.start()

    def pause(self) -> bool:
        """SIGSTOP, and later SIGCONT."""
        member = self._any()
        if member.process is None or member.paused:
            return False
        self._say("{} is paused", member.name)
        member.paused = True
        self._later(HARM_S, member.resume)
        return True

    # ---- network

    def close_one_way(self) -> bool:
        """Nothing passes in one direction, for a while."""
        return self._close(*self._pair(), told=self.world.chance(0.5))

    def _close(self, sender: int, to: int, *, told: bool) -> bool:
        self._say("nothing passes from host {} to {}", sender, to)
        self.network.close(sender, to, told=told)
        self._later(HARM_S, self.network.open, sender, to)
        return True

    def close_both_ways(self) -> bool:
        """Two hosts do not reach each other: a partial partition, if both are members."""
        one, other = self._pair()
        told = self.world.chance(0.5)
        return self._close(one, other, told=told) and self._close(other, one, told=told)

    def partition(self) -> bool:
        """Some members, often the leader alone, are cut off from the others, and maybe clients with them."""
        draw = self.world.random
        slots = self.cluster.slots
        leader = self.cluster.leading()
        alone = self.world.chance(0.5)
        aside = {leader} if alone and leader else set(draw.sample(slots, draw.randint(1, len(slots) // 2)))
        aside |= {client.host for client in self.cluster.clients if self.world.chance(0.4)}
        hosts = [*slots, *(client.host for client in self.cluster.clients)]
        told = self.world.chance(0.6)
        self._unite(self._partitions)
        self._say("{} are cut off from the others", sorted(aside))
        for sender in hosts:
            for to in hosts:
                if sender != to and (sender in aside) != (to in aside):
                    self.network.close(sender, to, told=told)
        self.world.at(0.5 + self.world.spread(HARM_S), self._unite, self._partitions)
        return True

    def stay_away(self) -> bool:
        """A member is away for so long that others may lose the log that it needs."""
        away = self._any().slot
        hosts = [*self.cluster.slots, *(client.host for client in self.cluster.clients)]
        away_s = AWAY_S + self.world.spread(HARM_S)
        self._say("S{} is away", away)
        for sender, to in ((host, away) if forth else (away, host) for host in hosts for forth in (True, False)):
            if sender != to:
                self.network.close(sender, to, told=True)
                self.world.at(away_s, self.network.open, sender, to)
        return True

    def _unite(self, partition: int) -> None:
        """A partition ends; there is one at a time, or nothing would go on at all."""
        if partition == self._partitions:
            self._partitions += 1
            self.network.open_all()

    def recall(self) -> bool:
        """A leader is deposed and recalled (`chaos.sim.recall`)."""
        return self._plots(Recall)

    def replace(self) -> bool:
        """What a majority has of a former term is replaced (`chaos.sim.figure_eight`)."""
        return self._plots(FigureEight)

    def answer_late(self) -> bool:
        """A leader does not hear what it has done (`chaos.sim.late_answers`)."""
        return self._plots(LateAnswers)

    def ask_deposed(self) -> bool:
        """A leader that is cut off is asked, and a new one (`chaos.sim.stale_reads`)."""
        return self._plots(StaleReads)

    def copy_late(self) -> bool:
        """A copy of the database comes when it is not needed any more (`chaos.sim.late_copy`)."""
        leader = self.cluster.leading()
        if leader is None or self.cluster.tails[leader] == TAIL_BYTES_MAX:
            return False
        return self._plots(LateCopy)

    def _plots(self, kind: type[Plot]) -> bool:
        leader = self.cluster.leading()
        if leader is None or len(self.cluster.slots) < kind.slots_min or self._plot is not None:
            return False
        self._unite(self._partitions)
        self._say("{} is plotted against S{}", kind.__name__, leader)
        self._plot = kind(self.cluster, leader, self._end_plot)
        self._plot.begin()
        return True

    def _end_plot(self) -> None:
        self._say("the plot is over")
        self._plot = None
        self.network.open_all()

    def hold_back(self) -> bool:
        """What is sent in one direction arrives later, in one go; the connection stays, if it is not for long."""
        sender, to = self._pair()
        self._say("frames from host {} to {} are held back", sender, to)
        self.network.close(sender, to, told=False)
        self._later(0.3, self.network.open, sender, to)
        return True

    def slow_wire(self) -> bool:
        """One direction becomes slow, thin or lossy, or good again."""
        wire, draw = self.network.wire(*self._pair()), self.world.random
        wire.delay_s = draw.choice((0.0003, 0.005, 0.05, 0.3))
        wire.jitter_s = draw.choice((0.0005, 0.01, 0.2))
        wire.loss = draw.choice((0.0, 0.0, 0.02, 0.2))
        wire.bytes_per_s = draw.choice((1e9, 1e9, 64 * 1024.0))
        return True

    def break_connection(self) -> bool:
        """A connection breaks; what was on its way may come late."""
        channel = self.world.random.choice(self.network.channels) if self.network.channels else None
        if channel is None or channel.forth is None:
            return False
        self.network.break_connection(channel, "it breaks")
        return True

    def repeat(self) -> bool:
        """For a while frames of connections that break come once more."""
        self.network.repeats = self.world.random.choice((0.0, 0.3))
        return True

    # ---- disks

    def slow_disk(self) -> bool:
        """Syncs take longer, or are quick again."""
        self._any().sync_s = self.world.random.choice((0.001, 0.001, 0.01, 0.1, 0.6))
        return True

    def fail_fsync(self) -> bool:
        """The next fsync fails."""
        member = self._any()
        if member.process is None:
            return False
        member.fsyncs_fail = True
        self._later(3 * HARM_S, self._start, member)
        return True

    def fill_disk(self) -> bool:
        """There is no room for a while."""
        member = self._any()
        self._say("{}'s disk is full", member.name)
        member.full = True
        self._later(HARM_S, self._empty, member)
        return True

    def _empty(self, member: Member) -> None:
        member.full = False
        self._start(member)

    def run_short(self) -> bool:
        """The leader refuses what grows, for a while."""
        self.cluster.short_of_space = True
        self._later(0.3, self._have_room)
        return True

    def _have_room(self) -> None:
        self.cluster.short_of_space = False

    def rot(self) -> bool:
        """A machine loses its power, and a bit of what it had synced turns: its member must not start until it is
        mended (here: the bit turns back)."""
        member = self._any()
        if member.process is None or member.rotten is not None:
            return False
        places = member.process.journal.vouched
        member.end(power_cut=True)
        path, end = self.world.random.choice(places)
        if not member.disk.holds(path):
            return False
        member.rotten = path, self.world.random.randrange(8 * end)
        self._say("bit {1} of {0} turns on {2}", *member.rotten, member.name)
        member.disk.turn(*member.rotten)
        self._later(RESTART_S, self._start, member)
        self._later(2 * HARM_S, self._mend, member)
        return True

    def _mend(self, member: Member) -> None:
        if self.going:
            member.mend()

    # ---- clocks and clients

    def jump_clock(self) -> bool:
        """A member's wall clock jumps."""
        member = self._any()
        member.wall_offset_ms = self.world.random.choice((0, 50, -50, 3_000, -3_000, 3_600_000, -3_600_000))
        self._say("{}'s wall clock is {} ms ahead", member.name, member.wall_offset_ms)
        return True

    def pause_client(self) -> bool:
        """A client does nothing for a while."""
        client = self.world.random.choice(self.cluster.clients)
        client.paused = True
        self._later(2 * HARM_S, client.resume)
        return True


KINDS: dict[str, Callable[[Faults], bool]] = {
    "kill": Faults.kill,
    "power cut": Faults.cut_power,
    "kill all": Faults.kill_all,
    "die soon": Faults.die_soon,
    "power cut in a sync": Faults.cut_power_syncing,
    "kill in a sync": Faults.kill_syncing,
    "die starting": Faults.die_starting,
    "start": Faults.start,
    "pause": Faults.pause,
    "close one way": Faults.close_one_way,
    "close both ways": Faults.close_both_ways,
    "partition": Faults.partition,
    "long absence": Faults.stay_away,
    "recalled leader": Faults.recall,
    "replaced entry": Faults.replace,
    "late answers": Faults.answer_late,
    "stale reads": Faults.ask_deposed,
    "late copy": Faults.copy_late,
    "hold back": Faults.hold_back,
    "slow wire": Faults.slow_wire,
    "break connection": Faults.break_connection,
    "repeat frames": Faults.repeat,
    "slow disk": Faults.slow_disk,
    "failed fsync": Faults.fail_fsync,
    "full disk": Faults.fill_disk,
    "bit rot": Faults.rot,
    "short of space": Faults.run_short,
    "clock jump": Faults.jump_clock,
    "paused client": Faults.pause_client,
}

COLLIDING = frozenset(
    {
        "kill",
        "power cut",
        "power cut in a sync",
        "kill in a sync",
        "pause",
        "close one way",
        "close both ways",
        "partition",
        "recalled leader",
        "replaced entry",
        "late answers",
        "stale reads",
        "late copy",
        "hold back",
        "repeat frames",
    }
)
"""What makes members vote: all the harm that a seed has whose elections collide."""

PLOTS = ("recalled leader", "replaced entry", "late answers", "stale reads", "late copy")
"""All the harm that a seed has which is made of plots: there nothing else disturbs them."""

BETWEEN_MEMBERS = frozenset({"partition", "long absence"})
"""What needs more than one."""
