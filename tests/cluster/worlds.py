"""A service whose handlers do all that handlers may do, and remember it."""

from collections.abc import Callable

import trio

from cluster.errors import Corrupt
from cluster.rpc import Channel, Reply, Request, Service

ECHO, FAIL, HANG, CRASH, FACTS, BIG = 1, 2, 3, 4, 5, 6
INLINE, LATER, INLINE_CRASH = 11, 12, 13
NOTE = 21


class World:
    """A service that remembers what happened to it."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.hanging = 0
        self.replies: list[Reply] = []
        self.notes: list[bytes] = []
        self.note_came = trio.Event()
        self.peers: list[tuple[str, bool]] = []
        self.service = Service(
            "test",
            handlers={
                ECHO: self.echo,
                FAIL: self.fail,
                HANG: self.hang,
                CRASH: self.crash,
                FACTS: self.facts,
                BIG: self.big,
            },
            inline={
                INLINE: lambda request, reply: reply.ok(request.body),
                LATER: lambda request, reply: self.replies.append(reply),
                INLINE_CRASH: self.inline_crash,
            },
            one_way={NOTE: self.note},
            on_peer=lambda peer, up: self.peers.append((peer.name, up)),
        )

    async def echo(self, request: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        return request.body

    async def fail(self, request: Request) -> bytes:
        raise Corrupt("ChunkCorrupt", "block 3 is bad", detail={"block": "3"})

    async def hang(self, request: Request) -> bytes:
        self.started += 1
        self.hanging += 1
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.hanging -= 1
        raise AssertionError

    async def crash(self, request: Request) -> bytes:
        raise KeyError("a bug")

    async def facts(self, request: Request) -> bytes:
        remaining = request.deadline - trio.current_time()
        return f"{request.trace_id} {request.space} {request.peer.name} {9 < remaining <= 10.01}".encode()

    async def big(self, request: Request) -> bytes:
        return bytes(int(request.body))

    def inline_crash(self, request: Request, reply: Reply) -> None:
        raise KeyError("a bug")

    def note(self, request: Request) -> None:
        self.notes.append(request.body)
        self.note_came.set()


def soon(seconds: float = 10.0) -> float:
    return trio.current_time() + seconds


async def settle(check: Callable[[], bool]) -> None:
    """Run until `check` holds; the test's own deadline bounds it."""
    with trio.fail_after(60):
        while not check():  # noqa: ASYNC110 - what is looked at is inside the product, and has no event
            await trio.sleep(0.001)


def calls_waiting(channel: Channel) -> int:
    return len(channel._line.calls) if channel._line is not None else 0
