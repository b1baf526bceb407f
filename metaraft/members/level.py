"""`python -P -m metaraft.members.level`: the level of command meaning. `trilith level` runs it, with its arguments."""

import click
import trio

from cluster.cli.output import command
from cluster.errors import Unavailable
from metaraft.commands import RaiseLevel
from metaraft.members.operating import DIR, config_of, operate, quiet
from metaraft.members.operator import CHANGE_S, Member, Operator


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--raise", "raise_it", is_flag=True, help="Raise it by one.")
@DIR
@command
def main(raise_it: bool, directory: str | None) -> None:
    """Show the cluster's level of command meaning, and the version of each member's program.

    After an upgrade of all members it is raised by --raise, which is refused unless all of them answer and their
    programs know the next level.
    """
    quiet()

    async def act(operator: Operator) -> tuple[int, list[Member]]:
        members = await operator.members()
        now = max(member.level for member in members)
        if now == 0:  # the first one is 1
            raise Unavailable("NoQuorum", "no member answers")
        if raise_it:
            deadline = trio.current_time() + CHANGE_S
            await operator.client.commit(RaiseLevel(now + 1), deadline=deadline)
            now += 1
        return now, members

    now, members = operate(config_of(directory), act)
    click.echo(f"level {now}")
    for member in members:
        click.echo(f"  {member.name:<12} {member.version or 'does not answer'}")


if __name__ == "__main__":
    main(prog_name="trilith level")
