"""A cluster of real cores in virtual time: clients, faults, and a judge that sees everything.

Disks lose what was not synced (or a part of it) at a crash. A connection is FIFO; what is on its way when it breaks is
lost; a stalled one holds everything back; single messages may be refused by a full queue. Members crash, restart and
pause at any point, also between step and sync. An operator has members replaced, one after the other: their disks are
lost, or go on being used by a process that the cluster has retired (a **ghost**), while a successor with an empty disk
has the slot. Everything follows from the seed.

Judged at each step: one leader per term, equal (index, term) means equal entry and equal predecessor, no two entries
committed at one index, a leader has all that was committed before, commits come once and in order, reads see all that
was answered before they began. At the end, healed: one leader, equal logs, and all that was acknowledged is there.
"""

import heapq
import itertools
import random
from collections.abc import Callable

from cluster.limits import Timings
from metaraft.core import Admit, Change, Message, Retire
from tests.metaraft.bare import incarnation_of, seats_of
from tests.metaraft.core_machine import Broken, Judge, Link, Machine, Read

QUEUE_MAX = 200


class World:
    """Members, links, clients, faults; time passes in `run`."""

    def __init__(self, seed: int, size: int) -> None:
        self.random = random.Random(seed)
        self.slots = tuple(range(size))
        self.first_seats = seats_of(self.slots)
        self.mixed = self.random.random() < 0.7  # else only what makes elections collide
        longest_s = Timings().election_timeout_max_s if self.mixed else 0.55
        # who is deposed and does not hear of it leads on for long here: no promise may rest on its stepping down
        self.timings = Timings(election_timeout_max_s=longest_s, leader_fallback_s=2.0)
        self.judge = Judge()
        self.now = 1000.0
        self.safe_cut = 0
        self.acknowledged = 0
        self.steps = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self._values = itertools.count(1)
        self.links = {(a, b): Link() for a in self.slots for b in self.slots if a != b}
        if not self.mixed:
            for link in self.links.values():
                link.delay_s = 0.1
        self.machines = [Machine(self, slot, incarnation_of(slot)) for slot in self.slots]
        self.ghosts: list[Machine] = []
        self.replacing: tuple[int, str] | None = None
        self.healed = self.doubtful = False
        self.replaced = 0
        self.transfers = 0

    # ---- time

    def at(self, delay_s: float, what: Callable[..., None], *arguments: object) -> None:
        """Do something later."""
        heapq.heappush(self._events, (self.now + max(0.0, delay_s), next(self._order), what, arguments))

    def end(self, *what: Callable[..., None]) -> None:
        """Do no more of what is done for ever."""
        self._events = [event for event in self._events if event[2] not in what]
        heapq.heapify(self._events)

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        end = self.now + duration_s
        while self._events and self._events[0][0] <= end:
            self.now, _, what, arguments = heapq.heappop(self._events)
            self.steps += 1
            what(*arguments)
        self.now = end

    # ---- network

    def send(self, sender: Machine, to: int, message: Message) -> None:
        """Put a message on its way."""
        self._send(sender.slot, sender.incarnation, to, message)

    def _send(self, sender: int, incarnation: str, to: int, message: Message) -> None:
        link = self.links[sender, to]
        if not link.up or self.random.random() < link.loss or len(link.held) >= QUEUE_MAX:
            return
        if link.stalled:
            link.held.append((incarnation, message))
            return
        link.last_arrival = max(link.last_arrival, self.now + link.delay_s * (0.5 + self.random.random()))
        self.at(link.last_arrival - self.now, self._arrive, sender, incarnation, to, link.epoch, message)

    def _arrive(self, sender: int, incarnation: str, to: int, epoch: int, message: Message) -> None:
        for machine in (self.machines[to], *self.ghosts):  # somebody may still dial where the ghost is
            if self.links[sender, to].epoch == epoch and machine.slot == to and machine.alive:
                machine.inbox.append((sender, incarnation, message))
                machine.wake()

    def reconnect(self, sender: int, to: int) -> None:
        """Break a connection; a new one comes up if the link is."""
        link = self.links[sender, to]
        link.epoch += 1
        link.held = []
        link.last_arrival = self.now
        for machine in (self.machines[sender], *self.ghosts):
            if machine.slot == sender and machine.alive:
                machine.core.peer_disconnected(to)
                if link.up:
                    machine.core.peer_connected(to)
                    machine.wake()

    def set_up(self, sender: int, to: int, up: bool) -> None:
        """Take a link down or bring it up."""
        if self.links[sender, to].up != up:
            self.links[sender, to].up = up
            self.reconnect(sender, to)

    def set_stalled(self, sender: int, to: int, stalled: bool) -> None:
        """Hold back what is sent, or let it all go."""
        link = self.links[sender, to]
        link.stalled = stalled
        if not stalled:
            held, link.held = link.held, []
            for incarnation, message in held:
                self._send(sender, incarnation, to, message)

    # ---- clients and faults

    def client(self, mean_s: float) -> None:
        """Propose and read for ever, at members that think they lead (or anywhere)."""
        machine = self.random.choice(self.machines)
        if machine.alive:
            if self.random.random() < 0.6:
                size = self.random.choice((1, 20, 90, 300))
                machine.proposals.append(b"%d" % next(self._values) + b"." * size)
            else:
                machine.reads.append(Read(self.judge.acknowledged, machine.slot))
            machine.wake()
        self.at(self.random.expovariate(1 / mean_s), self.client, mean_s)

    def fault(self, mean_s: float) -> None:
        """Do harm, undo older harm, for ever."""
        disk = (self._crash, self._restart, self._start, self._cut_log, self._sync_state)
        network = (self._cut_link, self._stall, self._slow, self._break_connection, self._partition, self._mend)
        time = (self._pause, self._resume)
        kinds: tuple[Callable[[], None], ...] = (*disk, *time)
        if self.links:
            collisions = (self._restart, self._restart, self._partition, self._mend)
            kinds = (*disk, *network, *time) if self.mixed else collisions
        self.random.choice(kinds)()
        self.at(self.random.expovariate(1 / mean_s), self.fault, mean_s)

    def _any(self) -> Machine:
        return self.random.choice([*self.machines, *self.ghosts])

    def _any_link(self) -> tuple[int, int]:
        return self.random.choice(list(self.links))

    def _crash(self) -> None:
        machine = self._any()
        if machine.alive:
            machine.crash()
            if self.random.random() < 0.7:
                self.at(self.random.random(), self._start_again, machine)

    def _restart(self) -> None:
        machine = self._any()
        if machine.alive:
            machine.crash()
            self.at(self.random.random() * 0.02, self._start_again, machine)

    def _start(self) -> None:
        self._start_again(self._any())

    def _start_again(self, machine: Machine) -> None:
        if not machine.alive and not machine.lost:
            machine.start()

    def _pause(self) -> None:
        machine = self._any()
        machine.paused = True
        self.at(self.random.random() * 3, self._resume_one, machine)

    def _resume(self) -> None:
        self._resume_one(self._any())

    def _resume_one(self, machine: Machine) -> None:
        if machine.paused:
            machine.paused = False
            machine.wake()

    def _cut_link(self) -> None:
        self.set_up(*self._any_link(), False)

    def _stall(self) -> None:
        link = self._any_link()
        self.set_stalled(*link, True)
        self.at(self.random.random() * 3, self.set_stalled, *link, False)

    def _break_connection(self) -> None:
        self.reconnect(*self._any_link())

    def _slow(self) -> None:
        link = self.links[self._any_link()]
        link.delay_s = self.random.choice((0.001, 0.01, 0.1, 0.3))
        link.loss = self.random.choice((0.0, 0.0, 0.02, 0.2))
        self._any().sync_s = self.random.choice((0.001, 0.01, 0.2))

    def _partition(self) -> None:
        self._part(set(self.random.sample(self.slots, self.random.randint(1, len(self.slots) // 2))))

    def _part(self, aside: set[int]) -> None:
        for sender, to in self.links:
            self.set_up(sender, to, (sender in aside) == (to in aside))

    def _mend(self) -> None:
        for sender, to in self.links:
            self.set_up(sender, to, True)
            self.set_stalled(sender, to, False)

    def _sync_state(self) -> None:
        self._any().sync_state()

    def _cut_log(self) -> None:
        machine = self._any()
        machine.sync_state()
        if machine.alive and not machine.journal.dirty:
            machine.journal.cut(min(self.safe_cut, machine.applied))

    # ---- the operator

    def operate(self, mean_s: float) -> None:
        """Have members replaced and the leader moved, for ever."""
        leader = self.leader()
        if leader is not None:
            for slot in leader.core.status.needs_snapshot:
                self._copy(leader, self.machines[slot])
            if self.replacing is not None:
                self._replace(leader, *self.replacing)
            elif self.healed:
                self._end_what_was_doubtful(leader)
            elif self.random.random() < 0.5:
                self._hand_over(leader, self.random.choice(self.slots))
            elif len(self.slots) > 1:
                self._begin_to_replace()
        self.at(self.random.expovariate(1 / mean_s), self.operate, mean_s)

    def _begin_to_replace(self) -> None:
        machine = self.random.choice(self.machines)
        self.replacing = machine.slot, f"{machine.slot}.{next(self._values)}"
        if self.random.random() < 0.5 and not self.doubtful:  # a slot that was retired and forgotten costs one too
            if machine.alive:
                machine.crash()
            machine.lost = True

    def _replace(self, leader: Machine, slot: int, successor: str) -> None:
        """The next step of a replacement, as far as this leader lets it be done."""
        status, machine = leader.core.status, self.machines[slot]
        seat = status.membership.seats[slot]
        if seat.incarnation != successor:
            if leader.slot == slot:
                self._hand_over(leader, self.random.choice(self.slots))
            elif self.random.random() < 0.2 and not (machine.lost or machine.incarnation == successor):
                self.replacing = None  # thought better of it, or never heard what became of it
                self.doubtful = True
            else:
                self._change(leader, Retire(slot, successor))
        elif machine.incarnation != successor:
            if status.membership.index <= status.commit or self.random.random() < 0.5:
                self._succeed(machine, successor)
        elif seat.voter and status.membership.index <= status.commit:
            self.replacing = None
            self.replaced += 1
        else:
            self._change(leader, Admit(slot, successor))

    def _end_what_was_doubtful(self, leader: Machine) -> None:
        """A retirement that nobody heard of may have happened all the same."""
        for slot, seat in leader.core.status.membership.seats.items():
            if not seat.voter:
                self.replacing = slot, seat.incarnation

    def _copy(self, leader: Machine, machine: Machine) -> None:
        """What the leader has cut from its log goes out of band: as a copy of its state."""
        seated = leader.core.status.membership.seated(machine.slot, machine.incarnation)
        if seated and machine.alive and leader.applied > machine.journal.last_index:
            machine.install(leader)

    def _succeed(self, machine: Machine, successor: str) -> None:
        if not machine.lost:
            self.ghosts.append(machine)
        self.machines[machine.slot] = Machine(self, machine.slot, successor)

    def _change(self, leader: Machine, change: Change) -> None:
        if leader.core.refusal(change, self.now) is None:
            leader.change = change
            leader.wake()
            if not self.healed and self.random.random() < 0.3:
                self.at(self.random.random() * 0.01, self._part, {leader.slot})

    def _hand_over(self, leader: Machine, slot: int) -> None:
        if leader.core.hand_over(slot, self.now) is None:
            self.transfers += 1
            leader.wake()

    def heal(self) -> None:
        """End all harm; the operator ends what was begun."""
        self.healed = True
        self.end(self.fault, self._part)
        for link in self.links.values():
            link.delay_s, link.loss = 0.001, 0.0
        self._mend()
        for machine in (*self.machines, *self.ghosts):
            machine.sync_s = 0.001
            self._start_again(machine)
            self._resume_one(machine)

    def leader(self) -> Machine | None:
        """The member that leads the newest term."""
        all_members = (*self.machines, *self.ghosts)
        led = [machine for machine in all_members if machine.alive and machine.core.status.state == "leader"]
        return max(led, key=lambda machine: machine.core.status.term, default=None)

    def converged(self) -> None:
        """Raise unless there is one leader, all logs are equal and all that was acknowledged is applied by all."""
        leader = self.leader()
        if leader is None or self.replacing is not None:
            raise Broken(f"convergence: {leader and leader.incarnation} leads, being replaced: {self.replacing}")
        for machine in self.machines:
            status = machine.core.status
            if (status.leader, status.term) != (leader.slot, leader.core.status.term):
                raise Broken(f"convergence: slot {machine.slot} follows {status.leader} in term {status.term}")
            if machine.applied != leader.applied or machine.journal.last_index != leader.journal.last_index:
                raise Broken(f"convergence: slot {machine.slot} has applied {machine.applied} of {leader.applied}")
            if status.membership != machine.membership or not status.membership.seated(
                machine.slot, machine.incarnation
            ):
                raise Broken(f"convergence: {machine.incarnation} sees {status.membership}, not {machine.membership}")
            if machine.applied < self.judge.acknowledged:
                raise Broken(f"loss: {self.judge.acknowledged} was acknowledged, {machine.applied} is applied")


def simulate(seed: int, size: int, *, duration_s: float = 12.0, calm_s: float = 6.0) -> World:
    """One world: load and faults, then healing, then judgement."""
    world = World(seed, size)
    world.at(0.0, world.client, world.random.choice((0.005, 0.02, 0.1)))
    world.run(2.0)
    world.at(0.0, world.fault, world.random.choice((0.05, 0.2, 0.5)))
    if world.random.random() < 0.5:
        world.at(0.0, world.operate, 0.2)
    world.run(duration_s)
    world.heal()
    world.run(calm_s)
    world.end(world.client, world.operate)
    world.run(1.0)
    world.converged()
    return world
