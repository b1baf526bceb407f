"""Placement: everybody computes the same order, zones differ first, weights count, little moves."""

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.placement import place, score


@dataclass(frozen=True)
class Disk:
    disk_id: bytes
    zone: str
    weight: int = 100


disks = st.lists(
    st.builds(
        Disk, disk_id=st.binary(min_size=16, max_size=16), zone=st.sampled_from("abcd"), weight=st.integers(0, 300)
    ),
    max_size=12,
    unique_by=lambda disk: disk.disk_id,
)
chunk_ids = st.binary(min_size=32, max_size=32)


def chunk(number: int) -> bytes:
    return number.to_bytes(32)


@given(chunk_id=chunk_ids, disks=disks, seed=st.randoms())
def test_the_order_is_the_same_for_everybody(chunk_id: bytes, disks: list[Disk], seed: Random) -> None:
    shuffled = list(disks)
    seed.shuffle(shuffled)
    assert place(chunk_id, disks) == place(chunk_id, shuffled)


@given(chunk_id=chunk_ids, disks=disks)
def test_each_disk_with_weight_comes_once(chunk_id: bytes, disks: list[Disk]) -> None:
    placed = place(chunk_id, disks)
    assert sorted(placed, key=lambda disk: disk.disk_id) == sorted(
        (disk for disk in disks if disk.weight), key=lambda disk: disk.disk_id
    )


@given(chunk_id=chunk_ids, disks=disks)
def test_no_zone_comes_twice_while_another_has_not_come(chunk_id: bytes, disks: list[Disk]) -> None:
    placed = place(chunk_id, disks)
    per_zone = Counter(disk.zone for disk in placed)
    seen: Counter[str] = Counter()
    for disk in placed:
        waiting = [zone for zone in per_zone if seen[zone] < per_zone[zone]]
        assert seen[disk.zone] == min(seen[zone] for zone in waiting)
        seen[disk.zone] += 1


@given(chunk_id=chunk_ids, disks=disks)
def test_within_a_round_the_better_score_comes_first(chunk_id: bytes, disks: list[Disk]) -> None:
    placed = [disk for disk in place(chunk_id, disks) if disk.zone == "a"]
    scores = [score(chunk_id, disk) for disk in placed]
    assert scores == sorted(scores, reverse=True)


def test_the_order_is_pinned() -> None:
    """Changing it would move every chunk."""
    disks = [Disk(bytes([number]) * 16, zone) for number, zone in enumerate("aabbc")]
    assert [[disk.disk_id[0] for disk in place(chunk(number), disks)] for number in range(4)] == [
        [4, 3, 0, 1, 2],
        [3, 1, 4, 2, 0],
        [2, 1, 4, 0, 3],
        [3, 1, 4, 2, 0],
    ]


@pytest.mark.parametrize("weights", [(100, 100, 100), (100, 200, 300), (1, 1, 8)])
def test_disks_win_in_proportion_to_their_weight(weights: tuple[int, ...]) -> None:
    disks = [Disk(bytes([number]) * 16, str(number), weight) for number, weight in enumerate(weights)]
    count = 6000
    wins = Counter(place(chunk(number), disks)[0].disk_id[0] for number in range(count))
    for number, weight in enumerate(weights):
        assert wins[number] / count == pytest.approx(weight / sum(weights), abs=0.02)


def test_a_disk_that_comes_or_goes_moves_only_its_own_chunks() -> None:
    disks = [Disk(bytes([number]) * 16, str(number)) for number in range(6)]
    moved = 0
    for number in range(2000):
        before, after = place(chunk(number), disks), place(chunk(number), disks[:-1])
        assert [disk for disk in before if disk != disks[-1]] == after
        moved += before[0] == disks[-1]
    assert moved / 2000 == pytest.approx(1 / 6, abs=0.03)


def test_more_weight_only_draws_chunks_and_takes_none_from_others_pairs() -> None:
    disks = [Disk(bytes([number]) * 16, str(number)) for number in range(4)]
    heavier = [replace(disks[0], weight=200), *disks[1:]]
    for number in range(1000):
        before = [disk.disk_id for disk in place(chunk(number), disks)]
        after = [disk.disk_id for disk in place(chunk(number), heavier)]
        assert after.index(disks[0].disk_id) <= before.index(disks[0].disk_id)
        assert [name for name in before if name != disks[0].disk_id] == [
            name for name in after if name != disks[0].disk_id
        ]


def test_without_disks_there_is_no_order() -> None:
    assert place(chunk(1), []) == []
    assert place(chunk(1), [Disk(bytes(16), "a", 0)]) == []
