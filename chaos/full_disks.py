"""Disks that others fill, under one member or under all, on real processes under load.

Each member's folder that is to be filled is a small file system of its own (tmpfs), mounted where only this process and
those that it starts see it: `run` starts `python -P -m chaos.full_disks` in a mount namespace of its own. A file takes
all its space, to the last byte. Then growing writes must be refused with the reason, reads and deletes go on; when the
deletes have used up what the members had allocated ahead they must be refused too, and reads go on; no member ends; and
when the file is gone, writes go on, with no process started anew. What members had on those file systems is in
their folders at the end, for who wants to see why.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from chaos import ledger
from chaos.client import Broken, Connection, object_path
from chaos.ending import Ended, unless_ended
from chaos.ledger import Run
from chaos.load import Load
from chaos.members import Members
from chaos.roles import Roles
from chaos.turns import Extent, run_turns
from cluster.cli.interrupts import interrupt_as_itself
from cluster.config import FILE_NAME, dump
from cluster.limits import MIB

TARGETS = ("one", "all")

DISK_BYTES = 160 * MIB
FREE_BYTES_MIN = 48 * MIB

REFUSED_S = 15.0
"""How long it may take until a write is refused for want of space."""

RESUMED_S = 30.0
"""How long it may take until a write is taken again."""

DELETES_S = 45.0
"""How long it may take until even deletes are refused."""

DELETING = 8
"""How many delete at once, meanwhile."""

FULL_S = 3.0
"""How long the disks are full, at least."""

ENDING_S = 60.0
"""How long that process has to end its cluster."""

_LIMITS = {
    "journal_segment_bytes": MIB,  # and as much is allocated ahead, which the deletes have to use up
    "room_bytes": 16 * MIB,
    "free_bytes_min": FREE_BYTES_MIN,
    "free_percent_min": 0.0,
}


async def run(
    folder: Path,
    target: str,
    extent: Extent,
    *,
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
) -> Run:
    """Fill disks again and again in a fresh cluster under `folder`, in a process with mounts of its own; judge.

    Raises subprocess.CalledProcessError.
    """
    report = folder.with_name(f"{folder.name}-report")
    own_mounts = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    program = [sys.executable, "-P", "-m", "chaos.full_disks", str(folder), target]
    lasting = msgspec.json.encode(extent).decode()
    process = await trio.lowlevel.open_process(
        [*own_mounts, *program, lasting, str(seed), str(clients), str(report)], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    rest = b""
    try:
        async for data in process.stderr:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                say(line.decode(errors="replace"))
        code = await process.wait()
    finally:
        await _end(process)
    if code != 0:
        raise subprocess.CalledProcessError(code, program)
    return msgspec.json.decode(report.read_bytes(), type=Run)


async def _end(process: trio.Process) -> None:
    """Have it end its cluster, if it has not ended."""
    with trio.CancelScope(shield=True):
        if process.poll() is None:
            process.terminate()
            with trio.move_on_after(ENDING_S):
                await process.wait()
            process.kill()
        await process.wait()


@dataclass
class _Disks:
    """The file systems of the members that are filled."""

    places: list[Path]

    def mount(self) -> None:
        for place in self.places:
            _copy(place, _aside(place))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "none", place], check=True)  # noqa: S603, S607
            _copy(_aside(place), place)
            shutil.rmtree(_aside(place))

    def unmount(self) -> None:
        self.empty()
        for place in self.places:
            _copy(place, _aside(place))
            subprocess.run(["umount", place], check=True)  # noqa: S603, S607
            shutil.rmtree(place)
            _aside(place).rename(place)

    def fill(self) -> None:
        for place in self.places:
            with (place / "ballast").open("ab") as file:
                _allocate_all(file.fileno(), place)

    def empty(self) -> None:
        for place in self.places:
            (place / "ballast").unlink(missing_ok=True)


def _aside(place: Path) -> Path:
    return place.with_name(f"{place.name}.aside")


def _copy(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)  # noqa: S603, S607


def _allocate_all(file: int, place: Path) -> None:
    while (free := os.statvfs(place).f_bavail) > 0:
        page = os.statvfs(place).f_frsize
        try:
            os.posix_fallocate(file, os.fstat(file).st_size, free * page)
        except OSError:  # somebody else took some of it
            continue


async def _conduct(folder: Path, target: str, extent: Extent, seed: int, clients: int) -> Run:
    roles = Roles(folder)
    limits = msgspec.structs.replace(roles.config.limits, **_LIMITS)
    (folder / FILE_NAME).write_text(dump(msgspec.structs.replace(roles.config, limits=limits)))
    filled = roles.config.member if target == "all" else roles.config.member[-1:]
    disks = _Disks([roles.config.path(member.directory) for member in filled])
    disks.mount()
    try:
        async with roles.running(), Members.connected(roles.config) as members:
            load = Load(roles.access(), clients=clients, keys=40, seed=seed, large=False)
            found = ledger.begun("full disk", target, seed=seed, clients=clients)
            turns = _Fills(roles, disks, load, members, found, _say)
            return await run_turns(found, load, members, extent, turns.turn, _say)
    finally:
        disks.unmount()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - `run` reads it


class _Fills:
    def __init__(
        self, roles: Roles, disks: _Disks, load: Load, members: Members, found: Run, say: Callable[[str], None]
    ) -> None:
        self._roles = roles
        self._disks = disks
        self._load = load
        self._members = members
        self._run = found
        self._say = say

    async def turn(self, number: int) -> float | None:
        """The disks full, and room again."""
        pids = {name: process.pid for name, process in self._roles.processes.items()}
        connection = Connection(self._roles.access())
        try:
            await self._expect(connection, "PUT", {200, 201}, RESUMED_S)
            began = trio.current_time()
            self._disks.fill()
            refused = await self._expect(connection, "PUT", {507}, REFUSED_S)
            await self._expect(connection, "GET", {200}, REFUSED_S)
            await trio.sleep(FULL_S)
            read = await self._expect(connection, "GET", {200}, 1.0)
            deleted = await self._expect(connection, "DELETE", {204}, REFUSED_S)
            deletes = await self._delete_until_refused()
            await self._expect(connection, "GET", {404}, REFUSED_S)
            self._disks.empty()
            resumed = await self._expect(connection, "PUT", {200, 201}, RESUMED_S)
        finally:
            connection.close_nowait()
        self._run.sample("refused_s", refused)
        self._run.sample("resumed_s", resumed)
        self._run.sample("deletes_taken", deletes)
        ended = [name for name, process in self._roles.processes.items() if process.poll() is not None]
        if ended or pids != {name: process.pid for name, process in self._roles.processes.items()}:
            self._violation(f"{ended} ended when the disk was full")
        await self._members.wait_up()
        self._say(
            f"{number + 1}: full; refused after {refused:.2f} s, read in {read:.2f} s, deleted in {deleted:.2f} s; "
            f"{deletes} deletes more until they were refused; room again: written after {resumed:.2f} s"
        )
        return began

    async def _delete_until_refused(self) -> int:
        """Delete on, with names as long as may be, until it is refused for want of room; how many were taken."""
        taken, last = 0, ""
        with trio.move_on_after(DELETES_S) as patience:
            async with trio.open_nursery() as nursery:

                async def delete(worker: int) -> None:
                    nonlocal taken, last
                    connection = Connection(self._roles.access())
                    try:
                        while last != "507":
                            path = object_path("default", f"full/{worker:0>900}")
                            try:
                                answer = await connection.request("DELETE", path)
                            except Broken as error:
                                last = str(error)
                                continue
                            last = str(answer.status)
                            taken += answer.status == 204
                    finally:
                        connection.close_nowait()
                    nursery.cancel_scope.cancel()

                for worker in range(DELETING):
                    nursery.start_soon(delete, worker)
        if patience.cancelled_caught:
            self._violation(f"deletes were not refused within {DELETES_S} s; {taken} were taken, the last with {last}")
        return taken

    async def _expect(self, connection: Connection, method: str, statuses: set[int], seconds: float) -> float:
        """Ask until the answer is one of these; how long it took. What does not come in time is a violation."""
        began = trio.current_time()
        last = ""
        while trio.current_time() - began < seconds:
            try:
                body = b"x" * 1000 if method == "PUT" else b""
                answer = await connection.request(method, object_path("default", "full/probe"), body=body)
            except Broken as error:
                last = str(error)
                continue
            last = f"{answer.status} {answer.body[:200]!r}"
            if answer.status in statuses:
                return trio.current_time() - began
            await trio.sleep(0.05)
        self._violation(f"{method} was not answered with {sorted(statuses)} within {seconds} s, but with {last}")
        return seconds

    def _violation(self, text: str) -> None:
        self._say(text)
        self._load.history.violations.append(text)


def main() -> None:
    """From the command line, in a mount namespace of its own. Told to end, it writes no report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder, target, lasting, seed, clients, report = sys.argv[1:]
    extent = msgspec.json.decode(lasting, type=Extent)
    try:
        with interrupt_as_itself():
            run = trio.run(unless_ended, partial(_conduct, Path(folder), target, extent, int(seed), int(clients)))
    except (Ended, KeyboardInterrupt):
        sys.exit(1)
    Path(report).write_bytes(msgspec.json.encode(run))


if __name__ == "__main__":
    main()
