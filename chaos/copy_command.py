"""`trilith chaos copy`: figures of members with a large database."""

import tempfile
from pathlib import Path

import click
import msgspec
import trio

from chaos import copying
from cluster.cli.interrupts import interrupt_as_itself


@click.command()
@click.option("--mib", default=2048, show_default=True, help="Size of the database.")
@click.option("--tail-mib", default=64, show_default=True, help="Size of the log behind it.")
@click.option("--seconds", default=15.0, show_default=True, help="How long commits are timed each time.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the cluster's disks lie (default: a temporary folder here).",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def copy(mib: int, tail_mib: int, seconds: float, folder: Path | None, json_file: Path | None) -> None:
    """Time starts with a large database and a full log, and commits while the database is copied."""
    with tempfile.TemporaryDirectory(dir=folder or Path.cwd(), prefix=".copy-") as name:

        async def measure() -> copying.Report:
            return await copying.run(
                Path(name, "c"),
                size=mib << 20,
                tail=tail_mib << 20,
                seconds=seconds,
                say=lambda text: click.echo(text, err=True),
            )

        with interrupt_as_itself():
            report = trio.run(measure)
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    click.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")
