"""Segment files of the journal on a disk: made, rewritten, sealed, and read back at the start.

* A segment gets its name by a rename after its bytes were synced, and the folder is synced before anything relies on
  it: a file `N.segment` with a bad head is rot and never a crash's doing.
* Segment N + 1 is made only when all of N is synced. Then N gets a seal, which says that N + 1 exists, and only then is
  N + 1 used. So a missing segment is noticed, and a sealed one must be right to its last byte.
* Of the newest segment a bad record is a torn tail if nothing valid behind it vouches for it, else rot. What is kept
  of it is copied to a new file and synced before it counts: bytes that a dead process left in the page cache may never
  have reached the disk, and its failed fsync is reported to nobody else.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cluster.errors import Corrupt, Refused, Unavailable
from cluster.limits import MIB
from metaraft.files import FULL
from metaraft.journal_disk import Disk, write_all
from metaraft.journal_recent import Recent
from metaraft.journal_records import (
    FORMAT,
    HEADER_BYTES,
    RECORD_BYTES,
    Codec,
    Entry,
    Header,
    Record,
    RecordKind,
    decode_header,
)
from metaraft.journal_table import Table
from metaraft.room import may_take

SUFFIX = ".segment"
NEW = ".new"

ALLOCATE_BYTES = 8 * MIB
"""Room is made this far ahead. Measured on ext4: an fdatasync that need not change the file's size takes 2 to 28 %
less than one that must. Files written full of zeros in advance halve it for 64 KiB, but take 160 ms to make."""

_COPY_BYTES = MIB


type Head = Callable[[Codec], bytes]
"""Encodes the records that a segment begins with; the first is always a VOTE."""


class Owner(NamedTuple):
    """Whose journal it is."""

    cluster_id: str
    slot: int
    incarnation: str


@dataclass(slots=True)
class Segment:
    """A segment file. Its records end at `end`, where the seal begins once there is one; `fd` is its descriptor while
    it is the active one, else None."""

    path: Path
    header: Header
    codec: Codec
    end: int
    allocated: int
    fd: int | None = None


@dataclass(slots=True)
class Recovered:
    """A journal as it was read back. The last of `segments` is active; all of it is on the disk."""

    table: Table
    segments: list[Segment]
    term: int
    voted_for: int | None


def segment_path(directory: Path, sequence: int) -> Path:
    """Path of a segment; names sort by sequence."""
    return directory / f"{sequence:016d}{SUFFIX}"


def sequences(disk: Disk, directory: Path) -> list[int]:
    """Sequences of the segments in the folder, ascending."""
    names = (name.removesuffix(SUFFIX) for name in disk.names(directory) if name.endswith(SUFFIX))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def write_segment(disk: Disk, path: Path, pieces: Iterator[bytes], room: int) -> tuple[int, int, int]:
    """Makes a segment of these bytes under its name, wholly or not at all, and returns (descriptor, end, allocated).

    `room` bytes are allocated behind the end. Everything is synced, the folder too.
    """
    new = path.with_name(path.name + NEW)
    fd = disk.create(new)
    try:
        end = 0
        for piece in pieces:
            write_all(disk, fd, piece, end)
            end += len(piece)
        if room:
            disk.allocate(fd, end, room)
        disk.fsync(fd)
        disk.rename(new, path)
        disk.sync_directory(path.parent)
    except BaseException:
        disk.close(fd)
        raise
    return fd, end, end + room


def extend(disk: Disk, segment: Segment, size: int) -> bool:
    """Allocates `size` bytes more for the active segment, and says whether the disk has them to spare."""
    assert segment.fd is not None
    if not may_take(disk.free(segment.path.parent), size):
        return False
    try:
        disk.allocate(segment.fd, segment.allocated, size)
    except OSError as error:
        if error.errno in FULL:
            return False
        raise
    segment.allocated += size
    return True


def begin_segment(
    disk: Disk, directory: Path, owner: Owner, *, sequence: int, first_index: int, previous_end: int, head: Head
) -> tuple[Segment, bytes]:
    """A segment that does not exist yet, and its first bytes: the header, then `head`'s records."""
    header = Header(*owner, sequence, first_index, previous_end, disk.random_bytes(8))
    codec = header.codec
    data = header.encode() + head(codec)
    return Segment(segment_path(directory, sequence), header, codec, len(data), len(data)), data


def encode_vote(codec: Codec, position: int, synced: int, term: int, voted_for: int | None) -> bytes:
    """The record of term and vote."""
    return codec.encode(RecordKind.VOTE, position, synced, 0 if voted_for is None else voted_for + 1, term)


def seal(disk: Disk, segment: Segment, fd: int) -> None:
    """Ends a segment whose successor exists, and syncs that."""
    end = segment.end
    write_all(disk, fd, segment.codec.encode(RecordKind.SEAL, end, end, segment.header.sequence + 1, 0), end)
    disk.truncate(fd, end + RECORD_BYTES)
    disk.fdatasync(fd)


def rot(path: Path, offset: int, what: str) -> Corrupt:
    """The error that keeps a member from starting on a journal which is not what was written."""
    return Corrupt(
        "JournalRot",
        f"{path}: {what} at offset {offset}, where records were synced once",
        detail={"path": str(path), "offset": str(offset)},
    )


def recover(disk: Disk, directory: Path, owner: Owner, room: int, recent: Recent) -> Recovered:
    """Reads the journal back and makes its newest segment anew, with `room` bytes allocated behind its end.

    `recent` gets the newest segment's entries. Raises Refused (NoJournal, ForeignJournal, JournalFormat), Corrupt
    (JournalRot), Unavailable (NoSpace: nothing was changed), OSError. The folder must be locked.
    """
    found = sequences(disk, directory)
    if not found:
        raise Refused("NoJournal", f"{directory} holds no journal; only the making of a cluster or member makes one")
    for missing in sorted(set(range(found[0], found[-1] + 1)) - set(found)):
        raise rot(segment_path(directory, missing), 0, "the segment is missing, and so is what was")
    for name in disk.names(directory):
        if name.endswith(SUFFIX + NEW):
            disk.unlink(directory / name)
    segments = [_read_head(disk, directory, owner, sequence) for sequence in found]
    replay = _Replay(Table(found[0], segments[0].header.first_index))
    pairs = itertools.pairwise(segments)
    sealed = [_replay_older(disk, segment, successor, replay) for segment, successor in pairs]
    active = segments[-1]
    _replay_newest(disk, active, replay, recent)
    if sealed and active.end == HEADER_BYTES + RECORD_BYTES:
        # The process died before it used the newest segment: the seal may be missing, or only in the page cache.
        _with_file(disk, segments[-2].path, lambda fd: seal(disk, segments[-2], fd))
        sealed[-1] = True
    for segment, is_sealed in zip(segments, sealed, strict=False):
        if not is_sealed:
            raise rot(segment.path, segment.end, "no seal")
    if replay.table.first_index == replay.table.next_index:
        raise rot(active.path, active.end, "no entry")
    _rewrite(disk, active, room)
    return Recovered(replay.table, segments, replay.term, replay.voted_for)


def incarnation_in(disk: Disk, directory: Path) -> str:
    """Whose journal it is by its oldest head; empty if there is none that can be read, which `recover` will say."""
    found = sequences(disk, directory)
    if not found:
        return ""
    path = segment_path(directory, found[0])
    header = decode_header(_with_file(disk, path, lambda fd: disk.read(fd, HEADER_BYTES, 0)))
    return header.incarnation if isinstance(header, Header) else ""


def _with_file[T](disk: Disk, path: Path, use: Callable[[int], T]) -> T:
    fd = disk.open(path)
    try:
        return use(fd)
    finally:
        disk.close(fd)


def _read_head(disk: Disk, directory: Path, owner: Owner, sequence: int) -> Segment:
    path = segment_path(directory, sequence)
    header = decode_header(_with_file(disk, path, lambda fd: disk.read(fd, HEADER_BYTES, 0)))
    if header is None:
        raise rot(path, 0, "bad segment header")
    if isinstance(header, int):
        raise Refused("JournalFormat", f"{path} has format {header}; this program reads {FORMAT}")
    theirs = Owner(header.cluster_id, header.slot, header.incarnation)
    if theirs != owner:
        raise Refused("ForeignJournal", f"{path} belongs to {theirs}, not to {owner}")
    if header.sequence != sequence:
        raise rot(path, 0, f"segment {header.sequence} under another's name")
    return Segment(path, header, header.codec, HEADER_BYTES, HEADER_BYTES)


class _Replay:
    """The journal's state while its records are read in the order they were written."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.term = 0
        self.voted_for: int | None = None

    def begin(self, segment: Segment) -> None:
        if segment.header.sequence == self.table.spans[0].sequence:
            return
        if segment.header.first_index != self.table.next_index:
            raise rot(segment.path, 0, f"begins at entry {segment.header.first_index}, not {self.table.next_index},")
        self.table.begin_segment(segment.header.sequence)

    def take(self, segment: Segment, record: Record) -> None:
        """One record. A right checksum with a wrong meaning is no crash's doing either."""
        table, kind = self.table, record.kind
        if record.position == HEADER_BYTES and kind != RecordKind.VOTE:
            raise rot(segment.path, record.position, "no term at the head")
        if kind == RecordKind.ENTRY and record.index == table.next_index and record.term >= table.last_term:
            table.append(record.index, record.term, record.position)
        elif kind == RecordKind.TRUNCATE and record.index <= table.next_index:
            table.truncate_from(record.index)
        elif kind == RecordKind.VOTE and record.term >= self.term:
            self.term, self.voted_for = record.term, record.index - 1 if record.index else None
        elif kind == RecordKind.RESET and record.index >= table.next_index:
            table.reset(record.index, record.term, record.position)
        elif kind == RecordKind.SEAL:
            raise rot(segment.path, record.position, "a seal, but the segment that it announces is not there,")
        elif kind != RecordKind.MARK:
            raise rot(segment.path, record.position, f"record of kind {kind} that cannot follow")


def _replay_older(disk: Disk, segment: Segment, successor: Segment, replay: _Replay) -> bool:
    """Replays a segment that is not the newest; everything in it must be right. Says whether it is sealed."""
    fd = disk.open(segment.path)
    try:
        read, end = partial(disk.read, fd), successor.header.previous_end
        replay.begin(segment)
        for record in segment.codec.walk(read, HEADER_BYTES, end):
            replay.take(segment, record)
            segment.end = record.end
        if segment.end != end:
            raise rot(segment.path, segment.end, "bad record")
        size = disk.size(fd)
        for record in segment.codec.walk(read, end, size):
            if record.kind == RecordKind.SEAL and record.end == size:
                return True
            break
        return False
    finally:
        disk.close(fd)


def _replay_newest(disk: Disk, segment: Segment, replay: _Replay, recent: Recent) -> None:
    """Replays the newest segment up to its torn tail, if it has one."""
    fd = disk.open(segment.path)
    try:
        read, size = partial(disk.read, fd), disk.size(fd)
        replay.begin(segment)
        for record in segment.codec.walk(read, HEADER_BYTES, size):
            replay.take(segment, record)
            segment.end = record.end
            if record.kind == RecordKind.ENTRY:
                recent.remember(Entry(record.index, record.term, bytes(record.data)))
                recent.settle(record.index)
            elif record.kind == RecordKind.TRUNCATE:
                recent.truncate_from(record.index)
            elif record.kind == RecordKind.RESET:
                recent.reset(Entry(record.index, record.term, b""))
                recent.settle(record.index)
        if segment.end == HEADER_BYTES or segment.codec.vouched(read, segment.end, size) is not None:
            raise rot(segment.path, segment.end, "bad record")
    finally:
        disk.close(fd)


def _rewrite(disk: Disk, segment: Segment, room: int) -> None:
    """Puts a synced copy in place of the newest segment, ended by a mark: all of it is now known to be on the disk."""
    source, end = disk.open(segment.path), segment.end

    def pieces() -> Iterator[bytes]:
        for offset in range(0, end, _COPY_BYTES):
            yield disk.read(source, min(_COPY_BYTES, end - offset), offset)
        yield segment.codec.encode(RecordKind.MARK, end, end, 0, 0)

    try:
        segment.fd, segment.end, segment.allocated = write_segment(disk, segment.path, pieces(), room)
    except OSError as error:
        if error.errno not in FULL:
            raise
        directory, unfinished = segment.path.parent, segment.path.name + NEW
        if unfinished in disk.names(directory):
            disk.unlink(directory / unfinished)
        raise Unavailable(
            "NoSpace",
            f"the disk of {directory} has no {end + room} bytes for a copy of the newest segment of the "
            "journal, which is made at each start; make room on it",
        ) from error
    finally:
        disk.close(source)
