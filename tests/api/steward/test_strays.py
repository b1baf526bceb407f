"""Copies that no row names: what a cut-off write left goes, and nothing that is referenced or under way does."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from api.steward import strays
from api.steward.strays import Strays
from chunkd.client import ChunkClient
from cluster.errors import Unavailable
from cluster.identity import NodeIdentity
from metaraft.commands import (
    Command,
    PutObject,
)
from metaraft.queries import Query
from tests.api.disks import random_bytes
from tests.api.operating import Operating
from tests.api.refusals import refusal
from tests.api.steward.rounds import (
    DATA_BYTES,
    copies,
    delete,
    introduced,
    once,
    settled,
    steward,
    stored,
    until_lost,
    whole_and_held,
)


def strays_of(o: Operating) -> Strays:
    return Strays(o.meta, o.disks.nodes, o.disks.config.timings)


async def sweep(o: Operating) -> int:
    """Walk over all disks."""
    return sum([await strays_of(o).sweep(node) for node in o.disks.nodes.up()])


async def cut_off(o: Operating, key: str) -> bytes:
    """A write that stores its chunk on all disks and ends before its commit."""
    before = copies(o)

    async def fail(command: Command | Query) -> None:
        if isinstance(command, PutObject):
            with trio.fail_after(60):
                while sorted((copies(o) - before).values()) != [3]:
                    await trio.lowlevel.checkpoint()
            raise Unavailable("NoQuorum", "no leader answered")

    data = random_bytes(DATA_BYTES)
    o.meta.before = fail
    await refusal("NoQuorum", o.put(key, data))
    o.meta.before = None
    return data


async def test_what_a_write_left_that_was_cut_off_goes_when_it_is_old_enough(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "kept")
        await cut_off(o, "lost")
        assert await sweep(o) == 0
        await s.round()
        assert await sweep(o) == 0
        await s.rounds(2)
        assert await sweep(o) == 3
        assert sorted(copies(o).values()) == [3]
        await whole_and_held(o, "kept", data)
        assert await sweep(o) == 0


async def test_a_writer_that_is_not_done_by_then_is_told_to_send_again(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = random_bytes(DATA_BYTES)

        async def sleep_in() -> None:
            await s.rounds(2)
            assert await sweep(o) >= 2

        o.meta.before = once(PutObject, sleep_in)
        await refusal("PutAgain", o.put("late", data))
        await refusal("NoSuchKey", o.find("late"))
        await o.put("late", data)
        await whole_and_held(o, "late", data)


async def test_a_stray_that_is_referenced_just_before_it_would_go_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with steward(tmp_path) as (o, s):
        data = await cut_off(o, "lost")
        await s.rounds(2)
        client = o.disks.clients[0]
        really = client.delete

        async def first_somebody_writes(ids: Sequence[bytes], horizon: int, *, deadline: float) -> list[bool]:
            await o.disks.nodes.space.read(since=trio.current_time())
            await o.put("again", data)
            await settled(o)
            return await really(ids, horizon, deadline=deadline)

        monkeypatch.setattr(client, "delete", first_somebody_writes)
        assert await strays_of(o).sweep(client) == 0
        await whole_and_held(o, "again", data)
        assert sorted(copies(o).values()) == [3]


async def test_a_disk_that_a_chunk_came_back_without_loses_its_old_copy(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await until_lost(o, 2)
        await s.rounds(2)
        await o.put("a", data)
        await o.disks.start(2)
        await introduced(o)
        assert sorted(copies(o).values()) == [3]
        await s.rounds(2)
        assert await sweep(o) == 1
        await whole_and_held(o, "a", data, disks=2)
        assert sorted(copies(o).values()) == [2]


async def test_a_disk_is_walked_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "PAGE", 2)
    async with steward(tmp_path) as (o, s):
        kept = {key: await stored(o, key) for key in ("a", "b", "c")}
        for key in ("d", "e", "f", "g"):
            await cut_off(o, key)
        await s.rounds(2)
        assert await sweep(o) == 4 * 3
        assert copies(o).total() == 3 * 3
        for key, data in kept.items():
            await whole_and_held(o, key, data)


async def test_who_takes_a_daemon_for_another_disks_deletes_nothing(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await s.rounds(2)
        node = msgspec.structs.replace(o.disks.config.chunkd[0], disk_id="ee" * 16)
        async with trio.open_nursery() as nursery:
            client = ChunkClient(node, o.disks.config, NodeIdentity(o.disks.config.cluster_id, "steward"))
            await nursery.start(client.run)
            with trio.fail_after(60):
                await client.wait_connected()
            await refusal("WrongDisk", strays_of(o).sweep(client))
            nursery.cancel_scope.cancel()
        await whole_and_held(o, "a", data)
        assert copies(o) != Counter()


async def test_a_daemon_that_fails_is_left_for_the_next_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "HORIZONS", 1)
    async with steward(tmp_path) as (o, s):
        await cut_off(o, "lost")
        await s.rounds(2)
        short = msgspec.structs.replace(o.disks.config.timings, horizon_s=0.1)
        failed = trio.Event()
        client = o.disks.clients[0]

        async def fail(*_: object, **__: object) -> None:
            failed.set()
            raise Unavailable("DiskFailed", "the disk is broken")

        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as patched:
                patched.setattr(client, "list", fail)
                nursery.start_soon(Strays(o.meta, o.disks.nodes, short).run)
                with trio.fail_after(60):
                    await failed.wait()
                    while sorted(copies(o).values()) != [1]:
                        await trio.lowlevel.checkpoint()
            with trio.fail_after(60):
                while copies(o) != Counter():
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
