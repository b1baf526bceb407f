"""The real process: exit codes, the disk it insists on, and what survives kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from chunkd.client import ChunkClient
from cluster.config import Config, dump
from cluster.identity import NodeIdentity
from tests.chunkd.copies import flip
from tests.chunkd.test_daemon import get, put
from tests.chunkd.worlds import make_config, random_bytes, soon

pytestmark = pytest.mark.probe


def command(config: Config, *more: str, node: str = "n1") -> list[str]:
    file = Path(config.base, "cluster.toml")
    if not file.exists():
        file.write_text(dump(config))
    return [sys.executable, "-P", "-m", "chunkd", "--config", str(file), "--node", node, *more]


def run(config: Config, *more: str, node: str = "n1") -> tuple[int, list[dict[str, object]]]:
    ended = subprocess.run(command(config, *more, node=node), capture_output=True, timeout=60, check=False)
    return ended.returncode, log_lines(ended.stderr)


def log_lines(text: bytes) -> list[dict[str, object]]:
    return [msgspec.json.decode(line, type=dict[str, object]) for line in text.splitlines()]


@contextmanager
def running(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    Path(config.chunkd[0].listen.removeprefix("unix:")).parent.mkdir(mode=0o700, exist_ok=True)
    with subprocess.Popen(command(config), stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            ready = msgspec.json.decode(process.stderr.readline(), type=dict[str, object])
            assert ready["event"] == "ready", ready
            yield process
        finally:
            process.kill()
            process.communicate(timeout=30)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    made = make_config(tmp_path)
    yield made
    folder = Path(made.chunkd[0].listen.removeprefix("unix:")).parent
    if folder.exists():
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()


def sockets(config: Config) -> list[str]:
    return os.listdir(Path(config.chunkd[0].listen.removeprefix("unix:")).parent)


def leave_half_a_chunk(config: Config) -> None:
    Path(config.base, "n1", "temp", "7-7").write_bytes(b"half a chunk")


async def with_client(config: Config, nursery: trio.Nursery) -> ChunkClient:
    client = ChunkClient(config.chunkd[0], config, NodeIdentity(config.cluster_id, "tester"))
    await nursery.start(client.run)
    with trio.fail_after(20):
        await client.wait_connected()
    return client


def test_a_disk_is_prepared_once(config: Config) -> None:
    assert run(config, "--prepare") == (0, [])
    code, log = run(config, "--prepare")
    assert code == 78
    assert log[0]["code"] == "DiskNotEmpty"


def test_a_folder_without_its_disk_ends_the_daemon_with_78(config: Config) -> None:
    code, log = run(config)
    assert (code, log[0]["code"]) == (78, "NoDisk")
    Path(config.base, "n1").mkdir()
    code, log = run(config)
    assert (code, log[0]["code"]) == (78, "NoDisk")
    assert "mounted" in str(log[0]["reason"])
    Path(config.base, "n1").rmdir()
    assert run(config, "--prepare")[0] == 0
    text = Path(config.base, "n1", "format").read_text()
    Path(config.base, "n1", "format").write_text(text.replace(config.chunkd[0].disk_id, "f" * 32))
    code, log = run(config)
    assert (code, log[0]["code"]) == (78, "WrongDisk")


@pytest.mark.parametrize("node", ["n9", "m1"])
def test_a_name_that_is_no_chunk_daemon_ends_it_with_78(config: Config, node: str) -> None:
    assert run(config, node=node)[0] == 78


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(config: Config, number: signal.Signals) -> None:
    assert run(config, "--prepare")[0] == 0
    with running(config) as process:
        assert run(config)[0] == 78  # a second daemon on the same disk
        process.send_signal(number)
        assert await trio.to_thread.run_sync(process.wait, 30) == 0
        assert sockets(config) == []


async def test_what_was_acknowledged_survives_kill_9(config: Config) -> None:
    assert run(config, "--prepare")[0] == 0
    acknowledged: dict[bytes, bytes] = {}
    for _ in range(3):
        with running(config) as process:
            async with trio.open_nursery() as nursery:
                client = await with_client(config, nursery)
                for chunk_id, data in acknowledged.items():
                    assert await get(client, chunk_id, 0, len(data)) == data
                for size in (10, 70_000, 3_000_000):
                    data = random_bytes(size)
                    acknowledged[await put(client, data)] = data
                process.kill()
                nursery.cancel_scope.cancel()
        leave_half_a_chunk(config)
    with running(config) as process:
        async with trio.open_nursery() as nursery:
            client = await with_client(config, nursery)
            assert os.listdir(os.path.join(config.base, "n1", "temp")) == []
            assert (await client.status(deadline=soon())).chunks == len(acknowledged) == 9
            first, data = next(iter(acknowledged.items()))
            flip(Path(config.base, "n1", "space-1", f"{first[0]:02x}", first.hex()), 8192)
            assert await client.report(first, deadline=soon()) == "bad"
            process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.wait, 30) == 0
            nursery.cancel_scope.cancel()
    assert os.listdir(os.path.join(config.base, "n1", "quarantine")) == [f"1-{first.hex()}"]
