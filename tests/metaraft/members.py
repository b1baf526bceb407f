"""Members for tests: three in this trio run, or three real processes, over Unix sockets in a short folder."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import trio

from cluster.config import FILE_NAME, FORMAT, Config, MemberConfig, dump, load
from cluster.identity import NodeIdentity, load_identity
from cluster.limits import MIB, Limits, Timings
from metaraft.client import MetaClient
from metaraft.seating import Retired
from metaraft.server import Member, prepare
from metaraft.snapshot_install import BeginAnew
from metaraft.wire import MemberStatus
from tests.folders import short_folder

SMALL = Limits(map_bytes=64 * MIB, free_bytes_min=0, free_percent_min=0.0)
"""Limits of a test cluster: a small map, and any disk will do."""

PATIENCE_S = 60.0
"""How long something that must happen may take on a busy machine."""


@contextmanager
def cluster_folder(*, members: int = 3, limits: Limits = SMALL, timings: Timings | None = None) -> Iterator[Config]:
    """A prepared cluster of members in a short folder, removed at the end."""
    with short_folder() as folder:
        (folder / "s").mkdir(mode=0o700)
        made = Config(
            format=FORMAT,
            cluster_id=secrets.token_hex(16),
            member=tuple(
                MemberConfig(
                    name=f"meta-{slot}",
                    slot=slot,
                    incarnation=secrets.token_hex(16),
                    listen=f"unix:s/{slot}",
                    directory=f"meta-{slot}",
                )
                for slot in range(1, members + 1)
            ),
            limits=limits,
            timings=timings or Timings(),
        )
        file = folder / FILE_NAME
        file.write_text(dump(made))
        config = load(file)
        for member in config.member:
            prepare(config, member)
        yield config


def identity(config: Config, name: str = "api-1") -> NodeIdentity:
    """Who a test is, or a member."""
    return load_identity(config, name)


@asynccontextmanager
async def client_of(config: Config, name: str = "api-1") -> AsyncIterator[MetaClient]:
    """A running client."""
    client = MetaClient(config, identity(config, name))
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()


def soon(seconds: float = PATIENCE_S) -> float:
    """A deadline."""
    return trio.current_time() + seconds


async def until[T](ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Ask until the answer is good; fails after `PATIENCE_S`."""
    with trio.fail_after(PATIENCE_S):
        while not good(found := await ask()):  # noqa: ASYNC110 - members give no event that would say so
            await trio.sleep(0.02)
    return found


def equal_rows(found: list[MemberStatus]) -> bool:
    """All members answer, have applied all that any of them calls committed, and hold the same. (A command is answered
    when it is executed: its transaction ends a moment later.)"""
    committed = max(status.commit for status in found)
    return all(status.role != "unreachable" and status.applied == committed for status in found) and (
        len({status.set_hash for status in found}) == 1
    )


def one_leader(found: list[MemberStatus]) -> bool:
    """Exactly one of those that answer leads."""
    return [status.role for status in found].count("leader") == 1


class Members:
    """Members in this trio run, started and stopped by slot. A stop is a crash: nothing is synced, told or drained."""

    def __init__(self, config: Config, nursery: trio.Nursery) -> None:
        self.config = config
        self.running: dict[int, Member] = {}
        self.installed: list[int] = []
        """Slots that ended to install a copy of the database, once for each time; they go on at once."""
        self.retired: list[int] = []
        """Slots that ended because they found themselves retired."""
        self._nursery = nursery
        self._scopes: dict[int, trio.CancelScope] = {}
        self._ended: dict[int, trio.Event] = {}

    async def start(self, *slots: int) -> None:
        """Open and run members; returns when they serve."""
        for slot in slots:
            await self._nursery.start(self._run, slot)

    async def stop(self, *slots: int) -> None:
        """End members in the middle of whatever they do."""
        for slot in slots:
            self._scopes[slot].cancel()
            await self._ended[slot].wait()

    async def _run(self, slot: int, *, task_status: trio.TaskStatus[None]) -> None:
        self._ended[slot] = trio.Event()
        try:
            with trio.CancelScope() as self._scopes[slot]:
                while await self._live(slot, task_status):
                    self.installed.append(slot)
                    task_status = trio.TASK_STATUS_IGNORED
        finally:
            self._ended[slot].set()

    async def _live(self, slot: int, task_status: trio.TaskStatus[None]) -> bool:
        """One life of a member. True: it ended to begin anew."""
        again = False
        node = next(member for member in self.config.member if member.slot == slot)
        member = Member(self.config, node, identity(self.config, node.name))
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(member.run)
                self.running[slot] = member
                task_status.started()
        except* BeginAnew:
            again = True
        except* Retired:
            self.retired.append(slot)
        finally:
            self.running.pop(slot, None)
            member.close()
        return again


@asynccontextmanager
async def members_of(config: Config) -> AsyncIterator[tuple[Members, MetaClient]]:
    """All members of a cluster in this trio run, and a client."""
    async with trio.open_nursery() as nursery:
        members = Members(config, nursery)
        await members.start(*(member.slot for member in config.member))
        async with client_of(config) as client:
            yield members, client
        nursery.cancel_scope.cancel()


class Processes:
    """Members as real processes, killed and started by slot."""

    def __init__(self, config: Config, program: list[str]) -> None:
        self.config = config
        self._program = program
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *slots: int, program: list[str] | None = None) -> None:
        """Start members (as another program); they serve soon."""
        for slot in slots:
            self.start_by(slot, Path(self.config.base) / FILE_NAME, program)

    def start_by(self, slot: int, file: Path, program: list[str] | None = None) -> None:
        """Start a member by another configuration."""
        command = [sys.executable, "-P", *(program or self._program)]
        with (Path(self.config.base) / f"{slot}.log").open("ab") as log:
            self.running[slot] = subprocess.Popen(
                [*command, "--config", str(file), "--node", f"meta-{slot}"], stderr=log
            )

    def signal(self, number: int, *slots: int) -> None:
        """Send members a signal."""
        for slot in slots:
            self.running[slot].send_signal(number)

    async def wait(self, slot: int) -> int:
        """The exit code of a member that ends."""
        return await trio.to_thread.run_sync(partial(self.running[slot].wait, PATIENCE_S))

    async def kill(self, slot: int) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL, slot)
        await self.wait(slot)
        del self.running[slot]

    def log(self, slot: int) -> str:
        """What a member wrote so far."""
        return (Path(self.config.base) / f"{slot}.log").read_text()


@contextmanager
def processes_of(config: Config, program: list[str] | None = None) -> Iterator[Processes]:
    """Processes of a cluster, none started; all are gone at the end."""
    processes = Processes(config, program or ["-m", "metaraft"])
    try:
        yield processes
    finally:
        for process in processes.running.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
                process.wait()
