"""How long a run is."""

from chaos.turns import Extent


def test_a_run_ends_at_its_count_or_its_minutes_whichever_is_first() -> None:
    assert not Extent(3).reached(2, 1e9)
    assert Extent(3).reached(3, 0)
    assert Extent(minutes=2).reached(0, 120)
    assert not Extent(minutes=2).reached(1000, 119)
    assert Extent(3, 2).reached(3, 1)
    assert Extent(3, 2).reached(1, 121)
