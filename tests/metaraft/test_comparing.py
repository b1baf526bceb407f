"""Who stops when members hold different rows: the tables, and points that do not depend on how a log is sliced."""

import itertools
from pathlib import Path

import pytest

from metaraft.comparing import POINT_MS, POINTS_KEPT, POINTS_TOLD, WAIT_S, Comparing, Dispute, Point
from tests.metaraft.metadata import LogEntry
from tests.metaraft.stores import Twin, new_store, run

A, B, C = (bytes([letter]) * 16 for letter in b"abc")


def leader_of(slots: int, told: dict[int, bytes], *, leader: int = 1, index: int = 7) -> Comparing:
    """A leader that heard these hashes at time 0."""
    comparing = Comparing(leader, range(1, slots + 1))
    for slot, found in told.items():
        comparing.heard(slot, [Point(index, found)], 0.0)
    return comparing


def stops(slots: int, told: dict[int, bytes], now: float, *, leader: int = 1) -> set[int]:
    """Who ends after the leader has told its dispute, each by its own point."""
    dispute = leader_of(slots, told, leader=leader).decide(now)
    ending = set()
    for slot, found in told.items():
        member = leader_of(slots, {slot: found}, leader=slot)
        member.told(dispute, leader)
        if member.verdict() is not None:
            ending.add(slot)
    return ending


@pytest.mark.parametrize(
    ("slots", "told", "at_once", "later"),
    [
        (3, {1: A, 2: A, 3: A}, set(), set()),
        (3, {1: A, 2: A, 3: B}, {3}, {3}),
        (3, {1: B, 2: A, 3: A}, {1}, {1}),  # a leader is no exception
        (3, {1: A, 2: B}, set(), {2}),  # the third may still tell which is right
        (3, {1: A, 2: B, 3: C}, {2, 3}, {2, 3}),
        (3, {2: A, 3: B}, set(), set()),  # the leader's is not known: nobody can say
        (3, {1: A}, set(), set()),
        (5, {1: A, 2: A, 3: A, 4: B, 5: C}, {4, 5}, {4, 5}),
        (5, {1: B, 2: A, 3: A, 4: A}, {1}, {1}),
        (5, {1: A, 2: A, 3: B, 4: B}, set(), {3, 4}),
        (5, {1: A, 2: A, 3: B, 4: B, 5: B}, {1, 2}, {1, 2}),
        (1, {1: A}, set(), set()),
    ],
)
def test_whoever_differs_from_a_majority_or_else_from_the_leader_stops(
    slots: int, told: dict[int, bytes], at_once: set[int], later: set[int]
) -> None:
    assert stops(slots, told, 0.0) == at_once
    assert stops(slots, told, WAIT_S) == later


def test_the_verdict_names_index_and_both_hashes_and_says_when_it_is_in_doubt() -> None:
    certain = leader_of(3, {1: B, 2: A, 3: A}, index=41)
    certain.decide(0.0)
    verdict = certain.verdict()
    assert verdict is not None
    assert verdict.certain
    assert all(part in verdict.text for part in ("slot 1", "index 41", A.hex(), B.hex(), "slots 2 and 3"))
    assert "majority" not in verdict.text
    doubtful = leader_of(3, {1: A, 2: B})
    doubtful.decide(WAIT_S)
    assert "no majority" in doubtful.differing()[2]


def test_a_member_is_not_judged_by_what_another_says_of_it() -> None:
    member = leader_of(3, {3: A}, leader=3)
    member.told(Dispute(7, {1: A, 2: A, 3: B}), 1)
    assert member.verdict() is None
    member.told(Dispute(8, {1: A, 2: A, 3: B}), 1)  # it has no point there
    assert member.verdict() is None


def test_a_dispute_without_hashes_judges_nobody() -> None:
    member = leader_of(3, {3: A}, leader=3)
    member.told(Dispute(7, {}), 1)
    member.told(None, 1)
    assert member.verdict() is None


def test_the_two_that_agree_after_a_third_was_heard_overrule_the_leader() -> None:
    leader = leader_of(3, {1: A, 2: B})
    leader.decide(WAIT_S)
    assert leader.verdict() is None
    assert list(leader.differing()) == [2]
    leader.heard(3, [Point(7, B)], 2 * WAIT_S)
    leader.decide(2 * WAIT_S)
    assert leader.verdict() is not None
    assert list(leader.differing()) == [1]


def test_a_member_that_agrees_again_is_no_longer_named() -> None:
    leader = leader_of(3, {1: A, 2: A, 3: B})
    leader.decide(0.0)
    assert list(leader.differing()) == [3]
    leader.heard(1, [Point(9, A)], 1.0)
    leader.heard(3, [Point(9, B)], 1.0)
    assert list(leader.differing()) == [3]
    leader.heard(1, [Point(20, C)], 2.0)
    leader.heard(3, [Point(20, C)], 2.0)
    assert leader.differing() == {}


def test_what_was_compared_is_the_newest_index_that_a_majority_has_equal() -> None:
    leader = leader_of(3, {1: A, 2: A})
    assert leader.compared == 7
    leader.heard(1, [Point(9, B)], 1.0)
    assert leader.compared == 7
    leader.heard(3, [Point(9, B)], 1.0)
    assert leader.compared == 9


def test_what_is_remembered_is_bounded_and_the_newest() -> None:
    leader = Comparing(1, (1, 2, 3))
    leader.heard(1, [Point(index, A) for index in range(1, 1000)], 0.0)
    leader.heard(2, [Point(1000 - POINTS_KEPT, B)], 0.0)
    leader.heard(3, [Point(1, B)], 0.0)  # too long ago
    dispute = leader.decide(WAIT_S)
    assert dispute is not None
    assert dispute.index == 1000 - POINTS_KEPT
    leader.heard(1, [Point(index, A) for index in range(1000, 1200)], 0.0)
    assert leader.decide(WAIT_S) is None


@pytest.mark.parametrize("seed", range(2))
def test_points_are_the_same_however_the_log_is_sliced(tmp_path: Path, seed: int) -> None:
    entries = list(itertools.islice(run(seed), 80))
    wanted = points_of_twin(entries)
    assert len(wanted) > 20
    for number, sizes in enumerate(([1], [80], [3, 11, 2], [40, 1])):
        store = new_store(tmp_path / str(number))
        found: dict[int, Point] = {}
        left = iter(entries)
        for size in itertools.cycle(sizes):
            some = list(itertools.islice(left, size))
            if not some:
                break
            store.apply(some)
            found |= {point.index: point for point in store.points}
        assert set(found.values()) <= set(wanted)
        assert list(store.points) == wanted[-POINTS_TOLD:]
        store.close()


def points_of_twin(entries: list[LogEntry]) -> list[Point]:
    """The points of the twin in memory, which flushes after each entry."""
    twin, second, found = Twin(), 0, []
    for entry in entries:
        twin.apply(entry)
        if twin.machine.state_time_ms // POINT_MS != second:
            second = twin.machine.state_time_ms // POINT_MS
            found.append(Point(entry.index, bytes.fromhex(twin.set_hash)))
    return found
