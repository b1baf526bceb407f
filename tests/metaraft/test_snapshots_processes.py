"""Copies between real processes: under load, and with a kill at each point on the way, at the leader and at the member
that lags; in the end all have the same rows and nothing that was acknowledged is missing."""

import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.config import Config
from cluster.exits import RoleExit
from cluster.limits import KIB, MIB, Limits
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket, SetBucketSetting, Touch
from metaraft.model import Copies
from metaraft.queries import GetBucketSetting
from metaraft.snapshot_install import MARKER_FILE, next_file
from metaraft.snapshot_serving import COPY_FILE
from tests.metaraft.dying import DIED, PROGRAM
from tests.metaraft.members import SMALL, Processes, client_of, cluster_folder, equal_rows, processes_of, soon, until

pytestmark = pytest.mark.probe

LIMITS = msgspec.structs.replace(
    SMALL,
    journal_segment_bytes=64 * KIB,
    journal_cache_bytes=64 * KIB,
    journal_tail_bytes=128 * KIB,
    copy_bytes_per_s=4 * MIB,
)


class World:
    """Three processes, a client, and what was acknowledged to it."""

    def __init__(self, config: Config, processes: Processes, client: MetaClient) -> None:
        self.config = config
        self.processes = processes
        self.client = client
        self.settings: dict[str, int] = {}
        self.programs: dict[int, list[str]] = {}
        """What a member is started as when it ended to install a copy, the next time; else as itself."""
        self._numbers = itertools.count(1)

    async def keep(self) -> None:
        """Start again who ends to install a copy, as the supervisor does. With so short a tail that may be anyone."""
        while True:
            for slot, process in list(self.processes.running.items()):
                if process.poll() == RoleExit.AGAIN:
                    self.processes.start(slot, program=self.programs.pop(slot, None))
            await trio.sleep(0.02)

    async def leader(self) -> int:
        """Who leads, after a commit through it."""
        await self.client.commit(Touch(), deadline=soon())
        assert self.client.leader is not None
        return self.client.leader

    async def write(self, count: int) -> None:
        """Set rows of some KiB, again and again the same ones."""
        for number in itertools.islice(self._numbers, count):
            name, value = f"s{number % 60}", b"%016d" % number * 700
            await self.client.commit(SetBucketSetting("b", name, value), deadline=soon())
            self.settings[name] = number

    async def touch(self, size: int) -> None:
        """One entry of so many bytes, which leaves no row."""
        await self.client.commit(Touch(bytes(size)), deadline=soon())

    def resident_bytes(self, slot: int) -> int:
        """Resident memory of a member (proc(5), statm)."""
        pages = int(Path(f"/proc/{self.processes.running[slot].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def leave_behind(self, slot: int) -> None:
        """Kill a member, and write until the others' logs do not go back to its end."""
        await self.processes.kill(slot)
        await self.write(60)
        await until(self.client.status, lambda found: all(status.log_bytes < 400 * KIB for status in found))

    async def comes_back(self, *slots: int) -> None:
        """Start these members, if they are down, and wait until all are equal and have what was acknowledged."""
        for slot in slots:
            if self.processes.running[slot].poll() is not None:
                self.processes.start(slot)

        await until(self.client.status, equal_rows)
        for name, number in self.settings.items():
            found = await self.client.read(GetBucketSetting("b", name), deadline=soon())
            assert b"%016d" % number in msgspec.msgpack.encode(found)

    async def one_dies(self, *slots: int) -> None:
        """Wait until one of these members dies at its point."""

        async def died() -> bool:
            await trio.sleep(0.02)
            return any(self.processes.running[slot].poll() == DIED for slot in slots)

        await until(died, lambda dead: dead)

    async def installs(self, slot: int) -> None:
        """Wait until a member has installed another copy."""
        before = self.installed(slot)

        async def count() -> int:
            await trio.sleep(0.02)
            return self.installed(slot)

        await until(count, lambda found: found > before)

    def installed(self, slot: int) -> int:
        """How often a member installed a copy."""
        return self.processes.log(slot).count('"copy_installed"')

    def leftovers(self) -> list[str]:
        """What transfers left."""
        folders = [Path(self.config.base, member.directory) for member in self.config.member]
        files = [file for folder in folders for file in (folder / MARKER_FILE, folder / COPY_FILE, next_file(folder))]
        return [str(file) for file in files if file.exists()]


@asynccontextmanager
async def running(limits: Limits = LIMITS) -> AsyncIterator[World]:
    with cluster_folder(limits=limits) as config, processes_of(config) as processes:
        processes.start(1, 2, 3)
        async with client_of(config) as client:
            world = World(config, processes, client)
            await client.commit(CreateBucket("b", "owner", Copies(3)), deadline=soon())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.keep)
                await world.write(60)
                yield world
                nursery.cancel_scope.cancel()


async def test_a_member_that_was_down_for_more_than_the_tail_comes_back_by_a_copy_under_load() -> None:
    async with running() as world:
        slot = await world.leader() % 3 + 1
        await world.leave_behind(slot)
        async with loaded(world):
            world.processes.start(slot)
            await world.installs(slot)
            await until(world.client.status, lambda found: found[slot - 1].role == "follower")
        await world.comes_back()
        await until(world.client.status, lambda _: not world.leftovers())


async def test_a_leader_keeps_its_memory_beside_a_stopped_follower_which_comes_back_by_a_copy() -> None:
    limits = msgspec.structs.replace(LIMITS, rpc_send_queue_bytes_max=4 * MIB)
    async with running(limits) as world:
        leader = await world.leader()
        slot = leader % 3 + 1
        before = world.resident_bytes(leader)
        world.processes.signal(signal.SIGSTOP, slot)
        written, most = 0, 0
        while written < 80 * MIB:
            async with trio.open_nursery() as nursery:
                for _ in range(16):
                    nursery.start_soon(world.touch, 64 * KIB)
            written += 16 * 64 * KIB
            most = max(most, world.resident_bytes(leader))
        assert await world.leader() == leader
        assert most - before < 32 * MIB
        await until(
            world.client.status, lambda found: all(status.log_bytes < 40 * MIB for status in found)
        )  # it is cut
        async with loaded(world):
            world.processes.signal(signal.SIGCONT, slot)
            await world.installs(slot)
        await world.comes_back()


@asynccontextmanager
async def loaded(world: World) -> AsyncIterator[None]:
    """Somebody writes inside."""
    async with trio.open_nursery() as nursery:
        over = False

        async def load() -> None:
            while not over:
                await world.write(1)

        nursery.start_soon(load)
        yield
        over = True


LAGGING = [
    "before metaraft.snapshot_copy:FileSink.write",
    "after metaraft.snapshot_copy:FileSink.write",
    "before metaraft.snapshot_copy:FileSink.sync",
    "before metaraft.snapshot_fetching:verify_copy",
    "before metaraft.snapshot_fetching:mark",
    "before metaraft.snapshot_install:write_all",
    "after metaraft.snapshot_install:write_all",
    "after metaraft.snapshot_fetching:mark",
]
"""Points at the member that lags, before it ends to install the copy."""

INSTALLING = [
    "after metaraft.snapshot_install:_read_marker",
    "before metaraft.journal:Journal.reset",
    "after metaraft.journal:Journal.reset",
    "after metaraft.journal:Journal.sync",
    "before metaraft.snapshot_install:_unmark",
    "after metaraft.snapshot_install:_unmark",
    "after metaraft.journal:Journal.cut",
]
"""Points at its next start."""

LEADING = [
    "before metaraft.snapshot_copy:FileSink.write",
    "before metaraft.snapshot_copy:FileSink.sync",
    "after metaraft.snapshot_copy:FileSink.sync",
    "before metaraft.snapshot_serving:_read",
    "after metaraft.snapshot_serving:_read",
    "before metaraft.snapshot_serving:Copies.done",
]
"""Points at the leader."""


@pytest.mark.long
async def test_a_member_that_dies_anywhere_on_the_way_of_a_copy_starts_and_catches_up() -> None:
    async with running() as world:
        slot = await world.leader() % 3 + 1
        for point in LAGGING:
            await world.leave_behind(slot)
            world.processes.start(slot, program=[*PROGRAM, point])
            await world.one_dies(slot)
            await world.comes_back(slot)
        assert world.installed(slot)


@pytest.mark.long
async def test_a_member_that_dies_anywhere_while_it_installs_a_copy_starts_and_has_it() -> None:
    async with running() as world:
        slot = await world.leader() % 3 + 1
        for point in INSTALLING:
            await world.leave_behind(slot)
            world.programs[slot] = [*PROGRAM, point]
            world.processes.start(slot)
            await world.one_dies(slot)
            await world.comes_back(slot)


@pytest.mark.long
async def test_a_leader_that_dies_anywhere_on_the_way_of_a_copy_is_replaced_by_another_ones() -> None:
    async with running() as world:
        for point in LEADING:
            leader = await world.leader()
            lagging = leader % 3 + 1
            other = ({1, 2, 3} - {leader, lagging}).pop()
            await world.leave_behind(lagging)
            for slot in (leader, other):  # whoever leads then dies there
                await world.processes.kill(slot)
                world.processes.start(slot, program=[*PROGRAM, point])
            await world.write(1)
            world.processes.start(lagging)
            await world.one_dies(leader, other)
            for slot in (leader, other):
                await world.processes.kill(slot)
                world.processes.start(slot)
            await world.comes_back()
            assert world.installed(lagging)
