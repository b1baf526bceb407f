"""The network: connections that delay, hold back, lose and break, as TCP under the product's channels does.

Rules, and where they come from (`cluster.channel`, `cluster.outbox`):
* A host dials each member it speaks to. Frames of one connection arrive in order. A frame may be dropped in the middle
  of a connection: a full queue drops what is posted.
* When a connection breaks, some first part of what was on its way still arrives, even after frames of the connection
  that follows it, and the rest is lost. Nothing is sent again by the channel itself, so the product has no duplicates
  but a client's own; as a fault that goes beyond it, the last frames of a broken connection between members may arrive
  once more. (Not a client's: one that no leader took is told that it did not happen, and a copy of it that came by
  itself would make that a lie which no member could prevent.)
* A closed wire holds frames back, as a sender that repeats its segments does, until it opens or the connection breaks.
  One direction may be closed alone. A new connection needs both.
* What was sent to a process never reaches the next process on that host, which resets the connection instead.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Protocol

from chaos.sim.world import World

FIRST_CLIENT = 100
"""Hosts from this number on are clients', below it members'."""

FRAMES_MAX = 400
"""Frames on their way in one direction; one more is dropped (stands for `rpc_send_queue_bytes_max`)."""

FIRST_RETRY_S, RETRY_S_MAX = 0.05, 1.0
"""How soon a connection is tried again (`cluster.channel`)."""

REPEATED_MAX = 8
"""Frames of a connection that may come once more."""

NOTICE_S = 4.0
"""How long until a silent connection is given up, on average (chosen: keepalives, an outbox that stalls)."""

STALE_S = 0.4
"""How late, on average, what was read from a broken connection arrives (chosen: about an election timeout)."""


class Host(Protocol):
    """An end of connections."""

    @property
    def host(self) -> int:
        """Its number."""

    @property
    def life(self) -> int:
        """Number of the process that answers there; 0: none does."""

    @property
    def lives(self) -> int:
        """Number of the last process there."""


class Wire:
    """One direction between two hosts."""

    __slots__ = ("bytes_per_s", "closed", "delay_s", "jitter_s", "loss", "streams")

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.reset()

    def reset(self) -> None:
        """As good as it gets."""
        self.delay_s, self.jitter_s, self.loss, self.bytes_per_s = 0.0003, 0.0005, 0.0, 1e9
        self.closed = False


class _Flight:
    __slots__ = ("arguments", "deliver", "lost", "moving", "size")

    def __init__(self, size: int, deliver: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.size = size
        self.deliver = deliver
        self.arguments = arguments
        self.lost = False
        self.moving = False


class Stream:
    """One direction of one connection."""

    __slots__ = ("arrived", "broken", "channel", "flying", "last_arrival", "life", "wire")

    def __init__(self, channel: "Channel", wire: Wire, life: int) -> None:
        self.channel = channel
        self.wire = wire
        self.life = life
        """Of the process at its end."""
        self.flying: deque[_Flight] = deque()
        self.arrived: deque[_Flight] = deque(maxlen=REPEATED_MAX)
        self.last_arrival = 0.0
        self.broken = False


class Channel:
    """What one host keeps up to a member. `on_change` is told True as a connection comes, False as it goes."""

    def __init__(self, sender: Host, to: Host, forth: Wire, back: Wire, on_change: Callable[[bool], None]) -> None:
        self.sender = sender
        self.to = to
        self.wires = (forth, back)
        self.on_change = on_change
        self.forth: Stream | None = None
        self.back: Stream | None = None
        self.dials = 0


class Network:
    """All wires and channels."""

    def __init__(self, world: World, count: Callable[[str], None]) -> None:
        self.world = world
        self.channels: list[Channel] = []
        self.wires: dict[tuple[int, int], Wire] = {}
        self.repeats = 0.0
        """Probability that a frame on a broken connection comes once more."""
        self._count = count

    def wire(self, sender: int, to: int) -> Wire:
        """The wire from one host to another."""
        wire = self.wires.get((sender, to))
        if wire is None:
            wire = self.wires[sender, to] = Wire()
        return wire

    # ---- connections

    def channel(self, sender: Host, to: Host, on_change: Callable[[bool], None]) -> Channel:
        """Begin to keep a connection up."""
        forth, back = self.wire(sender.host, to.host), self.wire(to.host, sender.host)
        channel = Channel(sender, to, forth, back, on_change)
        self.channels.append(channel)
        self._dial(channel, 0, FIRST_RETRY_S)
        return channel

    def forget(self, channel: Channel) -> None:
        """Its process is gone."""
        self._drop(channel)
        channel.dials = -1
        self.channels.remove(channel)

    def gone(self, host: Host, *, told: bool) -> None:
        """A process at the end of connections is gone. `told`: its system says so at once; else it is noticed later."""
        for channel in self.channels:
            if channel.to is host and channel.forth is not None:
                after = self.world.spread(0.001 if told else NOTICE_S)
                self.world.at(after, self._reset, channel, channel.forth)

    def _reset(self, channel: Channel, stream: Stream) -> None:
        if channel.forth is stream:
            self.break_connection(channel, "nobody is there")

    def break_connection(self, channel: Channel, why: str) -> None:
        """A connection ends, if there is one; it is tried again soon."""
        if channel.forth is None:
            return
        self.world.note(_name(channel.sender.host), "loses its connection to {}: {}", _name(channel.to.host), why)
        self._drop(channel)
        channel.dials += 1
        channel.on_change(False)
        self.world.at(FIRST_RETRY_S, self._dial, channel, channel.dials, 2 * FIRST_RETRY_S)

    def _dial(self, channel: Channel, dials: int, delay_s: float) -> None:
        if channel.dials != dials or channel.forth is not None:
            return
        forth, back = channel.wires
        if forth.closed or back.closed or not channel.to.life or not channel.sender.life:
            self.world.at(delay_s, self._dial, channel, dials, min(2 * delay_s, RETRY_S_MAX))
            return
        channel.forth, channel.back = (
            Stream(channel, forth, channel.to.life),
            Stream(channel, back, channel.sender.life),
        )
        forth.streams.append(channel.forth)
        back.streams.append(channel.back)
        channel.on_change(True)

    def _drop(self, channel: Channel) -> None:
        """Some first frames on their way still arrive, maybe late, and maybe twice; the others never do."""
        random = self.world.random
        for stream in (channel.forth, channel.back):
            if stream is None:
                continue
            stream.broken = True
            stream.wire.streams.remove(stream)
            kept = random.randint(0, len(stream.flying)) if self.world.chance(0.5) else 0
            late = self.world.spread(STALE_S) if self.world.chance(0.5) else 0.0
            for place, flight in enumerate(stream.flying):
                if place >= kept or not flight.moving:
                    flight.lost = True
                    continue
                if late:
                    flight.lost = True
                    self.world.at(late, self._come_late, stream, flight)
            for flight in (*stream.arrived, *stream.flying):
                if channel.sender.host < FIRST_CLIENT and self.repeats and self.world.chance(self.repeats):
                    self._count("frames repeated")
                    self.world.at(self.world.spread(2 * STALE_S), self._come_late, stream, flight)
            stream.flying.clear()
        channel.forth = channel.back = None

    def _come_late(self, stream: Stream, flight: _Flight) -> None:
        flight.deliver(stream.life, *flight.arguments)

    # ---- frames

    def send(self, stream: Stream | None, size: int, deliver: Callable[..., None], *arguments: object) -> bool:
        """Put a frame on its way: `deliver(life, *arguments)` is called as it arrives. False: it was dropped."""
        if stream is None or stream.broken:
            return False
        wire = stream.wire
        if len(stream.flying) >= FRAMES_MAX or (wire.loss and self.world.chance(wire.loss)):
            self._count("frames dropped")
            return False
        flight = _Flight(size, deliver, arguments)
        stream.flying.append(flight)
        if not wire.closed:
            self._move(stream, flight)
        return True

    def _move(self, stream: Stream, flight: _Flight) -> None:
        wire, world = stream.wire, self.world
        flight.moving = True
        begin = max(world.now, stream.last_arrival - wire.delay_s)
        stream.last_arrival = max(
            stream.last_arrival,
            begin + wire.delay_s + wire.jitter_s * world.random.random() + flight.size / wire.bytes_per_s,
        )
        world.at(stream.last_arrival - world.now, self._arrive, stream, flight)

    def _arrive(self, stream: Stream, flight: _Flight) -> None:
        if flight.lost:
            return
        if not stream.broken:
            assert stream.flying[0] is flight, "a connection keeps its order"
            stream.flying.popleft()
            stream.arrived.append(flight)
        channel = stream.channel
        if stream is channel.forth and channel.to.life and stream.life != channel.to.lives:
            self.break_connection(channel, "the other end does not know it")
            return
        flight.deliver(stream.life, *flight.arguments)

    # ---- harm

    def slow_down(self, hosts: Iterable[int], delay_s: float, jitter_s: float) -> None:
        """These hosts are far from each other."""
        for sender, to in permutations(hosts, 2):
            wire = self.wire(sender, to)
            wire.delay_s, wire.jitter_s = delay_s, jitter_s

    def close(self, sender: int, to: int, *, told: bool) -> None:
        """Let nothing pass in one direction. `told`: connections break at once, else they are given up later."""
        wire = self.wire(sender, to)
        if wire.closed:
            return
        wire.closed = True
        self.world.at(0.0 if told else self.world.spread(NOTICE_S), self._notice, wire)

    def hold(self, sender: int, to: int) -> None:
        """Let nothing pass in one direction, and no connection break by that."""
        self.wire(sender, to).closed = True

    def _notice(self, wire: Wire) -> None:
        if wire.closed:
            for channel in [channel for channel in self.channels if wire in channel.wires]:
                self.break_connection(channel, "nothing passes")

    def mend(self) -> None:
        """All wires are quick and open, also for what is on its way."""
        self.repeats = 0.0
        self.open_all()
        for wire in self.wires.values():
            wire.reset()
            for stream in wire.streams:
                stream.last_arrival = self.world.now
                late, stream.flying = stream.flying, deque()
                for flight in late:
                    flight.lost = True
                    self.send(stream, flight.size, flight.deliver, *flight.arguments)

    def open_all(self) -> None:
        """Let everything pass."""
        for sender, to in self.wires:
            self.open(sender, to)

    def open(self, sender: int, to: int) -> None:
        """Let pass what was held back, and all that follows."""
        wire = self.wire(sender, to)
        if not wire.closed:
            return
        wire.closed = False
        for stream in wire.streams:
            for flight in stream.flying:
                if not flight.moving:
                    self._move(stream, flight)


def _name(host: int) -> str:
    return f"S{host}" if host < FIRST_CLIENT else f"C{host - FIRST_CLIENT}"
