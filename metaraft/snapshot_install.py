"""A member takes a fetched copy of the database in the place of its own, at its next start.

    store/next.mdb    the copy, whole, verified and synced
    install           the marker: that this copy is to be taken, and at which entry of the log the journal begins anew

Rules: the marker is the point of no return. Until it is there nothing of the member has changed, and what lies in
`next.mdb` is swept away at the next start. From then on each start goes on with what is left to be done, before
anything else is opened: the journal begins anew, the copy gets the database's name, the marker goes. Each step is
synced before the next. Whether a copy goes beyond the log is asked once more before the first step, from what the disk
has: a process that had written the marker could still have acknowledged entries before it ended.
"""

from pathlib import Path

import msgspec

from cluster.errors import UNDECODABLE, Corrupt, Refused
from cluster.log import get_logger
from metaraft.journal import Journal
from metaraft.journal_disk import Disk, write_all
from metaraft.rows import seal, unseal
from metaraft.snapshot_copy import Copied
from metaraft.store import DATA_FILE

MARKER_FILE = "install"
NEXT_FILE = "next.mdb"
LOCK_FILE = "lock.mdb"
_NEW = ".new"
_KEY = b"install"
"""What the marker's checksum covers beside its content."""

_log = get_logger("metaraft")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Copied).decode


class BeginAnew(Exception):
    """A copy was fetched and marked: the process ends, and the next start installs it."""


def next_file(member: Path) -> Path:
    """Where a copy is fetched to: the folder of the database that it replaces, and so its disk."""
    return member / "store" / NEXT_FILE


def require_beyond(copied: Copied, journal: Journal) -> None:
    """Raises Refused (NotBeyondLog) unless a copy goes beyond all that this member may have acknowledged."""
    if copied.index <= journal.last_index:
        said = f"a copy of entry {copied.index} is not beyond this member's log, which goes up to {journal.last_index}"
        raise Refused("NotBeyondLog", said)


def mark(member: Path, copied: Copied, journal: Journal, disk: Disk) -> None:
    """Note for good that the copy in `next_file`, synced, is to be taken. Blocking; the process must end then.

    Raises Refused (NotBeyondLog) if the log goes as far as the copy; OSError.
    """
    require_beyond(copied, journal)
    marker = member / MARKER_FILE
    new = member / (MARKER_FILE + _NEW)
    descriptor = disk.create(new)
    try:
        write_all(disk, descriptor, seal(_KEY, _encode(copied)), 0)
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)
    disk.sync_directory(member / "store")
    disk.rename(new, marker)
    disk.sync_directory(member)


def finish(member: Path, journal: Journal, disk: Disk) -> Copied | None:
    """At a start, before the database is opened: finish what the marker says, or sweep away what no marker is for.

    Returns the copy that was taken now, if one was. Blocking. Raises Corrupt (MarkerRot, CopyLost), OSError.
    """
    names = _names(disk, member)
    copied = _read_marker(member, disk) if MARKER_FILE in names else None
    if MARKER_FILE + _NEW in names:
        disk.unlink(member / (MARKER_FILE + _NEW))
    if copied is None:
        _sweep(member, disk)
        return None
    if not _began_anew(journal, copied):
        try:
            require_beyond(copied, journal)
        except Refused as error:
            _log.warning("copy_refused", reason=str(error))
            _unmark(member, disk)
            _sweep(member, disk)
            return None
        if NEXT_FILE not in _names(disk, member / "store"):
            raise Corrupt("CopyLost", f"{next_file(member)} is to be taken as the database, and is not there")
        if journal.term < copied.term:
            journal.set_term(copied.term, None)
        journal.reset(copied.index, copied.term)
        journal.sync()
    names = _names(disk, member / "store")
    if NEXT_FILE in names:
        if LOCK_FILE in names:  # of the database that goes; no process has it open
            disk.unlink(member / "store" / LOCK_FILE)
        disk.rename(next_file(member), member / "store" / DATA_FILE)
        disk.sync_directory(member / "store")
    _unmark(member, disk)
    journal.cut(copied.index)
    _log.info("copy_installed", index=copied.index, term=copied.term, size=copied.size, blake3=copied.blake3)
    return copied


def _began_anew(journal: Journal, copied: Copied) -> bool:
    """The journal's part was done before, by a start that did not come to its end."""
    found = (journal.first_index, journal.last_index, journal.term_at(copied.index))
    return found == (copied.index, copied.index, copied.term)


def _read_marker(member: Path, disk: Disk) -> Copied:
    path = member / MARKER_FILE
    descriptor = disk.open(path)
    try:
        stored = disk.read(descriptor, disk.size(descriptor), 0)
    finally:
        disk.close(descriptor)
    try:
        return _decode(unseal(_KEY, stored))
    except (*UNDECODABLE, Corrupt) as error:
        raise Corrupt("MarkerRot", f"{path} is not what was written: {error}") from error


def _unmark(member: Path, disk: Disk) -> None:
    disk.unlink(member / MARKER_FILE)
    disk.sync_directory(member)


def _sweep(member: Path, disk: Disk) -> None:
    """Remove a copy that was never marked."""
    if NEXT_FILE in _names(disk, member / "store"):
        disk.unlink(next_file(member))


def _names(disk: Disk, folder: Path) -> set[str]:
    """Names in a folder; none if there is no folder, which is for others to say."""
    try:
        return set(disk.names(folder))
    except FileNotFoundError:
        return set()
