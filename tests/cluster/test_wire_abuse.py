"""Whatever arrives on a listener, the process lives, answers others, and keeps nothing."""

import gc
import random
import tracemalloc
from collections.abc import Iterator

import pytest
import trio

from cluster.frames import Kind, encode, encode_header
from cluster.hello import Mode, greet
from cluster.links import Link
from cluster.rpc import Service
from cluster.sockets import dial
from tests.cluster.pairs import Pair, open_files, running
from tests.cluster.test_transfer import Disk
from tests.cluster.worlds import ECHO, FAIL, HANG, INLINE, LATER, NOTE, World, settle, soon


def service() -> Service:
    world, disk = World().service, Disk().service
    handlers = {method: world.handlers[method] for method in (ECHO, FAIL, HANG)}
    transfers = {method: disk.transfers[method] for method in (2, 4, 5, 6)}
    return Service("test", handlers=handlers, inline=world.inline, one_way=world.one_way, transfers=transfers)


def frames(rng: random.Random) -> Iterator[bytes]:
    """Right ones, damaged ones, and noise."""
    while True:
        method = rng.choice([ECHO, FAIL, HANG, INLINE, LATER, NOTE, 999])
        kind = rng.choice([Kind.REQUEST, Kind.REQUEST, Kind.ONE_WAY, Kind.CANCEL, Kind.RESPONSE, Kind.ERROR])
        frame = bytearray(
            encode(kind, method, rng.randrange(8), rng.randbytes(rng.randrange(60)), remaining_ms=rng.randrange(100))
        )
        choice = rng.random()
        if choice < 0.4:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        elif choice < 0.5:
            del frame[rng.randrange(len(frame)) :]
        elif choice < 0.6:
            frame = bytearray(rng.randbytes(rng.randrange(1, 200)))
        elif choice < 0.7:
            frame = bytearray(encode_header(Kind.DATA, 0, rng.randrange(8), rng.randrange(2**31)))
        yield bytes(frame)


async def abuse(pair: Pair, rng: random.Random, mode: Mode | None) -> None:
    """One connection that sends until it is closed or has sent enough."""
    link = await dial(pair.address, "server", pair.me)
    try:
        if mode is not None:
            await greet(link, "test", mode, "server", pair.me)
        source = frames(rng)
        for _ in range(rng.randrange(1, 30)):
            await link.send_all(next(source))
            if rng.random() < 0.3:
                await trio.lowlevel.checkpoint()
    except trio.BrokenResourceError:
        assert not link.idle()  # it was the server that closed
    finally:
        link.close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", [None, "mux", "transfer"])
async def test_noise_ends_its_connection_and_nothing_else(seed: int, mode: Mode | None) -> None:
    rng = random.Random(seed)
    async with running(service()) as pair:
        channel = await pair.channel()
        before = open_files()
        for _ in range(60):
            await abuse(pair, rng, mode)
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"
        assert channel.connected
        await settle(lambda: open_files() == before)


async def test_a_frame_that_claims_to_be_long_takes_no_memory() -> None:
    async with running(service()) as pair:
        links: list[Link] = []
        tracemalloc.start()
        try:
            for mode in ("mux", "transfer"):
                for _ in range(20):
                    link = await dial(pair.address, "server", pair.me)
                    links.append(link)
                    await greet(link, "test", mode, "server", pair.me)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for link in links:
                head = bytearray(encode(Kind.REQUEST, ECHO, 1, b""))
                head[:4] = (2**32 - 1).to_bytes(4)
                await link.send_all(head)
            for link in links:
                assert await ended(link)
            assert tracemalloc.get_traced_memory()[1] - before < 4_000_000
        finally:
            tracemalloc.stop()
            for link in links:
                link.close()


async def ended(link: Link) -> bool:
    """The server closed it."""
    try:
        while await link.receive_some(1000):
            pass
    except trio.BrokenResourceError:
        return True
    return True


async def test_many_idle_connections_leave_nothing_behind() -> None:
    async with running(service()) as pair:
        before = open_files()
        links = [await dial(pair.address, "server", pair.me) for _ in range(200)]
        for link in links[:100]:
            await greet(link, "test", "mux", "server", pair.me)
        for link in links:
            link.close()
        await settle(lambda: open_files() == before)
        assert trio.lowlevel.current_statistics().tasks_living < 30
