"""A store, a daemon and a client in one trio run, on a temporary folder."""

import itertools
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from chunkd.client import ChunkClient
from chunkd.files import Files
from chunkd.folder import prepare
from chunkd.server import ChunkServer
from chunkd.store import Store
from cluster.config import ChunkdConfig, Config, MemberConfig
from cluster.identity import NodeIdentity
from cluster.limits import Limits, Timings

CLUSTER = "test-cluster"

_numbers = itertools.count()


def make_config(root: Path, *, nodes: int = 1, limits: Limits | None = None) -> Config:
    """A configuration with chunk daemons n1, n2, ... under a folder, and their sockets in one with a short path."""
    sockets = Path(tempfile.gettempdir(), f"ck-{os.getpid()}-{next(_numbers)}")
    return Config(
        format=1,
        cluster_id=CLUSTER,
        member=(MemberConfig(name="m1", slot=1, incarnation="00" * 16, listen="unix:m1", directory="m1"),),
        chunkd=tuple(
            ChunkdConfig(
                name=f"n{number}",
                disk_id=f"{number:032x}",
                listen=f"unix:{sockets}/n{number}",
                directory=f"n{number}",
            )
            for number in range(1, nodes + 1)
        ),
        limits=limits or Limits(disk_reserve_bytes=0),
        timings=Timings(),
        base=str(root),
    )


def open_disk(
    root: Path,
    files: Files | None = None,
    *,
    limits: Limits | None = None,
    timings: Timings | None = None,
    name: str = "disk",
) -> Store:
    """A store on a folder, prepared if it is not there."""
    if not (root / name).exists():
        prepare(root / name, CLUSTER, "0" * 32)
    return Store(
        root / name,
        cluster_id=CLUSTER,
        disk_id="0" * 32,
        limits=limits or Limits(disk_reserve_bytes=0),
        timings=timings or Timings(),
        files=files,
    )


@contextmanager
def node_store(config: Config, node: ChunkdConfig, files: Files | None = None) -> Generator[Store]:
    """A node's store, prepared if needed, closed at the end."""
    directory = config.path(node.directory)
    if not directory.exists():
        prepare(directory, config.cluster_id, node.disk_id)
    store = Store(
        directory,
        cluster_id=config.cluster_id,
        disk_id=node.disk_id,
        limits=config.limits,
        timings=config.timings,
        files=files,
    )
    sockets = Path(node.listen.removeprefix("unix:")).parent
    sockets.mkdir(mode=0o700, exist_ok=True)
    try:
        yield store
    finally:
        store.close()
        with suppress(OSError):  # another daemon's socket is still there
            sockets.rmdir()


@asynccontextmanager
async def daemon(
    config: Config, files: Files | None = None, *, number: int = 1
) -> AsyncGenerator[tuple[ChunkClient, Store]]:
    """A running daemon over its real socket, and a connected client."""
    node = config.chunkd[number - 1]
    with node_store(config, node, files) as store:
        async with trio.open_nursery() as nursery:
            server = ChunkServer(store, node, config, NodeIdentity(config.cluster_id, node.name))
            await nursery.start(server.run)
            client = ChunkClient(node, config, NodeIdentity(config.cluster_id, "tester"))
            await nursery.start(client.run)
            with trio.fail_after(60):
                await client.wait_connected()
            yield client, store
            nursery.cancel_scope.cancel()


def random_bytes(size: int) -> bytes:
    """Bytes nobody has stored before."""
    return secrets.token_bytes(min(size, 64)) + os.urandom(max(0, size - 64))


def soon(seconds: float = 30.0) -> float:
    """A deadline."""
    return trio.current_time() + seconds
