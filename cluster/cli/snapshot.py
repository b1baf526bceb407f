"""`trilith snapshot`: backup of the metadata, and a new cluster of it. The drill is in docs/backup.md.

What reads the metadata, or a disk, is a program of the package that knows it, started by its module's name; here is
what makes a cluster of what these say.
"""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from cluster import identity
from cluster.cli.access import directory_of
from cluster.cli.output import command, print_json, say, shown
from cluster.cli.passing import passed_on
from cluster.cli.shapes import shape_of, shape_options
from cluster.config import FILE_NAME, Config, Identity, TcpAddress, address, load
from cluster.create import Origin, create, refuse_unspeakable, socket_folder
from cluster.errors import Refused
from cluster.exits import CommandExit
from cluster.restored import OldDisk, Restored, Snapshot, place_disk, read_restored, write_config
from cluster.supervisor import RUN_NAME, locked

_SHOWN_MAX = 20
"""Keys that are named in lines; JSON has all."""


class _Key(msgspec.Struct):
    """A user's access key, and whether it opens under the cluster key that there will be."""

    access_key: str
    user: str
    opens: bool | None


class _Found(msgspec.Struct):
    """What is needed of a verified file."""

    snapshot: Snapshot
    disks: tuple[OldDisk, ...]
    access_keys: list[_Key]


class _Adopted(msgspec.Struct):
    """A disk's folder, as the chunk daemons' program sees it."""

    disk_id: str
    cluster_id: str
    chunks: int
    taken_back: int


@click.group()
def snapshot() -> None:
    """Back up the metadata, and make a new cluster of it."""


for _command in (
    passed_on("save", "Save the metadata of a running cluster to a FILE.", "metaraft.backup", "save"),
    passed_on(
        "verify", "Read every byte and row of a snapshot FILE, and say what is in it.", "metaraft.backup", "verify"
    ),
    passed_on("check", "See that all that the metadata refers to is on the disks.", "api.check"),
):
    snapshot.add_command(_command)


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("directory")
@click.option(
    "--cluster-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The old cluster.key, under which the users' keys are sealed. Without it they are lost.",
)
@click.option(
    "--credentials-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The old credentials.json: root keeps its key, and what it owns its owner.",
)
@shape_options("Chunk daemons on new, empty disks (default none: the old disks are adopted).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def restore(
    file: Path,
    directory: str,
    cluster_key_file: Path | None,
    credentials_file: Path | None,
    as_json: bool,
    **shape: Any,
) -> None:
    """Make a new cluster in DIRECTORY of the metadata in a snapshot FILE."""
    folder = directory_of(directory).resolve()
    refuse_unspeakable(folder)
    with locked(folder / RUN_NAME):
        if (folder / FILE_NAME).exists():
            raise Refused("ClusterExists", f"{folder} has a cluster already; a snapshot makes a new one")
        kept_key = folder / Identity().cluster_key
        key_file = cluster_key_file or (kept_key if kept_key.exists() else None)
        options = [] if key_file is None else ["--cluster-key-file", str(key_file)]
        found = _run("metaraft.backup", "verify", str(file), *options, shape=_Found, as_json=as_json)
        origin = Origin(file, Restored(found.snapshot, found.disks), cluster_key_file, credentials_file)
        made = create(folder, shape_of(shape, chunkds=0), origin)
    lost = [key for key in found.access_keys if not key.opens]
    if as_json:
        keys = [{"access_key": key.access_key, "user": key.user} for key in lost]
        print_json({"cluster_id": made.cluster_id, "snapshot": found.snapshot, "disks": found.disks, "lost_keys": keys})
    else:
        _tell(made, found, lost, folder)


def _tell(made: Config, found: _Found, lost: list[_Key], folder: Path) -> None:
    when = datetime.fromtimestamp(found.snapshot.state_time_ms / 1000, UTC).isoformat(timespec="seconds")
    click.echo(f"made cluster {made.cluster_id} in {folder}")
    click.echo(f"of the metadata of cluster {found.snapshot.cluster_id} at index {found.snapshot.index}, {when}")
    for key in lost[:_SHOWN_MAX]:
        say(f"lost: access key {shown(key.access_key)} of user {shown(key.user)}: it opens under another cluster key")
    if len(lost) > _SHOWN_MAX:
        say(f"lost: {len(lost) - _SHOWN_MAX} more access keys; --json names them")
    if lost:
        say("they work again under the old file (--cluster-key-file); else replace them: trilith user key rm, key add")
    click.echo("its disks are to be adopted, each by: trilith snapshot adopt FOLDER --dir DIRECTORY")
    for disk in found.disks:
        click.echo(f"  {disk.disk_id} of {shown(disk.node)}, zone {shown(disk.zone)}, {shown(disk.state)}")
    click.echo("then: trilith up DIRECTORY; trilith snapshot check DIRECTORY")


@snapshot.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--dir", "directory", help="Folder of the restored cluster (or TRILITH_DIR; default ./data).")
@click.option("--name", help="Name of the chunk daemon (default: its old one).")
@click.option("--from", "owner", help="Id of the cluster that has it now, if that is not the one of the snapshot.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def adopt(folder: Path, directory: str | None, name: str | None, owner: str | None, as_json: bool) -> None:
    """Make the disk in FOLDER, of the old cluster, one of the restored cluster; the old one loses it for good."""
    base = directory_of(directory)
    folder = folder.resolve()
    refuse_unspeakable(folder)
    with locked(base / RUN_NAME):
        config = load(base / FILE_NAME)
        found = _run("chunkd.adopt", str(folder), shape=_Adopted, as_json=as_json)
        restored = read_restored(Path(config.base))
        disk = restored.disk(found.disk_id)
        owners = (owner or restored.snapshot.cluster_id, config.cluster_id)
        if found.cluster_id not in owners:
            raise Refused(
                "OtherCluster",
                f"the disk in {folder} is cluster {found.cluster_id}'s, not {owners[0]}'s; if that cluster is to lose "
                f"it: --from {found.cluster_id}",
            )
        sockets = socket_folder(Path(config.base), config.cluster_id)
        wanted = place_disk(config, disk, folder, name, sockets)
        node = next(chunkd for chunkd in wanted.chunkd if chunkd.disk_id == disk.disk_id)
        if isinstance(address(node.listen, config.base), TcpAddress):
            identity.make_node_certificate(config.path(config.identity.tls), node.name)
        done = _run("chunkd.adopt", str(folder), "--cluster-id", config.cluster_id, shape=_Adopted, as_json=as_json)
        if wanted != config:
            write_config(wanted)
    if as_json:
        print_json({"name": node.name, "directory": node.directory, **msgspec.structs.asdict(done)})
        return
    was = "it was before" if done.cluster_id == config.cluster_id else f"it was cluster {done.cluster_id}'s"
    click.echo(f"{node.name}: disk {done.disk_id} with {done.chunks} chunks is this cluster's; {was}")
    if done.taken_back:
        click.echo(f"{node.name}: {done.taken_back} of them had been deleted, and were brought back")


def _run[T](module: str, *arguments: str, shape: type[T], as_json: bool) -> T:
    """What a program of another package prints as JSON. If it fails it has said why, and this command ends as it."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-m", module, *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=shape)
    if as_json:
        click.echo(done.stdout, nl=False)
    sys.exit(done.returncode if done.returncode > 0 else CommandExit.REFUSED)
