"""`trilith chaos ...`: figures and faults on clusters of their own, in folders of their own or in virtual time."""

import math
import secrets
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec
import trio

from chaos import bench as bench_run
from chaos import copy_command, fault_commands, sim_commands, storage_commands
from chaos import listings as listings_run
from chaos.sim import campaign, simulate
from chaos.sim.transcript import Transcript
from cluster.cli.interrupts import interrupt_as_itself

SEEDS = 200
"""Seeds of `sim` if none are named."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Figures and faults.

    \b
    figures            bench, listings, copy
    in virtual time    sim; mutants and bare judge the simulator itself
    on real processes  kill, pause, net, clock, fsync, disk-full; ledger sums their runs
    on files           crash-states

    What needs a cluster makes one of its own, and ends it.
    """


def _say(text: str) -> None:
    click.echo(text, err=True)


@main.command()
@click.option("--seconds", default=8.0, show_default=True, help="Length of each scenario.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the cluster's disks lie (default: a temporary folder here).",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def bench(seconds: float, folder: Path | None, json_file: Path | None) -> None:
    """Print ops/s, MB/s and latencies beside the machine's limits."""
    with tempfile.TemporaryDirectory(dir=folder or Path.cwd(), prefix=".bench-") as name:

        async def measure() -> bench_run.Report:
            return await bench_run.run(Path(name), seconds=seconds, say=click.echo)

        with interrupt_as_itself():
            report = trio.run(measure)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


@main.command()
@click.option("--few", default=10_000, show_default=True, help="Keys of the small bucket.")
@click.option("--many", default=1_000_000, show_default=True, help="Keys of the large one.")
@click.option("--rounds", default=50, show_default=True, help="How often each page is asked for.")
def listings(few: int, many: int, rounds: int) -> None:
    """Compare pages of listings in a bucket of many keys with those in one of few."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".listings-") as name:

        async def compare() -> list[listings_run.PageCost]:
            return await listings_run.run(Path(name, "c"), few=few, many=many, rounds=rounds, say=_say)

        with interrupt_as_itself():
            costs = trio.run(compare)
        for cost in costs:
            click.echo(f"{cost.page:<22} {cost.few_ms:>8} ms  {cost.many_ms:>8} ms  ratio {cost.ratio}")


@main.command()
@click.option("--seeds", "seeds", metavar="A-B", help="These seeds (default: fresh ones, drawn and printed).")
@click.option("--seed", type=int, help="This seed alone.")
@click.option("--minutes", type=float, help="Fresh seeds until so much time has passed.")
@click.option("--seconds", default=simulate.HARM_S, show_default=True, help="Virtual seconds of harm per seed.")
@click.option("--trace", is_flag=True, help="Print every event of --seed.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes side by side.")
@click.option(
    "--tally", "file", type=click.Path(path_type=Path), help="Append what came of it to this file, a JSON line each."
)
@click.option("--sum", "summed", is_flag=True, help="Only add up what is in the --tally.")
@click.option("--json", "as_json", is_flag=True, help="Print a line as in the --tally instead of a report.")
def sim(
    seeds: str | None,
    seed: int | None,
    minutes: float | None,
    seconds: float,
    trace: bool,
    jobs: int,
    file: Path | None,
    summed: bool,
    as_json: bool,
) -> None:
    """Simulate members, clients and faults in virtual time: a seed is a history. Exit 1 on a violation."""
    if seed is not None:
        _refuse("--seed", {"--seeds": seeds is not None, "--minutes": minutes is not None})
    if summed:
        if file is None:
            raise click.UsageError("--sum needs a --tally")
        drawn = {"--seed": seed is not None, "--seeds": seeds is not None, "--minutes": minutes is not None}
        _refuse("--sum", drawn | {"--trace": trace, "--jobs": jobs > 1})
        _tell(campaign.summed(file), as_json=as_json)
        return
    if trace:
        if seed is None:
            raise click.UsageError("--trace needs a --seed")
        _refuse("--trace", {"--jobs": jobs > 1, "--tally": file is not None, "--json": as_json})
        outcome = simulate.simulate(seed, seconds=seconds, transcript=Transcript(tell=click.echo))
        sys.exit(1 if outcome.broken else 0)
    first, last = _seeds(seeds, seed, minutes)
    until = time.monotonic() + 60 * minutes if minutes is not None else math.inf
    if jobs > 1:
        timed = [] if minutes is None else ["--minutes", str(minutes)]
        tally = campaign.side_by_side(first, last, jobs, ["--seconds", str(seconds), *timed], _say)
    else:
        tally = campaign.run(range(first, last + 1), until=until, seconds=seconds, tell=_say)
    if file is not None:
        with file.open("ab") as tallies:
            tallies.write(campaign.encoded(tally))
    _tell(tally, as_json=as_json)
    sys.exit(1 if tally.broken else 0)


def _tell(tally: campaign.Tally, *, as_json: bool) -> None:
    click.echo(campaign.encoded(tally).decode() if as_json else campaign.report(tally), nl=not as_json)


def _refuse(option: str, others: dict[str, bool]) -> None:
    """Options that would say nothing beside this one."""
    given = [name for name, is_given in others.items() if is_given]
    if given:
        raise click.UsageError(f"{option} does not go with {' and '.join(given)}")


def _seeds(seeds: str | None, seed: int | None, minutes: float | None) -> tuple[int, int]:
    """First and last seed."""
    if seed is not None:
        return seed, seed
    if seeds is None:
        first = secrets.randbits(40)
        _say(f"seeds from {first}")
        return first, first + (1 << 32 if minutes is not None else SEEDS) - 1
    begin, found, end = seeds.partition("-")
    if not found or not begin.isdecimal() or not end.isdecimal() or int(begin) > int(end):
        raise click.UsageError(f"--seeds is A-B with A up to B, not {seeds!r}")
    return int(begin), int(end)


for command in (copy_command.copy, *fault_commands.COMMANDS, *sim_commands.COMMANDS, *storage_commands.COMMANDS):
    main.add_command(command)


if __name__ == "__main__":
    main()
