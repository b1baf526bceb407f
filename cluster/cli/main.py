"""The command `trilith`: clusters, buckets, objects. `--help` of each says what it takes.

Exit codes are those of `cluster.exits.CommandExit`.
"""

import subprocess
import sys

import click

from cluster.cli import lifecycle, objects


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trilith")
def main() -> None:
    """Trilith: an S3-compatible distributed object store that never lies.

    \b
    Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 not authorised,
    5 unavailable (did not happen), 6 outcome unknown, 7 corrupt.
    """


for _command in (lifecycle.init, lifecycle.up, lifecycle.down, lifecycle.status, lifecycle.node):
    main.add_command(_command)
for _command in (objects.mb, objects.rb, objects.put, objects.get, objects.cp, objects.ls, objects.rm, objects.stat):
    main.add_command(_command)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def chaos(arguments: tuple[str, ...]) -> None:
    """Faults on real processes, and figures: runs the package `chaos`."""
    done = subprocess.run([sys.executable, "-P", "-m", "chaos", *arguments], check=False)  # noqa: S603 - ourselves
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
