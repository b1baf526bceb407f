"""When a cluster is ready, what is said then, and what `up --detach` hands on."""

import shlex
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from cluster.cli import lifecycle, running, shapes
from cluster.cli.main import main
from cluster.config import ApiConfig, Config, MemberConfig
from cluster.create import Shape
from cluster.errors import Refused
from cluster.identity import make_cluster_key, make_credentials

NOBODY: frozenset[str] = frozenset()


def facts(*down: str, leader: str | None = "meta-1", ready: bool = True) -> running.Facts:
    return {
        "members": [{"name": name, "up": name not in down} for name in ("meta-1", "meta-2", "meta-3")],
        "chunkds": [{"name": name, "up": name not in down} for name in ("chunk-1", "chunk-2")],
        "leader": leader,
        "ready": ready,
    }


def test_all_must_be_up_and_known() -> None:
    assert running.missing(facts(), NOBODY, set()) is None
    assert running.missing(facts("meta-2", "chunk-1"), NOBODY, set()) == "chunk-1, meta-2 not up"
    assert running.missing(facts(), NOBODY, {"api-2"}) == "api-2 not up"
    assert running.missing(facts(leader=None), NOBODY, set()) == "no leader yet"
    assert running.missing(facts(ready=False), NOBODY, set()) is not None


def test_nobody_waits_for_what_ended_for_good() -> None:
    gone = frozenset({"meta-2", "api-2"})
    assert running.missing(facts("meta-2"), gone, {"api-2"}) is None
    assert running.missing(facts("meta-2", "meta-3"), gone, set()) == "meta-3 not up"


def test_commands_to_try_can_be_copied_as_they_stand() -> None:
    folder = Path("/a b/c'd")
    text = running.welcome(folder, folder / "logs", "http://o", "http://p", [])
    command = next(line for line in text.splitlines() if " ls " in line)
    assert shlex.split(command)[-4:] == ["ls", "default", "--dir", str(folder)]
    assert "--dir" not in running.welcome(Path("data"), folder / "logs", "http://o", "http://p", [])
    assert "runs without meta-2" in running.welcome(folder, folder / "logs", "http://o", "http://p", ["meta-2"])


def test_detached_process_gets_the_same_options() -> None:
    given = {"members": "1", "port": 0, "listen": None, "insecure_listen": True, "transport": "tcp", "apis": None}
    assert lifecycle._options(given) == ["--members", "1", "--port", "0", "--insecure-listen", "--transport", "tcp"]
    assert shapes.shape_of({"members": "5", "port": 0, "listen": None}) == Shape(members=5, port=0)


def test_every_command_explains_itself() -> None:
    runner = CliRunner()
    commands = main.list_commands(click.Context(main))
    assert {"init", "up", "down", "status", "mb", "rb", "put", "get", "cp", "ls", "rm", "stat", "user"} <= set(commands)
    for name in set(commands) - {"chaos", "level", "member"}:  # these become another program
        shown = runner.invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        assert shown.output.startswith("Usage: ")
    assert runner.invoke(main, ["up", "--members", "2"]).exit_code == 2


@pytest.mark.parametrize("command", [["down"], ["status"], ["ls"], ["get", "a/b", "-"]])
def test_commands_on_a_folder_without_a_cluster_change_nothing(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, command, env={"TRILITH_DIR": str(tmp_path / "none"), "AWS_ENDPOINT_URL": ""})
    assert done.exit_code == (0 if command == ["down"] else 5)
    assert list(tmp_path.iterdir()) == []


def test_cluster_without_an_api_process_is_not_started(tmp_path: Path) -> None:
    member = MemberConfig(name="meta-1", slot=1, incarnation="00" * 16, listen="unix:run/m", directory="meta-1")
    config = Config(format=1, cluster_id="c", member=(member,), base=str(tmp_path))
    with pytest.raises(Refused, match=r"no \[\[api\]\] process"):
        running.refuse_what_cannot_start(config)
    served = msgspec.structs.replace(config, api=(ApiConfig(name="api-1"),))
    with pytest.raises(Refused, match=r"credentials\.json cannot be read"):
        running.refuse_what_cannot_start(served)
    make_credentials(tmp_path / "credentials.json")
    with pytest.raises(Refused, match=r"cluster\.key is missing"):
        running.refuse_what_cannot_start(served)
    make_cluster_key(tmp_path / "cluster.key")
    running.refuse_what_cannot_start(served)
