"""What commands print: plain lines or JSON on standard output, messages and progress on standard error.

In lines, characters that cannot be printed (a key may have any) are written as escapes; JSON is exact. A progress
bar is drawn only on a terminal. Errors end the command with a code of `CommandExit`, one line that says what was wrong,
and with `--json` the same as JSON.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cluster.cli.interrupts import interrupt_as_itself
from cluster.errors import Corrupt, OutcomeUnknown, TrilithError, Unavailable
from cluster.exits import CommandExit

if TYPE_CHECKING:
    from rich.progress import Progress


def exit_code(error: TrilithError | OSError) -> CommandExit:
    """The exit code that stands for an error."""
    if isinstance(error, OSError):
        return CommandExit.NOT_FOUND if isinstance(error, FileNotFoundError) else CommandExit.REFUSED
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
            try:
                with interrupt_as_itself():
                    function(*args, **kwargs)
            except BrokenPipeError:
                raise
            except (TrilithError, OSError) as error:
                _tell(error, as_json=bool(kwargs.get("as_json")))
                sys.exit(exit_code(error))
        except BrokenPipeError:  # whoever read our output has enough; nothing more is written to it, also at exit
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            sys.exit(CommandExit.BROKEN_PIPE)
        except KeyboardInterrupt:
            sys.exit(CommandExit.INTERRUPTED)

    return run


def _tell(error: TrilithError | OSError, *, as_json: bool) -> None:
    if isinstance(error, OSError):
        if as_json:
            print_json({"error": {"kind": "refused", "code": type(error).__name__, "message": str(error)}})
        say(f"trilith: {shown(str(error))}")
        return
    request_id = (error.detail or {}).get("request_id")
    if as_json:
        facts = {"kind": error.kind, "code": error.code, "message": error.message, "request_id": request_id}
        print_json({"error": facts})
    say(f"trilith: {error.code}: {shown(error.message)}{f' (request {request_id})' if request_id else ''}")


def shown(text: str) -> str:
    """Text as a part of one line on any terminal: what cannot be printed is written as an escape."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def print_json(value: Any) -> None:
    """One JSON document on standard output, in UTF-8 whatever the terminal's encoding."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))


def say(text: str) -> None:
    """A message for the person, not for the pipe; nobody there is no failure."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


class Meter:
    """Counts bytes on a progress bar, or nowhere."""

    def __init__(self, progress: "Progress | None") -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None)

    def start(self, name: str, total: int | None) -> None:
        """A new file begins, or the same anew."""
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, description=shown(name), total=total)

    def add(self, count: int) -> None:
        """More bytes have moved."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)


@contextlib.contextmanager
def meter(*, quiet: bool = False) -> Iterator[Meter]:
    """A meter on standard error if that is a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield Meter(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Not redirected: rich would send what is written to standard output to the terminal of standard error.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield Meter(progress)


def human_bytes(count: int) -> str:
    """A size for people: 1.5 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
