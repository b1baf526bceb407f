"""`python -P -m metaraft.members ...`: who has the slots, and how that is changed. `trilith member` and `trilith level`
run it, with their arguments."""

import logging
from collections.abc import Awaitable, Callable

import click
import structlog
import trio

from cluster.cli.access import directory_of
from cluster.cli.output import command, print_json, say, shown
from cluster.config import FILE_NAME, Config, MemberConfig, load
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.identity import operator_identity
from metaraft.addresses import new_address
from metaraft.commands import RaiseLevel
from metaraft.core import Membership, Seat
from metaraft.core_membership import is_incarnation
from metaraft.members.folders import incarnation_of, prepare_successor
from metaraft.members.notes import Plan, make_note, noted
from metaraft.members.operator import CHANGE_S, Member, Operator, connected, member_of
from metaraft.members.replacing import Replacement
from metaraft.wire import MembersAnswer

_DIR = click.option(
    "--dir", "directory", help="Folder of the cluster, on one of its hosts (or TRILITH_DIR; default ./data)."
)
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Metadata members: the slots of the quorum, and who has them."""
    # what connections do is for the logs of roles; a person is told what matters
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _config(directory: str | None) -> Config:
    return load(directory_of(directory).resolve() / FILE_NAME)


def _operate[T](config: Config, act: Callable[[Operator], Awaitable[T]]) -> T:
    async def run() -> T | TrilithError | OSError:
        async with connected(config, operator_identity(config)) as operator:
            try:
                return await act(operator)
            except (TrilithError, OSError) as error:  # told outside of the nursery, as itself
                return error
        raise AssertionError("the operator's connections end after it")

    found = trio.run(run)
    if isinstance(found, TrilithError | OSError):
        raise found
    return found


@main.command(name="list")
@_DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def list_members(directory: str | None, as_json: bool) -> None:
    """Show who has the slots, who leads, and what each lacks."""
    config = _config(directory)

    async def act(operator: Operator) -> list[Member]:
        return await operator.members()

    members = _operate(config, act)
    if as_json:
        print_json(members)
        return
    for member in members:
        _print(member)


def _print(member: Member) -> None:
    lacks = "" if not member.lacks else f"  lacks {member.lacks}"
    error = f"  {shown(member.error)}" if member.error else ""
    click.echo(
        f"{member.slot}  {member.name:<12} {member.state:<8} {member.role:<11} {member.incarnation[:12]:<12}  "
        f"{shown(member.address)}{lacks}{error}"
    )


@main.command(name="move-leader")
@click.argument("name")
@_DIR
@command
def move_leader(name: str, directory: str | None) -> None:
    """Have member NAME lead."""
    config = _config(directory)
    slot = member_of(config, name).slot

    async def act(operator: Operator) -> None:
        await operator.move(slot)
        if (await operator.leader()).slot != slot:
            raise Unavailable("NotMoved", f"{name} does not lead; another one was elected meanwhile")

    _operate(config, act)
    click.echo(f"{name} leads")


@main.command()
@click.argument("name")
@click.option("--address", default="", help="Where it is dialled from now on (tcp:HOST:PORT).")
@click.option("--elsewhere", is_flag=True, help="The successor will run on another host, at --address.")
@click.option("--anew", is_flag=True, help="Give up the successor of a replacement under way; choose another.")
@_DIR
@_YES
@command
def replace(name: str, address: str, elsewhere: bool, anew: bool, directory: str | None, yes: bool) -> None:
    """Replace member NAME by a successor with an empty disk, live; a lost or rotten one, or one that moves.

    If it is interrupted, the same command goes on where it was; with --anew it goes on with another successor.
    """
    config = _config(directory)
    node = member_of(config, name)
    if address:
        new_address(config, address)
    if elsewhere and not address:
        raise Refused("NoAddress", "--elsewhere needs --address: where the others will dial the successor")
    if len(config.member) == 1:
        raise Refused(
            "LastMember",
            f"{name} is the only member: nobody could feed a successor. Make a new cluster of a snapshot: "
            "`trilith snapshot restore FILE DIRECTORY`",
        )
    found = noted(config, node)
    plan = None if anew else found
    if plan is not None and (address not in ("", plan.address) or elsewhere != plan.elsewhere):
        raise Refused(
            "OtherReplacement",
            f"a replacement of {name} is under way, at {plan.address or 'the same address'}; end it first by "
            f"`trilith member replace {name}{_options(plan)}`, or give its successor up by --anew",
        )

    async def act(operator: Operator) -> None:
        leader = await operator.leader()
        _refuse_what_costs_the_quorum(leader.in_force, leader, node)
        _tell_plan(config, node, plan, plan.address if plan else address, elsewhere=elsewhere)
        if anew and found is not None:
            say(f"  incarnation {found.successor}, which was to be its successor, counts for nothing either")
        if not yes and not click.confirm("Go on?", err=True):
            raise Refused("NotConfirmed", "nothing was changed")
        made = plan or make_note(config, node, address=address, elsewhere=elsewhere)
        await Replacement(operator, node, made, say).run()

    _operate(config, act)


def _options(plan: Plan) -> str:
    return (f" --address {plan.address}" if plan.address else "") + (" --elsewhere" if plan.elsewhere else "")


def _refuse_what_costs_the_quorum(seats: Membership, leader: MembersAnswer, node: MemberConfig) -> None:
    """What the leader would refuse too, said before anything is asked of the person."""
    there = (seats.voters - {node.slot}) & {leader.slot, *leader.lacking}
    if len(there) < seats.majority and seats.seats[node.slot].voter:
        raise Refused(
            "CostsQuorum",
            f"without slot {node.slot} only {len(there)} voters answer, and {seats.majority} of {len(seats.seats)} are "
            "needed: bring another one back first",
        )


def _tell_plan(config: Config, node: MemberConfig, plan: Plan | None, address: str, *, elsewhere: bool) -> None:
    say(f"{node.name} (slot {node.slot}) is {'being ' if plan else ''}replaced by a successor with an empty disk:")
    say("  its present incarnation counts for nothing from then on, wherever its disk turns up")
    if elsewhere:
        say(f"  the successor runs on another host, dialled at {address}; the folder here stays as it is")
    else:
        say(f"  its folder {config.path(node.directory)} is set aside, not deleted")
        if address:
            say(f"  the successor is dialled at {address}")
    say("  until it has caught up and votes again, every other member is needed")


@main.command()
@click.argument("name")
@click.argument("incarnation")
@click.option("--listen", default="", help="Where it listens, if not where cluster.toml says.")
@_DIR
@command
def prepare(name: str, incarnation: str, listen: str, directory: str | None) -> None:
    """On its new host, make the folder of NAME's successor, of the INCARNATION that `replace --elsewhere` printed."""
    config = _config(directory)
    node = member_of(config, name)
    if not is_incarnation(incarnation):
        raise Refused("BadIncarnation", f"{incarnation!r} is no incarnation: 32 hex digits, as `replace` printed them")
    if listen:
        new_address(config, listen)

    async def act(operator: Operator) -> None:
        _refuse_unawaited(node, incarnation, (await operator.leader()).in_force.seats[node.slot])

    if incarnation_of(config.path(node.directory)) != incarnation:
        _operate(config, act)
    prepare_successor(config, node, incarnation, listen=listen)
    click.echo(
        f"made {config.path(node.directory)}; start it: python -P -m metaraft --config {FILE_NAME} --node {name}"
    )


def _refuse_unawaited(node: MemberConfig, incarnation: str, seat: Seat) -> None:
    """Only whom the members wait for is made, and once: who votes already was, and would come without its promises."""
    if seat.incarnation != incarnation:
        raise Refused("NotSeated", f"slot {node.slot} is of incarnation {seat.incarnation}, not {incarnation}")
    if seat.voter:
        raise Refused(
            "MadeBefore",
            f"incarnation {incarnation} votes in slot {node.slot} already; if its disk is lost, "
            f"`trilith member replace {node.name}` chooses another",
        )


@main.command()
@click.option("--raise", "raise_it", is_flag=True, help="Raise it by one, once all members' programs know the next.")
@_DIR
@command
def level(raise_it: bool, directory: str | None) -> None:
    """Show the cluster's level of command meaning and each member's program, or raise it after an upgrade of all."""
    config = _config(directory)

    async def act(operator: Operator) -> tuple[int, list[Member]]:
        members = await operator.members()
        now = max(member.level for member in members)
        if raise_it:
            deadline = trio.current_time() + CHANGE_S
            await operator.client.commit(RaiseLevel(now + 1), deadline=deadline)
            now += 1
        return now, members

    now, members = _operate(config, act)
    click.echo(f"level {now}")
    for member in members:
        click.echo(f"  {member.name:<12} {member.version or 'does not answer'}")


if __name__ == "__main__":
    main(prog_name="trilith member")
