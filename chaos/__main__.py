"""`trilith chaos ...`: figures and faults on clusters of their own, in folders of their own."""

import tempfile
from pathlib import Path

import click
import msgspec
import trio

from chaos import bench as bench_run
from chaos import fault_commands
from chaos import listings as listings_run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Figures and faults. Every command makes clusters of its own and ends them."""


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

        for cost in trio.run(compare):
            click.echo(f"{cost.page:<22} {cost.few_ms:>8} ms  {cost.many_ms:>8} ms  ratio {cost.ratio}")


for command in fault_commands.COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
