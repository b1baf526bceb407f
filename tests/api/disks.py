"""Chunk daemons, their clients, writer and reader in one trio run: real sockets and folders, metadata in memory."""

import errno
import os
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from api.budget import Budget
from api.digests import ExpectedDigests
from api.nodes import Nodes
from api.peers import Metadata
from api.reader import Reader
from api.writer import Stored, Writer
from chunkd.blocks import DATA_OFFSET
from chunkd.client import ChunkClient
from chunkd.files import Files
from chunkd.server import ChunkServer
from cluster.config import Config
from cluster.errors import Unavailable
from cluster.identity import NodeIdentity
from cluster.limits import Limits, Timings
from metaraft.commands import (
    AddHolders,
    Command,
    RegisterDisk,
)
from metaraft.model import Bucket, Chunk, Copies, Disk, SpaceInfo, Version
from metaraft.queries import (
    Answer,
    GetHolders,
    GetSpace,
    HoldersFound,
    ObjectFound,
    Query,
    SpaceFound,
)
from metaraft.results import (
    Done,
    Result,
)
from tests.chunkd.worlds import make_config, node_store

BUCKET = Bucket(name="b", bucket_id=1, space=1, created_ms=0, owner="root", scheme=Copies(3))


class TinyMetadata:
    """A space in memory: disks, a revision, holders."""

    def __init__(self) -> None:
        self.revision = 7
        self.disks: dict[bytes, Disk] = {}
        self.chunks: dict[bytes, Chunk] = {}
        self.late: list[AddHolders] = []
        self.told = trio.Event()
        self.gone = False
        self.space_reads = 0

    async def commit(self, command: Command, *, deadline: float, trace_id: str = "") -> Result:
        """Registers disks, notes late holders."""
        await trio.lowlevel.checkpoint()
        match command:
            case RegisterDisk():
                self.disks[command.disk.disk_id] = command.disk
            case AddHolders():
                self.late.append(command)
                for late in command.chunks:
                    chunk = self.chunks[late.chunk_id]
                    holders = dict.fromkeys((*chunk.holders, *(ack.disk_id for ack in late.acks)))
                    self.chunks[late.chunk_id] = msgspec.structs.replace(chunk, holders=tuple(holders))
                self.told.set()
            case _:
                raise AssertionError(command)
        return Done(self.revision)

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Answers for the space and for holders."""
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise Unavailable("NoQuorum", "no quorum")
        match query:
            case GetSpace():
                self.space_reads += 1
                return SpaceFound(SpaceInfo(1, self.revision, 0, tuple(self.disks.values())))
            case GetHolders():
                return HoldersFound({name: self.chunks[name] for name in query.chunk_ids if name in self.chunks})
            case _:
                raise AssertionError(query)

    def keep(self, stored: Stored) -> ObjectFound:
        """As if a version with that body had been committed."""
        holders: dict[bytes, tuple[bytes, ...]] = {}
        for chunk in stored.chunks():
            holders[chunk.chunk_id] = tuple(ack.disk_id for ack in chunk.acks)
            self.chunks[chunk.chunk_id] = Chunk(chunk.size, 1, None, holders[chunk.chunk_id])
        version = Version(
            revision=self.revision,
            created_ms=0,
            size=stored.size,
            etag=stored.etag,
            content_type="",
            body=stored.body,
            checksums=stored.checksums,
        )
        return ObjectFound(BUCKET, version, holders)


class GatedFiles(Files):
    """A disk whose fsync and reads wait while its gate is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.fail = False
        self.full = False

    def space(self, path: Path) -> tuple[int, int]:
        """As ever, or nothing free."""
        total, free = super().space(path)
        return total, 0 if self.full else free

    def sync_data(self, fd: int) -> None:
        """As ever, behind the gate."""
        self.gate.wait()
        if self.fail:
            raise OSError(errno.EIO, "the disk is broken")
        super().sync_data(fd)

    def read(self, fd: int, view: memoryview, offset: int) -> int:
        """As ever, behind the gate."""
        self.gate.wait()
        return super().read(fd, view, offset)

    def read_nowait(self, fd: int, view: memoryview, offset: int) -> int:
        """Nothing is in the cache while the gate is shut."""
        return super().read_nowait(fd, view, offset) if self.gate.is_set() else 0


class World:
    """A few nodes and one API process's data path. `nodes[i]` is node n(i+1).

    Its metadata is `metadata`, or `meta` if there is no other.
    """

    def __init__(self, config: Config, nursery: trio.Nursery, metadata: Metadata | None) -> None:
        self.config = config
        self.nursery = nursery
        self.meta = TinyMetadata()
        metadata = metadata or self.meta
        self.files = [GatedFiles() for _ in config.chunkd]
        me = NodeIdentity(config.cluster_id, "tester")
        self.clients = [ChunkClient(node, config, me) for node in config.chunkd]
        self.nodes = Nodes(self.clients, metadata, config)
        self.budget = Budget(config.limits, wait_s=config.timings.memory_wait_s)
        self.writer = Writer(self.nodes, metadata, self.budget, config)
        self.reader = Reader(self.nodes, metadata, self.budget, config)
        self._daemons: dict[int, tuple[trio.CancelScope, trio.Event]] = {}

    async def start(self, number: int) -> None:
        """Start a daemon and wait until its client is connected."""
        await self.nursery.start(self._run_daemon, number)
        await self.clients[number].wait_connected()

    async def stop(self, number: int) -> None:
        """End a daemon: all its connections break."""
        scope, ended = self._daemons.pop(number)
        scope.cancel()
        await ended.wait()

    async def _run_daemon(self, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        node = self.config.chunkd[number]
        ended = trio.Event()
        with trio.CancelScope() as scope, node_store(self.config, node, self.files[number]) as store:
            server = ChunkServer(store, node, self.config, NodeIdentity(self.config.cluster_id, node.name))
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                self._daemons[number] = scope, ended
                task_status.started()
        ended.set()

    async def store(self, data: bytes, *, bucket: Bucket = BUCKET) -> ObjectFound:
        """Write and commit."""
        async with self.writer.store(
            packets(data), bucket=bucket, size=len(data), expected=ExpectedDigests(), trace_id=""
        ) as stored:
            found = self.meta.keep(stored)
            stored.committed()
            return found

    def found_now(self, found: ObjectFound) -> ObjectFound:
        """The version with every disk as a holder that has its chunks, whatever the metadata was told so far."""
        holders = {
            chunk_id: tuple(
                client.disk_id for n, client in enumerate(self.clients) if self.chunk_file(n, chunk_id).exists()
            )
            for chunk_id in found.holders
        }
        for chunk_id, disks in holders.items():
            self.meta.chunks[chunk_id] = msgspec.structs.replace(self.meta.chunks[chunk_id], holders=disks)
        return msgspec.structs.replace(found, holders=holders)

    async def fetch(self, found: ObjectFound, start: int = 0, stop: int | None = None) -> bytes:
        """Read a range in full."""
        data = bytearray()
        stop = found.version.size if stop is None else stop
        async with self.reader.open(found, start, stop, trace_id="") as pieces:
            async for piece in pieces:
                data += piece
        return bytes(data)

    def chunk_file(self, number: int, chunk_id: bytes) -> Path:
        """Where a node keeps a chunk."""
        root = self.config.path(self.config.chunkd[number].directory)
        return root / "space-1" / chunk_id[:1].hex() / chunk_id.hex()

    def flip(self, number: int, chunk_id: bytes, offset: int) -> None:
        """Turn a bit of a stored copy."""
        path = self.chunk_file(number, chunk_id)
        data = bytearray(path.read_bytes())
        data[DATA_OFFSET + offset] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)


@asynccontextmanager
async def world(
    root: Path,
    *,
    nodes: int = 3,
    up: Iterable[int] | None = None,
    limits: Limits | None = None,
    metadata: Metadata | None = None,
    **timings: float,
) -> AsyncGenerator[World]:
    """Nodes that are up, and registered."""
    config = make_config(root, nodes=nodes, limits=limits)
    quick = Timings(reconnect_s=0.05, late_holders_s=0.01, **timings)
    config = msgspec.structs.replace(config, timings=quick)
    await trio.Path(config.base, "run").mkdir(mode=0o700, exist_ok=True)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            made = World(config, nursery, metadata)
            await nursery.start(made.nodes.run)
            await nursery.start(made.writer.run)
            await nursery.start(made.reader.run)
            try:
                for number in range(nodes) if up is None else up:
                    await made.start(number)
                await made.nodes.wait_registered()
                yield made
            finally:
                for files in made.files:
                    files.gate.set()
            nursery.cancel_scope.cancel()


async def packets(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    """A body in packets."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await trio.lowlevel.checkpoint()


def random_bytes(size: int) -> bytes:
    """Bytes nobody has stored before."""
    return secrets.token_bytes(min(size, 64)) + os.urandom(max(0, size - 64))
