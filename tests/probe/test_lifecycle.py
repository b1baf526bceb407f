"""A supervised cluster from its making to its end, as the commands show it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.local import LocalCluster
from cluster.process import start_time
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe


def pids_of(cluster: LocalCluster) -> dict[str, int]:
    names = ["supervisor", *(node.name for node in cluster.config.nodes)]
    found = {name: cluster.pid(name) for name in names}
    return {name: pid for name, pid in found.items() if pid is not None}


def test_up_status_down_and_up_again_keep_the_data(cluster: LocalCluster, tmp_path: Path) -> None:
    assert len(pids_of(cluster)) == 8
    facts = json.loads(cluster.command("status", str(cluster.folder), "--json").stdout)
    assert facts["leader"] in {"meta-1", "meta-2", "meta-3"}
    assert [node["up"] for kind in ("members", "chunkds") for node in facts[kind]] == [True] * 6
    assert all(process["state"] == "running" for process in facts["processes"])

    source = tmp_path / "file.bin"
    source.write_bytes(os.urandom(9_000_000))
    cluster.command("put", str(source), "default/a/file.bin", "--dir", str(cluster.folder))
    before = pids_of(cluster)
    cluster.down()
    assert [name for name, pid in before.items() if start_time(pid) is not None] == []
    assert not (cluster.folder / "endpoints.json").exists()
    assert list((cluster.folder / "run").glob("*.sock")) == []

    cluster.up()
    target = tmp_path / "back.bin"
    cluster.command("get", "default/a/file.bin", str(target), "--dir", str(cluster.folder))
    assert target.read_bytes() == source.read_bytes()


def test_second_supervisor_is_refused(cluster: LocalCluster) -> None:
    done = cluster.command("up", str(cluster.folder), check=False)
    assert done.returncode == 1
    assert "AlreadyRunning" in done.stderr


def test_killed_supervisor_leaves_nothing_running(cluster: LocalCluster) -> None:
    before = pids_of(cluster)
    os.kill(before["supervisor"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(start_time(pid) is not None for pid in before.values()):
        assert time.monotonic() < deadline, "processes outlive their supervisor"
        time.sleep(0.05)
    cluster.up()
    assert len(pids_of(cluster)) == 8


def test_commands_store_list_copy_fetch_and_remove(cluster: LocalCluster, tmp_path: Path) -> None:
    where = ("--dir", str(cluster.folder))
    tree = tmp_path / "tree"
    for name in ("a.txt", "deep/b.txt", "deep/er/c ü.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    cluster.command("mb", "box", *where)
    cluster.command("put", "-r", str(tree), "box/in", *where)
    listed = json.loads(cluster.command("ls", "-r", "box", "--json", *where).stdout)
    assert [entry["key"] for entry in listed["objects"]] == ["in/a.txt", "in/deep/b.txt", "in/deep/er/c ü.txt"]
    level = json.loads(cluster.command("ls", "box/in/", "--json", *where).stdout)
    assert level["prefixes"] == ["in/deep/"]
    cluster.command("cp", "-r", "box/in/", "box/out/", *where)
    cluster.command("get", "-r", "box/out/", str(tmp_path / "back"), *where)
    assert (tmp_path / "back" / "deep" / "er" / "c ü.txt").read_text() == "deep/er/c ü.txt"
    assert cluster.command("get", "box/in/a.txt", "-", *where).stdout == "a.txt"
    piped = subprocess.run(
        [sys.executable, "-P", "-m", "cluster.cli.main", "put", "-", "box/piped", *where],
        input=b"from a pipe",
        capture_output=True,
        check=True,
    )
    assert piped.stderr == b""  # no progress bar in a pipe
    facts = json.loads(cluster.command("stat", "box/piped", "--json", *where).stdout)
    assert facts["size"] == 11
    assert cluster.command("rb", "box", *where, check=False).returncode == 1
    cluster.command("rm", "-r", "box/in/", *where)
    cluster.command("rb", "-r", "box", *where)
    assert cluster.command("ls", "box", *where, check=False).returncode == 3


def test_exit_codes_tell_scripts_what_happened(cluster: LocalCluster, tmp_path: Path) -> None:
    where = ("--dir", str(cluster.folder))
    assert cluster.command("get", "default/missing", str(tmp_path / "x"), *where, check=False).returncode == 3
    assert cluster.command("stat", *where, check=False).returncode == 2
    assert cluster.command("put", str(tmp_path / "none"), "default/x", *where, check=False).returncode == 3
    endpoint = cluster.access().endpoint
    wrong = {**os.environ, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}
    assert cluster.command("ls", "--endpoint", endpoint, check=False, env=wrong).returncode == 4
    nowhere = ("--endpoint", "http://127.0.0.1:1")
    assert cluster.command("ls", *nowhere, check=False, env=wrong).returncode == 5


def test_key_that_would_leave_the_folder_is_refused(cluster: LocalCluster, http_to: Http, tmp_path: Path) -> None:
    assert http_to("PUT", "/objects/p/..%2F..%2Fescape", b"x").status in (200, 201)
    where = ("--dir", str(cluster.folder))
    done = cluster.command("get", "-r", "default/p/", str(tmp_path / "in"), *where, check=False)
    assert done.returncode == 1
    assert "UnsafeKey" in done.stderr
    assert not (tmp_path.parent / "escape").exists()


def test_configuration_with_an_unknown_key_says_what_was_meant(cluster: LocalCluster) -> None:
    cluster.down()
    file = cluster.folder / "cluster.toml"
    text = file.read_text()
    file.write_text(text + "\n[timings]\nheartbeet_s = 1.0\n")
    done = cluster.command("up", str(cluster.folder), check=False)
    assert done.returncode == 1
    assert "heartbeat_s" in done.stderr
    file.write_text(text)
    cluster.up()
