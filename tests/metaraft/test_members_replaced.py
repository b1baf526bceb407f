"""Members as real processes under load: wiped and replaced, moved, returned with an old disk, upgraded one by one.

The load makes buckets and notes which were acknowledged; at the end all of these are there, and all members are equal.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from cluster.config import FILE_NAME, Config, MemberConfig, dump
from cluster.errors import OutcomeUnknown, Refused, Unavailable
from cluster.exits import RoleExit
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket, RaiseLevel
from metaraft.members.folders import prepare_successor
from metaraft.members.notes import make_note, note_file, noted
from metaraft.members.operator import Operator, connected, member_of
from metaraft.members.replacing import Replacement
from metaraft.model import Copies
from metaraft.queries import BucketsFound, ListBuckets
from metaraft.wire import MemberStatus
from tests.metaraft.members import (
    PATIENCE_S,
    Processes,
    client_of,
    cluster_folder,
    equal_rows,
    identity,
    one_leader,
    processes_of,
    soon,
    until,
)

pytestmark = pytest.mark.probe

NEWER = [
    "-c",
    "import sys, metaraft.rows; metaraft.rows.LEVEL += 1; from metaraft.__main__ import main; sys.exit(main())",
]
"""The program as it will be: it knows one level more."""


PAUSE_S = 0.02
"""Between a client's buckets: there may be 10,000."""


@dataclass
class Load:
    """Buckets that are made one after the other, and what became of them."""

    acknowledged: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    async def run(self, client: MetaClient, prefix: str) -> None:
        """Go on until cancelled."""
        number = 0
        while True:
            number += 1
            await trio.sleep(PAUSE_S)
            name = f"{prefix}-{number}"
            began = trio.current_time()
            try:
                await client.commit(CreateBucket(name, "owner", Copies(3)), deadline=soon(10.0))
            except (Unavailable, OutcomeUnknown):
                continue
            self.longest_s = max(self.longest_s, trio.current_time() - began)
            self.acknowledged.append(name)

    async def more(self, count: int = 20) -> None:
        """So many more are acknowledged."""
        goal = len(self.acknowledged) + count
        with trio.fail_after(PATIENCE_S):
            while len(self.acknowledged) < goal:  # noqa: ASYNC110 - what is acknowledged tells nobody
                await trio.sleep(0.02)


@dataclass
class Site:
    """Members under load, and an operator."""

    config: Config
    processes: Processes
    client: MetaClient
    operator: Operator
    load: Load
    told: list[str] = field(default_factory=list)

    def node(self, name: str) -> MemberConfig:
        """A member's configuration."""
        return member_of(self.config, name)

    def folder(self, name: str) -> Path:
        """Its folder."""
        return self.config.path(self.node(name).directory)

    def tell(self, text: str) -> None:
        """What the operator is told; who is to be started is started."""
        again = bool(self.told) and self.told[-1] == text
        self.told.append(text)
        if (started := re.search(r"start meta-(\d) now", text)) and not again:
            self.start(int(started[1]))

    def start(self, slot: int, program: list[str] | None = None) -> None:
        """Start a member whose process has ended, or is about to."""
        if (ended := self.processes.running.get(slot)) is not None:
            ended.wait(PATIENCE_S)
        self.processes.start(slot, program=program)

    async def replace(self, name: str, *, address: str = "", tell: Callable[[str], None] | None = None) -> None:
        """The whole of a replacement, or what is left of it."""
        node = self.node(name)
        plan = noted(self.config, node) or make_note(self.config, node, address=address, elsewhere=False)
        with trio.fail_after(PATIENCE_S):
            await Replacement(self.operator, node, plan, tell or self.tell).run()

    async def wipe(self, name: str) -> None:
        """The machine is lost with its disk."""
        await self.processes.kill(self.node(name).slot)
        shutil.rmtree(self.folder(name))

    async def status(self) -> list[MemberStatus]:
        """How all are."""
        return await self.client.status()

    async def judge(self) -> None:
        """All that was acknowledged is there, and all members are equal and in their seats."""
        await self.load.more()
        await until(self.status, one_leader)
        acknowledged = set(self.load.acknowledged)
        there: set[str] = set()
        more, last = True, ""
        while more:
            found = await self.client.read(ListBuckets(after=last), deadline=soon())
            assert isinstance(found, BucketsFound)
            there |= {bucket.name for bucket in found.buckets}
            more, last = found.more, found.buckets[-1].name
        assert not acknowledged - there
        members = await self.operator.members()
        assert [member.state for member in members] == ["voter"] * len(members), members


@asynccontextmanager
async def site(*, members: int = 3) -> AsyncIterator[Site]:
    """So many processes, two clients that load them."""
    with cluster_folder(members=members) as config, processes_of(config) as processes:
        processes.start(*(member.slot for member in config.member))
        async with client_of(config) as client, connected(config, identity(config, "operator")) as operator:
            made = Site(config, processes, client, operator, Load())
            async with trio.open_nursery() as nursery:
                for number in (1, 2):
                    nursery.start_soon(made.load.run, client, f"load-{number}")
                await made.load.more()
                yield made
                await made.judge()
                nursery.cancel_scope.cancel()
            await until(made.status, equal_rows)


async def leader(site: Site) -> int:
    """Who leads."""
    return (await site.operator.leader()).slot


async def test_a_wiped_member_is_refused_until_it_was_replaced() -> None:
    async with site() as made:
        await made.wipe("meta-2")
        await made.load.more()
        made.start(2)
        assert await made.processes.wait(2) == RoleExit.CONFIG
        assert "`trilith member replace meta-2`" in made.processes.log(2)
        made.folder("meta-2").mkdir()  # a disk that is mounted and empty
        made.start(2)
        assert await made.processes.wait(2) == RoleExit.CONFIG
        await made.replace("meta-2")
        await made.processes.kill(3 if await leader(made) == 1 else 1)  # the successor counts
        await made.load.more()
        made.processes.start(*({1, 3} - set(made.processes.running)))


async def test_a_member_is_made_anew_by_no_other_way_than_as_a_successor() -> None:
    async with site() as made:
        await made.wipe("meta-2")
        file = Path(made.config.base) / FILE_NAME
        command = [sys.executable, "-P", "-m", "metaraft", "--config", str(file), "--node", "meta-2", "--prepare"]
        done = await trio.run_process(command, check=False, capture_stderr=True)
        assert done.returncode == RoleExit.CONFIG
        assert b"`trilith member replace meta-2`" in done.stderr
        await made.replace("meta-2")


def _with_the_old_disk(site: Site, name: str) -> Path:
    """The configuration of a host where a member's old disk turned up: the same name, listening elsewhere."""
    [aside] = site.folder(name).parent.glob(f"{name}.retired-*")
    node = msgspec.structs.replace(site.node(name), directory=str(aside), listen="unix:s/old")
    return _file(site.config, *(member for member in site.config.member if member.name != name), node)


async def test_a_leader_that_is_replaced_hands_over_and_its_old_disk_counts_for_nothing() -> None:
    async with site() as made:
        old = await leader(made)
        name = f"meta-{old}"
        await made.replace(name)  # alive: it ends when it finds itself retired
        assert f"{name} led and leads no more" in made.told
        assert '"event": "retired"' in made.processes.log(old)
        assert await leader(made) != old
        elsewhere = _with_the_old_disk(made, name)
        before = {status.slot: status.term for status in await made.status()}
        command = [sys.executable, "-P", "-m", "metaraft", "--config", str(elsewhere), "--node", name]
        with trio.fail_after(PATIENCE_S):
            ended = await trio.run_process(command, check=False, capture_stderr=True)
        assert ended.returncode == RoleExit.CONFIG
        assert f"`trilith member replace {name}`".encode() in ended.stderr
        assert {status.slot: status.term for status in await made.status()} == before


async def test_a_replacement_that_is_interrupted_anywhere_is_ended_by_the_same_command() -> None:
    class Interrupted(Exception):
        pass

    async with site() as made:
        await made.wipe("meta-3")
        interrupted = 0
        said: set[str] = set()

        def interrupt(text: str) -> None:
            made.tell(text)
            what = re.sub(r"\d+", "", text)
            if what not in said and "is replaced" not in text:  # then it is over
                said.add(what)
                raise Interrupted

        while True:
            try:
                await made.replace("meta-3", tell=interrupt)
                break
            except Interrupted:
                interrupted += 1
        assert interrupted >= 3  # retired, made, started; what it lacks is told if that is known before it votes
        assert not note_file(made.config, made.node("meta-3")).exists()


async def test_a_member_moves_to_another_address_and_all_find_it() -> None:
    async with site() as made:
        await made.replace("meta-1", address="unix:s/moved")
        assert made.told[-1].startswith("meta-1 is replaced")
        await until(made.status, lambda found: found[0].role != "unreachable")  # the client dials it there
        await made.operator.move(1)
        await made.load.more()
        await made.replace("meta-1")  # and stays there
        assert (await made.operator.members())[0].address == "unix:s/moved"


async def test_a_member_moves_to_another_host_where_its_folder_is_made() -> None:
    async with site() as made:
        node, there = made.node("meta-3"), "unix:s/there"
        plan = make_note(made.config, node, address=there, elsewhere=True)
        there_node = msgspec.structs.replace(node, directory="other-host")  # as that host's file says
        replacement = Replacement(made.operator, node, plan, made.tell)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replacement.run)
            assert await made.processes.wait(3) == RoleExit.CONFIG  # it finds itself retired
            prepare_successor(made.config, there_node, plan.successor, listen=there)
            prepare_successor(made.config, there_node, plan.successor, listen=there)  # twice is once
            with pytest.raises(Refused) as refused:
                prepare_successor(made.config, there_node, "0" * 32, listen=there)
            assert refused.value.code == "MemberExists"
            others = [member for member in made.config.member if member.slot != 3]
            made.processes.start_by(3, _file(made.config, *others, there_node))
        assert made.folder("meta-3").exists()  # the folder here stays as it is


def _file(config: Config, *members: MemberConfig) -> Path:
    """Another host's file of the same cluster."""
    file = Path(config.base, f"elsewhere-{FILE_NAME}")
    file.write_text(dump(msgspec.structs.replace(config, member=members)))
    return file


async def test_the_leader_moves_under_load_in_a_moment() -> None:
    async with site() as made:
        for _ in range(6):
            now = await leader(made)
            to = now % 3 + 1
            await made.operator.move(to)
            assert await leader(made) == to
            await made.load.more(5)


async def test_nothing_is_replaced_that_would_cost_the_quorum() -> None:
    async with site() as made:
        now = await leader(made)
        first, second = {1, 2, 3} - {now}
        await made.processes.kill(first)
        for what in (second, now):
            with pytest.raises((Refused, Unavailable)) as refused:
                await made.replace(f"meta-{what}")
            assert refused.value.code in ("CostsQuorum", "NotCaughtUp")
            note_file(made.config, made.node(f"meta-{what}")).unlink()
        made.processes.start(first)
        assert [member.state for member in await made.operator.members()] == ["voter"] * 3


def all_answer(found: list[MemberStatus]) -> bool:
    """No member is silent."""
    return all(status.role != "unreachable" for status in found)


def _level_command(site: Site, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "metaraft.members.level", "--dir", site.config.base, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


async def test_members_are_upgraded_one_by_one_and_then_the_level_is_raised() -> None:
    async with site() as made:
        level = (await until(made.status, all_answer))[0].level  # who does not answer yet has none
        for slot in (1, 2, 3):
            refused = await trio.to_thread.run_sync(_level_command, made, "--raise")
            assert refused.returncode == 1, refused
            assert "UnknownLevel" in refused.stderr
            made.processes.signal(signal.SIGTERM, slot)
            assert await made.processes.wait(slot) == RoleExit.DONE
            made.start(slot, program=NEWER)
            await made.load.more()
            await until(made.status, all_answer)

        async def raised() -> str:
            return (await trio.to_thread.run_sync(_level_command, made, "--raise")).stdout

        await until(raised, lambda said: said.startswith(f"level {level + 1}"))
        await made.load.more()
        await until(made.status, lambda found: {status.level for status in found} == {level + 1})
        # the program of before stops at it rather than guess
        made.processes.signal(signal.SIGTERM, 1)
        await made.processes.wait(1)
        made.start(1)
        assert await made.processes.wait(1) == RoleExit.CONFIG
        made.start(1, program=NEWER)
        with pytest.raises(Refused, match="is not known to all members"):
            await made.operator.client.commit(RaiseLevel(level + 2), deadline=soon())


@pytest.mark.long
async def test_members_are_wiped_and_replaced_again_and_again() -> None:
    async with site() as made:
        for turn in range(20):
            name = f"meta-{turn % 3 + 1}"
            await made.wipe(name)
            await made.load.more(5)
            await made.replace(name)
            await made.load.more(5)
