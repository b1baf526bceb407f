"""What a page of a listing costs in a bucket of very many keys, beside the same page in one of few.

The keys are loaded straight into the metadata, many commands at once; the pages are asked for over HTTP, as S3 clients
do. Each kind of page is asked for in turn in both buckets, so that a ratio holds when the machine's speed drifts.
"""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import trio

from chaos.client import Connection
from chaos.local import LocalCluster
from cluster.config import Config
from cluster.identity import load_identity
from metaraft.client import MetaClient
from metaraft.commands import (
    CreateBucket,
    PutObject,
)
from metaraft.model import Bucket, Copies, Inline
from metaraft.queries import BucketFound, GetBucket

_LOADERS = 256
_EMPTY_ETAG = "d41d8cd98f00b204e9800998ecf8427e"
_FOLDERS = 10
"""Keys are `FOLDER/NUMBER`: a page with a delimiter has this many common prefixes."""


class PageCost(msgspec.Struct, kw_only=True):
    """One kind of page: medians in milliseconds, and how many times the one costs the other."""

    page: str
    few_ms: float
    many_ms: float
    ratio: float


def key_of(number: int, keys: int) -> str:
    """The key of a number: in order, spread over the folders."""
    return f"{number * _FOLDERS // keys}/{number:010d}"


async def load(config: Config, bucket: str, keys: int) -> None:
    """Make a bucket and so many empty objects in it."""
    client = MetaClient(config, load_identity(config, config.api[0].name))
    async with trio.open_nursery() as running:
        await running.start(client.run)
        await client.commit(
            CreateBucket(name=bucket, owner="root", scheme=Copies(config.copies)), deadline=trio.current_time() + 30
        )
        found = await client.read(GetBucket(name=bucket), deadline=trio.current_time() + 30)
        assert isinstance(found, BucketFound)
        numbers = iter(range(keys))
        async with trio.open_nursery() as loaders:
            for _ in range(_LOADERS):
                loaders.start_soon(_load_some, client, found.bucket, numbers, keys)
        running.cancel_scope.cancel()


async def _load_some(client: MetaClient, bucket: Bucket, numbers: Iterator[int], keys: int) -> None:
    for number in numbers:
        command = PutObject(
            bucket=bucket.name,
            bucket_id=bucket.bucket_id,
            key=key_of(number, keys),
            size=0,
            etag=_EMPTY_ETAG,
            content_type="binary/octet-stream",
            body=Inline(b""),
            owner="root",
        )
        await client.commit(command, deadline=trio.current_time() + 60)


def pages(keys: int) -> dict[str, str]:
    """The query of each kind of page in a bucket of so many keys."""
    middle = quote(key_of(keys // 2, keys), safe="")
    return {
        "first page": "list-type=2&max-keys=1000",
        "page in the middle": f"list-type=2&max-keys=1000&start-after={middle}",
        "page with a delimiter": "delimiter=%2F&list-type=2&max-keys=1000",
    }


async def run(folder: Path, *, few: int, many: int, rounds: int, say: Callable[[str], None]) -> list[PageCost]:
    """Load both buckets into a fresh cluster under `folder` and compare."""
    cluster = LocalCluster(folder)
    await trio.to_thread.run_sync(cluster.up)
    try:
        for bucket, keys in (("few", few), ("many", many)):
            began = trio.current_time()
            await load(cluster.config, bucket, keys)
            say(f"{keys} keys loaded in {trio.current_time() - began:.0f} s")
        connection = Connection(cluster.access(), s3=True)
        return [await _compare(connection, kind, few, many, rounds) for kind in pages(few)]
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(cluster.down)


async def _compare(connection: Connection, kind: str, few: int, many: int, rounds: int) -> PageCost:
    took: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(rounds):
        for bucket, keys in (("few", few), ("many", many)):
            began = trio.current_time()
            answer = await connection.request("GET", f"/{bucket}?{pages(keys)[kind]}")
            took[bucket].append(trio.current_time() - began)
            if answer.status != 200:
                raise RuntimeError(f"{kind} of {bucket} was answered with {answer.status}: {answer.body!r}")
    few_ms, many_ms = (1000 * statistics.median(took[bucket]) for bucket in ("few", "many"))
    return PageCost(page=kind, few_ms=round(few_ms, 2), many_ms=round(many_ms, 2), ratio=round(many_ms / few_ms, 2))
