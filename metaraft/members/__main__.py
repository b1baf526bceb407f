"""`python -P -m metaraft.members ...`: who has the slots, and how that is changed. `trilith member` runs it, with its
arguments."""

from pathlib import Path

import click

from cluster.cli.output import command, print_json, say, shown
from cluster.config import FILE_NAME, Config, MemberConfig
from cluster.errors import Refused, Unavailable
from metaraft.addresses import new_address
from metaraft.core import Membership, Seat
from metaraft.core_membership import is_incarnation
from metaraft.members.folders import incarnation_of, prepare_successor
from metaraft.members.notes import Plan, make_note, noted, sole_command
from metaraft.members.operating import DIR, config_of, operate, quiet
from metaraft.members.operator import Member, Operator, member_of
from metaraft.members.replacing import Replacement
from metaraft.wire import MembersAnswer

_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Metadata members: the slots of the quorum, and who has them."""
    quiet()


@main.command(name="list")
@DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def list_members(directory: str | None, as_json: bool) -> None:
    """Show who has the slots, who leads, and what each lacks."""
    config = config_of(directory)

    async def act(operator: Operator) -> list[Member]:
        return await operator.members()

    members = operate(config, act)
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
@DIR
@command
def move_leader(name: str, directory: str | None) -> None:
    """Have member NAME lead."""
    config = config_of(directory)
    slot = member_of(config, name).slot

    async def act(operator: Operator) -> None:
        await operator.move(slot)
        if (await operator.leader()).slot != slot:
            raise Unavailable("NotMoved", f"{name} does not lead; another one was elected meanwhile")

    operate(config, act)
    click.echo(f"{name} leads")


@main.command()
@click.argument("name")
@click.option("--address", default="", help="Where it is dialled from now on (tcp:HOST:PORT).")
@click.option("--elsewhere", is_flag=True, help="The successor will run on another host, at --address.")
@click.option("--anew", is_flag=True, help="Give up the successor of a replacement under way; choose another.")
@DIR
@_YES
@command
def replace(name: str, address: str, elsewhere: bool, anew: bool, directory: str | None, yes: bool) -> None:
    """Replace member NAME by a successor with an empty disk, live; a lost or rotten one, or one that moves.

    If it is interrupted, the same command goes on where it was; with --anew it goes on with another successor.
    """
    config = config_of(directory)
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
    with sole_command(config, node):
        _replace(config, node, address=address, elsewhere=elsewhere, anew=anew, yes=yes)


def _replace(config: Config, node: MemberConfig, *, address: str, elsewhere: bool, anew: bool, yes: bool) -> None:
    found = noted(config, node)
    plan = None if anew else found
    if plan is not None and (address not in ("", plan.address) or elsewhere != plan.elsewhere):
        raise Refused(
            "OtherReplacement",
            f"a replacement of {node.name} is under way, at {plan.address or 'the same address'}; end it first by "
            f"`trilith member replace {node.name}{_options(plan)}`, or give its successor up by --anew",
        )

    async def look(operator: Operator) -> Membership:
        leader = await operator.leader()
        _refuse_what_costs_the_quorum(leader.in_force, leader, node)
        return leader.in_force

    seats = operate(config, look)
    _tell_plan(config, node, plan, plan.address if plan else address, elsewhere=elsewhere)
    say(f"  {needed(seats, node)}")
    if anew and found is not None:
        say(f"  incarnation {found.successor}, which was to be its successor, counts for nothing either")
    if not yes:
        _confirm()
    made = plan or make_note(config, node, address=address, elsewhere=elsewhere)

    async def act(operator: Operator) -> None:
        await Replacement(operator, node, made, say).run()

    operate(config, act)


def _confirm() -> None:
    """Raises Refused (NotConfirmed). Nothing is connected meanwhile: a person may take long, or go away."""
    try:
        confirmed = click.confirm("Go on?", err=True)
    except click.Abort:  # Ctrl-C, or nobody is there
        confirmed = False
    if not confirmed:
        raise Refused("NotConfirmed", "nothing was changed")


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
        say(f"  {folder_to_be(config.path(node.directory), begun=plan is not None)}")
        if address:
            say(f"  the successor is dialled at {address}")


def folder_to_be(folder: Path, *, begun: bool) -> str:
    """What becomes of a member's folder on this host, once its replacement is begun or before."""
    if folder.exists():
        return f"its folder {folder} is set aside, not deleted"
    if begun:
        return f"there is no folder at {folder} (any more)"
    return f"there is no folder at {folder}: lost, or on another host? then run this there, or use --elsewhere"


def needed(seats: Membership, node: MemberConfig) -> str:
    """How many of the others the cluster cannot do without, until the successor votes."""
    left = len(seats.voters - {node.slot})
    return f"until it has caught up and votes, {seats.majority} of the other {left} voters must answer"


@main.command()
@click.argument("name")
@click.argument("incarnation")
@click.option("--listen", default="", help="Where it listens, if not where cluster.toml says.")
@DIR
@command
def prepare(name: str, incarnation: str, listen: str, directory: str | None) -> None:
    """On its new host, make the folder of NAME's successor, of the INCARNATION that `replace --elsewhere` printed."""
    config = config_of(directory)
    node = member_of(config, name)
    if not is_incarnation(incarnation):
        raise Refused("BadIncarnation", f"{incarnation!r} is no incarnation: 32 hex digits, as `replace` printed them")
    if listen:
        new_address(config, listen)

    async def act(operator: Operator) -> None:
        _refuse_unawaited(node, incarnation, (await operator.leader()).in_force.seats[node.slot])

    with sole_command(config, node):
        if incarnation_of(config.path(node.directory)) != incarnation:
            operate(config, act)
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


if __name__ == "__main__":
    main(prog_name="trilith member")
