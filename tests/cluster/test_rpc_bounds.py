"""What a connection may hold is bounded: over a bound there is an error at once, and what was not sent is known."""

import pytest
import trio

from cluster.errors import OutcomeUnknown, Refused, Unavailable
from cluster.frames import Kind, encode
from cluster.hello import greet, welcome
from cluster.limits import KIB, MIB, Limits, Timings
from cluster.links import Link
from cluster.rpc import Channel, Reply, Request, Service
from cluster.sockets import dial, open_listener
from tests.cluster.pairs import identity, running, short_folder, where
from tests.cluster.worlds import BIG, ECHO, HANG, INLINE, LATER, NOTE, World, calls_waiting, settle, soon


async def test_a_request_longer_than_a_frame_is_refused_here() -> None:
    async with running(World().service, limits=Limits(frame_bytes_max=100 * KIB)) as pair:
        channel = await pair.channel()
        with pytest.raises(Refused) as caught:
            await channel.call(ECHO, bytes(100 * KIB + 1), deadline=soon())
        assert caught.value.limit == {"frame_bytes_max": 100 * KIB}
        assert not channel.post_nowait(NOTE, bytes(100 * KIB + 1))
        assert len(await channel.call(ECHO, bytes(100 * KIB), deadline=soon())) == 100 * KIB


async def test_an_answer_longer_than_a_frame_fails_its_request_only() -> None:
    async with running(World().service, limits=Limits(frame_bytes_max=100 * KIB)) as pair:
        channel = await pair.channel()
        with pytest.raises(OutcomeUnknown) as caught:
            await channel.call(BIG, str(100 * KIB + 1).encode(), deadline=soon())
        assert caught.value.code == "AnswerTooLarge"
        assert len(await channel.call(BIG, b"1000", deadline=soon())) == 1000


async def fill(channel: Channel, count: int, nursery: trio.Nursery) -> None:
    async def ask() -> None:
        with pytest.raises(OutcomeUnknown):
            await channel.call(HANG, b"", deadline=soon(60))

    for _ in range(count):
        nursery.start_soon(ask)
    await settle(lambda: calls_waiting(channel) == count)


async def test_over_the_bound_of_calls_in_flight_the_client_refuses_at_once() -> None:
    async with running(World().service, limits=Limits(rpc_requests_in_flight_max=4)) as pair:
        channel = await pair.channel()
        async with trio.open_nursery() as nursery:
            await fill(channel, 4, nursery)
            with pytest.raises(Unavailable) as caught:
                await channel.call(ECHO, b"", deadline=soon())
            assert caught.value.code == "Overloaded"
            assert caught.value.limit == {"rpc_requests_in_flight_max": 4}
            pair.server_scope.cancel()


async def test_over_the_bound_of_calls_in_flight_the_server_refuses_at_once() -> None:
    world = World()
    async with running(world.service, limits=Limits(rpc_requests_in_flight_max=4)) as pair:
        channel = await pair.channel(limits=Limits())
        async with trio.open_nursery() as nursery:
            await fill(channel, 4, nursery)
            await settle(lambda: world.started == 4)
            for method in (ECHO, INLINE):
                with pytest.raises(Unavailable) as caught:
                    await channel.call(method, b"", deadline=soon())
                assert caught.value.code == "Overloaded"
            pair.server_scope.cancel()


async def test_big_answers_wait_for_their_reader_and_all_arrive() -> None:
    limits = Limits(rpc_send_queue_bytes_max=2 * MIB)
    async with running(World().service, limits=limits) as pair:
        channel = await pair.channel()
        sizes: list[int] = []

        async def ask() -> None:
            sizes.append(len(await channel.call(BIG, str(1900 * KIB).encode(), deadline=soon())))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert sizes == [1900 * KIB] * 20


async def test_a_connection_over_the_listeners_bound_is_closed() -> None:
    async with running(World().service, limits=Limits(rpc_connections_max=1)) as pair:
        channel = await pair.channel()
        second = Channel(pair.address, "server", "test", pair.me, pair.limits, pair.timings)
        pair.nursery.start_soon(second.run)
        await settle(lambda: second.failure is not None)
        assert not second.connected
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


async def test_inline_answers_over_the_bound_wait_for_their_reader() -> None:
    service = Service("test", inline={1: lambda request, reply: reply.ok(bytes(900 * KIB))})
    sizes: list[int] = []
    async with running(service, limits=Limits(rpc_send_queue_bytes_max=2 * MIB)) as pair:
        channel = await pair.channel()

        async def ask() -> None:
            sizes.append(len(await channel.call(1, b"", deadline=soon())))

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)
    assert sizes == [900 * KIB] * 40


async def test_answers_given_later_over_the_bound_are_errors_that_say_so() -> None:
    world = World()
    codes: list[str] = []
    async with running(world.service, limits=Limits(rpc_send_queue_bytes_max=2 * MIB)) as pair:
        channel = await pair.channel()

        async def ask() -> None:
            try:
                await channel.call(LATER, b"", deadline=soon())
            except OutcomeUnknown as error:
                codes.append(error.code)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
            await settle(lambda: len(world.replies) == 10)
            for reply in world.replies:
                reply.ok(bytes(900 * KIB))
        assert codes == ["AnswerDropped"] * 8
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


async def test_a_peer_that_does_not_read_its_answers_is_not_read_from_and_then_closed(autojump_clock: object) -> None:
    ended = trio.Event()
    handled: list[int] = []

    def answer(request: Request, reply: Reply) -> None:
        handled.append(len(request.body))
        reply.ok(bytes(MIB))

    service = Service("test", inline={1: answer}, on_peer=lambda peer, up: None if up else ended.set())
    async with running(service, limits=Limits(rpc_send_queue_bytes_max=4 * MIB)) as pair:
        link = await dial(pair.address, "server", pair.me)
        await greet(link, "test", "mux", "server", pair.me)
        for number in range(64):
            await link.send_all(encode(Kind.REQUEST, 1, number, b"", remaining_ms=60_000))
        began = trio.current_time()
        await ended.wait()
        assert trio.current_time() - began <= Timings().transfer_idle_s + 1
        assert len(handled) <= 6
        link.close()


async def test_a_call_that_still_waits_in_the_queue_was_not_sent() -> None:
    links: list[Link] = []
    outcomes: list[str] = []
    me = identity("server", "unix")
    with short_folder() as folder:
        async with open_listener(where(folder, "unix"), me) as listener, trio.open_nursery() as nursery:

            async def accept_and_read_nothing() -> None:
                while True:
                    link = await listener.welcome(await listener.accept())
                    await welcome(link, "test", me)
                    links.append(link)

            nursery.start_soon(accept_and_read_nothing)
            channel = Channel(listener.address, "server", "test", identity("client", "unix"), Limits(), Timings())
            nursery.start_soon(channel.run)
            await channel.wait_connected()

            async def ask() -> None:
                with pytest.raises((OutcomeUnknown, Unavailable)) as caught:
                    await channel.call(ECHO, bytes(MIB), deadline=soon(60))
                outcomes.append(f"{caught.value.kind} {caught.value.code}")

            async with trio.open_nursery() as asking:
                for _ in range(20):
                    asking.start_soon(ask)
                await settle(lambda: calls_waiting(channel) == 20)
                while channel.post_nowait(NOTE, bytes(MIB)):
                    pass
                with pytest.raises(Unavailable) as over:
                    await channel.call(ECHO, bytes(MIB), deadline=soon())
                assert over.value.limit == {"rpc_send_queue_bytes_max": Limits().rpc_send_queue_bytes_max}
                links[0].close()
            nursery.cancel_scope.cancel()
    assert set(outcomes) == {"outcome_unknown ConnectionLost", "unavailable NotConnected"}
    assert outcomes.count("outcome_unknown ConnectionLost") <= 3


async def test_a_peer_that_takes_nothing_breaks_the_connection(autojump_clock: object) -> None:
    me = identity("server", "unix")
    links: list[Link] = []
    with short_folder() as folder:
        async with open_listener(where(folder, "unix"), me) as listener, trio.open_nursery() as nursery:

            async def accept_and_read_nothing() -> None:
                while True:
                    link = await listener.welcome(await listener.accept())
                    await welcome(link, "test", me)
                    links.append(link)

            nursery.start_soon(accept_and_read_nothing)
            channel = Channel(listener.address, "server", "test", identity("client", "unix"), Limits(), Timings())
            nursery.start_soon(channel.run)
            await channel.wait_connected()
            began = trio.current_time()
            with pytest.raises(OutcomeUnknown) as caught:
                await channel.call(ECHO, bytes(4 * MIB), deadline=soon(60))
            assert "took nothing" in caught.value.message
            assert trio.current_time() - began == pytest.approx(Timings().transfer_idle_s, abs=0.1)
            nursery.cancel_scope.cancel()
    for link in links:
        link.close()
