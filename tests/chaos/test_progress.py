"""Silences and gaps, read from acknowledged writes."""

import pytest
import trio

from chaos.progress import Progress


def progress_of(*writes: tuple[float, float]) -> Progress:
    progress = Progress()
    for begin, end in writes:
        progress.note(begin, end)
    return progress


async def test_a_write_that_was_under_way_ends_no_silence(autojump_clock: trio.abc.Clock) -> None:
    progress = Progress()
    began = trio.current_time()

    async def write() -> None:
        progress.note(began - 0.1, trio.current_time())
        await trio.sleep(3)
        progress.note(began + 2.5, trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await progress.acknowledged_since(began)
        assert trio.current_time() - began == pytest.approx(3)


def test_what_came_back_and_went_away_again_is_a_gap() -> None:
    progress = progress_of((0, 1), (1, 1.1), (1.2, 1.3), (6, 7), (7, 7.5))
    assert progress.gap(1.05, 7.6) == pytest.approx(5.7)
    assert progress.gap(7.1, 9) == pytest.approx(1.5)
    assert progress.gap(1.4, 5) == pytest.approx(3.6)


def test_latency_counts_writes_that_began_in_between_though_they_ended_later() -> None:
    progress = progress_of((0, 0.5), (1, 1.1), (1.1, 1.2), (1.9, 9.9))
    assert progress.latency(1, 2, 0.99) == pytest.approx(8)
    assert progress.latency(1, 2, 0.5) == pytest.approx(0.1)
    assert progress.latency(2, 3, 0.5) is None


def test_time_is_served_in_slots_that_saw_an_acknowledgement() -> None:
    progress = progress_of((0, 0.1), (0, 0.2), (0, 0.3), (0.8, 0.9))
    assert progress.served(0, 1) == pytest.approx(0.75)
    assert progress.served(1, 2) == 0
