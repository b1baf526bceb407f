"""The steward gives way: it rests in proportion to what it took."""

import pytest
import trio
from trio.testing import MockClock

from api.steward.politeness import REST_PER_STEP, polite


async def test_after_a_step_it_rests_in_proportion(autojump_clock: MockClock) -> None:
    async with polite():
        await trio.sleep(2)
    assert trio.current_time() == pytest.approx(2 + 2 * REST_PER_STEP)


async def test_a_step_that_failed_says_so_at_once(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        async with polite():
            await trio.sleep(2)
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        await fail()
    assert trio.current_time() == pytest.approx(2)
