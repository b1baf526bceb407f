"""A client and a server in one trio run, over a Unix socket or over TCP with TLS."""

import functools
import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from cluster.config import Address, TcpAddress, UnixAddress
from cluster.identity import NodeIdentity, make_ca, make_node_certificate, tls_identity
from cluster.limits import Limits, Timings
from cluster.rpc import Channel, Service, TransferPool, serve

type Transport = Literal["unix", "tls"]

CLUSTER = "cluster-1"


@contextmanager
def short_folder() -> Generator[Path]:
    """A folder of mode 0700 whose sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="tri") as name:
        yield Path(name)


@functools.cache
def tls_folder() -> tempfile.TemporaryDirectory[str]:
    """One CA for all tests: keys cost time."""
    folder = tempfile.TemporaryDirectory(prefix="tri")
    make_ca(Path(folder.name), CLUSTER)
    return folder


def identity(name: str, transport: Transport, cluster_id: str = CLUSTER) -> NodeIdentity:
    """Who `name` is."""
    if transport == "unix":
        return NodeIdentity(cluster_id, name)
    folder = Path(tls_folder().name)
    make_node_certificate(folder, name)
    return tls_identity(folder, cluster_id, name)


def where(folder: Path, transport: Transport) -> Address:
    """Where to listen."""
    return UnixAddress(str(folder / "s.sock")) if transport == "unix" else TcpAddress("127.0.0.1", 0)


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@dataclass
class Pair:
    """A server called `server` and what a client called `client` needs to reach it."""

    address: Address
    me: NodeIdentity
    limits: Limits
    timings: Timings
    nursery: trio.Nursery
    server_scope: trio.CancelScope

    async def channel(self, limits: Limits | None = None, timings: Timings | None = None) -> Channel:
        """A connected channel."""
        channel = Channel(self.address, "server", "test", self.me, limits or self.limits, timings or self.timings)
        self.nursery.start_soon(channel.run)
        await channel.wait_connected()
        return channel

    @asynccontextmanager
    async def pool(self, limits: Limits | None = None) -> AsyncGenerator[TransferPool]:
        """A pool, closed at the end."""
        pool = TransferPool(self.address, "server", "test", self.me, limits or self.limits, self.timings)
        try:
            yield pool
        finally:
            pool.close()


@asynccontextmanager
async def running(
    service: Service,
    transport: Transport = "unix",
    limits: Limits | None = None,
    timings: Timings | None = None,
) -> AsyncGenerator[Pair]:
    """Serve while the context is open."""
    limits, timings = limits or Limits(), timings or Timings()
    with short_folder() as folder:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run(*, task_status: trio.TaskStatus[Address]) -> None:
                with scope:
                    await serve(
                        service,
                        where(folder, transport),
                        identity("server", transport),
                        limits,
                        timings,
                        task_status=task_status,
                    )

            address = await nursery.start(run)
            yield Pair(address, identity("client", transport), limits, timings, nursery, scope)
            nursery.cancel_scope.cancel()
