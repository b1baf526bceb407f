"""A call of the disk that fails once, the Nth of its kind, on one member under load: by strace's fault injection.

The member must end with the code that says so and is not started again by itself: what a failed fsync left on the disk
nobody knows. The others go on, and when it is started again, by an operator, nothing that was acknowledged is missing.
A follower is started under strace, so that the calls of its start are among those that fail; to a leader strace is
attached while it serves. Without strace at work no call fails, and all would look well: a run in which it ends before
the member, or in which no call was reached, is an error.
"""

import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from chaos import ledger
from chaos.ledger import Run
from chaos.load import Load
from chaos.members import Members
from chaos.roles import Roles
from chaos.turns import Extent, Spared, run_turns
from cluster.exits import RoleExit

TARGETS = ("leader", "follower")

CALLS = ("fdatasync", "fsync", "pwrite64", "writev", "fallocate", "ftruncate", "rename")
"""The calls by which journal and database change the disk."""

REACHED_S = 30.0
"""A member that serves and has not made so many calls by then does not make them under this load."""


@dataclass(frozen=True)
class Fault:
    """A kind of call, what it fails with, and the numbers of the calls that fail, one in each turn."""

    call: str
    error: str
    first: int
    last: int


async def run(
    folder: Path,
    target: str,
    fault: Fault,
    *,
    seed: int,
    clients: int = 8,
    say: Callable[[str], None],
) -> Run:
    """Let one call after the other fail, a member each, in a fresh cluster under `folder`; judge.

    Raises RuntimeError (in groups) without strace, or if nothing failed.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError("strace is needed: apt-get install strace")
    roles = Roles(folder)
    async with roles.running(), Members.connected(roles.config) as members:
        load = Load(roles.access(), clients=clients, keys=40, seed=seed, large=False)
        found = ledger.begun(f"{fault.call} {fault.error}", target, seed=seed, clients=clients)
        failures = _Failures(roles, members, load, found, strace, fault, say)
        await run_turns(found, load, members, Extent(fault.last - fault.first + 1), failures.turn, say)
    if not found.faults and not found.violations:
        raise RuntimeError(f"{fault.call} number {fault.first} to {fault.last} was never reached: nothing failed")
    return found


def tracer_of(pid: int) -> int:
    """The process that traces a process, or 0 (proc(5), status)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("TracerPid:"))


async def ended(
    process: subprocess.Popen[bytes],
    *,
    serves: Callable[[], bool],
    traced: Callable[[], bool],
    reached_s: float = REACHED_S,
) -> bool:
    """Wait until a member has ended; False: it has served for that long, and had no reason to.

    Raises RuntimeError if it lives and serves, and is not traced.
    """
    until = math.inf
    while process.poll() is None:
        if until == math.inf and serves():
            until = trio.current_time() + reached_s
        if until < math.inf and not traced() and process.poll() is None:
            raise RuntimeError(f"strace does not trace process {process.pid}, so nothing fails there")
        if trio.current_time() > until:
            return False
        await trio.sleep(0.02)
    return True


class _Failures:
    def __init__(
        self,
        roles: Roles,
        members: Members,
        load: Load,
        found: Run,
        strace: str,
        fault: Fault,
        say: Callable[[str], None],
    ) -> None:
        self._roles = roles
        self._members = members
        self._load = load
        self._run = found
        self._strace = strace
        self._fault = fault
        self._say = say

    async def turn(self, number: int) -> float | None:
        """One call that fails, what follows, and the start of the member."""
        nth = self._fault.first + number
        leader = (await self._members.leader()).name
        names = list(self._members.names.values())
        victim = leader if self._run.target == "leader" else names[(names.index(leader) + 1 + number % 2) % len(names)]
        call, error = self._fault.call, self._fault.error
        inject = f"--inject={call}:error={error}:when={nth}"
        tracing = [self._strace, "-f", "-q", f"--trace={call}", inject, "-o", "/dev/null"]
        if victim == leader:
            reached = await self._fail_running(victim, tracing)
        else:
            await trio.to_thread.run_sync(self._roles.stop, victim)
            self._roles.start(victim, wait=False, wrap=[*tracing, "-D"])
            pid = self._roles.processes[victim].pid
            reached = await self._ended(victim, lambda: tracer_of(pid) != 0)
        failed = trio.current_time()
        if not reached:
            await trio.to_thread.run_sync(self._roles.stop, victim)
            self._run.count("calls not reached")
        else:
            self._judge(victim, nth)
            await self._load.progress.acknowledged_since(failed)
        self._roles.start(victim, wait=False)
        await trio.to_thread.run_sync(self._roles.wait_ready, victim)
        await self._members.wait_up()
        self._say(f"{call} {nth} of {victim}: {'failed, and it ended' if reached else 'was not reached'}")
        if not reached:
            raise Spared
        return failed

    async def _fail_running(self, victim: str, tracing: list[str]) -> bool:
        pid = self._roles.processes[victim].pid
        tracer = subprocess.Popen([*tracing, "-p", str(pid)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220, S603 - strace
        try:
            return await self._ended(victim, lambda: tracer.poll() is None)
        finally:
            tracer.terminate()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(tracer.wait)

    async def _ended(self, victim: str, traced: Callable[[], bool]) -> bool:
        process = self._roles.processes[victim]
        return await ended(process, serves=lambda: bool(self._roles.said(victim, "ready")), traced=traced)

    def _judge(self, victim: str, nth: int) -> None:
        code = self._roles.processes[victim].returncode
        said = self._roles.said(victim, "disk_failed")
        if code != RoleExit.DISK or len(said) != 1:
            self._load.history.violations.append(
                f"{victim} ended with {code} after its {self._fault.call} number {nth} failed, and said {said}"
            )
        self._run.count("members that ended")
