"""Simulated clusters: promises hold for seeds that are drawn at each run, and a seed is one history to the letter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.sim import campaign
from chaos.sim.campaign import Tally, run, together
from chaos.sim.simulate import simulate
from chaos.sim.transcript import Transcript

ROOT = Path(__file__).resolve().parents[2]

_HISTORY = """
from chaos.sim.simulate import simulate
from chaos.sim.transcript import Transcript

for seed in (4, 5):
    transcript = Transcript(digest=True)
    outcome = simulate(seed, seconds=4.0, transcript=transcript)
    print(transcript.count, transcript.digest(), outcome)
"""


def test_a_seed_is_one_history_to_the_letter_in_every_process() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", _HISTORY],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert said[0].count(b"\n") == 2


def test_seeds_differ() -> None:
    first, second = Transcript(digest=True), Transcript(digest=True)
    simulate(1, 3, seconds=1.0, transcript=first)
    simulate(2, 3, seconds=1.0, transcript=second)
    assert first.digest() != second.digest()


@pytest.mark.parametrize("size", [1, 3, 5])
def test_promises_hold_under_all_harm(size: int) -> None:
    outcomes = [simulate(seed, size) for seed in (11, 12, 13)]
    assert [outcome.broken for outcome in outcomes] == [""] * 3
    for counted in ("acknowledged commands", "reads"):
        assert sum(outcome.counts[counted] for outcome in outcomes) > 150


PINNED = {
    375: "a follower that was paused applied and cut its log before its core had handed the entries out",
}


@pytest.mark.parametrize("seed", PINNED)
def test_what_a_seed_has_found_stays_mended(seed: int) -> None:
    assert simulate(seed).broken == ""


def test_tallies_add_up(tmp_path: Path) -> None:
    tally = run(range(3), until=float("inf"), seconds=1.0, tell=pytest.fail)
    assert (tally.first_seed, tally.last_seed, tally.seeds, tally.broken) == (0, 2, 3, {})
    file = tmp_path / "ledger"
    file.write_bytes(2 * campaign.encoded(tally))
    twice: Tally = campaign.ledger(file)
    assert twice == together([tally, tally])
    assert twice.seeds == 6
    assert twice.counts["reads"] == 2 * tally.counts["reads"]
    assert "6 seeds (0 to 2)" in campaign.report(twice)
    assert "0 violations" in campaign.report(twice)
