"""`python -P -m metaraft.members.level`: the level of command meaning. `trilith level` runs it, with its arguments."""

import click
import trio

from cluster.cli.output import command
from cluster.errors import OutcomeUnknown, Unavailable
from metaraft.client import MetaClient
from metaraft.commands import RaiseLevel
from metaraft.members.operating import DIR, config_of, operate, quiet
from metaraft.members.operator import CHANGE_S, Member, Operator

_NEXT = 0
"""As a level that is wanted: the one after the present one, whatever that is; the first one is 1."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--raise",
    "wanted",
    type=click.IntRange(min=_NEXT),
    is_flag=False,
    flag_value=_NEXT,
    metavar="[LEVEL]",
    help="Raise it by one; to LEVEL, which does nothing where it is reached.",
)
@DIR
@command
def main(wanted: int | None, directory: str | None) -> None:
    """Show the cluster's level of command meaning, and the version of each member's program.

    After an upgrade of all members it is raised by --raise, which is refused unless all of them answer and their
    programs know the next level. Where it is not known whether that happened, name the LEVEL when you repeat it.
    """
    quiet()

    async def act(operator: Operator) -> tuple[int, list[Member]]:
        members = await operator.members()
        now = max(member.level for member in members)
        if now == 0:  # the first one is 1
            raise Unavailable("NoQuorum", "no member answers")
        if wanted is None:
            return now, members
        level = wanted or now + 1
        await raise_to(operator.client, level)
        return max(now, level), members

    now, members = operate(config_of(directory), act)
    click.echo(f"level {now}")
    for member in members:
        click.echo(f"  {member.name:<12} {member.version or 'does not answer'}")


async def raise_to(client: MetaClient, level: int) -> None:
    """Have the level be raised by one, to `level`. Raises Refused (UnknownLevel), Unavailable, OutcomeUnknown."""
    try:
        await client.commit(RaiseLevel(level), deadline=trio.current_time() + CHANGE_S)
    except OutcomeUnknown as error:
        said = f"{error.message}. `trilith level --raise {level}` ends it, and does nothing if it was done"
        raise OutcomeUnknown(error.code, said) from error


if __name__ == "__main__":
    main(prog_name="trilith level")
