"""Options that several commands have."""

import re
from collections.abc import Callable

import click

from cluster.cli.access import find
from cluster.cli.http import Client

_SIZE = re.compile(r"(\d{1,15})\s*(?:([kmgt])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(click.ParamType[int]):
    """A number of bytes: 16777216, 16M, 16MiB."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Fails for what is none."""
        match = _SIZE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a size such as 16M or 16777216", param, ctx)
        return int(match[1]) * _UNITS[(match[2] or "").lower()]


def reaches_cluster[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """The options of every command that talks to the object port of a running cluster."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--endpoint", help="URL of the object port; keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."),
        click.option("--dir", "directory", help="Folder of a local cluster (or TRILITH_DIR; default ./data)."),
    ):
        function = option(function)
    return function


def client_of(directory: str | None, endpoint: str | None) -> Client:
    """Calls on the cluster that these options name."""
    return Client(find(directory, endpoint))
