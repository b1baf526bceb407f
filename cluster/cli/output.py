"""What commands print: plain lines or JSON on standard output, messages and progress on standard error.

A progress bar is drawn only on a terminal; in a pipe there is none. Errors end the command with a code of
`CommandExit`, one line that says what was wrong, and with `--json` the same as JSON.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cluster.errors import Corrupt, OutcomeUnknown, TrilithError, Unavailable
from cluster.exits import CommandExit


def exit_code(error: TrilithError) -> CommandExit:
    """The exit code that stands for an error."""
    status = (error.detail or {}).get("status", "")
    match error:
        case OutcomeUnknown():
            return CommandExit.UNKNOWN
        case Unavailable():
            return CommandExit.UNAVAILABLE
        case Corrupt():
            return CommandExit.CORRUPT
        case _ if status in ("401", "403") or error.code == "NoKeys":
            return CommandExit.UNAUTHORISED
        case _ if status == "404" or error.code == "NoSuchFile":
            return CommandExit.NOT_FOUND
        case _:
            return CommandExit.REFUSED


def command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """Run a command's body; an error of ours becomes its message and exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except TrilithError as error:
            if kwargs.get("as_json"):
                print_json({"error": {"kind": error.kind, "code": error.code, "message": error.message}})
            click.echo(f"trilith: {error.code}: {error.message}", err=True)
            sys.exit(exit_code(error))
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(CommandExit.REFUSED)
        except OSError as error:
            click.echo(f"trilith: {error}", err=True)
            missing = isinstance(error, FileNotFoundError)
            sys.exit(CommandExit.NOT_FOUND if missing else CommandExit.REFUSED)
        except KeyboardInterrupt:
            sys.exit(CommandExit.INTERRUPTED)

    return run


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def say(text: str) -> None:
    """A message for the person, not for the pipe."""
    click.echo(text, err=True)


class Meter:
    """Counts bytes on a progress bar, or nowhere."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None)

    def start(self, name: str, total: int | None) -> None:
        """A new file begins."""
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, description=name, total=total)

    def add(self, count: int) -> None:
        """More bytes have moved."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)


@contextlib.contextmanager
def meter(*, quiet: bool = False) -> Iterator[Meter]:
    """A meter on standard error if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Meter(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Meter(progress)


def human_bytes(count: int) -> str:
    """A size for people: 1.5 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
