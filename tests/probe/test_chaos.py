"""Faults on real processes, few of each kind: processes that stand still, bad networks, wrong clocks. The long tests
have many."""

import os
import random
from pathlib import Path

import pytest

from chaos import clocks, kills, partitions, pauses
from chaos.ledger import Run
from chaos.network import Network
from chaos.turns import Extent

pytestmark = pytest.mark.probe


def seed() -> int:
    return int.from_bytes(os.urandom(4))


def said(_: str) -> None:
    """What a run tells while it runs."""


def blameless(run: Run, faults: int) -> None:
    assert (run.violations, run.lost, run.faults) == ([], 0, faults), run
    assert run.acknowledged_writes > 20


async def test_a_leader_that_was_stopped_answers_no_stale_read_and_loses_nothing(folder: Path) -> None:
    run = await pauses.run(folder, "leader", Extent(1), seconds=(1.5,), seed=seed(), clients=8, say=said)
    blameless(run, 1)
    assert run.counts["direct reads answered"] >= 1  # of the leader before the pause: reads do reach it
    assert run.counts["direct reads"] > 100


async def test_a_leader_without_a_majority_serves_nothing_and_damaged_bytes_end_only_their_connection(
    folder: Path,
) -> None:
    drawn = seed()
    async with Network.running(folder, random.Random(drawn)) as network:
        run = await partitions.run_in(
            network, "minority", Extent(1), seconds=(3.2, 3.2), seed=drawn, clients=8, say=said
        )
        blameless(run, 1)
        assert run.counts["reads asked of the cut off"] > 10
        assert run.counts["commits asked of the cut off"] > 10
        assert len(run.samples["stepped_down_s"]) == 1
        again = drawn ^ 1  # other keys
        run = await partitions.run_in(network, "damage", Extent(1), seconds=(2, 2), seed=again, clients=8, say=said)
        blameless(run, 1)
        assert run.counts["pieces damaged"] == run.counts["connections dropped for it"] >= 1


async def test_wrong_clocks_change_nothing_but_timestamps(folder: Path) -> None:
    run = await clocks.run(folder, "one", Extent(1), seconds=2.5, seed=seed(), clients=8, say=said)
    blameless(run, 1)
    assert run.counts["jumps seen by the leader"] == 1


@pytest.mark.long
@pytest.mark.parametrize("target", kills.TARGETS)
async def test_twenty_kills_under_load_lose_nothing(folder: Path, target: str) -> None:
    blameless(await kills.run(folder, target, Extent(20), seed=seed(), say=said), 20)


@pytest.mark.long
@pytest.mark.parametrize("target", pauses.TARGETS)
async def test_processes_that_stood_still_for_long_lose_nothing(folder: Path, target: str) -> None:
    blameless(await pauses.run(folder, target, Extent(6), seconds=(1, 5, 30), seed=seed(), say=said), 6)


@pytest.mark.long
@pytest.mark.parametrize("target", partitions.TARGETS)
async def test_bad_networks_lose_nothing(folder: Path, target: str) -> None:
    run = await partitions.run(folder, target, Extent(12), seconds=(2, 8), seed=seed(), say=said)
    blameless(run, 12)


@pytest.mark.long
@pytest.mark.parametrize("target", clocks.TARGETS)
async def test_wrong_clocks_of_every_kind_change_nothing_but_timestamps(folder: Path, target: str) -> None:
    run = await clocks.run(folder, target, Extent(8), seconds=3, seed=seed(), say=said)
    blameless(run, 8)
