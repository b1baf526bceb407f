"""Commands that put faults on real processes: each makes a cluster, judges what its clients saw, and can add the run to
a ledger. What contradicts the promises ends the command with code 1, and the cluster's folder is kept."""

import functools
import logging
import secrets
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog
import trio

from chaos import clocks, failed_syncs, full_disks, kills, ledger, partitions, pauses
from chaos.ending import Ended, unless_ended
from chaos.failed_syncs import Fault
from chaos.ledger import Run
from chaos.turns import Extent
from cluster.cli.interrupts import interrupt_as_itself

DEFAULT_FAULTS = 20


@dataclass(frozen=True)
class _Given:
    """What every command is given: where its cluster goes, whom it harms, and under which load."""

    folder: Path
    target: str
    seed: int
    clients: int


def _faults(name: str, targets: Sequence[str]) -> Callable[[Callable[..., Awaitable[Run]]], click.Command]:
    """Make a command of a function that conducts a run: it says what came of it, and exits with 1 on a violation."""

    def command(conduct: Callable[..., Awaitable[Run]]) -> click.Command:
        @click.command(name)
        @click.argument("target", type=click.Choice(targets))
        @click.option("--seed", type=int, help="Of workload and faults (default: drawn and printed).")
        @click.option("--clients", default=16, show_default=True, help="Connections of the load.")
        @click.option(
            "--ledger",
            "file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Append the run to this file, as a line.",
        )
        @functools.wraps(conduct)
        def carry_out(target: str, seed: int | None, clients: int, file: Path | None, **options: Any) -> None:
            drawn = secrets.randbits(32) if seed is None else seed
            _say(f"seed {drawn}")

            async def run(folder: Path) -> Run:
                return await conduct(_Given(folder, target, drawn, clients), **options)

            _conduct(name, file, run)

        return carry_out

    return command


def _lasting(many: str) -> Callable[[Callable[..., Awaitable[Run]]], Callable[..., Awaitable[Run]]]:
    """Options that say how long; the function gets them as its `extent`."""

    def add(conduct: Callable[..., Awaitable[Run]]) -> Callable[..., Awaitable[Run]]:
        @click.option(f"--{many}", "count", type=int, help=f"How many (default, without --minutes: {DEFAULT_FAULTS}).")
        @click.option("--minutes", type=float, help="End after so many minutes, or the count if that is earlier.")
        @functools.wraps(conduct)
        async def lasting(*given: Any, count: int | None, minutes: float | None, **options: Any) -> Run:
            faults = DEFAULT_FAULTS if count is None and minutes is None else count
            return await conduct(*given, extent=Extent(faults, minutes), **options)

        return lasting

    return add


def _say(text: str) -> None:
    click.echo(text, err=True)


def _conduct(what: str, file: Path | None, conduct: Callable[[Path], Awaitable[Run]]) -> None:
    """Run in a folder of its own, tell, and exit with 1 on a violation. Raises click.Abort if told to end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # faults are no news here
    folder = Path(tempfile.mkdtemp(prefix=f"trilith-{what}-"))
    keep = True
    try:
        with interrupt_as_itself():
            run = trio.run(unless_ended, functools.partial(conduct, folder / "c"))
        keep = bool(run.violations or run.lost)
    except Ended:
        keep = False
        raise click.Abort from None
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if keep:
            _say(f"the cluster's folder is kept: {folder}")
        else:
            shutil.rmtree(folder)
    if file is not None:
        ledger.append(file, run)
    click.echo(msgspec.json.format(msgspec.json.encode(run)).decode())
    click.echo(ledger.text(ledger.sums([run])[0]), err=True)
    sys.exit(1 if keep else 0)


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of seconds like 1,5,30") from error
    if min(found) <= 0:
        raise click.BadParameter(f"{text!r} has a pause that is none")
    return found


@_faults("kill", kills.TARGETS)
@_lasting("kills")
async def kill(given: _Given, *, extent: Extent) -> Run:
    """kill -9 TARGET again and again under load, then judge every history. Exit 1 on a violation."""
    return await kills.run(given.folder, given.target, extent, seed=given.seed, clients=given.clients, say=_say)


@_faults("pause", pauses.TARGETS)
@click.option("--seconds", default="1,5,30", show_default=True, callback=_seconds, help="Lengths, one after the other.")
@_lasting("times")
async def pause(given: _Given, *, extent: Extent, seconds: tuple[float, ...]) -> Run:
    """SIGSTOP TARGET for some seconds again and again under load, and read from a leader that wakes. Exit 1 on a
    violation."""
    return await pauses.run(
        given.folder, given.target, extent, seconds=seconds, seed=given.seed, clients=given.clients, say=_say
    )


@_faults("net", partitions.TARGETS)
@click.option("--seconds", default="2,8", show_default=True, callback=_seconds, help="Shortest and longest fault.")
@_lasting("faults")
async def net(given: _Given, *, extent: Extent, seconds: tuple[float, ...]) -> Run:
    """Make the network between members bad again and again under load. Exit 1 on a violation.

    \b
    minority   the leader is cut off from both others
    majority   a follower is
    one-way    what one sends does not arrive
    partial    leader and one follower are cut apart, the other sees both
    swizzle    links between members stop one by one, and come back in another order
    slow       delays of 50 and 200 ms, and 64 KiB/s
    stalls     each link stands still for 5 % of the time
    damage     bits flipped, pieces cut short or sent twice
    """
    lengths = min(seconds), max(seconds)
    return await partitions.run(
        given.folder, given.target, extent, seconds=lengths, seed=given.seed, clients=given.clients, say=_say
    )


@_faults("clock", clocks.TARGETS)
@click.option("--seconds", default=3.0, show_default=True, help="How long a clock is wrong.")
@_lasting("jumps")
async def clock(given: _Given, *, extent: Extent, seconds: float) -> Run:
    """Set members' wall clocks wrong by an hour or a quarter, under load. Exit 1 on a violation.

    \b
    one        one member's clock jumps, and jumps back
    all        those of all members do
    strobe     it jumps to and fro every 100 ms
    restart    members are killed and start again with a wrong clock
    """
    return await clocks.run(
        given.folder, given.target, extent, seconds=seconds, seed=given.seed, clients=given.clients, say=_say
    )


@_faults("fsync", failed_syncs.TARGETS)
@click.option("--call", type=click.Choice(failed_syncs.CALLS), default="fdatasync", show_default=True)
@click.option("--error", default="EIO", show_default=True, help="What the call fails with (errno(3)).")
@click.option("--first", default=1, show_default=True, help="The number of the first call that fails,")
@click.option("--last", default=50, show_default=True, help="and of the last: one after the other, a member each.")
async def fsync(given: _Given, *, call: str, error: str, first: int, last: int) -> Run:
    """Let the Nth fdatasync (or other call) of a member fail once under load, for each N from FIRST to LAST: the member
    must end, the cluster go on, and nothing be missing. Needs strace. Exit 1 on a violation."""
    fault = Fault(call, error, first, last)
    return await failed_syncs.run(given.folder, given.target, fault, seed=given.seed, clients=given.clients, say=_say)


@_faults("disk-full", full_disks.TARGETS)
@_lasting("times")
async def disk_full(given: _Given, *, extent: Extent) -> Run:
    """Fill the disk of ONE member or of ALL to the last byte under load, and make room again. Growing writes must be
    refused, reads go on, deletes until they are refused too, and no process end. Needs leave to mount. Exit 1 on a
    violation."""
    return await full_disks.run(given.folder, given.target, extent, seed=given.seed, clients=given.clients, say=_say)


@click.command("ledger")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each sum.")
def show_ledger(file: Path, as_json: bool) -> None:
    """Sum the runs in FILE by command and target. Exit 1 if any of them shows a violation or a loss."""
    try:
        totals = ledger.sums(ledger.load(file))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for total in totals:
        click.echo(msgspec.json.encode(total).decode() if as_json else ledger.text(total))
    sys.exit(1 if any(total.violations or total.lost for total in totals) else 0)


COMMANDS: tuple[click.Command, ...] = (kill, pause, net, clock, fsync, disk_full, show_ledger)
