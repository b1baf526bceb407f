"""The metadata against the disks: what lacks copies is named with all that refers to it, and what is there is told."""

import os
from pathlib import Path
from typing import cast

import msgspec
import trio

from api.check import census
from api.check.census import Affected, Census, Disk, Report
from metaraft.commands import DropHolder
from metaraft.model import Copies
from tests.api.operating import Operating, operating
from tests.api.steward.rounds import copies, delete, rows, settled, stored, until_lost


def files_of(o: Operating, chunk: str) -> list[Path]:
    """A chunk's files on all disks."""
    return sorted(Path(o.disks.config.base).glob(f"*/space-1/??/{chunk}"))


async def taken(o: Operating, *, tell: bool = False, disks: int = 3) -> Report:
    """A census of what is there now."""
    clients = cast(list[Disk], o.disks.clients)
    up = [client for client in o.disks.clients if client.connected]
    silent = [client.name for client in o.disks.clients if not client.connected]
    assert len(up) == disks <= len(clients)
    counted: list[int] = []
    timings = o.disks.config.timings
    found = await Census(o.meta, up, silent, timings, tell=tell, on_chunks=counted.append).run()
    assert sum(counted) == found.chunks
    return found


async def test_a_whole_store_lacks_nothing(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        assert await taken(o) == Report()
        await stored(o, "one")
        await o.put("small", b"inline")
        assert await taken(o) == Report(chunks=1)
        assert (await taken(o)).whole


async def test_what_lacks_copies_is_named_with_all_that_refers_to_it(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        for key in ("lost", "thin", "fine", "whole"):
            await stored(o, key)
        of = {key: next(iter((await o.find(key)).holders)).hex() for key in ("lost", "thin", "fine")}
        for chunk, count in ((of["lost"], 3), (of["thin"], 2), (of["fine"], 1)):
            for file in files_of(o, chunk)[:count]:
                file.unlink()
        found = await taken(o)
        assert (found.chunks, found.missing, found.thin) == (4, 1, 1)
        assert found.objects == [
            Affected("bucket", "lost", "null", "", missing=1, thin=0),
            Affected("bucket", "thin", "null", "", missing=0, thin=1),
        ]
        assert (found.objects_missing, found.objects_thin, found.whole) == (1, 1, False)


async def test_what_only_deleted_versions_refer_to_is_no_loss(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await stored(o, "gone")
        for file in files_of(o, next(iter(copies(o)))):
            file.unlink()
        await delete(o, "gone")
        found = await taken(o)
        assert (found.missing, found.objects, found.whole) == (1, [], True)


async def test_parts_of_one_object_are_summed_over_pages(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = os.urandom(3 * 8 * 1024 * 1024)
        await o.put("large", data)
        await settled(o)
        for chunk in copies(o):
            for file in files_of(o, chunk):
                file.unlink()
        (found,) = (await taken(o)).objects
        assert (found.key, found.missing) == ("large", 3)


async def test_copies_that_the_metadata_does_not_know_are_told_to_it_only_if_asked(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await stored(o, "k")
        (chunk,) = rows(o)
        holders = rows(o)[chunk].holders
        for disk in holders[:2]:
            await o.meta.commit(DropHolder(Copies(3), bytes.fromhex(chunk), disk), deadline=trio.current_time() + 5)
        assert len(rows(o)[chunk].holders) == 1
        found = await taken(o)
        assert (found.thin, found.untold, found.told, found.objects_thin) == (1, 2, 0, 1)
        assert len(rows(o)[chunk].holders) == 1
        found = await taken(o, tell=True)
        assert (found.thin, found.untold, found.told, found.whole) == (0, 0, 2, True)
        assert set(rows(o)[chunk].holders) == set(holders)
        assert await taken(o) == Report(chunks=1)
        assert await o.get("k") == data


async def test_a_daemon_that_does_not_answer_is_named_and_its_copies_do_not_count(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await stored(o, "k")
        await until_lost(o, 0)
        found = await taken(o, disks=2)
        assert (found.silent, found.whole) == ([o.disks.clients[0].name], True)
        await until_lost(o, 1)
        found = await taken(o, disks=1)
        assert (found.thin, found.whole) == (1, False)


async def test_a_daemon_that_goes_away_in_the_middle_is_one_that_does_not_answer(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await stored(o, "k")
        clients = o.disks.clients
        await until_lost(o, 2)
        found = await Census(
            o.meta, clients, [], o.disks.config.timings, tell=True, on_chunks=lambda _count: None
        ).run()
        assert (found.silent, found.chunks, found.whole) == ([clients[2].name], 1, True)


async def test_what_is_named_is_bounded_and_all_is_counted(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        for number in range(4):
            await stored(o, f"k{number}")
        for chunk in copies(o):
            for file in files_of(o, chunk):
                file.unlink()
        before, census.NAMED_MAX = census.NAMED_MAX, 3
        try:
            found = await taken(o)
        finally:
            census.NAMED_MAX = before
        assert (len(found.objects), found.objects_missing) == (3, 4)
        assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found


async def test_what_is_traced_is_bounded_and_what_is_not_traced_is_counted(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        for number in range(4):
            await stored(o, f"k{number}")
        for chunk in copies(o):
            for file in files_of(o, chunk):
                file.unlink()
        before, census.LACKING_MAX = census.LACKING_MAX, 3
        try:
            found = await taken(o)
        finally:
            census.LACKING_MAX = before
        assert (found.missing, found.objects_missing, found.untraced, found.whole) == (4, 3, 1, False)
