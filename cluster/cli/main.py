"""The command `trilith`: clusters, buckets, objects. `--help` of each says what it takes.

Exit codes are those of `cluster.exits.CommandExit`.
"""

import os
import sys
from io import TextIOWrapper

import click

from cluster.cli import lifecycle, objects, status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trilith")
def main() -> None:
    """Trilith: an S3-compatible distributed object store that never lies.

    \b
    Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 not authorised,
    5 unavailable (did not happen), 6 outcome unknown, 7 corrupt.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal's encoding has not is shown, not fatal
        sys.stdout.reconfigure(errors="backslashreplace")


for _command in (lifecycle.init, lifecycle.up, lifecycle.down, status.status, lifecycle.node):
    main.add_command(_command)
for _command in (objects.mb, objects.rb, objects.put, objects.get, objects.cp, objects.ls, objects.rm, objects.stat):
    main.add_command(_command)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def chaos(arguments: tuple[str, ...]) -> None:
    """Faults on real processes, and figures: runs the package `chaos`."""
    # In our place, not below us: a Ctrl-C is then its own, and it ends what it started before it goes.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "chaos", *arguments])  # noqa: S606 - ourselves


if __name__ == "__main__":
    main()
