"""Commands that are programs of packages which this one does not know: started by their module's name.

In our place, not below us: a Ctrl-C is then the program's own, and it ends what it began before it goes.
"""

import os
import sys

import click


def passed_on(name: str, summary: str, module: str, *first: str) -> click.Command:
    """A command that becomes a program, with `first` and then all that it is given as its arguments."""

    @click.command(
        name,
        help=summary,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def become(arguments: tuple[str, ...]) -> None:
        os.execv(sys.executable, [sys.executable, "-P", "-m", module, *first, *arguments])  # noqa: S606 - ourselves

    return become
