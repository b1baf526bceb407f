"""Simulated clusters: promises hold for seeds that are drawn at each run, and a seed is one history to the letter."""

import os
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from chaos.__main__ import SEEDS, main
from chaos.sim import campaign
from chaos.sim.campaign import Tally, run, together
from chaos.sim.simulate import HARM_S, simulate
from chaos.sim.transcript import Transcript
from metaraft.core_member import Member
from tests.conftest import SIM_SEED

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


def test_promises_hold_for_seeds_that_are_drawn_at_each_run() -> None:
    first = int(os.environ[SIM_SEED])
    tally = run(range(first, first + SEEDS), until=float("inf"), seconds=HARM_S, tell=click.echo)
    assert tally.broken == {}
    assert tally.seeds == SEEDS


def test_a_violation_tells_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit_all(member: Member) -> None:
        member._SyncObj__raftCommitIndex = member.log.last_index

    monkeypatch.setattr(Member, "_advance_commit", commit_all)
    told: list[str] = []
    tally = run(range(1), until=float("inf"), seconds=HARM_S, tell=told.append)
    assert tally.broken["0"].startswith("durability: ")
    assert "RequestVote" in told[0]
    assert "is leader of term" in told[0]
    assert "AppendEntries" in told[0]
    assert told[0].endswith(f"seed 0 broke {tally.broken['0']}")


def test_the_command_prints_a_whole_history_and_ends_with_1_for_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    good = CliRunner().invoke(main, ["sim", "--seed", "4", "--seconds", "1", "--trace"])
    assert good.exit_code == 0
    assert good.output.count("\n") > 200
    monkeypatch.setattr(Member, "send_appends", lambda *_, **__: None)
    bad = CliRunner().invoke(main, ["sim", "--seeds", "4-4", "--seconds", "1"])
    assert bad.exit_code == 1
    assert "seed 4 broke liveness" in bad.output


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", "1", "--seeds", "1-2"],
        ["--seed", "1", "--minutes", "1"],
        ["--trace"],
        ["--seed", "1", "--trace", "--json"],
        ["--seed", "1", "--trace", "--jobs", "2"],
        ["--sum"],
        ["--sum", "--tally", "tallies", "--seed", "1"],
        ["--jobs", "0"],
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str]) -> None:
    refused = CliRunner().invoke(main, ["sim", *options])
    assert refused.exit_code == 2
    assert "Usage" in refused.output


def test_several_processes_stop_when_the_time_is_over_and_their_tally_can_be_summed_as_json(tmp_path: Path) -> None:
    tallies = tmp_path / "tallies"
    options = ["--seeds", "0-1000000", "--minutes", "0.0001", "--seconds", "1", "--jobs", "2", "--tally", str(tallies)]
    assert CliRunner().invoke(main, ["sim", *options]).exit_code == 0
    summed = CliRunner().invoke(main, ["sim", "--sum", "--tally", str(tallies), "--json"])
    assert msgspec.json.decode(summed.output, type=Tally) == campaign.summed(tallies)
    assert campaign.summed(tallies).seeds == 2


def test_tallies_add_up(tmp_path: Path) -> None:
    tally = run(range(3), until=float("inf"), seconds=1.0, tell=pytest.fail)
    assert (tally.first_seed, tally.last_seed, tally.seeds, tally.broken) == (0, 2, 3, {})
    file = tmp_path / "tallies"
    file.write_bytes(2 * campaign.encoded(tally))
    twice: Tally = campaign.summed(file)
    assert twice == together([tally, tally])
    assert twice.seeds == 6
    assert twice.counts["reads"] == 2 * tally.counts["reads"]
    assert "6 seeds (0 to 2)" in campaign.report(twice)
    assert "0 violations" in campaign.report(twice)
