"""Runs of many days in one file, and what they add up to."""

from pathlib import Path

import pytest

from chaos import ledger


def run_of(target: str, silences: list[float], **facts: int) -> ledger.Run:
    found = ledger.begun("kill", target, seed=1, clients=2)
    found.samples[ledger.SILENCE] = silences
    found.faults = len(silences)
    found.lost = facts.pop("lost", 0)
    found.acknowledged_writes = facts.pop("acknowledged", 10)
    found.counts = facts
    return found


def test_runs_are_appended_and_read_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    first, second = run_of("leader", [0.5]), run_of("all", [2.0], missed=1)
    ledger.append(file, first)
    ledger.append(file, second)
    assert ledger.load(file) == [first, second]


def test_sums_are_by_target_and_their_quantiles_over_all_values() -> None:
    runs = [run_of("leader", [0.5] * 60), run_of("all", [4.0]), run_of("leader", [0.7] * 39 + [3.0], lost=2, missed=1)]
    leader, everything = ledger.sums(runs)
    assert (leader.target, leader.runs, leader.faults, leader.lost) == ("leader", 2, 100, 2)
    assert leader.acknowledged_writes == 20
    assert leader.counts == {"missed": 1}
    silence = leader.samples[ledger.SILENCE]
    assert (silence.count, silence.p50, silence.rare, silence.worst) == (100, 0.5, 0.7, 3.0)
    assert (everything.target, everything.faults) == ("all", 1)


def test_a_line_that_is_no_run_is_told_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    ledger.append(file, run_of("leader", [0.5]))
    with file.open("a") as torn:
        torn.write('{"date": "20')
    with pytest.raises(ValueError, match="line 2"):
        ledger.load(file)


def test_of_a_share_the_lowest_is_the_worst() -> None:
    found = ledger.sample("served_share", [0.25] + [0.5] + [1.0] * 98)
    assert (found.p50, found.rare, found.worst) == (1.0, 0.5, 0.25)
