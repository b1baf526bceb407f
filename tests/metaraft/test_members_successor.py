"""A successor is made once: by notes on disk, and on three members in this trio run."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import pytest
import trio
from click.testing import CliRunner

from cluster.config import FILE_NAME, Config, MemberConfig, UnixAddress
from cluster.errors import Corrupt, Refused, Unavailable
from cluster.exits import RoleExit
from metaraft.addresses import new_address
from metaraft.core import Admit, Change, Seat
from metaraft.members import replacing
from metaraft.members.__main__ import folder_to_be, needed, prepare, replace
from metaraft.members.folders import Held, incarnation_of, prepare_successor
from metaraft.members.notes import (
    MADE_SUFFIX,
    forget_note,
    make_note,
    note_file,
    note_made,
    noted,
    sole_command,
    was_made,
)
from metaraft.members.operator import Operator, connected
from metaraft.members.replacing import Replacement
from metaraft.seating import first_seats
from tests.metaraft.members import PATIENCE_S, Members, cluster_folder, identity, members_of, until

FIRST, SECOND = "1" * 32, "2" * 32


class Interrupted(Exception):
    """The command was ended from outside."""


@dataclass
class Site:
    """Three members in this trio run, and an operator of the third."""

    members: Members
    operator: Operator
    nursery: trio.Nursery
    told: list[str] = field(default_factory=list)
    node: MemberConfig = field(init=False)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.node = self.members.config.member[2]
        self.folder = self.members.config.path(self.node.directory)

    def tell(self, text: str) -> None:
        """What the operator is told; who is to be started is started."""
        self.told.append(text)
        if "start meta-3 now" in text:
            self.nursery.start_soon(self.members.start, 3)

    async def replace(self, tell: Callable[[str], None] | None = None) -> None:
        """The whole of a replacement, or what is left of it."""
        config = self.members.config
        plan = noted(config, self.node) or make_note(config, self.node, address="", elsewhere=False)
        with trio.fail_after(PATIENCE_S):
            await Replacement(self.operator, self.node, plan, tell or self.tell).run()

    async def seats(self) -> dict[int, Seat]:
        """Who has the slots."""
        return (await self.operator.leader()).in_force.seats


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Three members; the third has lost its disk."""
    with cluster_folder() as config:
        async with (
            members_of(config) as (members, _),
            connected(config, identity(config, "operator")) as operator,
            trio.open_nursery() as nursery,
        ):
            made = Site(members, operator, nursery)
            await members.stop(3)
            shutil.rmtree(made.folder)
            yield made
            nursery.cancel_scope.cancel()


def interrupted_at(said: str, tell: Callable[[str], None]) -> Callable[[str], None]:
    """A teller that ends the command when this is said."""

    def interrupting(text: str) -> None:
        tell(text)
        if said in text:
            raise Interrupted

    return interrupting


def some_member(config: Config) -> tuple[MemberConfig, Path]:
    """A member whose folder is lost."""
    node = config.member[2]
    folder = config.path(node.directory)
    shutil.rmtree(folder)
    return node, folder


async def test_a_successor_whose_disk_is_lost_before_it_voted_comes_back_as_another() -> None:
    async with site() as made:
        with pytest.raises(Interrupted):
            await made.replace(interrupted_at("made the successor's", made.tell))
        lost = incarnation_of(made.folder)
        assert (await made.seats())[3].incarnation == lost
        shutil.rmtree(made.folder)
        await made.replace()
        assert f"the successor {lost} was made and is lost" in " ".join(made.told)
        seats = await made.seats()
        assert seats[3].retired == (made.node.incarnation, lost)
        assert seats[3].voter
        assert seats[3].incarnation == incarnation_of(made.folder)
        assert not note_file(made.members.config, made.node).exists()


async def test_a_successor_that_was_made_while_the_old_process_was_waited_for_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as made:
        config = made.members.config
        plan = make_note(config, made.node, address="", elsewhere=False)
        real = Held.take

        def take(folder: Path) -> Held | None:
            if not folder.exists():
                prepare_successor(config, made.node, plan.successor, listen="")
            return real(folder)

        monkeypatch.setattr(Held, "take", take)
        await made.replace()
        assert not [text for text in made.told if "set aside" in text]
        assert incarnation_of(made.folder) == plan.successor


async def test_a_successor_that_votes_and_is_lost_comes_back_as_another_though_it_is_noted_still() -> None:
    async with site() as made:
        config = made.members.config
        lost = make_note(config, made.node, address="", elsewhere=False).successor
        note = note_file(config, made.node)
        noted_before = note.read_bytes()
        await made.replace()
        note.write_bytes(noted_before)  # an instant before the end
        await made.members.stop(3)
        shutil.rmtree(made.folder)
        made.folder.with_name(made.folder.name + MADE_SUFFIX).unlink()
        await made.replace()
        seats = await made.seats()
        assert seats[3].retired == (made.node.incarnation, lost)
        assert seats[3].voter


class Killing(Operator):
    """An operator whose successor dies before each time that it is to be admitted."""

    def __init__(self, operator: Operator, members: Members) -> None:
        super().__init__(operator.config, operator.client)
        self._members = members

    async def change(self, change: Change) -> None:
        if isinstance(change, Admit):
            if 3 in self._members.running:
                await self._members.stop(3)
            await until(self.leader, lambda leader: 3 not in leader.lacking)
        await super().change(change)


async def test_a_successor_that_dies_or_was_given_a_wrong_address_ends_the_command_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as made:
        config = made.members.config
        monkeypatch.setattr(replacing, "START_S", 1.0)  # as long as those are waited for that never answer
        silent, operator = [], made.operator
        made.operator = Killing(operator, made.members)
        with pytest.raises(Unavailable, match="repeat this with --anew") as dead:
            await made.replace()
        silent.append(dead.value)
        made.operator = operator
        wrong = make_note(config, made.node, address="unix:nowhere/3", elsewhere=False)
        with pytest.raises(Unavailable, match=f"at unix:nowhere/3 as incarnation {wrong.successor}") as lost:
            await made.replace(made.told.append)
        silent.append(lost.value)
        assert [error.code for error in silent] == ["NotStarted"] * 2
        monkeypatch.undo()
        make_note(config, made.node, address=made.node.listen, elsewhere=False)  # as --anew does
        await made.replace()
        seat = (await made.seats())[3]
        assert (len(seat.retired), seat.retired[-1], seat.voter) == (3, wrong.successor, True)


@pytest.mark.parametrize(
    ("address", "code"), [("tcp:127.0.0.1:1", "UnixOnly"), ("udp:1", "BadAddress"), ("unix:s/3", "")]
)
def test_an_address_that_nobody_could_dial_is_no_members(address: str, code: str) -> None:
    with cluster_folder() as config:
        if not code:
            assert new_address(config, address) == UnixAddress(f"{config.base}/s/3")
            return
        with pytest.raises(Refused) as refused:
            new_address(config, address)
        assert refused.value.code == code
        tcp = msgspec.structs.replace(config.member[0], listen="tcp:127.0.0.1:1")
        with pytest.raises(Refused, match="name the port"):
            new_address(msgspec.structs.replace(config, member=(tcp,)), "tcp:127.0.0.1:0")


async def test_on_another_host_only_whom_the_members_wait_for_is_made() -> None:
    async with site() as made:
        command = [sys.executable, "-P", "-m", "metaraft.members", "prepare", "meta-3"]
        for incarnation, code in ((SECOND, b"NotSeated"), (made.node.incarnation, b"MadeBefore")):
            arguments = [incarnation, "--dir", made.members.config.base]
            done = await trio.run_process([*command, *arguments], check=False, capture_stderr=True)
            assert done.returncode == 1
            assert code in done.stderr
            assert not made.folder.exists()


@pytest.mark.parametrize(("command", "arguments"), [(replace, ["meta-3", "--yes"]), (prepare, ["meta-3", FIRST])])
def test_one_command_at_a_time_deals_with_a_members_folder(command: click.Command, arguments: list[str]) -> None:
    with cluster_folder() as config:
        node, folder = some_member(config)
        with sole_command(config, node):
            done = CliRunner().invoke(command, [*arguments, "--dir", config.base])
            assert done.exit_code == 1
            assert "ReplacementUnderWay" in done.stderr
        assert not folder.exists()
        assert noted(config, node) is None
        with sole_command(config, node), sole_command(config, config.member[0]):
            pass


def test_whose_replacement_is_over_forgets_no_other_one() -> None:
    with cluster_folder() as config:
        node = config.member[2]
        first = make_note(config, node, address="", elsewhere=False)
        second = make_note(config, node, address="", elsewhere=False)
        forget_note(config, node, first)
        assert noted(config, node) == second
        for _ in range(2):
            forget_note(config, node, second)
            assert noted(config, node) is None


async def test_the_plan_says_that_there_is_no_folder_here_and_whoever_says_nothing_changes_nothing() -> None:
    async with site() as made:
        config = made.members.config
        command = [sys.executable, "-P", "-m", "metaraft.members", "replace", "meta-3", "--dir", config.base]
        done = await trio.run_process(command, stdin=b"", check=False, capture_stderr=True)
        assert done.returncode == 1
        assert b"lost, or on another host? then run this there, or use --elsewhere" in done.stderr
        assert b"NotConfirmed" in done.stderr
        assert noted(config, made.node) is None
        assert (await made.seats())[3].incarnation == made.node.incarnation


def test_the_plan_says_what_becomes_of_the_folder(tmp_path: Path) -> None:
    assert "is set aside, not deleted" in folder_to_be(tmp_path, begun=False)
    assert "another host" not in folder_to_be(tmp_path / "gone", begun=True)  # it was set aside already


@pytest.mark.parametrize(("slots", "said"), [(3, "2 of the other 2 voters"), (5, "3 of the other 4 voters")])
def test_the_plan_says_how_many_others_are_needed(slots: int, said: str) -> None:
    with cluster_folder(members=slots) as config:
        assert said in needed(first_seats(config), config.member[0])


def test_an_incarnation_is_made_once_and_then_never_again() -> None:
    with cluster_folder() as config:
        node, folder = some_member(config)
        for _ in range(2):  # twice is once
            prepare_successor(config, node, FIRST, listen="")
            assert incarnation_of(folder) == FIRST
        with pytest.raises(Refused) as refused:
            prepare_successor(config, node, SECOND, listen="")
        assert refused.value.code == "MemberExists"
        shutil.rmtree(folder)
        for lost in (FIRST, node.incarnation):
            with pytest.raises(Refused, match="--anew") as refused:
                prepare_successor(config, node, lost, listen="")
            assert refused.value.code == "MadeBefore"
            assert not folder.exists()
        prepare_successor(config, node, SECOND, listen="")


def test_who_was_noted_and_not_made_is_not_made_either() -> None:
    """A crash between the note and the name: what was made may have been named."""
    with cluster_folder() as config:
        node, folder = some_member(config)
        note_made(config, node, FIRST)
        with pytest.raises(Refused):
            prepare_successor(config, node, FIRST, listen="")
        assert not folder.exists()


def test_a_note_that_was_torn_hides_no_later_one() -> None:
    with cluster_folder() as config:
        node = config.member[2]
        config.path(node.directory + MADE_SUFFIX).write_text(f"\n{FIRST[:7]}")
        note_made(config, node, SECOND)
        assert was_made(config, node, SECOND)
        assert not was_made(config, node, FIRST)


def test_a_note_that_cannot_be_read_says_what_to_do() -> None:
    with cluster_folder() as config:
        for data in (b"{", b'{"slot": 1, "successor": "\xff"}'):
            note_file(config, config.member[0]).write_bytes(data)
            with pytest.raises(Corrupt, match="remove it and begin anew"):
                noted(config, config.member[0])


@pytest.mark.parametrize("options", [[], ["--snapshot", "some-file"]])
def test_no_member_of_a_cluster_that_is_made_is_prepared(options: list[str]) -> None:
    with cluster_folder() as config:
        node, folder = some_member(config)
        file = Path(config.base, f"other-{FILE_NAME}")
        shutil.copy(Path(config.base, FILE_NAME), file)
        command = [sys.executable, "-P", "-m", "metaraft", "--config", str(file), "--node", node.name, "--prepare"]
        done = subprocess.run([*command, *options], check=False, capture_output=True)
        assert done.returncode == RoleExit.CONFIG
        assert b"ClusterExists" in done.stderr
        assert not folder.exists()
