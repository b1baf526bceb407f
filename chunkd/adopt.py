"""`python -P -m chunkd.adopt FOLDER --cluster-id ID`: a disk of an old cluster becomes one of a restored cluster.

Rules:
* The disk keeps its id, which is what the restored metadata calls its holder; only the name of the cluster changes.
  From then on a daemon of the old cluster refuses the folder, and the chunk files stay as they are.
* A folder that a daemon has open is refused, and stays locked until this has ended.
* Deleted chunks that are still in the trash come back first: the metadata is older than the disk, so it may refer to
  what was deleted since. What nothing refers to is a stray, and goes again by the rule for strays. They come back only
  while the disk changes its owner: what the new cluster has deleted stays deleted.
* Nothing of a disk is counted as seen long ago. As after any start, a daemon deletes nothing before it was told the
  present revision, which is above all that the old cluster has ever given out, and counts what it holds as seen then.
* Interrupted anywhere, it may be repeated; the change of the name comes last, and is done or not done.
"""

from pathlib import Path

import click
import msgspec

from chunkd import folder
from chunkd.files import Files
from chunkd.folder import Layout
from cluster.cli.output import command, print_json
from cluster.errors import Refused


class Adopted(msgspec.Struct, frozen=True):
    """A disk, the cluster that it was of, how many chunk files it has, and how many of these came from its trash."""

    disk_id: str
    cluster_id: str
    chunks: int
    taken_back: int = 0


def look(directory: Path, files: Files | None = None) -> Adopted:
    """Which disk a folder is; nothing is changed. Raises Refused (NoDisk, BadFormat), OSError."""
    found = folder.read_format(directory)
    return Adopted(found.disk_id, found.cluster_id, _count(files or Files(), Layout(directory)))


def adopt(directory: Path, cluster_id: str, files: Files | None = None) -> Adopted:
    """Make the disk one of the cluster; what it was before. One that is its own already is left as it is.

    Raises Refused (NoDisk, BadFormat, DiskInUse), OSError.
    """
    files = files or Files()
    layout = Layout(directory)
    found = folder.read_format(directory)
    lock = files.lock(directory)
    if lock is None:
        raise Refused("DiskInUse", f"a daemon uses {directory}; end the cluster {found.cluster_id} first")
    try:
        found = folder.read_format(directory)  # nobody else changes it now
        taken_back = 0
        if found.cluster_id != cluster_id:
            taken_back = _take_back(files, layout)
            files.sync_all(directory)
            folder.write_format(files, layout, cluster_id, found.disk_id)
        return Adopted(found.disk_id, found.cluster_id, _count(files, layout), taken_back)
    finally:
        files.close(lock)


def _take_back(files: Files, layout: Layout) -> int:
    """Bring back what was deleted, unless a copy is there again; how many files."""
    count = 0
    for hour in files.names(layout.trash):
        if not files.is_folder(layout.trash / hour):
            continue
        for text in files.names(layout.trash / hour):
            name = folder.parse_flat(text)
            if name is None or files.exists(layout.chunk(name)):
                continue
            folder.make_space(files, layout, name[0])
            files.rename(layout.trash / hour / text, layout.chunk(name))
            count += 1
    return count


def _count(files: Files, layout: Layout) -> int:
    return sum(1 for _ in folder.chunk_names(files, layout))


@click.command()
@click.argument("directory", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--cluster-id", help="The cluster that gets the disk; without it nothing is changed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def main(directory: Path, cluster_id: str | None, as_json: bool) -> None:
    """Give the disk in FOLDER to a restored cluster."""
    done = look(directory) if cluster_id is None else adopt(directory, cluster_id)
    if as_json:
        print_json(done)
    else:
        click.echo(f"disk {done.disk_id}: was of {done.cluster_id}, {done.chunks} chunks, {done.taken_back} taken back")


if __name__ == "__main__":
    main()
