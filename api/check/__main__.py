"""`python -P -m api.check DIRECTORY`: whether all that the metadata refers to is on the disks. `trilith snapshot check`
runs it, with its arguments."""

import sys
from collections.abc import Callable

import click
import trio

from api.check.census import Census, Report
from chunkd.client import ChunkClient
from cluster.cli.access import directory_of
from cluster.cli.output import command, meter, print_json, say, shown
from cluster.config import FILE_NAME, Config, load
from cluster.errors import TrilithError
from cluster.exits import CommandExit
from cluster.identity import NodeIdentity, operator_identity
from metaraft.client import MetaClient

_SHOWN_MAX = 1000
"""Objects that are named in lines; JSON has more."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", required=False)
@click.option("--repair", is_flag=True, help="Tell the metadata of copies on the disks that it does not know of.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def main(directory: str | None, repair: bool, as_json: bool) -> None:
    """See that all that the metadata refers to is on the disks of the running cluster of DIRECTORY (default ./data).

    \b
    Exit codes: 0 all is there, in enough copies; 5 something is not, but a daemon did not answer;
    8 something is not.
    """
    config = load(directory_of(directory) / FILE_NAME)
    me = operator_identity(config)
    with meter() as progress:
        progress.start("chunks", None)
        report = trio.run(_check, config, me, repair, progress.add)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report.whole:
        sys.exit(CommandExit.UNAVAILABLE if report.silent else CommandExit.INCOMPLETE)


async def _check(config: Config, me: NodeIdentity, repair: bool, on_chunks: Callable[[int], object]) -> Report:
    meta = MetaClient(config, me)
    clients = [ChunkClient(node, config, me) for node in config.chunkd]
    found: Report | TrilithError
    async with trio.open_nursery() as nursery:
        await nursery.start(meta.run)
        for client in clients:
            nursery.start_soon(client.run)
        with trio.move_on_after(config.timings.connect_s + config.timings.reconnect_s):
            for client in clients:
                await client.wait_connected()
        disks = [client for client in clients if client.connected]
        silent = [client.name for client in clients if not client.connected]
        try:
            found = await Census(meta, disks, silent, config.timings, tell=repair, on_chunks=on_chunks).run()
        except TrilithError as error:
            found = error
        nursery.cancel_scope.cancel()
    if isinstance(found, TrilithError):
        raise found
    return found


def _print(report: Report) -> None:
    for one in report.objects[:_SHOWN_MAX]:
        what = f"upload {one.upload_id}" if one.upload_id else f"version {one.version_id}"
        click.echo(
            f"{shown(one.bucket)}/{shown(one.key)} {what}: {one.missing} chunks missing, {one.thin} with too few copies"
        )
    count = report.objects_missing + report.objects_thin
    if count > _SHOWN_MAX:
        click.echo(f"... and {count - _SHOWN_MAX} more; --json names up to 100,000")
    for name in report.silent:
        say(f"{name} did not answer: what it has is not known")
    if report.untold:
        say(f"{report.untold} copies are on disks that the metadata does not name for them; --repair tells it")
    if report.untraced:
        say(f"{report.untraced} more chunks that lack copies were not traced to what refers to them")
    if report.told:
        say(f"{report.told} copies were told to the metadata")
    click.echo(
        f"{report.chunks} chunks: {report.missing} missing, {report.thin} with too few copies; "
        f"objects and uploads: {report.objects_missing} lack all copies of a chunk, {report.objects_thin} have too few"
    )


if __name__ == "__main__":
    main(prog_name="trilith snapshot check")
