"""A supervised cluster from its making to its end. The small one lies in a folder with a long and odd name, so its
sockets lie elsewhere."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chaos.local import LocalCluster
from cluster.config import FILE_NAME, dump
from cluster.identity import make_ca, make_node_certificate
from cluster.ports import free_ports
from cluster.process import start_time
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe

PROGRAM = [sys.executable, "-P", "-m", "cluster.cli.main"]


@pytest.fixture(scope="module")
def small(short_folder: Path) -> Iterator[LocalCluster]:
    """A cluster of one member, daemon and API. Each test finds it up and leaves it up, with its data."""
    with LocalCluster(short_folder / ("long name's ü " * 8), "--members", "1", "--chunkds", "1") as running:
        yield running


def pids_of(cluster: LocalCluster) -> dict[str, int]:
    names = ["supervisor", *(node.name for node in cluster.config.nodes)]
    found = {name: cluster.pid(name) for name in names}
    return {name: pid for name, pid in found.items() if pid is not None}


def alive(pids: dict[str, int]) -> list[str]:
    return [name for name, pid in pids.items() if start_time(pid) is not None]


def until_gone(pids: dict[str, int]) -> None:
    deadline = time.monotonic() + 60
    while alive(pids):
        assert time.monotonic() < deadline, alive(pids)
        time.sleep(0.05)


def put(cluster: LocalCluster, key: str, data: bytes) -> None:
    assert Http(cluster.access())("PUT", f"/objects/{key}", data).status in (200, 201)


def get(cluster: LocalCluster, key: str) -> bytes:
    return Http(cluster.access())("GET", f"/objects/{key}").body


def test_end_leaves_nothing_behind_and_the_next_start_finds_the_data(small: LocalCluster) -> None:
    put(small, "kept", b"x" * 100_000)
    before = pids_of(small)
    assert len(before) == 5
    sockets = Path(tempfile.gettempdir(), f"trilith-{os.getuid()}-{small.config.cluster_id[:12]}")
    assert sockets.stat().st_mode & 0o777 == 0o700
    small.down()
    assert alive(before) == []
    assert not (small.folder / "endpoints.json").exists()
    assert not sockets.exists()
    assert {path.suffix for path in (small.folder / "run").iterdir()} <= {".log", ".lock", ".out"}
    assert "NotRunning" in small.command("status", str(small.folder), check=False).stderr
    small.command("down", str(small.folder))  # once more is no error
    small.up()
    assert get(small, "kept") == b"x" * 100_000


def test_killed_supervisor_takes_all_with_it_and_the_next_waits_for_them(small: LocalCluster) -> None:
    put(small, "killed", b"kept")
    before = pids_of(small)
    old = small.access().endpoint
    os.kill(before["supervisor"], signal.SIGKILL)
    until_gone({"supervisor": before["supervisor"]})
    small.up()  # at once: what is not yet gone is waited for, and stale endpoints are not believed
    until_gone(before)
    assert len(pids_of(small)) == 5
    assert small.access().endpoint != old
    assert get(small, "killed") == b"kept"


def test_what_dies_comes_back(small: LocalCluster) -> None:
    before = small.signal("chunk-1")
    deadline = time.monotonic() + 60
    while small.pid("chunk-1") in (None, before):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "chunk-1 was killed by SIGKILL; restarting it" in (small.folder / "run" / "supervisor.out").read_text()


def test_wrong_configuration_is_named_and_still_lets_the_cluster_end(small: LocalCluster) -> None:
    file = small.folder / FILE_NAME
    text = file.read_text()
    for wrong, said in (
        (text + "\n[timings]\nheartbeet_s = 1.0\n", "heartbeat_s"),
        (text.replace('name = "meta-1"', 'name = "supervisor"'), "not 'supervisor'"),
        (text.replace("127.0.0.1:0", "0.0.0.0:0"), "--insecure-listen"),
    ):
        file.write_text(wrong)
        small.command("down", str(small.folder))
        done = small.command("up", str(small.folder), "--detach", check=False)
        assert done.returncode == 1
        assert said in done.stderr
    file.write_text(text)
    small.up()


def test_shape_is_fixed_and_a_port_in_use_is_said(small: LocalCluster) -> None:
    small.down()
    where = ["up", str(small.folder), "--detach"]
    assert "ShapeFixed" in small.command(*where, "--members", "3", check=False).stderr
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        done = small.command(*where, "--port", str(number), check=False)
    assert done.returncode == 1
    assert f"PortInUse: cannot listen on 127.0.0.1:{number}" in done.stderr
    assert pids_of(small) == {}
    small.up()


def test_foreground_says_how_to_begin_and_ends_on_ctrl_c(small: LocalCluster) -> None:
    small.down()
    folder = small.folder
    with subprocess.Popen(
        [*PROGRAM, "up", folder.name, "--port", "0", "--admin-port", "0"],
        cwd=folder.parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as up:
        assert up.stderr is not None
        try:
            lines = [up.stderr.readline() for _ in range(9)]
            assert lines[0] == "Trilith is ready.\n", lines
            for command, shown in zip(lines[6:], ("stored default/hello.txt", "hello.txt", ""), strict=True):
                done = subprocess.run(
                    command, shell=True, cwd=folder.parent, capture_output=True, text=True, check=True
                )
                assert shown in done.stdout
            children = pids_of(small)
            assert len(children) == 5
        finally:
            up.send_signal(signal.SIGINT)
        assert up.stderr.readline() == "stopping\n"
        up.send_signal(signal.SIGTERM)  # again, differently: it is ending already
        rest = up.stderr.read()
    assert up.returncode == 0, rest
    assert rest.endswith("stopped\n")
    assert alive(children) == []
    small.up()


def with_api(cluster: LocalCluster, **changed: str) -> None:
    """Change the API's section of the configuration."""
    config = cluster.config
    apis = tuple(msgspec.structs.replace(api, **changed) for api in config.api)
    (cluster.folder / FILE_NAME).write_text(dump(msgspec.structs.replace(config, api=apis)))


def test_tls_needs_keys_that_can_be_used(small: LocalCluster, tmp_path: Path) -> None:
    # The last test on the small cluster: it speaks HTTPS from here on.
    small.down()
    make_ca(tmp_path, "a cluster of another name")
    make_node_certificate(tmp_path, "store")
    cert, key = str(tmp_path / "store.pem"), str(tmp_path / "store.key")
    with_api(small, tls_cert=cert, tls_key=str(tmp_path / "none.key"))
    done = small.command("up", str(small.folder), "--detach", "--port", "0", "--admin-port", "0", check=False)
    assert done.returncode == 5
    assert "api-1 ended with code 78 (CONFIG) and is not restarted: tls_cert" in done.stderr
    assert "StartFailed" in done.stderr
    assert pids_of(small) == {}
    with_api(small, tls_cert=cert, tls_key=key)
    small.up()
    assert small.access().endpoint.startswith("https://")
    shown = small.command("status", str(small.folder), "--json").stdout
    assert json.loads(shown)["ready"]


def listening(pid: int) -> set[tuple[str, int]]:
    """(host, port) of every TCP socket on which a process listens (proc(5), net/tcp)."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
        if found:
            inodes.add(found[1])
    places = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
                places.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return places


def hears_plain_text(place: tuple[str, int]) -> bytes:
    """What a listener answers to a client without TLS, until it closes."""
    with socket.create_connection(place, timeout=30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        try:
            while piece := plain.recv(4096):
                answer += piece
        except ConnectionError:
            pass
        return answer


def test_tcp_between_nodes_speaks_only_tls_and_apis_share_their_port(short_folder: Path) -> None:
    cluster = LocalCluster(
        short_folder / "tcp", "--members", "1", "--chunkds", "2", "--apis", "2", "--transport", "tcp"
    )
    with cluster:
        data = os.urandom(9_000_000)
        put(cluster, "x", data)
        assert get(cluster, "x") == data
        places = {node.name: listening(pids_of(cluster)[node.name]) for node in cluster.config.nodes}
        assert {host for found in places.values() for host, _ in found} == {"127.0.0.1"}
        for name in ("meta-1", "chunk-1", "chunk-2"):
            [place] = places[name]
            answer = hears_plain_text(place)
            assert answer[:1] in (b"", b"\x15")  # nothing, or a TLS alert (RFC 8446, 5.1): nobody is served in clear
            assert len(answer) < 64
        assert places["api-1"] == places["api-2"]
        assert len(places["api-1"]) == 2
        assert list((cluster.folder / "run").glob("*.sock")) == []
        cluster.signal("api-1")
        assert json.loads(cluster.command("stat", "default/x", "--json", "--dir", str(cluster.folder)).stdout)["size"]
        assert "there already" in cluster.command("node", "cert", "meta-1", "--dir", str(cluster.folder)).stdout
        assert "cluster.key" in cluster.command("node", "cert", "api-1", "--dir", str(cluster.folder)).stdout
        unknown = cluster.command("node", "cert", "meta-9", "--dir", str(cluster.folder), check=False)
        assert (unknown.returncode, "UnknownNode" in unknown.stderr) == (1, True)


def test_refused_start_makes_no_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    [number] = free_ports(1)
    for options, said in (
        (["--listen", "0.0.0.0"], "InsecureListen"),
        (["--port", str(number), "--admin-port", "0", "--listen", "nowhere.invalid"], "InsecureListen"),
    ):
        done = subprocess.run([*PROGRAM, "up", str(folder), *options], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert [path.name for path in folder.iterdir()] == ["run"]
