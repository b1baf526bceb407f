"""Commands on the storage of one member: states that a crash could leave."""

import secrets
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from chaos import crash_states as crash_states_run


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("crash-states")
@click.option("--operations", default=200, show_default=True, help="Operations of the recorded run.")
@click.option("--subsets", default=4, show_default=True, help="Random subsets of what is not synced, after each call.")
@click.option("--seed", type=int, help="Of the subsets (default: drawn and printed).")
@click.option("--states", type=int, help="Look at about so many crashes, spread over the run (default: all).")
def crash_states(operations: int, subsets: int, seed: int | None, states: int | None) -> None:
    """Start a member on states that a crash could leave after each call of a recorded run: with all of what was not
    synced, none of it, each piece missing alone, and random parts. Needs strace. Exit 1 on a violation."""
    drawn = secrets.randbits(32) if seed is None else seed
    _say(f"seed {drawn}")
    with tempfile.TemporaryDirectory(prefix="trilith-crash-") as name:
        report = crash_states_run.run(
            Path(name), operations=operations, subsets=subsets, seed=drawn, states_max=states, say=_say
        )
    click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    sys.exit(1 if report.violations else 0)


COMMANDS: tuple[click.Command, ...] = (crash_states,)
