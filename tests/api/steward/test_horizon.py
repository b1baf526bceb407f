"""The horizon trails the newest revision by its time, and no sample is kept for longer than it is needed."""

from hypothesis import given
from hypothesis import strategies as st

from api.steward.horizon import Horizon

HOUR_MS = 3_600_000


def test_it_is_the_newest_revision_that_is_old_enough() -> None:
    horizon = Horizon(1000)
    for at_ms, revision in ((5000, 10), (5500, 20), (6000, 30)):
        horizon.note(at_ms, revision)
    assert [horizon.at(now) for now in (5999, 6000, 6499, 6500, 6999, 7000, 10**9)] == [0, 10, 10, 20, 20, 30, 30]


def test_nothing_is_known_before_the_first_sample() -> None:
    assert Horizon(0).at(10**12) == 0


def test_an_estimate_of_the_time_that_runs_back_makes_no_revision_older_than_it_is() -> None:
    horizon = Horizon(1000)
    horizon.note(5000, 10)
    horizon.note(4000, 20)
    assert [horizon.at(now) for now in (5000, 5999, 6000)] == [0, 0, 20]


@given(
    behind_ms=st.integers(0, 50),
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=60),
)
def test_it_is_as_if_all_samples_were_kept(behind_ms: int, steps: list[tuple[int, int]]) -> None:
    horizon = Horizon(behind_ms)
    samples: list[tuple[int, int]] = []
    now = revision = 1
    for later_ms, more in steps:
        now, revision = now + later_ms, revision + more
        samples.append((now, revision))
        horizon.note(now, revision)
        old = [number for at_ms, number in samples if at_ms <= now - behind_ms]
        assert horizon.at(now) == (old[-1] if old else 0)


def test_samples_are_bounded() -> None:
    horizon = Horizon(HOUR_MS)
    for minute in range(10_000):
        horizon.note(minute * 60_000, minute)
    assert len(horizon._samples) <= 62
