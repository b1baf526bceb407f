"""Dead processes, rotten disks: what is answered then, on real processes."""

import hashlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from chaos import kills
from chaos.roles import Roles
from chaos.turns import Extent
from cluster.config import Config
from cluster.identity import load_identity
from metaraft.client import MetaClient
from metaraft.queries import GetObject, ObjectFound
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[Roles]:
    """The cluster of all tests here."""
    with Roles(short_folder) as running:
        yield running


@pytest.fixture
def roles(cluster: Roles) -> Iterator[Roles]:
    """The cluster, whole; what a test harms is mended after it."""
    yield cluster
    cluster.mend()


async def test_kill_9_under_load_loses_nothing(folder: Path) -> None:
    lines: list[str] = []
    report = await kills.run(folder, "each", Extent(len(kills.KINDS)), seed=7, clients=8, say=lines.append, large=False)
    assert (report.violations, report.lost, report.faults) == ([], 0, len(kills.KINDS)), report
    assert report.acknowledged_writes > 100


def leader_of(roles: Roles) -> str:
    access = roles.access(operator=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        reply = Http(access)("GET", "/status")
        if reply.status == 200 and reply.json()["leader"]:
            return str(reply.json()["leader"])
        time.sleep(0.05)
    raise TimeoutError("no leader")


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_one_member_and_one_chunk_daemon_down_is_work_as_usual(roles: Roles, http_to: Http, which: str) -> None:
    body = os.urandom(20_000_000)
    assert http_to("PUT", "/objects/before", body).status in (200, 201)
    leader = leader_of(roles)
    victim = leader if which == "leader" else next(m.name for m in roles.config.member if m.name != leader)
    roles.kill(victim)
    roles.kill("chunk-2")
    assert until_2xx(http_to, "PUT", "/objects/during", body[:9_000_000]) < 8
    for key, expected in (("before", body), ("during", body[:9_000_000])):
        reply = http_to("GET", f"/objects/{key}")
        assert reply.status == 200
        assert hashlib.sha256(reply.body).digest() == hashlib.sha256(expected).digest()


def until_2xx(http_to: Http, method: str, path: str, body: bytes) -> float:
    began = time.monotonic()
    while True:
        reply = http_to(method, path, body)
        if reply.status < 300:
            return time.monotonic() - began
        assert reply.status == 503, reply
        assert time.monotonic() - began < 20, reply


def test_two_members_down_refuses_within_five_seconds(roles: Roles, http_to: Http) -> None:
    assert http_to("PUT", "/objects/x", b"kept").status in (200, 201)
    roles.kill("meta-1")
    roles.kill("meta-2")

    def refused(method: str, key: str) -> tuple[int, float]:
        began = time.monotonic()
        body = b"new" if method == "PUT" else None
        return http_to(method, f"/objects/{key}", body).status, time.monotonic() - began

    with ThreadPoolExecutor() as pool:
        for status, took in pool.map(refused, ("PUT", "GET", "DELETE"), ("x", "x", "other")):
            assert status == 503
            assert took < 6  # five, and what a busy machine adds
    assert http_to("GET", "/minio/health/cluster", key=False).status == 503
    assert http_to("GET", "/minio/health/live", key=False).status == 200
    roles.start("meta-1")
    roles.start("meta-2")
    until_2xx(http_to, "PUT", "/objects/y", b"again")
    assert http_to("GET", "/objects/x").body in (b"kept", b"new")


def test_stopped_leader_serves_no_stale_read_when_it_wakes(roles: Roles, http_to: Http) -> None:
    assert http_to("PUT", "/objects/x", b"old").status in (200, 201)
    leader = leader_of(roles)
    roles.kill(leader, signal.SIGSTOP)
    until_2xx(http_to, "PUT", "/objects/x", b"new")
    roles.kill(leader, signal.SIGCONT)
    for _ in range(30):
        reply = http_to("GET", "/objects/x")
        assert reply.status == 503 or reply.body == b"new"


def chunk_files(roles: Roles, node: str) -> set[Path]:
    return set((roles.folder / node).glob("space-1/??/*"))


def damage_flip(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 4]))


def damage_truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [damage_flip, damage_truncate, Path.unlink])
def test_damaged_copies_are_passed_over_and_never_served(roles: Roles, http_to: Http, damage: object) -> None:
    assert callable(damage)
    body = os.urandom(10_000_000)
    nodes = [node.name for node in roles.config.chunkd]
    others = {node: chunk_files(roles, node) for node in nodes}
    assert http_to("PUT", "/objects/x", body).status in (200, 201)
    trio.run(wait_for_copies, roles.config, "x", 3)
    files = {node: chunk_files(roles, node) - others[node] for node in nodes}
    assert [len(files[node]) for node in nodes] == [2, 2, 2]
    *first, last = nodes
    for node in first:
        for file in files[node]:
            damage(file)
        for _ in range(3):
            reply = http_to("GET", "/objects/x")
            assert reply.status == 200
            assert reply.body == body
    for file in files[last]:
        damage(file)
    status, received = raw_get(http_to, "/objects/x")
    # refused, or broken off before the first wrong byte
    assert status in (500, 503) or (len(received) < len(body) and body.startswith(received))
    assert bad_copies(roles) & {(file.name[-64:], last) for file in files[last]}


async def wait_for_copies(config: Config, key: str, copies: int) -> None:
    """Wait until the metadata knows so many holders of each chunk: two are enough for the answer to a PUT."""
    client = MetaClient(config, load_identity(config, config.api[0].name))
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        with trio.fail_after(30):
            while True:
                found = await client.read(GetObject(bucket="default", key=key), deadline=trio.current_time() + 10)
                assert isinstance(found, ObjectFound)
                if all(len(holders) >= copies for holders in found.holders.values()):
                    break
        nursery.cancel_scope.cancel()


def bad_copies(roles: Roles) -> set[tuple[str, str]]:
    """Chunk and node of each copy that the API's log calls bad."""
    return {(str(entry["chunk"]), str(entry["node"])) for entry in roles.said("api-1", "bad_copy")}


def raw_get(http_to: Http, path: str) -> tuple[int, bytes]:
    """Status and body as received before the connection ended."""
    try:
        reply = http_to("GET", path)
    except http.client.IncompleteRead as error:
        return 200, error.partial
    except (http.client.HTTPException, ConnectionError):
        return 200, b""
    return reply.status, reply.body


def test_client_that_goes_away_leaves_no_object(roles: Roles, http_to: Http) -> None:
    access = roles.access()
    host, _, port = access.endpoint.removeprefix("http://").partition(":")
    for sent in (0, 1, 4097, 8 * 1024 * 1024, 9_000_000):
        with socket.create_connection((host, int(port))) as raw:
            head = (
                "PUT /objects/gone HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n"
                f"Authorization: Bearer {access.access_key}:{access.secret_key}\r\n\r\n"
            )
            raw.sendall(head.encode() + bytes(sent))
    assert http_to("GET", "/objects/gone").status == 404


def test_chunk_daemon_dying_in_the_middle_of_uploads_harms_none(roles: Roles, http_to: Http) -> None:
    bodies = {f"k{n}": os.urandom(12_000_000) for n in range(6)}
    results: dict[str, int] = {}

    def put(key: str) -> None:
        results[key] = http_to("PUT", f"/objects/{key}", bodies[key]).status

    threads = [threading.Thread(target=put, args=(key,)) for key in bodies]
    for thread in threads:
        thread.start()
    roles.kill("chunk-1")
    for thread in threads:
        thread.join()
    for key, status in results.items():
        assert status in (200, 201), results
        assert http_to("GET", f"/objects/{key}").body == bodies[key]


async def test_concurrent_conditional_creates_have_one_winner(roles: Roles, http_to: Http) -> None:
    statuses: list[int] = []

    async def create(number: int) -> None:
        reply = await trio.to_thread.run_sync(
            lambda: http_to("PUT", "/objects/once", f"{number}".encode(), If_None_Match="*")
        )
        statuses.append(reply.status)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(create, number)
    assert sorted(status for status in statuses if status < 300) in ([200], [201])
    assert all(status == 412 for status in statuses if status >= 300)
