"""Members as real processes: killed, stopped, on a failing disk, and never unpickling."""

import errno
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from cluster.config import FILE_NAME, Config
from cluster.errors import OutcomeUnknown, Unavailable
from cluster.exits import RoleExit
from metaraft.client import MetaClient
from metaraft.commands import (
    CreateBucket,
    Touch,
)
from metaraft.model import Copies
from metaraft.queries import (
    BucketsFound,
    ListBuckets,
)
from metaraft.results import (
    Done,
)
from tests.metaraft.members import (
    Processes,
    client_of,
    cluster_folder,
    equal_rows,
    processes_of,
    soon,
    until,
)
from tests.metaraft.no_pickle import UNPICKLED

pytestmark = pytest.mark.probe

NO_PICKLE = ["-c", "import sys; sys.path.insert(0, '.'); from tests.metaraft.no_pickle import main; sys.exit(main())"]
FAILING = ["-c", "import sys; sys.path.insert(0, '.'); from tests.metaraft.failing_disk import main; sys.exit(main())"]


@asynccontextmanager
async def running(program: list[str] | None = None) -> AsyncIterator[tuple[Config, Processes, MetaClient]]:
    with cluster_folder() as config, processes_of(config, program) as processes:
        processes.start(1, 2, 3)
        async with client_of(config) as client:
            yield config, processes, client


def bucket(name: str) -> CreateBucket:
    return CreateBucket(name, "owner", Copies(3))


async def names(client: MetaClient) -> list[str]:
    """All buckets, page by page."""
    names: list[str] = []
    more = True
    while more:
        found = await client.read(ListBuckets(after=names[-1] if names else ""), deadline=soon())
        assert isinstance(found, BucketsFound)
        names += [bucket.name for bucket in found.buckets]
        more = found.more
    return names


async def led_by(client: MetaClient) -> int:
    """The leader, after a commit through it."""
    await client.commit(Touch(), deadline=soon())
    assert client.leader is not None
    return client.leader


async def test_killed_leaders_lose_nothing_and_come_back() -> None:
    async with running() as (_, processes, client):
        acknowledged: list[str] = []
        stop = False

        async def write(worker: int) -> None:
            number = 0
            while not stop:
                number += 1
                name = f"b-{worker}-{number:05}"
                await client.commit(bucket(name), deadline=soon())
                acknowledged.append(name)

        async with trio.open_nursery() as nursery:
            for worker in range(4):
                nursery.start_soon(write, worker)
            for _ in range(3):
                leader = await led_by(client)
                await processes.kill(leader)
                assert await led_by(client) != leader
                processes.start(leader)
                await until(client.status, lambda found: all(status.role != "unreachable" for status in found))
            stop = True
        found = await names(client)
        missing = set(acknowledged) - set(found)
        assert not missing
        assert len(found) == len(acknowledged)  # each exactly once, and nothing else
        await until(client.status, equal_rows)


async def test_all_killed_at_once_have_everything_that_was_acknowledged() -> None:
    async with running() as (_, processes, client):
        for number in range(20):
            await client.commit(bucket(f"b-{number:02}"), deadline=soon())
        for slot in (1, 2, 3):
            processes.signal(signal.SIGKILL, slot)
        for slot in (1, 2, 3):
            await processes.wait(slot)
        processes.start(1, 2, 3)
        assert await names(client) == [f"b-{number:02}" for number in range(20)]


async def test_a_paused_leader_serves_no_old_state_when_it_wakes() -> None:
    async with running() as (config, processes, client):
        leader = await led_by(client)
        async with client_of(config) as stubborn:
            await stubborn.channel(leader).wait_connected()
            processes.signal(signal.SIGSTOP, leader)
            await client.commit(bucket("written-meanwhile"), deadline=soon())
            found: list[list[str]] = []

            async def ask() -> None:
                stubborn.leads(leader)  # so it believes, and asks the one that was paused
                found.append(await names(stubborn))

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                processes.signal(signal.SIGCONT, leader)
            assert found == [["written-meanwhile"]] * 20


async def test_a_lost_answer_is_repeated_under_its_key_and_has_one_effect() -> None:
    async with running() as (_, processes, client):
        leader = await led_by(client)
        results: list[object] = []

        async def write() -> None:
            results.append(await client.commit(bucket("once"), deadline=soon()))

        processes.signal(signal.SIGSTOP, leader)  # the command reaches its socket, and no answer comes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            await processes.kill(leader)
        assert len(results) == 1
        assert await names(client) == ["once"]


async def test_with_two_members_down_all_is_refused_within_the_deadline() -> None:
    async with running() as (_, processes, client):
        leader = await led_by(client)
        for slot in {1, 2, 3} - {leader}:
            await processes.kill(slot)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await client.commit(bucket("a"), deadline=trio.current_time() + 3.0)
        with pytest.raises(Unavailable):
            await client.read(ListBuckets(), deadline=trio.current_time() + 3.0)


async def test_members_end_in_order_when_asked_and_start_again() -> None:
    async with running() as (_, processes, client):
        await client.commit(bucket("a"), deadline=soon())
        await until(client.status, equal_rows)  # all serve
        processes.signal(signal.SIGTERM, 1, 2, 3)
        assert [await processes.wait(slot) for slot in (1, 2, 3)] == [RoleExit.DONE] * 3
        processes.start(1, 2, 3)
        assert await names(client) == ["a"]


async def test_nothing_is_ever_unpickled() -> None:
    async with running(NO_PICKLE) as (_, processes, client):
        for number in range(10):
            await client.commit(bucket(f"b-{number}"), deadline=soon())
        leader = await led_by(client)
        await processes.kill(leader)
        await led_by(client)
        processes.start(leader)
        await until(client.status, equal_rows)
        processes.signal(signal.SIGTERM, 1, 2, 3)
        assert [await processes.wait(slot) for slot in (1, 2, 3)] == [RoleExit.DONE] * 3


def test_the_process_that_must_not_unpickle_would_say_so() -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); import tests.metaraft.no_pickle as n, metaraft.__main__ as m\n"
        "def member():\n"
        "    import pickle\n"
        "    pickle.loads(b'')\n"
        "m.main = member\n"
        "sys.exit(n.main())\n"
    )
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False).returncode == UNPICKLED


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_disk_that_fails_ends_the_member_for_good(code: int) -> None:
    program = [FAILING[0], FAILING[1], str(code)]
    async with running(program) as (config, processes, client):
        await client.commit(bucket("a"), deadline=soon())
        (Path(config.base) / "fail").touch()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await client.commit(bucket("b"), deadline=trio.current_time() + 2)

        async def ended() -> list[int]:
            await client.status()
            return [slot for slot, process in processes.running.items() if process.poll() is not None]

        # Without a majority the last one has nothing to write, and lives.
        for slot in await until(ended, lambda found: len(found) >= 2):
            assert await processes.wait(slot) == RoleExit.DISK
            assert processes.log(slot).count('"critical"') == 1


async def test_a_folder_without_a_member_and_a_wrong_name_are_configuration_errors() -> None:
    with cluster_folder(members=1) as config:
        file = str(Path(config.base) / FILE_NAME)

        def run(*arguments: str) -> int:
            command = [sys.executable, "-P", "-m", "metaraft", "--config", file, *arguments]
            return subprocess.run(command, check=False, capture_output=True).returncode

        assert run("--node", "nobody") == RoleExit.CONFIG
        assert run("--node", "meta-1", "--prepare") == RoleExit.CONFIG
        (Path(config.base) / "meta-1" / "journal").rename(Path(config.base) / "gone")
        assert run("--node", "meta-1") == RoleExit.CONFIG


async def test_a_commit_through_real_processes_answers_its_result() -> None:
    async with running() as (_, _, client):
        assert isinstance(await client.commit(Touch(b"x"), deadline=soon()), Done)
        statuses = await until(client.status, equal_rows)
        assert len({status.pid for status in statuses}) == 3
        assert {status.version for status in statuses} == {"0.1.0"}
