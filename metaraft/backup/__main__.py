"""`python -P -m metaraft.backup ...`: snapshots of the metadata. `trilith snapshot` runs it, with its arguments."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from cluster.cli.access import directory_of
from cluster.cli.output import Meter, command, human_bytes, meter, print_json, say, shown
from cluster.config import FILE_NAME, load
from cluster.errors import Corrupt, TrilithError
from cluster.identity import operator_identity, read_cluster_key
from cluster.sealing import Sealer
from metaraft.backup.file import Contents, Manifest, read_manifest
from metaraft.backup.file import verify as verify_file
from metaraft.backup.save import Watcher
from metaraft.backup.save import save as save_file
from metaraft.model import AccessKey

_FILE = click.Path(path_type=Path, dir_okay=False)
_SHOWN_MAX = 20
"""Keys that are named in lines; JSON has all."""


class _Disk(msgspec.Struct):
    """A disk that the metadata knows."""

    disk_id: str
    node: str
    zone: str
    weight: int
    state: str


class _Key(msgspec.Struct):
    """A user's access key. `opens`: under the cluster key that was given; None if none was."""

    access_key: str
    user: str
    opens: bool | None


class _Found(msgspec.Struct):
    """What a verified file holds."""

    snapshot: Manifest
    kinds: dict[str, int]
    disks: list[_Disk]
    access_keys: list[_Key]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Snapshots of the metadata: what is in the store but the chunks' bytes."""


class _Told(Watcher):
    """Shows the person what happens."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def step(self, what: str, total: int | None) -> None:
        self._meter.start(what, total)

    def moved(self, count: int) -> None:
        self._meter.add(count)

    def passed_over(self, member: str, error: TrilithError) -> None:
        say(f"no copy from {member}: {error.code}: {shown(error.message)}")


@main.command()
@click.argument("file", type=_FILE)
@click.option("--dir", "directory", help="Folder of the cluster, on one of its hosts (or TRILITH_DIR; default ./data).")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def save(file: Path, directory: str | None, force: bool, as_json: bool) -> None:
    """Save the metadata of a running cluster to FILE, all that was acknowledged by now, and read it again."""
    config = load(directory_of(directory) / FILE_NAME)
    me = operator_identity(config)
    with meter() as progress:
        manifest = save_file(config, me, file, replace=force, watcher=_Told(progress))
    if as_json:
        print_json(manifest)
    else:
        click.echo(f"saved {shown(str(file))}: {human_bytes(manifest.size)}, {manifest.rows} rows, verified")
        click.echo(f"cluster {manifest.cluster_id} at index {manifest.index}, {_when(manifest)}")


@main.command()
@click.argument("file", type=_FILE)
@click.option("--cluster-key-file", type=_FILE, help="Tell which users' keys open under this cluster key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def verify(file: Path, cluster_key_file: Path | None, as_json: bool) -> None:
    """Read every byte and every row of a snapshot FILE, and say what is in it."""
    sealer = None if cluster_key_file is None else Sealer(read_cluster_key(cluster_key_file))
    size = read_manifest(file).size
    with meter() as progress:
        progress.start(f"verifying {file.name}", size)
        manifest, contents = verify_file(file, progress.add)
    found = _found(manifest, contents, sealer)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _found(manifest: Manifest, contents: Contents, sealer: Sealer | None) -> _Found:
    return _Found(
        snapshot=manifest,
        kinds=contents.kinds,
        disks=[
            _Disk(disk.disk_id.hex(), disk.node, disk.zone, disk.weight, disk.state)
            for disk in sorted(contents.disks, key=lambda disk: disk.node)
        ],
        access_keys=[
            _Key(key.access_key, key.user, None if sealer is None else _opens(sealer, key))
            for key in contents.access_keys
        ],
    )


def _opens(sealer: Sealer, key: AccessKey) -> bool:
    try:
        sealer.unseal(key.sealed_secret, key.access_key)
    except Corrupt:
        return False
    return True


def _print(found: _Found) -> None:
    snapshot = found.snapshot
    click.echo(f"cluster    {snapshot.cluster_id}")
    click.echo(f"state time {_when(snapshot)}")
    click.echo(f"index      {snapshot.index}, term {snapshot.term}, level {snapshot.level}")
    click.echo(f"revision   {snapshot.revision}")
    click.echo(f"database   {human_bytes(snapshot.size)}, blake3 {snapshot.blake3}")
    click.echo(f"rows       {snapshot.rows}, set hash {snapshot.set_hash}")
    for kind, count in found.kinds.items():
        click.echo(f"  {kind:<14} {count}")
    for disk in found.disks:
        click.echo(f"disk       {disk.disk_id} of {shown(disk.node)}, zone {shown(disk.zone)}, {disk.state}")
    lost = [key for key in found.access_keys if key.opens is False]
    for key in lost[:_SHOWN_MAX]:
        click.echo(f"key        {shown(key.access_key)} of {shown(key.user)} does not open under this cluster key")
    if len(lost) > _SHOWN_MAX:
        click.echo(f"key        {len(lost) - _SHOWN_MAX} more do not open; --json names them")
    click.echo("every byte and every row is as it was written")


def _when(manifest: Manifest) -> str:
    return datetime.fromtimestamp(manifest.state_time_ms / 1000, UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main(prog_name="trilith snapshot")
