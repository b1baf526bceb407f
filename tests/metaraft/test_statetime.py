"""State time runs at 0 to 2 times real speed, never back, and goes on where the last leader was."""

from hypothesis import given
from hypothesis import strategies as st

from metaraft.statetime import StateClock

MS = 1000


def test_the_first_leader_of_all_starts_at_its_wall_clock() -> None:
    clock = StateClock()
    clock.lead(0, now=10.0, wall_ms=5_000_000)
    assert clock.stamp(10.0, 5_000_000) == 5_000_000


def test_it_follows_a_wall_clock_that_agrees() -> None:
    clock = StateClock()
    clock.lead(0, now=10.0, wall_ms=5_000_000)
    assert clock.stamp(13.0, 5_003_000) == 5_003_000


def test_a_wall_clock_that_jumps_ahead_pulls_by_a_second_per_second() -> None:
    clock = StateClock()
    clock.lead(0, now=0.0, wall_ms=1_000_000)
    assert clock.stamp(1.0, 4_600_000) == 1_002_000
    assert clock.stamp(3.0, 4_602_000) == 1_006_000


def test_a_wall_clock_that_jumps_back_holds_it_still() -> None:
    clock = StateClock()
    clock.lead(0, now=0.0, wall_ms=1_000_000)
    assert clock.stamp(5.0, 400_000) == 1_000_000
    assert clock.stamp(6.0, 401_000) == 1_000_000


def test_a_new_leader_goes_on_where_the_old_one_was_after_hours_without_a_commit() -> None:
    clock = StateClock()
    clock.heard(7_200_000, now=100.0)
    clock.lead(1_000, now=101.0, wall_ms=90_000_000)
    assert clock.stamp(101.0, 90_000_000) == 7_201_000


def test_a_new_leader_is_never_behind_its_log() -> None:
    clock = StateClock()
    clock.heard(1_000, now=0.0)
    clock.lead(9_000_000, now=1.0, wall_ms=500_000)
    assert clock.stamp(1.0, 500_000) == 9_000_000


def test_after_the_whole_cluster_was_down_time_goes_on_at_the_wall_clock_if_that_is_ahead() -> None:
    clock = StateClock()
    clock.lead(1_000_000, now=0.0, wall_ms=60_000_000)
    assert clock.stamp(0.0, 60_000_000) == 60_000_000
    late = StateClock()
    late.lead(60_000_000, now=0.0, wall_ms=1_000_000)
    assert late.stamp(0.0, 1_000_000) == 60_000_000


def test_a_follower_that_heard_of_no_time_says_so() -> None:
    assert StateClock().estimate(5.0) == 0


@given(
    st.integers(0, 10**13),
    st.lists(st.tuples(st.floats(0, 3600), st.integers(0, 10**13)), min_size=1, max_size=30),
)
def test_whatever_the_wall_clock_does_it_runs_at_zero_to_two_times_real_speed(
    start_ms: int, readings: list[tuple[float, int]]
) -> None:
    clock = StateClock()
    clock.lead(start_ms, now=0.0, wall_ms=0)
    now, before = 0.0, clock.stamp(0.0, 0)
    for elapsed, wall_ms in readings:
        now += elapsed
        stamp = clock.stamp(now, wall_ms)
        assert before <= stamp <= before + 2 * elapsed * MS + 2
        before = stamp
