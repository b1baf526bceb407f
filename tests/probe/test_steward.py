"""The steward as a process: what was deleted leaves the disks, and killing it changes nothing of that."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from chaos.local import LocalCluster
from cluster.config import FILE_NAME, dump
from cluster.exits import RoleExit
from cluster.supervisor import role_command
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[LocalCluster]:
    """A cluster that deletes what nothing refers to after two seconds, and keeps no trash."""
    made = LocalCluster(short_folder)
    made.command("init", str(short_folder))
    made.set_timings(horizon_s=2, trash_s=0)
    with made:
        yield made


def files(cluster: LocalCluster) -> list[Path]:
    """Everything on the chunk daemons' disks but their format files."""
    folders = [cluster.folder / node.directory for node in cluster.config.chunkd]
    found = [Path(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names]
    return [path for path in found if path.name != "format"]


def until(cluster: LocalCluster, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.1)


def put_and_remove(cluster: LocalCluster, key: str) -> None:
    """An object of several chunks that comes and goes."""
    http = Http(cluster.access())
    assert http("PUT", f"/objects/{key}", os.urandom(20_000_000)).status == 201
    assert len(files(cluster)) >= 6
    assert http("DELETE", f"/objects/{key}").status == 204


def rounds(cluster: LocalCluster) -> list[dict[str, object]]:
    lines = (cluster.folder / "run" / "steward-1.log").read_text().splitlines()
    return [entry for line in lines if (entry := json.loads(line))["event"] == "round"]


def test_what_was_deleted_leaves_the_disks(cluster: LocalCluster) -> None:
    http = Http(cluster.access())
    kept = os.urandom(100_000)
    assert http("PUT", "/objects/kept", kept).status == 201
    put_and_remove(cluster, "gone")
    until(cluster, lambda: len(files(cluster)) == 3)
    assert http("GET", "/objects/kept").body == kept
    assert http("DELETE", "/objects/kept").status == 204
    until(cluster, lambda: files(cluster) == [])
    assert sum(int(str(entry["references"])) for entry in rounds(cluster)) == 3 + 1
    assert "steward-1  running" in cluster.command("status", str(cluster.folder)).stdout


def test_a_steward_that_was_killed_comes_back_and_goes_on(cluster: LocalCluster) -> None:
    before = cluster.signal("steward-1")
    put_and_remove(cluster, "again")
    until(cluster, lambda: cluster.pid("steward-1") not in (None, before))
    until(cluster, lambda: files(cluster) == [])
    assert "steward-1 was killed by SIGKILL; restarting it" in (cluster.folder / "run" / "supervisor.out").read_text()


def test_without_a_steward_the_start_says_that_nothing_frees_space(cluster: LocalCluster) -> None:
    cluster.down()
    file = cluster.folder / FILE_NAME
    text = file.read_text()
    file.write_text(dump(msgspec.structs.replace(cluster.config, steward=())))
    cluster.up()
    assert cluster.status()["state"] == "ok"
    assert cluster.pid("steward-1") is None
    assert (
        "nothing frees disk space; add a section [[steward]]" in (cluster.folder / "run" / "supervisor.out").read_text()
    )
    cluster.down()
    file.write_text(text)
    cluster.up()
    until(cluster, lambda: cluster.pid("steward-1") is not None)


@pytest.mark.parametrize(("node", "said"), [("api-1", "is no steward"), ("steward-9", "no node is called")])
def test_only_a_steward_of_the_configuration_starts(cluster: LocalCluster, node: str, said: str) -> None:
    command = role_command("api.steward", cluster.folder / FILE_NAME, node)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == RoleExit.CONFIG
    assert said in done.stderr
