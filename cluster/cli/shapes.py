"""The options that say what a new cluster looks like: of `init`, of the first `up`, and of `snapshot restore`."""

from collections.abc import Callable
from typing import Any

import click

from cluster.create import Shape


def shape_options[**P, R](
    chunkds: str = "Chunk daemons (default 3).",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Options for all of a `Shape`; an existing cluster keeps its own. `chunkds` is the help for that option."""
    options = (
        click.option("--members", type=click.Choice(["1", "3", "5"]), help="Metadata members (default 3)."),
        click.option("--chunkds", type=click.IntRange(1, 64), help=chunkds),
        click.option("--apis", type=click.IntRange(1, 64), help="API processes, sharing the ports (default 1)."),
        click.option(
            "--transport",
            type=click.Choice(["unix", "tcp"]),
            help="Between nodes: Unix sockets (default), or loopback TCP with mutual TLS.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="S3 and native objects (default 9000; 0: any free one)."
        ),
        click.option(
            "--admin-port", type=click.IntRange(0, 65535), help="Operator API (default 9001; 0: any free one)."
        ),
        click.option("--listen", help="Address of the object port (default 127.0.0.1)."),
        click.option("--insecure-listen", is_flag=True, help="Allow clear HTTP on an address that is not loopback."),
    )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def shape_of(given: dict[str, Any], **defaults: int) -> Shape:
    """The shape that the options give."""
    values = defaults | {name: value for name, value in given.items() if value is not None}
    if "members" in values:
        values["members"] = int(values["members"])
    return Shape(**values)
