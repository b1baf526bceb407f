"""Calls between nodes: answers, errors, deadlines, cancels, bounds. Real sockets, both ends in one trio run."""

from functools import partial

import pytest
import trio
import trio.testing

from cluster.errors import Corrupt, OutcomeUnknown, Refused, Unavailable
from cluster.limits import MIB
from cluster.rpc import Channel, Peer, Service
from tests.cluster.pairs import Transport, open_files, running
from tests.cluster.worlds import (
    CRASH,
    ECHO,
    FACTS,
    FAIL,
    HANG,
    INLINE,
    INLINE_CRASH,
    LATER,
    NOTE,
    World,
    calls_waiting,
    settle,
    soon,
)

TRANSPORTS: list[Transport] = ["unix", "tls"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("method", [ECHO, INLINE])
async def test_a_call_returns_its_answer(transport: Transport, method: int) -> None:
    async with running(World().service, transport) as pair:
        channel = await pair.channel()
        for body in (b"", b"x", bytes(range(256)) * 1000, bytes(5 * MIB)):
            assert await channel.call(method, body, deadline=soon()) == body


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_many_calls_at_once_each_get_their_own_answer(transport: Transport) -> None:
    async with running(World().service, transport) as pair:
        channel = await pair.channel()
        answers: dict[int, bytes] = {}

        async def ask(number: int) -> None:
            method = ECHO if number % 2 else INLINE
            answers[number] = await channel.call(method, str(number).encode() * (number % 50), deadline=soon())

        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(ask, number)
        assert answers == {number: str(number).encode() * (number % 50) for number in range(500)}


async def test_answers_may_come_in_another_order_and_from_outside_the_read_loop() -> None:
    world = World()
    answers: list[bytes] = []
    async with running(world.service) as pair:
        channel = await pair.channel()

        async def ask(body: bytes) -> None:
            answers.append(await channel.call(LATER, body, deadline=soon()))

        async with trio.open_nursery() as nursery:
            for body in (b"1", b"2", b"3"):
                nursery.start_soon(ask, body)
            await settle(lambda: len(world.replies) == 3)
            for number, reply in reversed(list(enumerate(world.replies))):
                assert reply.wanted
                reply.ok(str(number).encode())
                assert not reply.wanted
    assert sorted(answers) == [b"0", b"1", b"2"]


async def test_a_channel_goes_where_it_is_told_to_dial() -> None:
    async with running(World().service) as first, running(World().service) as second:
        channel = await first.channel()
        channel.redial(first.address)  # there it is already
        await trio.testing.wait_all_tasks_blocked()
        assert channel.connected
        channel.redial(second.address)
        await settle(lambda: not channel.connected)
        first.server_scope.cancel()
        await settle(lambda: channel.connected)
        assert await channel.call(ECHO, b"x", deadline=soon()) == b"x"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_request_carries_deadline_trace_space_and_peer(transport: Transport) -> None:
    async with running(World().service, transport) as pair:
        channel = await pair.channel()
        answer = await channel.call(FACTS, b"", deadline=soon(), trace_id="00ff00ff00ff00ff", space=7)
        assert answer == b"00ff00ff00ff00ff 7 client True"


async def test_the_peers_error_arrives_as_it_was_raised() -> None:
    async with running(World().service) as pair:
        channel = await pair.channel()
        with pytest.raises(Corrupt) as caught:
            await channel.call(FAIL, b"", deadline=soon())
        assert (caught.value.code, caught.value.message) == ("ChunkCorrupt", "block 3 is bad")
        assert caught.value.detail == {"block": "3"}


@pytest.mark.parametrize("method", [CRASH, INLINE_CRASH])
async def test_a_bug_in_a_handler_fails_its_request_as_unknown_and_no_other(method: int) -> None:
    async with running(World().service) as pair:
        channel = await pair.channel()
        with pytest.raises(OutcomeUnknown) as caught:
            await channel.call(method, b"", deadline=soon())
        assert caught.value.code == "InternalError"
        assert "a bug" not in caught.value.message
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


async def test_an_unknown_method_is_refused() -> None:
    async with running(World().service) as pair:
        channel = await pair.channel()
        with pytest.raises(Refused) as caught:
            await channel.call(999, b"", deadline=soon())
        assert caught.value.code == "NoSuchMethod"


async def test_a_call_without_a_connection_was_not_sent() -> None:
    async with running(World().service) as pair:
        channel = Channel(pair.address, "server", "test", pair.me, pair.limits, pair.timings)
        assert not channel.connected
        with pytest.raises(Unavailable) as caught:
            await channel.call(ECHO, b"", deadline=soon())
        assert caught.value.code == "NotConnected"
        assert not channel.post_nowait(NOTE, b"")


async def test_a_call_after_its_deadline_was_not_sent() -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()
        with pytest.raises(Unavailable) as caught:
            await channel.call(HANG, b"", deadline=trio.current_time())
        assert caught.value.code == "DeadlineExceeded"
        assert world.started == 0


@pytest.mark.parametrize("method", [HANG, LATER])
async def test_a_call_without_an_answer_is_unknown_at_its_deadline(method: int, autojump_clock: object) -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown) as caught:
            await channel.call(method, b"", deadline=began + 3)
        assert caught.value.code == "DeadlineExceeded"
        assert trio.current_time() - began == pytest.approx(3, abs=0.01)
        await settle(lambda: world.hanging == 0 and not any(reply.wanted for reply in world.replies))
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


async def test_each_call_keeps_its_own_deadline(autojump_clock: object) -> None:
    async with running(World().service) as pair:
        channel = await pair.channel()
        began = trio.current_time()
        ended: list[float] = []

        async def ask(seconds: float) -> None:
            with pytest.raises(OutcomeUnknown):
                await channel.call(HANG, b"", deadline=began + seconds)
            ended.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for seconds in (3.0, 1.0, 2.0, 1.5):
                nursery.start_soon(ask, seconds)
        assert ended == pytest.approx([1.0, 1.5, 2.0, 3.0], abs=0.01)
        assert calls_waiting(channel) == 0


async def test_a_lost_connection_leaves_what_was_sent_unknown_and_comes_back() -> None:
    world = World()
    changes: list[bool] = []
    async with running(world.service) as pair:
        channel = Channel(pair.address, "server", "test", pair.me, pair.limits, pair.timings, changes.append)
        pair.nursery.start_soon(channel.run)
        await channel.wait_connected()

        async def ask() -> None:
            with pytest.raises(OutcomeUnknown) as caught:
                await channel.call(HANG, b"", deadline=soon())
            assert caught.value.code == "ConnectionLost"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle(lambda: world.started == 1)
            pair.server_scope.cancel()
        assert changes == [True, False]
        assert not channel.connected
        assert world.hanging == 0
    assert world.peers == [("client", True), ("client", False)]


async def test_a_channel_connects_again_when_the_server_is_back() -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()
        for _ in range(3):
            assert channel._line is not None
            channel._line._link.close()
            await settle(lambda: not channel.connected)
            with trio.fail_after(5):
                await channel.wait_connected()
            assert await channel.call(ECHO, b"back", deadline=soon()) == b"back"


async def test_a_cancelled_call_cancels_its_handler_and_leaves_the_channel_whole() -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(channel.call, HANG, b"", deadline=soon()))
            await settle(lambda: world.started == 1)
            nursery.cancel_scope.cancel()
        await settle(lambda: world.cancelled == 1)
        assert calls_waiting(channel) == 0
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("method", [ECHO, INLINE, HANG, LATER, FAIL])
async def test_a_cancel_at_any_point_leaves_channel_and_server_whole(transport: Transport, method: int) -> None:
    world = World()
    async with running(world.service, transport) as pair:
        channel = await pair.channel()
        for point in range(40):
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    try:
                        await channel.call(method, bytes(1000), deadline=soon())
                    except Corrupt:
                        assert method == FAIL

                nursery.start_soon(ask)
                for _ in range(point):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert calls_waiting(channel) == 0
            assert await channel.call(ECHO, str(point).encode(), deadline=soon()) == str(point).encode()
            await settle(lambda: world.hanging == 0 and not any(reply.wanted for reply in world.replies))
        assert channel.connected
        assert world.peers == [("client", True)]


async def test_a_late_answer_to_a_cancelled_call_is_dropped() -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(channel.call, LATER, b"", deadline=soon()))
            await settle(lambda: len(world.replies) == 1)
            nursery.cancel_scope.cancel()
        world.replies[0].ok(b"late")
        assert await channel.call(ECHO, b"on", deadline=soon()) == b"on"


async def test_an_answer_after_the_connection_is_gone_is_dropped() -> None:
    world = World()
    async with running(world.service) as pair:
        channel = await pair.channel()

        async def ask() -> None:
            with pytest.raises(OutcomeUnknown):
                await channel.call(LATER, b"", deadline=soon())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle(lambda: len(world.replies) == 1)
            pair.server_scope.cancel()
        world.replies[0].ok(b"to nobody")
        assert not world.replies[0].wanted


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_without_answer_arrives(transport: Transport) -> None:
    world = World()
    async with running(world.service, transport) as pair:
        channel = await pair.channel()
        assert channel.post_nowait(NOTE, b"one")
        assert channel.post_nowait(NOTE, b"two")
        await settle(lambda: len(world.notes) == 2)
        assert world.notes == [b"one", b"two"]


async def test_nothing_stays_open_after_many_connections() -> None:
    async with running(World().service) as pair:
        before = open_files()
        for _ in range(50):
            channel = Channel(pair.address, "server", "test", pair.me, pair.limits, pair.timings)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                await channel.wait_connected()
                assert await channel.call(ECHO, b"1", deadline=soon()) == b"1"
                nursery.cancel_scope.cancel()
        await settle(lambda: open_files() == before)


async def test_on_peer_tells_each_connection() -> None:
    world = World()
    seen: list[tuple[Peer, bool]] = []
    service = Service("test", handlers=world.service.handlers, on_peer=lambda peer, up: seen.append((peer, up)))
    async with running(service) as pair:
        await pair.channel()
        await pair.channel()
        await settle(lambda: len(seen) == 2)
        assert seen[0][0] is not seen[1][0]
        assert [(peer.name, up) for peer, up in seen] == [("client", True)] * 2
