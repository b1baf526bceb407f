"""How long a run is, and which of its turns are faults."""

from chaos import ledger
from chaos.turns import Extent, Spared, turned


def test_a_run_ends_at_its_count_or_its_minutes_whichever_is_first() -> None:
    assert not Extent(3).reached(2, 1e9)
    assert Extent(3).reached(3, 0)
    assert Extent(minutes=2).reached(0, 120)
    assert not Extent(minutes=2).reached(1000, 119)
    assert Extent(3, 2).reached(3, 1)
    assert Extent(3, 2).reached(1, 121)


async def test_a_turn_that_was_missed_is_repeated_and_one_that_spared_all_is_no_fault() -> None:
    run = ledger.begun("kill", "leader", seed=1, clients=1)
    moments = iter([None, 7.0])

    async def hits_at_last(_number: int) -> float | None:
        return next(moments)

    async def spares(_number: int) -> float | None:
        raise Spared

    assert await turned(hits_at_last, 0, run) == (7.0, True)
    assert run.counts == {"missed": 1}
    _, fault = await turned(spares, 1, run)
    assert not fault
    assert run.counts == {"missed": 1}
