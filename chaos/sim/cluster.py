"""A simulated cluster: members, network, clients and the judge in one world, as a seed draws them."""

from collections.abc import Callable
from typing import Any

from chaos.sim.client import Client
from chaos.sim.faults import TAIL_BYTES_MAX
from chaos.sim.judge import Judge, Violation
from chaos.sim.member import Member, incarnation_of
from chaos.sim.model import ROWS_MAX
from chaos.sim.network import Network
from chaos.sim.workload import Workload
from chaos.sim.world import World
from cluster.limits import KIB, Limits, Timings
from metaraft.core import Core, Membership, Seat

LEADER_S = 5.0
"""Within this, healed, a cluster has one leader that all follow."""

EQUAL_S = 60.0
"""Within this all members are equal."""

COLLIDING, COLLIDING_DELAY_S = 0.25, 0.1
"""How often members are as far apart as a heartbeat and their election timers nearly equal, so that elections collide,
leaders change, and answers come when they no longer count."""

COLLIDING_SIZES = (3, 5)

PLOTTED_SIZE = 5

PLOTTED, PLOTTED_DELAY_S = 0.15, 0.04
"""How often the harm of a seed is plots alone (`chaos.sim.plot`), and how long frames between its five members take:
longer than a plotter looks away. Each of its appends has one entry."""

TAILS, TAIL_BYTES = 0.5, 2 * KIB
"""How often some members keep hardly any log for others that lag, and how much; the others keep all of it."""

SIZES = (1, 3, 3, 5)
"""Slots, as often as they are drawn."""


class Cluster:
    """All of it. `engine` makes a member's core, or what is put in its place."""

    def __init__(self, world: World, size: int | None, engine: Callable[..., Any] = Core) -> None:
        draw = world.random
        self.world = world
        self.engine = engine
        kind = draw.random()
        self.colliding = kind < COLLIDING
        self.plotted = 1 - kind < PLOTTED and size in (None, PLOTTED_SIZE)
        drawn = PLOTTED_SIZE if self.plotted else draw.choice(COLLIDING_SIZES if self.colliding else SIZES)
        self.slots = tuple(range(1, (size or drawn) + 1))
        self.seats = Membership({slot: Seat(incarnation_of(slot)) for slot in self.slots})
        longest_s = 0.55 if self.colliding else Timings().election_timeout_max_s
        # twice the product's own: who is deposed and does not hear of it leads on for long here, for no promise may
        # rest on its stepping down
        self.timings = Timings(election_timeout_max_s=longest_s, leader_fallback_s=2.0)
        self.limits = Limits(
            append_bytes_max=1 if self.plotted else draw.choice((512, 2 * KIB, 64 * KIB)),
            entry_bytes_max=draw.choice((2 * KIB, 64 * KIB)),
            journal_segment_bytes=draw.choice((2, 2, 8, 64)) * KIB,
            journal_cache_bytes=draw.choice((0, 4, 256)) * KIB,
            scan_rows_max=ROWS_MAX,
        )
        tails = (TAIL_BYTES, TAIL_BYTES_MAX) if self.plotted or world.chance(TAILS) else (TAIL_BYTES_MAX,)
        self.tails = {slot: draw.choice(tails) for slot in self.slots}
        """How much log each member keeps for others that lag."""
        self.short_of_space = False
        self.judge = Judge(self.slots)
        self.network = Network(world, self.count)
        if self.colliding:
            self.network.slow_down(self.slots, COLLIDING_DELAY_S / 2, COLLIDING_DELAY_S)
        if self.plotted:
            self.network.slow_down(self.slots, PLOTTED_DELAY_S, 0.0)
        self.members = {slot: Member(self, slot) for slot in self.slots}
        pause_s = draw.choice((0.02, 0.05, 0.1))
        self.clients = [
            Client(self, number, Workload(draw, number, pause_s, reads=number % 3 == 0))
            for number in range(1, draw.randint(3, 6) + 1)
        ]
        for member in self.members.values():
            world.at(world.spread(0.1), member.start)
        for client in self.clients:
            world.at(world.spread(0.3), client.begin)

    def count(self, what: str) -> None:
        """Something happened that is told in the end."""
        self.judge.counts[what] += 1

    # ---- the end: everything is well again

    def heal(self) -> None:
        """End all harm."""
        self.world.note("--", "all is healed")
        self.short_of_space = False
        self.network.mend()
        for member in self.members.values():
            member.sync_s = 0.001
            member.fuse = member.sync_fuse = None
            member.fsyncs_fail = member.full = member.dies_again = False
            member.resume()
            member.mend()
        for client in self.clients:
            client.paused = False

    def leading(self) -> int | None:
        """The slot that leads the newest term, as far as anybody does."""
        led = [
            (member.process.turns.status.term, member.slot)
            for member in self.members.values()
            if member.process is not None and member.process.turns.leads
        ]
        return max(led)[1] if led else None

    def leader(self) -> int | None:
        """The slot that leads and that all follow, in one term."""
        said = set()
        for member in self.members.values():
            if member.process is None:
                return None
            status = member.process.turns.status
            said.add((status.leader, status.term))
        (leader, _), *others = said
        return leader if not others else None

    def unequal(self) -> str | None:
        """How members differ, or None."""
        said = set()
        for member in self.members.values():
            process = member.process
            if process is None:
                return f"{member.name} is down"
            said.add((process.journal.last_index, process.database.applied, process.database.set_hash))
        if len(said) > 1:
            return f"logs end at, are applied up to, and hash to {sorted(said)}"
        last_index, applied, _ = said.pop()
        if last_index != applied or applied != len(self.judge.committed):
            return f"the log ends at {last_index}, applied is {applied}, committed {len(self.judge.committed)}"
        return None

    def wait(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Let time pass until something holds, or no longer."""
        end = self.world.now + seconds
        while not done():
            if self.world.now >= end:
                return False
            self.world.run(0.1)
        return True

    def _acknowledges_more_than(self, count: int) -> bool:
        """Have a client ask, and again whenever it was told that an outcome is not known: it may have been behind in
        state time, which its first answer mends."""
        if self.judge.counts["acknowledged commands"] > count:
            return True
        if self.clients[0].idle:
            self.clients[0].ask_last()
        return False

    def come_to_rest(self) -> None:
        """Heal, and raise Violation unless the cluster becomes whole in time."""
        self.heal()
        if not self.wait(LEADER_S, lambda: self.leader() is not None):
            said = [member.process.turns.status for member in self.members.values() if member.process is not None]
            raise Violation("liveness", f"after {LEADER_S} s without faults there is not one leader: {said}")
        begin = self.world.now
        for client in self.clients:
            client.resting = True
        if not self.wait(EQUAL_S, lambda: all(client.idle for client in self.clients)):
            raise Violation("liveness", f"after {EQUAL_S} s without faults calls are not answered")
        before = self.judge.counts["acknowledged commands"]
        if not self.wait(LEADER_S, lambda: self._acknowledges_more_than(before)):
            raise Violation("liveness", f"after {LEADER_S} s of asking no command more is acknowledged")
        if not self.wait(EQUAL_S - (self.world.now - begin), lambda: self.unequal() is None):
            raise Violation("liveness", f"after {EQUAL_S} s without faults members differ: {self.unequal()}")
