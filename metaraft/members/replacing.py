"""Replacing a member: its slot is given to a successor with an empty disk, which is admitted once it has caught up.

Rules:
* The successor's incarnation is chosen once and noted in a file beside the member's folder before anything is asked, so
  a replacement that was interrupted, anywhere, is ended by the same command, whatever of it was done.
* The order is what makes it safe: retired (committed) first, so that the old disk counts for nothing; then its process
  ends by itself, its folder is set aside, and only then is a successor made in its place, wholly or not at all.
* Nothing is deleted.
"""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from cluster.config import Config, MemberConfig
from cluster.errors import Corrupt, Refused, TrilithError, Unavailable
from cluster.supervisor import ask_to_start
from metaraft.core import Admit, Retire, Seat
from metaraft.journal_disk import Disk
from metaraft.journal_segments import incarnation_in
from metaraft.members.operator import PAUSE_S, Operator, may_be_done
from metaraft.server import prepare
from metaraft.store import sync_directory
from metaraft.wire import MembersAnswer

NOTE_SUFFIX = ".replacing"
"""Ends the name of the file that a replacement under way is noted in."""

RETIRE_S = 5.0
"""How long it is tried to have the slot retired: a new leader must hear the others first."""

END_S = 30.0
"""How long the old process may take to end: it asks once a second who has its slot."""

START_S = 30.0
"""How long the successor may take to answer."""

_LOCK = Path("journal", "lock")


class Plan(msgspec.Struct, frozen=True):
    """A replacement under way: whose slot it is, and who gets it."""

    slot: int
    successor: str
    address: str = ""
    elsewhere: bool = False


class Teller(Protocol):
    """Is told what happens."""

    def __call__(self, text: str, /) -> None:
        """One line."""


class Replacement:
    """One member's replacement, from wherever it stands to its end."""

    def __init__(self, operator: Operator, node: MemberConfig, plan: Plan, tell: Teller) -> None:
        self._operator = operator
        self._config = operator.config
        self._node = node
        self._plan = plan
        self._tell = tell
        self._folder = self._config.path(node.directory)

    async def run(self) -> None:
        """Do what is left to be done. Raises Refused, Unavailable (what to do next), Corrupt, OSError."""
        seat = await self._retired()
        if not self._plan.elsewhere:
            await self._make(seat)
        if not seat.voter:
            await self._fed()
            await self._admitted()
        note_file(self._config, self._node).unlink(missing_ok=True)
        self._tell(f"{self._node.name} is replaced: incarnation {self._plan.successor} votes in slot {self._plan.slot}")

    async def _retired(self) -> Seat:
        """The slot is the successor's, and that is committed."""
        plan = self._plan
        deadline = trio.current_time() + RETIRE_S
        while True:
            leader = await self._operator.leader()
            seat = leader.in_force.seats[plan.slot]
            if seat.incarnation == plan.successor:
                if leader.committed:
                    return seat
            elif plan.successor in seat.retired:
                note_file(self._config, self._node).unlink(missing_ok=True)
                raise Refused("ReplacedAgain", f"{self._node.name} was replaced once more meanwhile; begin anew")
            else:
                await self._retire(leader, last=trio.current_time() > deadline)
            await trio.sleep(PAUSE_S)

    async def _retire(self, leader: MembersAnswer, *, last: bool) -> None:
        plan = self._plan
        try:
            if leader.slot == plan.slot:
                await self._operator.move(self._other_voter(leader))
                self._tell(f"{self._node.name} led and leads no more")
            await self._operator.change(Retire(plan.slot, plan.successor, plan.address))
            self._tell(f"slot {plan.slot} is retired: the old incarnation counts for nothing from now on")
        except TrilithError as error:
            if last or not may_be_done(error):
                raise

    def _other_voter(self, leader: MembersAnswer) -> int:
        """Who can lead instead: the one that lacks least."""
        voters = leader.in_force.voters - {leader.slot}
        known = {slot: lacks for slot, lacks in leader.lacking.items() if slot in voters}
        if not known:
            raise Refused("CostsQuorum", f"{self._node.name} leads and no other voter answers it")
        return min(known, key=lambda slot: known[slot])

    async def _make(self, seat: Seat) -> None:
        """The successor's folder is there and its process is asked for."""
        if incarnation_of(self._folder) != self._plan.successor:
            with await self._ended():
                await trio.to_thread.run_sync(self._set_aside)
                await trio.to_thread.run_sync(self._prepare, self._plan.address or seat.address)
        if await self._answers():
            return
        if ask_to_start(self._config.path(self._config.run), self._node.name):
            self._tell(f"{self._node.name} is started anew")
        else:
            self._tell(f"no supervisor runs here: start {self._node.name} now, as it was started before")

    async def _ended(self) -> "_Held":
        """Wait until the old process has let its folder go; it is kept from being opened again."""
        deadline = trio.current_time() + END_S
        while (held := _Held.take(self._folder)) is None:
            if trio.current_time() > deadline:
                raise Unavailable(
                    "StillRunning",
                    f"a process still uses {self._folder} though its incarnation was retired; end it, and repeat this",
                )
            await trio.sleep(PAUSE_S)
        return held

    def _set_aside(self) -> None:
        if not self._folder.exists():
            return
        old = incarnation_of(self._folder) or "empty"
        aside = self._folder.with_name(f"{self._folder.name}.retired-{old[:12]}")
        number = 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{self._folder.name}.retired-{old[:12]}-{number}")
        self._folder.rename(aside)
        sync_directory(aside.parent)
        self._tell(f"the old folder is set aside as {aside}; delete it when you need it no more")

    def _prepare(self, listen: str) -> None:
        prepare_successor(self._config, self._node, self._plan.successor, listen=listen)
        self._tell(f"made the successor's journal and database in {self._folder}")

    async def _answers(self) -> bool:
        answer = await self._operator.seats_at(self._plan.slot)
        return answer is not None and answer.incarnation == self._plan.successor

    async def _fed(self) -> None:
        """The successor runs."""
        deadline = trio.current_time() + START_S
        while not await self._answers():
            if trio.current_time() > deadline:
                raise Unavailable(
                    "NotStarted",
                    f"{self._node.name} does not answer as incarnation {self._plan.successor}; see to it that it runs, "
                    "and repeat this",
                )
            await trio.sleep(PAUSE_S)

    async def _admitted(self) -> None:
        """The successor votes. It takes as long as it must catch up."""
        said: int | None = None
        while True:
            leader = await self._operator.leader()
            seat = leader.in_force.seats[self._plan.slot]
            if seat.incarnation != self._plan.successor:
                raise Unavailable("ReplacedAgain", f"slot {self._plan.slot} has another successor; repeat this")
            if seat.voter and leader.committed:
                return
            try:
                await self._operator.change(Admit(self._plan.slot, self._plan.successor))
            except TrilithError as error:
                if not may_be_done(error):
                    raise
            lacks = leader.lacking.get(self._plan.slot)
            if lacks is not None and lacks != said:
                said = lacks
                self._tell(f"{self._node.name} lacks {lacks} entries")
            await trio.sleep(PAUSE_S)


class _Held:
    """The lock of a member's journal, taken in its process's place."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> "_Held | None":
        """None: a process has it."""
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return cls(-1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def prepare_successor(config: Config, node: MemberConfig, incarnation: str, *, listen: str) -> None:
    """Make a successor's folder, wholly or not at all. Blocking. Raises Refused (MemberExists), OSError."""
    folder = config.path(node.directory)
    if folder.exists():
        if incarnation_of(folder) == incarnation:
            return
        raise Refused("MemberExists", f"{folder} is there already, of incarnation {incarnation_of(folder) or 'none'}")
    new = folder.with_name(folder.name + ".successor")
    shutil.rmtree(new, ignore_errors=True)
    prepare(config, msgspec.structs.replace(node, directory=str(new)), incarnation=incarnation, listen=listen)
    new.rename(folder)
    sync_directory(folder.parent)


def incarnation_of(folder: Path) -> str:
    """Whose folder it is; empty if none can be read."""
    try:
        return incarnation_in(Disk(), folder / "journal")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def note_file(config: Config, node: MemberConfig) -> Path:
    """Where a replacement under way is noted."""
    folder = config.path(node.directory)
    return folder.with_name(folder.name + NOTE_SUFFIX)


def noted(config: Config, node: MemberConfig) -> Plan | None:
    """The replacement that is under way. Raises Corrupt (BadNote)."""
    file = note_file(config, node)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Corrupt("BadNote", f"{file} is no note of a replacement: {error}; `trilith member list`") from error


def make_note(config: Config, node: MemberConfig, *, address: str, elsewhere: bool) -> Plan:
    """Choose a successor, and note it for good."""
    plan = Plan(node.slot, secrets.token_hex(16), address, elsewhere)
    file = note_file(config, node)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    with new.open("wb") as written:
        written.write(msgspec.json.encode(plan))
        written.flush()
        os.fsync(written.fileno())
    new.rename(file)
    sync_directory(file.parent)
    return plan
