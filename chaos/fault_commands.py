"""Commands that put faults on real processes: each makes a cluster, judges what its clients saw, and can add the run to
a ledger. What contradicts the promises ends the command with code 1, and the cluster's folder is kept."""

import logging
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import click
import msgspec
import structlog
import trio

from chaos import clocks, failed_syncs, full_disks, kills, ledger, partitions, pauses
from chaos.ledger import Run
from chaos.turns import Extent

DEFAULT_FAULTS = 20


def _say(text: str) -> None:
    click.echo(text, err=True)


def _conduct(what: str, file: Path | None, conduct: Callable[[Path], Awaitable[Run]]) -> None:
    """Run in a folder of its own, tell, and exit with 1 on a violation."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # faults are no news here
    folder = Path(tempfile.mkdtemp(prefix=f"trilith-{what}-"))
    keep = True
    try:
        run = trio.run(_unless_ended, conduct, folder / "c")
        keep = bool(run.violations or run.lost)
    except (click.Abort, KeyboardInterrupt):
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


async def _unless_ended(conduct: Callable[[Path], Awaitable[Run]], folder: Path) -> Run:
    """The run, unless this process is told to end: then the cluster is ended too. Raises click.Abort."""
    run: Run | None = None

    async def wait_for_end() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_end)
        run = await conduct(folder)
        nursery.cancel_scope.cancel()
    if run is None:
        raise click.Abort
    return run


def _extent(faults: int | None, minutes: float | None) -> Extent:
    return Extent(DEFAULT_FAULTS if faults is None and minutes is None else faults, minutes)


def _drawn(seed: int | None) -> int:
    drawn = secrets.randbits(32) if seed is None else seed
    _say(f"seed {drawn}")
    return drawn


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of seconds like 1,5,30") from error
    if min(found) <= 0:
        raise click.BadParameter(f"{text!r} has a pause that is none")
    return found


_seed = click.option("--seed", type=int, help="Of workload and pauses (default: drawn and printed).")
_clients = click.option("--clients", default=16, show_default=True, help="Connections of the load.")
_minutes = click.option("--minutes", type=float, help="End after so many minutes, or the count if that is earlier.")
_ledger = click.option(
    "--ledger", "file", type=click.Path(path_type=Path, dir_okay=False), help="Append the run to this file, as a line."
)


@click.command()
@click.argument("target", type=click.Choice(kills.TARGETS))
@click.option("--kills", "count", type=int, help=f"How many kills (default, without --minutes: {DEFAULT_FAULTS}).")
@_minutes
@_seed
@_clients
@_ledger
def kill(
    target: str, count: int | None, minutes: float | None, seed: int | None, clients: int, file: Path | None
) -> None:
    """kill -9 TARGET again and again under load, then judge every history. Exit 1 on a violation."""
    drawn = _drawn(seed)

    async def conduct(folder: Path) -> Run:
        return await kills.run(folder, target, _extent(count, minutes), seed=drawn, clients=clients, say=_say)

    _conduct("kill", file, conduct)


@click.command()
@click.argument("target", type=click.Choice(pauses.TARGETS))
@click.option("--seconds", default="1,5,30", show_default=True, callback=_seconds, help="Lengths, one after the other.")
@click.option("--times", "count", type=int, help=f"How many pauses (default, without --minutes: {DEFAULT_FAULTS}).")
@_minutes
@_seed
@_clients
@_ledger
def pause(
    target: str,
    seconds: tuple[float, ...],
    count: int | None,
    minutes: float | None,
    seed: int | None,
    clients: int,
    file: Path | None,
) -> None:
    """SIGSTOP TARGET for some seconds again and again under load, and read from a leader that wakes. Exit 1 on a
    violation."""
    drawn = _drawn(seed)

    async def conduct(folder: Path) -> Run:
        extent = _extent(count, minutes)
        return await pauses.run(folder, target, extent, seconds=seconds, seed=drawn, clients=clients, say=_say)

    _conduct("pause", file, conduct)


@click.command()
@click.argument("target", type=click.Choice(partitions.TARGETS))
@click.option("--seconds", default="2,8", show_default=True, callback=_seconds, help="Shortest and longest fault.")
@click.option("--faults", "count", type=int, help=f"How many faults (default, without --minutes: {DEFAULT_FAULTS}).")
@_minutes
@_seed
@_clients
@_ledger
def net(
    target: str,
    seconds: tuple[float, ...],
    count: int | None,
    minutes: float | None,
    seed: int | None,
    clients: int,
    file: Path | None,
) -> None:
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
    drawn = _drawn(seed)

    async def conduct(folder: Path) -> Run:
        extent, lengths = _extent(count, minutes), (min(seconds), max(seconds))
        return await partitions.run(folder, target, extent, seconds=lengths, seed=drawn, clients=clients, say=_say)

    _conduct("net", file, conduct)


@click.command()
@click.argument("target", type=click.Choice(clocks.TARGETS))
@click.option("--seconds", default=3.0, show_default=True, help="How long a clock is wrong.")
@click.option("--jumps", "count", type=int, help=f"How many jumps (default, without --minutes: {DEFAULT_FAULTS}).")
@_minutes
@_seed
@_clients
@_ledger
def clock(
    target: str,
    seconds: float,
    count: int | None,
    minutes: float | None,
    seed: int | None,
    clients: int,
    file: Path | None,
) -> None:
    """Set members' wall clocks wrong by an hour or a quarter, under load. Exit 1 on a violation.

    \b
    one        one member's clock jumps, and jumps back
    all        those of all members do
    strobe     it jumps to and fro every 100 ms
    restart    members are killed and start again with a wrong clock
    """
    drawn = _drawn(seed)

    async def conduct(folder: Path) -> Run:
        extent = _extent(count, minutes)
        return await clocks.run(folder, target, extent, seconds=seconds, seed=drawn, clients=clients, say=_say)

    _conduct("clock", file, conduct)


@click.command()
@click.argument("target", type=click.Choice(failed_syncs.TARGETS))
@click.option("--call", type=click.Choice(failed_syncs.CALLS), default="fdatasync", show_default=True)
@click.option("--error", default="EIO", show_default=True, help="What the call fails with (errno(3)).")
@click.option("--first", default=1, show_default=True, help="The number of the first call that fails,")
@click.option("--last", default=50, show_default=True, help="and of the last: one after the other, a member each.")
@_seed
@_clients
@_ledger
def fsync(
    target: str, call: str, error: str, first: int, last: int, seed: int | None, clients: int, file: Path | None
) -> None:
    """Let the Nth fdatasync (or other call) of a member fail once under load, for each N from FIRST to LAST: the member
    must end, the cluster go on, and nothing be missing. Needs strace. Exit 1 on a violation."""
    drawn = _drawn(seed)
    fault = failed_syncs.Fault(call, error, first, last)

    async def conduct(folder: Path) -> Run:
        return await failed_syncs.run(folder, target, fault, seed=drawn, clients=clients, say=_say)

    _conduct("fsync", file, conduct)


@click.command("disk-full")
@click.argument("target", type=click.Choice(full_disks.TARGETS))
@click.option("--times", default=5, show_default=True, help="How often.")
@_seed
@_clients
@_ledger
def disk_full(target: str, times: int, seed: int | None, clients: int, file: Path | None) -> None:
    """Fill the disk of ONE member or of ALL to the last byte under load, and make room again. Growing writes must be
    refused, reads and deletes go on, and no process end. Needs leave to mount. Exit 1 on a violation."""
    drawn = _drawn(seed)

    async def conduct(folder: Path) -> Run:
        fill = partial(full_disks.run, folder, target, times=times, seed=drawn, clients=clients)
        return await trio.to_thread.run_sync(fill)

    _conduct("disk-full", file, conduct)


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
