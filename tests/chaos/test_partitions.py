"""A leader that is cut off is judged, however short its fault is."""

import trio
import trio.testing

from chaos.partitions import stepped_down


async def test_one_that_leads_on_is_found_though_its_fault_ends_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def leads() -> bool:
        await trio.sleep(0.1)
        return True

    took: float | None = 0.0
    with trio.move_on_after(0.5):
        took = await stepped_down(leads, 3.0)
    assert took is None
    assert trio.current_time() >= 3.0


async def test_one_that_steps_down_is_timed(autojump_clock: trio.testing.MockClock) -> None:
    async def leads() -> bool:
        await trio.sleep(0.1)
        return trio.current_time() < 1.0

    took = await stepped_down(leads, 3.0)
    assert took is not None
    assert 1.0 <= took <= 1.3
