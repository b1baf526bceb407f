"""`trilith member` and `trilith level`: who has the slots of the metadata's quorum.

The work is that of a program of the package that knows it, started by its module's name.
"""

import os
import sys
from typing import NoReturn

import click

_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


def _become(*arguments: str) -> NoReturn:
    # In our place, not below us: a Ctrl-C is then its own, and it ends what it began before it goes.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "metaraft.members", *arguments])  # noqa: S606 - ourselves


@click.command(context_settings=_PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def member(arguments: tuple[str, ...]) -> None:
    """List metadata members, replace one, or move the leader."""
    _become(*arguments)


@click.command(context_settings=_PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def level(arguments: tuple[str, ...]) -> None:
    """Show the level of command meaning, or raise it after an upgrade."""
    _become("level", *arguments)
