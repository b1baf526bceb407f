"""`trilith status`: every process, leader, term, indices, and the chunk daemons' space."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cluster.cli.access import directory_of, find
from cluster.cli.http import Client, decode
from cluster.cli.output import command, human_bytes, print_json
from cluster.config import FILE_NAME, load
from cluster.errors import Unavailable
from cluster.process import read_pid
from cluster.supervisor import PID_FILE, RUN_NAME, last_complaint


@click.command()
@click.argument("directory", required=False)
@click.option("--dir", "dir_option", help="The same as DIRECTORY (or TRILITH_DIR; default ./data).")
@click.option("--endpoint", help="URL of the operator port; keys from the usual AWS variables.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def status(directory: str | None, dir_option: str | None, endpoint: str | None, as_json: bool) -> None:
    """Show every process, leader, term, indices, and the chunk daemons' space."""
    if directory is not None and dir_option not in (None, directory):
        raise click.UsageError("DIRECTORY and --dir name two clusters; give one of them")
    folder = directory or dir_option
    try:
        with Client(find(folder, endpoint, operator=True)) as client:
            facts = decode(client.call("GET", "/status"), dict[str, Any])
    except Unavailable:
        if endpoint is None and not as_json and (directory_of(folder) / FILE_NAME).exists():
            _print_processes(list(processes(directory_of(folder))))  # what can be known without the API
        raise
    if endpoint is None:
        facts["processes"] = list(processes(directory_of(folder)))
    if as_json:
        print_json(facts)
        return
    _print_status(facts)


def processes(folder: Path) -> Iterator[dict[str, Any]]:
    """The processes of this machine by their pid files, and the last word of those that do not run."""
    config = load(folder / FILE_NAME)
    run = config.path(config.run)
    files = {
        "supervisor": folder / RUN_NAME / PID_FILE,
        **{node.name: run / f"{node.name}.pid" for node in config.nodes},
    }
    for name, file in files.items():
        pid = read_pid(file)
        state, why = ("running", "") if pid is not None else ("not running", last_complaint(run / f"{name}.log"))
        yield {"name": name, "pid": pid, "state": state, "reason": why}


def _print_status(facts: dict[str, Any]) -> None:
    leader = facts["leader"] or "none"
    click.echo(f"cluster {facts['cluster_id']}  {facts['state']}  leader {leader}  term {facts['term']}")
    for member in facts["members"]:
        if not member["up"]:
            click.echo(f"  {member['name']:<10} down{_because(member['error'])}")
            continue
        click.echo(
            f"  {member['name']:<10} {member['role']:<10} term {member['term']}  commit {member['commit']}"
            f"  applied {member['applied']}  log {human_bytes(member['log_bytes'])}"
            f"{_walk(member)}{_because(member['refusal'] or member['error'])}"
        )
    for chunkd in facts["chunkds"]:
        if not chunkd["up"]:
            click.echo(f"  {chunkd['name']:<10} down{_because(chunkd['reason'])}")
            continue
        click.echo(
            f"  {chunkd['name']:<10} {chunkd['state']:<10} {chunkd['chunks']} chunks"
            f"  {human_bytes(chunkd['bytes_free'])} free of {human_bytes(chunkd['bytes_total'])}"
            f"{_because(chunkd['reason'])}"
        )
    _print_processes(facts.get("processes", []))


def _walk(member: dict[str, Any]) -> str:
    """How far a member has come that is reading its rows again."""
    walked, rows = member["walk_rows"], member["rows"]
    return f"  rows checked {100 * walked // rows} %" if 0 < walked < rows else ""


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _print_processes(found: list[dict[str, Any]]) -> None:
    for process in found:
        click.echo(
            f"  {process['name']:<10} {process['state']:<12} pid {process['pid'] or '-'}{_because(process['reason'])}"
        )
