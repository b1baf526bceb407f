"""A TCP proxy that makes a network bad, each direction by itself: holds, delays, slows, cuts, damages what passes.

It stands between one node that dials and one that listens, so that a link is bad and no other. *Held* bytes wait and
are delivered at the end, late: the peer sees silence, then the past. *Cut* connections are reset and new ones closed at
once. Damage hits one piece of the stream; whether the connection was given up because of it is watched.
"""

import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import trio

PIECE_BYTES = 64 * 1024
_PIECES_WAITING = 64  # in a direction that is held or slow; then its sender waits

type Damage = Literal["flip", "truncate", "duplicate"]

DAMAGES: tuple[Damage, ...] = ("flip", "truncate", "duplicate")


@dataclass
class Damaged:
    """One piece of the stream that was spoilt; `dropped` is set when its connection has ended."""

    kind: Damage
    done: trio.Event = field(default_factory=trio.Event)
    dropped: trio.Event = field(default_factory=trio.Event)


class Flow:
    """One direction of a link: what happens to the bytes of all its connections."""

    def __init__(self, dice: random.Random) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = float("inf")
        self._dice = dice
        self._open = trio.Event()
        self._open.set()
        self._damage: Damaged | None = None

    @property
    def open(self) -> bool:
        """Whether what comes passes, however slowly."""
        return self._open.is_set()

    def hold(self) -> None:
        """Let nothing pass; what comes waits."""
        if self._open.is_set():
            self._open = trio.Event()

    def heal(self) -> None:
        """Let everything pass, at once and as it is."""
        self.delay_s, self.bytes_per_s = 0.0, float("inf")
        self._damage = None
        self._open.set()

    def damage(self, kind: Damage) -> Damaged:
        """Spoil the next piece."""
        self._damage = Damaged(kind)
        return self._damage

    async def passed(self, data: bytes, due: float) -> tuple[bytes, Damaged | None]:
        """A piece when it may go on, and as it is then."""
        await trio.sleep_until(due)
        await self._open.wait()
        await trio.sleep(len(data) / self.bytes_per_s)
        damaged, self._damage = self._damage, None
        if damaged is None:
            return data, None
        damaged.done.set()
        return _spoilt(data, damaged.kind, self._dice), damaged


def _spoilt(data: bytes, kind: Damage, dice: random.Random) -> bytes:
    match kind:
        case "flip":
            place = dice.randrange(len(data))
            return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        case "truncate":
            return data[: dice.randrange(1, len(data))] if len(data) > 1 else b""
        case "duplicate":
            return data + data


class Proxy:
    """The link from one that dials this port of 127.0.0.1 to one that listens at another."""

    def __init__(self, port: int, target: int, dice: random.Random) -> None:
        self.forward = Flow(dice)
        self.back = Flow(dice)
        self._port = port
        self._target = target
        self._is_cut = False
        self._connections: set[trio.CancelScope] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started when it listens."""
        serve = partial(trio.serve_tcp, self._serve, self._port, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            task_status.started()

    @property
    def open(self) -> bool:
        """Whether what comes passes both ways."""
        return not self._is_cut and self.forward.open and self.back.open

    def hold(self) -> None:
        """Silence both ways."""
        self.forward.hold()
        self.back.hold()

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._is_cut = True
        for scope in self._connections:
            scope.cancel()

    def heal(self) -> None:
        """Be as if it were not there."""
        self._is_cut = False
        self.forward.heal()
        self.back.heal()

    async def _serve(self, near: trio.SocketStream) -> None:
        """One connection, until either end closes it or it is cut."""
        damaged: list[Damaged] = []
        try:
            with trio.CancelScope() as scope:
                self._connections.add(scope)
                if self._is_cut:
                    scope.cancel()
                await self._join(near, damaged, scope)
        finally:
            self._connections.discard(scope)
            _reset(near)
            for each in damaged:
                each.dropped.set()

    async def _join(self, near: trio.SocketStream, damaged: list[Damaged], scope: trio.CancelScope) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._target)
        except OSError:  # nobody listens there now
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pump, near, far, self.forward, damaged, scope)
                nursery.start_soon(_pump, far, near, self.back, damaged, scope)
        finally:
            _reset(far)


async def _pump(
    source: trio.SocketStream, sink: trio.SocketStream, flow: Flow, damaged: list[Damaged], scope: trio.CancelScope
) -> None:
    """One direction of one connection. Its end ends the connection, once all that came before has passed."""
    into, out_of = trio.open_memory_channel[tuple[float, bytes]](_PIECES_WAITING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive, source, flow, into)
        with suppress(trio.BrokenResourceError):
            async for due, piece in out_of:
                data, spoilt = await flow.passed(piece, due)
                if spoilt is not None:
                    damaged.append(spoilt)
                if data:
                    await sink.send_all(data)
        scope.cancel()


async def _receive(source: trio.SocketStream, flow: Flow, into: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
    async with into:
        with suppress(trio.BrokenResourceError):
            while data := await source.receive_some(PIECE_BYTES):
                await into.send((trio.current_time() + flow.delay_s, bytes(data)))


def _reset(stream: trio.SocketStream) -> None:
    """Close so that the peer is told that it is over, not that all was said (tcp(7), SO_LINGER)."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
