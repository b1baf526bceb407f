"""Members whose data is wrong, as real processes: each says so and stops, and the cluster goes on."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import pytest
import trio

from cluster.config import Config
from cluster.exits import RoleExit
from cluster.limits import Timings
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket, Touch
from metaraft.journal_records import HEADER_BYTES
from metaraft.members.folders import incarnation_of
from metaraft.members.notes import make_note
from metaraft.members.operator import connected
from metaraft.members.replacing import Replacement
from metaraft.model import Copies
from metaraft.rows import Kind
from metaraft.server import store_directory
from metaraft.store import DATA_FILE
from tests.metaraft.members import (
    Processes,
    client_of,
    cluster_folder,
    equal_rows,
    identity,
    processes_of,
    soon,
    until,
)
from tests.metaraft.rot import alter_row, miscount_users

pytestmark = pytest.mark.probe


@asynccontextmanager
async def running(timings: Timings | None = None) -> AsyncIterator[tuple[Config, Processes, MetaClient]]:
    with cluster_folder(timings=timings) as config, processes_of(config) as processes:
        processes.start(1, 2, 3)
        async with client_of(config) as client:
            await client.commit(CreateBucket("b", "owner", Copies(3)), deadline=soon())
            await until(client.status, equal_rows)
            yield config, processes, client


@asynccontextmanager
async def writes(client: MetaClient) -> AsyncIterator[list[int]]:
    """Commits all the while, each of which must succeed; how many there were so far is in the list."""
    count = [0]

    async def write() -> None:
        while True:
            await client.commit(Touch(), deadline=soon())
            count[0] += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        yield count
        nursery.cancel_scope.cancel()


def last_words(processes: Processes, slot: int) -> dict[str, str]:
    """The last line of a member's log."""
    found: dict[str, str] = json.loads(processes.log(slot).splitlines()[-1])
    return found


async def end_in_order(processes: Processes, slot: int) -> None:
    processes.signal(SIGTERM, slot)
    assert await processes.wait(slot) == RoleExit.DONE


async def stays_down(processes: Processes, slot: int) -> None:
    """A member that was found wrong is not taken for right because it was started again."""
    processes.start(slot)
    assert await processes.wait(slot) == RoleExit.DISK
    words = last_words(processes, slot)
    assert "StoreCondemned" in words["reason"]
    assert f"trilith member replace meta-{slot}" in words["reason"]


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_member_with_an_altered_row_is_found_by_the_others_within_seconds_of_writes(role: str) -> None:
    async with running() as (config, processes, client):
        leader = client.leader
        assert leader is not None
        wrong = leader if role == "leader" else leader % 3 + 1
        await end_in_order(processes, wrong)
        miscount_users(store_directory(config, config.member[wrong - 1]))
        processes.start(wrong)
        async with writes(client) as count:
            with trio.fail_after(20):
                assert await processes.wait(wrong) == RoleExit.DISK
            before = count[0]
            while count[0] < before + 20:  # noqa: ASYNC110 - the cluster goes on
                await trio.sleep(0.02)
        words = last_words(processes, wrong)
        assert (words["level"], words["event"]) == ("critical", "member_differs")
        assert f"trilith member replace meta-{wrong}" in words["reason"]
        assert f"rows of slot {wrong} differ: at index" in words["reason"]
        statuses = [status for status in await client.status() if status.role != "unreachable"]
        assert len(statuses) == 2
        assert [text for status in statuses for slot, text in status.differing.items() if slot == wrong]
        assert {slot for status in statuses for slot in status.differing} == {wrong}
        await stays_down(processes, wrong)


async def test_a_row_that_nobody_writes_again_is_found_by_the_walk() -> None:
    async with running(Timings(walk_every_s=0.5)) as (config, processes, client):
        assert client.leader is not None
        wrong = client.leader % 3 + 1
        found = await until(client.status, lambda found: all(status.walked_ms for status in found))
        assert {status.rows > 0 for status in found} == {True}
        await end_in_order(processes, wrong)
        change = bytes([Kind.NAME]) + b"b"
        alter_row(store_directory(config, config.member[wrong - 1]), change, lambda value: value[:-1] + b"\x09")
        processes.start(wrong)
        async with writes(client):
            with trio.fail_after(20):
                assert await processes.wait(wrong) == RoleExit.DISK
        words = last_words(processes, wrong)
        assert (words["level"], words["event"]) == ("critical", "disk_failed")
        assert "SetHashWrong" in words["reason"]
        await stays_down(processes, wrong)
        assert f"trilith member replace meta-{wrong}" in words["reason"]


async def test_a_member_that_was_set_back_to_an_older_copy_of_its_folder_says_so_and_stays_down() -> None:
    async with running() as (config, processes, client):
        assert client.leader is not None
        wrong = client.leader % 3 + 1
        folder = config.path(config.member[wrong - 1].directory)
        older = folder.with_name("older")
        await end_in_order(processes, wrong)
        shutil.copytree(folder, older)
        processes.start(wrong)
        await client.commit(Touch(), deadline=soon())
        await until(client.status, equal_rows)
        await end_in_order(processes, wrong)
        shutil.rmtree(folder)
        older.rename(folder)
        processes.start(wrong)
        async with writes(client):
            with trio.fail_after(20):
                assert await processes.wait(wrong) == RoleExit.DISK
        words = last_words(processes, wrong)
        assert (words["level"], words["event"]) == ("critical", "entries_lost")
        assert f"trilith member replace meta-{wrong}" in words["reason"]
        await stays_down(processes, wrong)


def flip_byte(file: Path, place: int) -> None:
    """Other bits in one byte of a file."""
    with file.open("r+b") as opened:
        opened.seek(place)
        was = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([was ^ 0xFF]))


def rot_record(folder: Path) -> None:
    """The first record of a journal is not what was written."""
    flip_byte(min(folder.glob("journal/*.segment")), HEADER_BYTES + 20)


def rot_head(folder: Path) -> None:
    """A journal no longer tells whose it is."""
    flip_byte(min(folder.glob("journal/*.segment")), 12)


def rot_page(folder: Path) -> None:
    """Every page of the tree of rows is of no kind that there is; those that say where it begins are left."""
    data = folder / "store" / DATA_FILE
    for page in range(2, data.stat().st_size // 4096):
        flip_byte(data, page * 4096 + 18)


async def test_a_member_whose_journal_or_database_is_rotten_says_so_and_comes_back_by_being_replaced() -> None:
    async with running() as (config, processes, client), connected(config, identity(config, "operator")) as operator:

        def tell(text: str) -> None:
            told.append(text)
            if "start meta-2 now" in text and text not in told[:-1]:
                processes.start(2)

        node = config.member[1]
        folder = config.path(node.directory)
        for damage, code, aside in (
            (rot_record, "JournalRot", "incarnation"),
            (rot_head, "JournalRot", "empty"),
            (rot_page, "StoreRot", "incarnation"),
        ):
            told: list[str] = []
            await end_in_order(processes, 2)
            old = incarnation_of(folder)
            damage(folder)
            assert incarnation_of(folder) == (old if aside == "incarnation" else "")
            async with writes(client):
                processes.start(2)
                assert await processes.wait(2) == RoleExit.DISK
                words = last_words(processes, 2)
                assert (words["level"], words["event"]) == ("critical", "disk_failed")
                assert code in words["reason"]
                assert "`trilith member replace meta-2`" in words["reason"]
                plan = make_note(config, node, address="", elsewhere=False)
                with trio.fail_after(60):
                    await Replacement(operator, node, plan, tell).run()
            assert told[-1].startswith("meta-2 is replaced")
            name = old[:12] if aside == "incarnation" else "empty"
            assert folder.with_name(f"{folder.name}.retired-{name}").is_dir()
            assert incarnation_of(folder) == plan.successor
            await until(client.status, equal_rows)
