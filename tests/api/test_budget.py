"""The memory budget: bounded, in order, never a deadlock, every byte given back."""

import pytest
import trio
import trio.testing

from api.budget import PIECE_BYTES, SMALL_BYTES, Budget, Buffer
from cluster.errors import Refused, Unavailable
from cluster.limits import CHUNK_BYTES, MIB, Limits

LIMITS = Limits(transfer_memory_bytes_max=4 * CHUNK_BYTES)


async def test_no_more_is_lent_than_the_budget_has() -> None:
    budget = Budget(LIMITS, wait_s=1)
    held = [await budget.acquire(CHUNK_BYTES) for _ in range(4)]
    assert budget.lent_bytes == 4 * CHUNK_BYTES
    assert budget.maybe_acquire_nowait(CHUNK_BYTES) is None
    assert budget.maybe_acquire_nowait(SMALL_BYTES) is None
    held.pop().release()
    assert budget.maybe_acquire_nowait(SMALL_BYTES) is not None


async def test_small_buffers_leave_half_for_whole_chunks() -> None:
    budget = Budget(LIMITS, wait_s=1)
    small = []
    while (buffer := budget.maybe_acquire_nowait(SMALL_BYTES)) is not None:
        small.append(buffer)
    assert len(small) * SMALL_BYTES == 2 * CHUNK_BYTES
    assert budget.maybe_acquire_nowait(CHUNK_BYTES) is not None
    assert budget.maybe_acquire_nowait(CHUNK_BYTES) is not None


async def test_pieces_are_lent_while_there_is_plenty() -> None:
    budget = Budget(LIMITS, wait_s=1)
    pieces = []
    while (buffer := budget.maybe_acquire_nowait(PIECE_BYTES)) is not None:
        pieces.append(buffer)
    assert len(pieces) * PIECE_BYTES == CHUNK_BYTES
    for size in (SMALL_BYTES, CHUNK_BYTES, CHUNK_BYTES):
        assert budget.maybe_acquire_nowait(size) is not None


async def test_a_wait_for_memory_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    budget = Budget(LIMITS, wait_s=5)
    held = [await budget.acquire(CHUNK_BYTES) for _ in range(4)]
    began = trio.current_time()
    with pytest.raises(Unavailable) as caught:
        await budget.acquire(CHUNK_BYTES)
    assert (caught.value.code, trio.current_time() - began) == ("SlowDown", 5)
    assert caught.value.limit == {"transfer_memory_bytes_max": 32 * MIB}
    assert budget.waiting == 0
    for buffer in held:
        buffer.release()
    assert budget.lent_bytes == 0


async def test_waiters_are_served_in_order_and_one_that_gives_up_is_skipped(nursery: trio.Nursery) -> None:
    budget = Budget(LIMITS, wait_s=60)
    held = [await budget.acquire(CHUNK_BYTES) for _ in range(4)]
    order: list[int] = []
    scopes = [trio.CancelScope() for _ in range(4)]
    asked: list[int] = []
    budget.on_shortage(lambda: asked.append(1))

    async def wait(number: int) -> None:
        with scopes[number]:
            await budget.acquire(CHUNK_BYTES)
            order.append(number)

    for number in range(4):
        nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
    assert (budget.waiting, len(asked)) == (4, 4)
    scopes[1].cancel()
    for buffer in held:
        buffer.release()
        await trio.testing.wait_all_tasks_blocked()
    assert order == [0, 2, 3]
    assert budget.lent_bytes == 3 * CHUNK_BYTES


async def test_memory_comes_back_when_its_last_user_has_released_it() -> None:
    budget = Budget(LIMITS, wait_s=1)
    buffer = await budget.acquire(CHUNK_BYTES)
    again = buffer.keep()
    buffer.view[:3] = b"abc"
    buffer.release()
    assert bytes(again.view[:3]) == b"abc"
    assert budget.lent_bytes == CHUNK_BYTES
    again.release()
    assert budget.lent_bytes == 0
    with pytest.raises(AssertionError):
        buffer.release()


async def test_memory_is_used_again_and_spares_count_as_used() -> None:
    budget = Budget(LIMITS, wait_s=1)
    first = await budget.acquire(CHUNK_BYTES)
    memory = first.view.obj
    first.release()
    second = await budget.acquire(CHUNK_BYTES)
    assert second.view.obj is memory
    held: list[Buffer] = [second]
    for _ in range(3):
        held.append(await budget.acquire(CHUNK_BYTES))
        assert len(held[-1].view) == CHUNK_BYTES
    for buffer in held:
        buffer.release()
    small = []
    while (one := budget.maybe_acquire_nowait(SMALL_BYTES)) is not None:
        one.view[0] = 1
        small.append(one)
        assert budget.lent_bytes + budget._spare_bytes() <= 4 * CHUNK_BYTES


def test_a_budget_too_small_for_two_chunks_is_refused() -> None:
    with pytest.raises(Refused, match="two chunks"):
        Budget(Limits(transfer_memory_bytes_max=CHUNK_BYTES), wait_s=1)
