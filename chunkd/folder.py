"""A disk's folder: its layout, its format file, and how it is made and opened.

    format                  JSON: format version, cluster id, disk id
    temp/                   files being written; emptied at every start
    space-N/00 ... ff/      chunk files of space N, named by the chunk id's 64 hex digits
    quarantine/             bad copies, `N-ID`; readable block by block until a good one replaces them
    trash/HOUR/             deleted chunk files, `N-ID`; HOUR is the hour since 1970 they came in

A folder without a format file, or with another disk's, is never used: an unmounted disk is not an empty one. File
names are made here, from integers and 32 raw bytes; no text from the wire is ever part of a path.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from chunkd.blocks import ID_BYTES
from chunkd.files import Files, write_all
from chunkd.seen import Name
from cluster.errors import UNDECODABLE, Refused

FORMAT = 1
"""Version of the layout; another one is refused."""

SPACE_MAX = 4095
"""Largest space number: each has 256 folders."""

DEFAULT_SPACE = 1

_SPACE_PREFIX = "space-"
_ROOMS = [f"{number:02x}" for number in range(256)]


class FolderFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the format file says."""

    format: int
    cluster_id: str
    disk_id: str


class Layout:
    """Paths under a disk's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.format = root / "format"
        self.temp = root / "temp"
        self.quarantine = root / "quarantine"
        self.trash = root / "trash"

    def space(self, space: int) -> Path:
        """Folder of a space. Raises Refused (BadSpace)."""
        if not 0 <= space <= SPACE_MAX:
            raise Refused("BadSpace", f"space {space} is not one of 0 to {SPACE_MAX}")
        return self.root / f"{_SPACE_PREFIX}{space}"

    def chunk(self, name: Name) -> Path:
        """A chunk's file. Raises Refused (BadSpace, BadChunkId)."""
        return self.space(name[0]) / f"{name[1][:1].hex()}" / _hex(name[1])

    def quarantined(self, name: Name) -> Path:
        """Where a bad copy lies. Raises Refused (BadChunkId)."""
        return self.quarantine / flat(name)


def flat(name: Name) -> str:
    """A file name for a chunk outside its space's folder."""
    return f"{name[0]}-{_hex(name[1])}"


def parse_flat(text: str) -> Name | None:
    """The chunk that a file in quarantine or trash is of, or None if it is not ours."""
    space, _, rest = text.partition("-")
    name = parse_chunk(rest)
    return (int(space), name) if name is not None and space.isascii() and space.isdigit() else None


def parse_chunk(text: str) -> bytes | None:
    """The chunk id that a file name stands for, or None if it is not ours."""
    try:
        name = bytes.fromhex(text)
    except ValueError:
        return None
    return name if len(name) == ID_BYTES and name.hex() == text else None


def _hex(chunk_id: bytes) -> str:
    if len(chunk_id) != ID_BYTES:
        raise Refused("BadChunkId", f"a chunk id has {ID_BYTES} bytes, this has {len(chunk_id)}")
    return chunk_id.hex()


def make_space(files: Files, layout: Layout, space: int) -> None:
    """Make a space's 256 folders, durably; whole or not at all. Nothing happens if they are there."""
    target = layout.space(space)
    if files.exists(target):
        return
    fresh = layout.temp / target.name
    if not files.exists(fresh):
        files.make_folder(fresh)
    there = set(files.names(fresh))
    for room in _ROOMS:
        if room not in there:
            files.make_folder(fresh / room)
    files.sync_folder(fresh)
    files.rename(fresh, target)
    files.sync_folder(layout.root)


def prepare(directory: Path, cluster_id: str, disk_id: str, files: Files | None = None) -> None:
    """Make a disk's folder, durably. Raises Refused (DiskNotEmpty) if anything is in it, also a disk of ours.

    What an interrupted attempt left (a folder without format file and without chunks) is completed.
    """
    files = files or Files()
    layout = Layout(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    strangers = set(files.names(directory)) - {"temp", "quarantine", "trash", f"{_SPACE_PREFIX}{DEFAULT_SPACE}"}
    if strangers or any(chunk_names(files, layout)):
        what = ", ".join(sorted(strangers)[:5]) or "chunk files"
        raise Refused("DiskNotEmpty", f"{directory} is not empty: it has {what}; a new disk needs an empty folder")
    for folder in (layout.temp, layout.quarantine, layout.trash):
        if not files.exists(folder):
            files.make_folder(folder)
    make_space(files, layout, DEFAULT_SPACE)
    write_format(files, layout, cluster_id, disk_id)
    files.sync_folder(directory.parent)


def write_format(files: Files, layout: Layout, cluster_id: str, disk_id: str) -> None:
    """Say whose disk this is, in place of what was said before; all else on the disk is synced with it."""
    text = msgspec.json.encode(FolderFormat(format=FORMAT, cluster_id=cluster_id, disk_id=disk_id)) + b"\n"
    fresh = layout.temp / "format"
    if files.exists(fresh):
        files.unlink(fresh)
    fd = files.create(fresh)
    try:
        write_all(files, fd, [text], 0)
        files.sync_data(fd)
    finally:
        files.close(fd)
    files.rename(fresh, layout.format)
    files.sync_all(layout.root)


def check(directory: Path, cluster_id: str, disk_id: str) -> None:
    """See that a folder is the disk it should be. Raises Refused (NoDisk, WrongDisk, BadFormat) saying what to do."""
    found = read_format(directory)
    if (found.cluster_id, found.disk_id) != (cluster_id, disk_id):
        raise Refused(
            "WrongDisk",
            f"{directory} is disk {found.disk_id} of cluster {found.cluster_id}; "
            f"the configuration says disk {disk_id} of cluster {cluster_id}",
        )


def read_format(directory: Path) -> FolderFormat:
    """Which disk a folder is. Raises Refused (NoDisk, BadFormat)."""
    try:
        text = Layout(directory).format.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(
            "NoDisk",
            f"{directory} is no disk of Trilith's: it has no format file. Is the disk mounted? A new one is made by "
            "`python -m chunkd --prepare`",
        ) from None
    try:
        found = msgspec.json.decode(text, type=FolderFormat)
    except UNDECODABLE as error:
        raise Refused("BadFormat", f"{directory}/format cannot be read: {error}") from error
    if found.format != FORMAT:
        raise Refused("BadFormat", f"{directory} has format {found.format}; this version reads {FORMAT}")
    return found


def spaces(files: Files, layout: Layout) -> list[int]:
    """The spaces that have a folder."""
    numbers = [name.removeprefix(_SPACE_PREFIX) for name in files.names(layout.root) if name.startswith(_SPACE_PREFIX)]
    return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())


def room_names(files: Files, layout: Layout, space: int, room: int) -> list[bytes]:
    """Chunk ids of a space that begin with one byte, in order."""
    names = [parse_chunk(text) for text in files.names(layout.space(space) / _ROOMS[room])]
    return sorted(name for name in names if name is not None and name[0] == room)


def chunk_names(files: Files, layout: Layout) -> Iterator[Name]:
    """Every chunk file of a disk."""
    for space in spaces(files, layout):
        there = set(files.names(layout.space(space)))
        for room, text in enumerate(_ROOMS):
            if text in there:
                for name in room_names(files, layout, space, room):
                    yield space, name


def sweep(files: Files, folder: Path) -> int:
    """Remove everything in a folder, also half-made folders; returns how many entries there were."""
    names = files.names(folder)
    for name in names:
        path = folder / name
        if files.is_folder(path):
            sweep(files, path)
            files.remove_folder(path)
        else:
            files.unlink(path)
    return len(names)
