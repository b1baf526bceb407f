"""A bad network, on real sockets: what passes is what was sent, unless it was to be spoilt, and when."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from chaos.proxy import DAMAGES, Damage, Proxy
from cluster.ports import free_ports


@asynccontextmanager
async def echo_behind() -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy before a server that sends everything back; its port."""

    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in stream:
                await stream.send_all(data)

    port, target = free_ports(2)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(target, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        proxy = Proxy(port, target, random.Random(1))
        await nursery.start(proxy.run)
        with trio.fail_after(20):
            yield proxy, port
        nursery.cancel_scope.cancel()


async def received(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some()
        if not more:
            break
        data += more
    return data


async def test_bytes_pass_unchanged_both_ways() -> None:
    async with echo_behind() as (_, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"hello")
        assert await received(stream, 5) == b"hello"


async def test_held_bytes_come_late_and_whole() -> None:
    async with echo_behind() as (proxy, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        proxy.back.hold()
        await stream.send_all(b"one")
        with trio.move_on_after(0.1) as waited:
            await received(stream, 1)
        assert waited.cancelled_caught
        proxy.heal()
        assert await received(stream, 3) == b"one"


async def test_a_cut_link_resets_connections_and_takes_no_new_ones_until_it_heals() -> None:
    async with echo_behind() as (proxy, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"x")
        await received(stream, 1)
        proxy.cut()
        for cut in (stream, await trio.open_tcp_stream("127.0.0.1", port)):
            with pytest.raises(trio.BrokenResourceError):
                await received(cut, 1)
            await cut.aclose()
        proxy.heal()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"y")
            assert await received(stream, 1) == b"y"


@pytest.mark.parametrize("kind", DAMAGES)
async def test_damage_hits_one_piece_and_the_end_of_its_connection_is_seen(kind: Damage) -> None:
    async with echo_behind() as (proxy, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        damaged = proxy.forward.damage(kind)
        sent = bytes(range(200))
        await stream.send_all(sent)
        await damaged.done.wait()
        size = {"flip": 200, "duplicate": 400, "truncate": 1}[kind]
        found = await received(stream, size)
        assert found != sent
        assert len(found) == size or kind == "truncate"
        assert not damaged.dropped.is_set()
        await stream.aclose()
        await damaged.dropped.wait()


async def test_delay_and_rate_hold_back_what_passes() -> None:
    async with echo_behind() as (proxy, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        proxy.forward.delay_s, proxy.back.bytes_per_s = 0.05, 1000.0
        began = trio.current_time()
        await stream.send_all(bytes(100))
        await received(stream, 100)
        assert trio.current_time() - began >= 0.15
