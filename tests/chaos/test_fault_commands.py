"""What the commands about faults print and how they end, where no cluster is needed."""

from pathlib import Path

import pytest
import structlog
import trio
from click.testing import CliRunner

from chaos import fault_commands, ledger
from chaos.__main__ import main


def run_of(target: str, **facts: object) -> ledger.Run:
    found = ledger.begun("kill", target, seed=1, clients=2)
    for name, value in facts.items():
        setattr(found, name, value)
    return found


def test_a_ledger_is_summed_by_target_and_ends_well_if_nothing_was_lost(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    for silence in (0.5, 1.5):
        ledger.append(file, run_of("leader", faults=1, samples={ledger.SILENCE: [silence]}))
    done = CliRunner().invoke(main, ["ledger", str(file)])
    assert done.exit_code == 0
    assert "kill leader: 2 faults in 2 runs" in done.output
    assert "silence_s: p50 0.500, p99 1.500, worst 1.500" in done.output


@pytest.mark.parametrize("facts", [{"lost": 1}, {"violations": ["k: violated"]}])
def test_a_ledger_with_a_loss_or_a_violation_ends_with_one(tmp_path: Path, facts: dict[str, object]) -> None:
    file = tmp_path / "ledger"
    ledger.append(file, run_of("leader", **facts))
    ledger.append(file, run_of("leader"))
    assert CliRunner().invoke(main, ["ledger", str(file), "--json"]).exit_code == 1


def test_a_run_that_is_interrupted_keeps_no_folder() -> None:
    made: list[Path] = []

    async def conduct(folder: Path) -> ledger.Run:
        made.append(folder)
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    before = structlog.get_config()
    try:
        with pytest.raises(KeyboardInterrupt):
            fault_commands._conduct("kill", None, conduct)
    finally:
        structlog.configure(**before)
    assert not made[0].parent.exists()


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no\n")
    done = CliRunner().invoke(main, ["ledger", str(tmp_path / "x")])
    assert done.exit_code == 1
    assert "line 1" in done.output


@pytest.mark.parametrize("text", ["", "1,x", "0,1"])
def test_lengths_that_are_none_are_refused(text: str) -> None:
    assert CliRunner().invoke(main, ["pause", "leader", "--seconds", text]).exit_code == 2
