"""Pieces from one task to another: in order, one at a time, and no clean end unless there was one."""

import pytest
import trio
import trio.testing

from api.handoff import Handoff, handed
from cluster.errors import Corrupt


async def test_pieces_come_in_order_and_then_the_end(nursery: trio.Nursery) -> None:
    handoff = Handoff()

    async def give() -> None:
        for number in range(5):
            await handoff.give(memoryview(bytes([number])))
        handoff.end()

    nursery.start_soon(give)
    await handoff.first()
    assert [bytes(piece) async for piece in handoff] == [b"\0", b"\1", b"\2", b"\3", b"\4"]


async def test_the_giver_sees_when_a_piece_is_done_with(nursery: trio.Nursery) -> None:
    handoff = Handoff()
    events: list[str] = []

    async def give() -> None:
        await handoff.give(memoryview(b"a"))
        events.append("given")
        await handoff.asked()
        events.append("asked for the next")
        handoff.end()

    nursery.start_soon(give)
    assert bytes(await anext(handoff)) == b"a"
    await trio.testing.wait_all_tasks_blocked()
    assert events == ["given"]
    assert [piece async for piece in handoff] == []
    assert events == ["given", "asked for the next"]


async def test_a_piece_whose_giver_was_cancelled_was_not_given(autojump_clock: trio.abc.Clock) -> None:
    handoff = Handoff()
    with trio.move_on_after(1):
        await handoff.give(memoryview(b"lost"))
    handoff.end()
    assert [piece async for piece in handoff] == []


async def test_an_error_follows_the_pieces_before_it(nursery: trio.Nursery) -> None:
    handoff = Handoff()

    async def give() -> None:
        await handoff.give(memoryview(b"a"))
        handoff.end(Corrupt("NoGoodCopy", "none"))

    nursery.start_soon(give)
    await handoff.first()
    assert bytes(await anext(handoff)) == b"a"
    for _ in range(2):
        with pytest.raises(Corrupt):
            await anext(handoff)


async def test_an_error_before_the_first_piece_is_raised_there() -> None:
    handoff = Handoff()
    handoff.end(Corrupt("NoGoodCopy", "none"))
    with pytest.raises(Corrupt):
        await handoff.first()


@pytest.mark.parametrize(("data", "pieces"), [(b"", []), (b"abc", [b"abc"])])
async def test_what_is_there_at_once(data: bytes, pieces: list[bytes]) -> None:
    assert [bytes(piece) async for piece in handed(data)] == pieces
