"""Figures of a cluster as `make up` makes it, client on the same machine, beside the machine's own limits.

Each scenario warms up, then runs for a fixed time with all clients in this one process. Latencies are those a client
sees. What is printed can be written to a file as JSON. No figure is judged here.
"""

import itertools
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import msgspec
import trio

from chaos.client import Connection, object_path, s3_path
from chaos.local import LocalCluster
from chaos.machine import MIB, Machine, measure
from cluster.cli.access import Access
from cluster.config import Config
from cluster.identity import load_identity
from metaraft.client import MetaClient
from metaraft.commands import Touch
from metaraft.queries import GetSpace

SMALL_BYTES = 4096
LARGE_BYTES = 64 * MIB


class Figure(msgspec.Struct, kw_only=True):
    """One scenario: operations per second, MB/s (10^6 bytes of content), latencies in milliseconds."""

    name: str
    clients: int
    operations: int
    per_s: float
    mb_s: float
    p50_ms: float
    p99_ms: float
    ratio: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A whole run."""

    machine: Machine
    figures: list[Figure]


async def timed(
    name: str, clients: int, size: int, seconds: float, make: Callable[[int], Awaitable[Callable[[], Awaitable[None]]]]
) -> Figure:
    """Run `clients` tasks of one operation each over and over. `make(client)` prepares a client and returns its
    operation."""
    latencies: list[float] = []
    counting = False
    operations = [await make(client) for client in range(clients)]

    async def client_loop(operation: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = trio.current_time()
            await operation()
            if counting:
                latencies.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for operation in operations:
            nursery.start_soon(client_loop, operation)
        await trio.sleep(seconds / 4)
        counting = True
        began = trio.current_time()
        await trio.sleep(seconds)
        took = trio.current_time() - began
        nursery.cancel_scope.cancel()
    latencies.sort()
    count = len(latencies)
    if count == 0:
        return Figure(name=name, clients=clients, operations=0, per_s=0, mb_s=0, p50_ms=0, p99_ms=0)
    return Figure(
        name=name,
        clients=clients,
        operations=count,
        per_s=round(count / took, 1),
        mb_s=round(count * size / took / 1e6, 1),
        p50_ms=round(latencies[count // 2] * 1e3, 2),
        p99_ms=round(latencies[min(count - 1, count * 99 // 100)] * 1e3, 2),
    )


def putter(
    access: Access, name: str, size: int, stored: list[int], *, s3: bool = False
) -> Callable[[int], Awaitable[Callable[[], Awaitable[None]]]]:
    """PUT of new keys with bytes never stored before (nothing is deduplicated); numbers acknowledged go to `stored`."""
    numbers = itertools.count()
    pool = random.randbytes(size)

    async def make(client: int) -> Callable[[], Awaitable[None]]:
        connection = Connection(access, s3=s3)
        path = s3_path if s3 else object_path

        async def put() -> None:
            number = next(numbers)
            key = f"bench/{name}/{number:08d}"
            body: bytes | list[bytes]
            if size <= MIB:
                body = os.urandom(16) + pool[16:]
            else:  # every 1 MiB piece begins with fresh bytes, so that each chunk is new
                body = [os.urandom(16) + pool[at + 16 : at + MIB] for at in range(0, size, MIB)]
            answer = await connection.request("PUT", path("default", key), body=body, size=size)
            if answer.status >= 300:
                raise RuntimeError(f"PUT was answered with {answer.status}: {answer.body!r}")
            stored.append(number)

        return put

    return make


def getter(
    access: Access, name: str, stored: list[int], size: int, *, s3: bool = False
) -> Callable[[int], Awaitable[Callable[[], Awaitable[None]]]]:
    """GET of the keys that a PUT scenario stored, in random order; bodies are counted, not kept."""

    async def make(client: int) -> Callable[[], Awaitable[None]]:
        connection = Connection(access, s3=s3)
        path = s3_path if s3 else object_path
        order = random.Random(client)

        async def get() -> None:
            target = path("default", f"bench/{name}/{order.choice(stored):08d}")
            answer = await connection.request("GET", target, sink=lambda _: None)
            if answer.status != 200 or answer.size != size:
                raise RuntimeError(f"GET was answered with {answer.status} and {answer.size} bytes")

        return get

    return make


def lister(access: Access, name: str) -> Callable[[int], Awaitable[Callable[[], Awaitable[None]]]]:
    """Pages of 1,000 keys, each behind the one before, from the beginning again at the end (ListObjectsV2)."""

    async def make(client: int) -> Callable[[], Awaitable[None]]:
        connection = Connection(access, s3=True)
        prefix = quote(f"bench/{name}/", safe="")
        after = ""

        async def page() -> None:
            nonlocal after
            target = f"/default?list-type=2&max-keys=1000&prefix={prefix}&start-after={quote(after, safe='')}"
            answer = await connection.request("GET", target)
            if answer.status != 200:
                raise RuntimeError(f"a listing was answered with {answer.status}: {answer.body!r}")
            keys = answer.body.rpartition(b"</Key>")[0].rpartition(b"<Key>")[2].decode()
            after = keys if b"<IsTruncated>true" in answer.body else ""

        return page

    return make


async def metadata(config: Config, seconds: float) -> list[Figure]:
    """Commands of 200 bytes, and linearizable reads, straight to the members: 64 at a time from one client."""
    client = MetaClient(config, load_identity(config, config.api[0].name))
    command, query = Touch(padding=bytes(160)), GetSpace()

    async def commit() -> None:
        await client.commit(command, deadline=trio.current_time() + 30)

    async def read() -> None:
        await client.read(query, deadline=trio.current_time() + 30)

    async def make_commit(_: int) -> Callable[[], Awaitable[None]]:
        return commit

    async def make_read(_: int) -> Callable[[], Awaitable[None]]:
        return read

    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        figures = [
            await timed("commit 200 B", 64, 200, seconds, make_commit),
            await timed("linear. read", 64, 0, seconds, make_read),
        ]
        nursery.cancel_scope.cancel()
    return figures


async def run(folder: Path, *, seconds: float, say: Callable[[str], None]) -> Report:
    """Measure the machine, then a fresh cluster under `folder`."""
    machine = await trio.to_thread.run_sync(measure, folder)
    say(_machine_text(machine))
    figures: list[Figure] = []

    def done(figure: Figure, ratio: str) -> None:
        figure.ratio = ratio
        figures.append(figure)
        say(_figure_text(figure))

    cluster = LocalCluster(folder / "cluster")
    await trio.to_thread.run_sync(cluster.up)
    try:
        access = cluster.access()
        put = await timed("PUT 4 KiB", 1, SMALL_BYTES, seconds, putter(access, "one", SMALL_BYTES, []))
        done(put, f"p50 is {put.p50_ms / machine.fdatasync_4k_p50_ms:.1f} fdatasyncs")
        small: list[int] = []
        put = await timed("PUT 4 KiB", 16, SMALL_BYTES, seconds, putter(access, "small", SMALL_BYTES, small))
        done(put, f"{put.per_s * machine.fdatasync_4k_p50_ms / 1e3:.2f} PUTs per fdatasync time")
        get = await timed("GET 4 KiB", 16, SMALL_BYTES, seconds, getter(access, "small", small, SMALL_BYTES))
        done(get, f"{get.per_s / put.per_s:.1f} times PUT")
        signed: list[int] = []
        s3_put = await timed(
            "S3 PUT 4 KiB", 16, SMALL_BYTES, seconds, putter(access, "s3", SMALL_BYTES, signed, s3=True)
        )
        done(s3_put, f"{s3_put.per_s / put.per_s:.0%} of the native one")
        s3_get = await timed(
            "S3 GET 4 KiB", 16, SMALL_BYTES, seconds, getter(access, "s3", signed, SMALL_BYTES, s3=True)
        )
        done(s3_get, f"{s3_get.per_s / get.per_s:.0%} of the native one")
        pages = await timed("S3 LIST 1,000", 4, 0, seconds, lister(access, "s3"))
        done(pages, "pages of up to 1,000 keys")
        large: list[int] = []
        put = await timed("PUT 64 MiB", 4, LARGE_BYTES, 3 * seconds, putter(access, "large", LARGE_BYTES, large))
        done(put, f"{put.mb_s / machine.three_synced_writers_mb_s:.0%} of three plain synced writers")
        get = await timed("GET 64 MiB", 4, LARGE_BYTES, 2 * seconds, getter(access, "large", large, LARGE_BYTES))
        done(get, f"{get.mb_s / machine.memory_copy_mb_s:.0%} of a memory copy")
        for figure in await metadata(cluster.config, seconds):
            done(figure, "64 in flight")
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(cluster.down)
    return Report(machine=machine, figures=figures)


def _machine_text(machine: Machine) -> str:
    return (
        f"machine: {machine.cores} cores; fdatasync of 4 KiB p50 {machine.fdatasync_4k_p50_ms} ms,"
        f" p99 {machine.fdatasync_4k_p99_ms} ms; memory copy {machine.memory_copy_mb_s} MB/s,"
        f" MD5 {machine.md5_mb_s}, SHA-256 {machine.sha256_mb_s}, BLAKE3 {machine.blake3_mb_s};"
        f" three plain synced writers {machine.three_synced_writers_mb_s} MB/s of content"
    )


def _figure_text(figure: Figure) -> str:
    return (
        f"{figure.name:<14} {figure.clients:>3} clients  {figure.per_s:>9.1f}/s  {figure.mb_s:>7.1f} MB/s"
        f"  p50 {figure.p50_ms:>8.2f} ms  p99 {figure.p99_ms:>8.2f} ms  {figure.ratio}"
    )
