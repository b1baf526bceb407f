"""Members whose data is wrong, as real processes: each says so and stops, and the cluster goes on."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGTERM

import pytest
import trio

from cluster.config import Config
from cluster.exits import RoleExit
from cluster.limits import Timings
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket, Touch
from metaraft.model import Copies
from metaraft.rows import Kind
from metaraft.server import store_directory
from tests.metaraft.members import Processes, client_of, cluster_folder, equal_rows, processes_of, soon, until
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
