"""The command `trilith`: clusters, buckets, objects. `--help` of each says what it takes.

Exit codes are those of `cluster.exits.CommandExit`. A command's module is imported when it is asked for: one that
stores a small object should not wait for what a supervisor needs.
"""

import importlib
import sys
from io import TextIOWrapper

import click

from cluster.cli.passing import passed_on

_MODULES = {
    **dict.fromkeys(("init", "up", "down", "node"), "lifecycle"),
    "snapshot": "snapshot",
    "status": "status",
    "member": "members",
    "level": "members",
    "user": "users",
    "uploads": "uploads",
    **dict.fromkeys(("mb", "rb", "ls", "versioning"), "buckets"),
    **dict.fromkeys(("put", "get", "cp", "rm", "stat"), "objects"),
}
"""Where each command is."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_MODULES, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        found = getattr(importlib.import_module(f"cluster.cli.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trilith")
def main() -> None:
    """Trilith: an S3-compatible distributed object store that never lies.

    \b
    Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 not authorised,
    5 unavailable (did not happen), 6 outcome unknown, 7 corrupt,
    8 something is missing.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal's encoding has not is shown, not fatal
        sys.stdout.reconfigure(errors="backslashreplace")


main.add_command(passed_on("chaos", "Faults on real processes, and figures: runs the package `chaos`.", "chaos"))


if __name__ == "__main__":
    main()
