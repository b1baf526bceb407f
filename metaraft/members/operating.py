"""What the operator's commands have in common: where the cluster is, and a run of their own with it."""

import logging
from collections.abc import Awaitable, Callable

import click
import structlog
import trio

from cluster.cli.access import directory_of
from cluster.config import FILE_NAME, Config, load
from cluster.errors import TrilithError
from cluster.identity import operator_identity
from metaraft.members.operator import Operator, connected

DIR = click.option(
    "--dir", "directory", help="Folder of the cluster, on one of its hosts (or TRILITH_DIR; default ./data)."
)


def config_of(directory: str | None) -> Config:
    """The configuration in the folder that the option names. Raises Refused (BadConfig)."""
    return load(directory_of(directory).resolve() / FILE_NAME)


def quiet() -> None:
    """What connections do is for the logs of roles; a person is told what matters."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def operate[T](config: Config, act: Callable[[Operator], Awaitable[T]]) -> T:
    """Have an operator do something. Raises what it raises; Refused (BadKeys)."""

    async def run() -> T | TrilithError | OSError:
        async with connected(config, operator_identity(config)) as operator:
            try:
                return await act(operator)
            except (TrilithError, OSError) as error:  # told outside of the nursery, as itself
                return error
        raise AssertionError("the operator's connections end after it")

    found = trio.run(run)
    if isinstance(found, TrilithError | OSError):
        raise found
    return found
