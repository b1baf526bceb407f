"""The API as a process: what it says, how it ends, and with which code."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.config import ApiConfig, ChunkdConfig, Config, MemberConfig, dump
from cluster.exits import RoleExit
from cluster.identity import make_cluster_key, make_credentials

pytestmark = pytest.mark.probe


def configuration(folder: Path, **api: object) -> Path:
    """A cluster whose members are not there."""
    config = Config(
        format=1,
        cluster_id="test-cluster",
        member=(MemberConfig(name="meta-1", slot=1, incarnation="0" * 32, listen="unix:run/m", directory="m"),),
        chunkd=(ChunkdConfig(name="chunk-1", disk_id="1" * 32, listen="unix:run/c", directory="c"),),
        api=(ApiConfig(name="api-1", **{"object_listen": "127.0.0.1:0", "operator_listen": "127.0.0.1:0", **api}),),  # type: ignore[arg-type]
    )
    (folder / "run").mkdir(mode=0o700)
    (folder / "cluster.toml").write_text(dump(config))
    make_credentials(folder / "credentials.json")
    make_cluster_key(folder / "cluster.key")
    return folder / "cluster.toml"


def command(config: Path, *arguments: str, node: str = "api-1") -> list[str]:
    return [sys.executable, "-P", "-m", "api", "--config", str(config), "--node", node, *arguments]


@contextmanager
def running(config: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str], Path]]:
    """The process, its ready line, and its log."""
    log = config.parent / "api.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command(config, *arguments), stderr=sink)
    try:
        deadline = time.monotonic() + 60
        ready: dict[str, str] | None = None
        while ready is None and time.monotonic() < deadline and process.poll() is None:
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
            ready = next((line for line in lines if line["event"] == "ready"), None)
            if ready is None:
                time.sleep(0.05)
        assert ready is not None, log.read_text()
        yield process, ready, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_serves_before_it_has_a_quorum_says_so_and_ends_in_order(tmp_path: Path) -> None:
    with running(configuration(tmp_path)) as (process, ready, log):
        for port in ("object", "operator"):
            assert status(ready[port] + "/minio/health/live") == 200
            assert status(ready[port] + "/minio/health/cluster") == 503
            assert status(ready[port] + "/minio/health/ready") == 503
        assert status(ready["object"] + "/objects/a") == 401
        host, port = ready["object"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as idle, socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"PUT /objects/a HTTP/1.1\r\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == RoleExit.DONE
            assert idle.recv(1) == b""
        secret = json.loads((tmp_path / "credentials.json").read_text())["secret_key"]
        assert secret not in log.read_text()


def test_what_is_wrong_with_the_configuration_is_said_and_never_restarted(tmp_path: Path) -> None:
    def refused(config: Path, code: str, *arguments: str, node: str = "api-1") -> None:
        done = subprocess.run(
            command(config, *arguments, node=node), stderr=subprocess.PIPE, timeout=60, check=False, text=True
        )
        assert done.returncode == RoleExit.CONFIG, done.stderr
        line = json.loads(done.stderr.splitlines()[-1])
        assert line["code"] == code
        assert line["reason"]

    config = configuration(tmp_path)
    refused(tmp_path / "missing.toml", "BadConfig")
    refused(config, "UnknownNode", node="nobody")
    refused(config, "BadConfig", node="meta-1")
    refused(config, "InsecureListen", "--object-listen", "0.0.0.0:0")
    refused(config, "BadAddress", "--object-listen", "nonsense")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(config, "CannotListen", "--operator-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    (tmp_path / "cluster.key").rename(tmp_path / "away.key")
    refused(config, "NoClusterKey")
    (tmp_path / "credentials.json").chmod(0o644)
    refused(config, "NoKeys")
