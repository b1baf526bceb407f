"""Chunk files on one disk: what is acknowledged is on the disk, and nothing partial ever has its final name.

Rules:

* temporary name, bytes, fdatasync, rename, fsync of the folder, and only then an acknowledgement;
* a name is the hash of its bytes, checked block by block before the rename;
* a copy that is there already is synced and re-read in full before it counts for anybody;
* between a rename and its folder's fsync a name is not shown (`have`, `list`), nor acknowledged;
* put, renew, delete and report of one name are one at a time; `delete` needs `seen < horizon` (chunkd.seen).

Everything here blocks and is called in threads; every method is safe among them.
"""

import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chunkd import folder
from chunkd.blocks import DATA_OFFSET, invalid
from chunkd.files import Files
from chunkd.folder import Layout
from chunkd.health import Health
from chunkd.reading import OpenChunk, check_copy
from chunkd.seen import Name, Seen
from chunkd.trash import Trash
from chunkd.turns import FolderSyncs, NameLocks
from chunkd.upload import Upload
from chunkd.wire import DiskState, Verdict
from cluster.errors import Corrupt, Refused, Unavailable
from cluster.limits import Limits, Timings

OPENED_MAX = 4096
"""Names of chunks opened lately."""


class Store:
    """The chunks of one disk. `wall` (seconds since 1970) only dates the trash."""

    def __init__(
        self,
        directory: Path,
        *,
        cluster_id: str,
        disk_id: str,
        limits: Limits,
        timings: Timings,
        files: Files | None = None,
        health: Health | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open a prepared disk, empty its temporary folder and sync its file system.

        Raises Refused (NoDisk, WrongDisk, BadFormat, DiskInUse), or OSError if the disk cannot be read.
        """
        self._files = files or Files()
        self._layout = Layout(directory)
        self._limits = limits
        self.health = health or Health()
        self.seen = Seen(os.urandom(16))
        self._trash = Trash(self._files, self._layout, timings.trash_s, wall)
        self._locks = NameLocks()
        self._syncs = FolderSyncs(self._files.sync_folder)
        self._numbers = itertools.count()
        self._making = threading.Lock()  # one makes a space
        self._guard = threading.Lock()  # for what follows; never held while the disk is asked
        self._unsynced: set[Name] = set()  # renamed, folder not synced yet
        self._coming_bytes = 0
        self._opened: OrderedDict[Name, None] = OrderedDict()
        folder.check(directory, cluster_id, disk_id)
        lock = self._files.lock(directory)
        if lock is None:
            raise Refused("DiskInUse", f"another daemon uses {directory}")
        self._lock: int | None = lock
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        try:
            folder.sweep(self._files, self._layout.temp)
            self._files.sync_all(self._layout.root)
        except OSError as error:
            self.health.blame(error, "syncing the file system at the start")
        quarantined = [folder.parse_flat(text) for text in self._files.names(self._layout.quarantine)]
        self._bad = {name for name in quarantined if name is not None}
        self._spaces = set(folder.spaces(self._files, self._layout))
        self._count = sum(1 for _ in folder.chunk_names(self._files, self._layout))

    def close(self) -> None:
        """Let another process have the disk. May be repeated."""
        if self._lock is not None:
            self._files.close(self._lock)
            self._lock = None

    # ---- put

    def begin(self, name: Name, length: int, hashes: bytes, seen: int) -> Upload | None:
        """Start a put. None: a good copy was there and is acknowledged for `seen` already.

        Raises Refused (ChunkMismatch), or Unavailable (DiskFull, DiskFailed, DiskReadOnly).
        """
        reason = invalid(name[1], length, hashes)
        if reason is not None:
            raise Refused("ChunkMismatch", reason)
        self.health.check_writable()
        with self._locks.hold(name):
            if self._renew_verified(name, seen):
                return None
        self._reserve(length)
        try:
            self._make_space(name[0])
            path = self._layout.temp / f"{next(self._numbers)}-{os.getpid()}"
            return Upload(self._files, self.health, path, name, length, hashes)
        except BaseException:
            self._release(length)
            raise

    def put(self, name: Name, data: memoryview, hashes: bytes, seen: int) -> None:
        """All of a put whose bytes are in memory. Raises as `begin`, `Upload.write` and `finish`."""
        upload = self.begin(name, len(data), hashes, seen)
        if upload is not None:
            try:
                upload.write(data)
                self.finish(upload, seen)
            finally:
                self.discard(upload)

    def finish(self, upload: Upload, seen: int) -> None:
        """Make a wholly written upload durable under its name and acknowledge it for `seen`. Raises Unavailable.

        `discard` must follow, whether it returns or raises.
        """
        self.health.check_writable()
        upload.sync()
        with self._locks.hold(upload.name):
            self._publish(upload)
            self.seen.note(upload.name, seen)
            self._drop_quarantined(upload.name)

    def discard(self, upload: Upload) -> None:
        """End an upload: what was not published is removed."""
        upload.discard()
        self._release(upload.length)

    def _publish(self, upload: Upload) -> None:
        name, path = upload.name, self._layout.chunk(upload.name)
        try:
            existed = self._files.exists(path)
            with self._guard:
                self._unsynced.add(name)
            self._files.rename(upload.path, path)
            upload.moved()
            try:
                self._syncs.sync(path.parent)
            except OSError:
                if existed:  # the old file or the new one, both synced and the same bytes
                    self._shown(name, 0)
                else:
                    with suppress(OSError):  # not shown in any case: it stays among the unsynced
                        self._files.unlink(path)
                raise
        except OSError as error:
            if upload.open:  # the rename failed, what was there before is as it was
                self._shown(name, 0)
            raise self.health.blame(error, f"publishing chunk {name[1].hex()}") from error
        self._shown(name, 0 if existed else 1)

    def _shown(self, name: Name, more: int) -> None:
        with self._guard:
            self._unsynced.discard(name)
            self._count += more

    def _renew_verified(self, name: Name, seen: int) -> bool:
        """Acknowledge a copy that is there, if it is good to the last byte; a bad one goes to quarantine."""
        path = self._layout.chunk(name)
        try:
            wrong = check_copy(self._files, path, name[1], sync=True)
            if wrong is None:
                self._syncs.sync(path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self.health.blame(error, f"syncing chunk {name[1].hex()}") from error
        if wrong is not None:
            self._quarantine(name)
            return False
        self._shown(name, 0)
        self.seen.note(name, seen)
        self._drop_quarantined(name)
        return True

    def _make_space(self, space: int) -> None:
        with self._making:
            if space in self._spaces:
                return
            try:
                folder.make_space(self._files, self._layout, space)
            except OSError as error:
                raise self.health.blame(error, f"making the folders of space {space}") from error
            self._spaces.add(space)

    def _reserve(self, length: int) -> None:
        """Count a put's bytes as taken. Raises Unavailable (DiskFull); the trash gives way first."""
        needed = length + DATA_OFFSET + self._limits.disk_reserve_bytes

        def enough() -> bool:
            return self._files.space(self._layout.root)[1] - self._coming_bytes >= needed

        def take() -> bool:
            free = self._files.space(self._layout.root)[1]
            with self._guard:
                if free - self._coming_bytes < needed:
                    return False
                self._coming_bytes += length
                return True

        try:
            if take():
                return
            self._trash.empty_until(enough)
            if take():
                return
        except OSError as error:
            raise self.health.blame(error, "asking for free space") from error
        raise Unavailable(
            "DiskFull",
            f"{length} bytes would leave less than limits.disk_reserve_bytes free",
            limit={"disk_reserve_bytes": self._limits.disk_reserve_bytes},
        )

    def _release(self, length: int) -> None:
        with self._guard:
            self._coming_bytes -= length

    # ---- get

    def open_chunk(self, name: Name) -> OpenChunk:
        """Open a copy for reading, a quarantined one if there is no other (its good blocks are good).

        Raises Refused (NoSuchChunk), or Corrupt (BadHeader, ReadFailed).
        """
        for path in (self._layout.chunk(name), self._layout.quarantined(name)):
            try:
                fd = self._files.open(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise Corrupt("ReadFailed", f"chunk {name[1].hex()} cannot be opened: {error.strerror}") from error
            try:
                chunk = OpenChunk(self._files, fd, name[1])
            except BaseException:
                self._files.close(fd)
                raise
            self._note_opened(name)
            return chunk
        raise Refused("NoSuchChunk", f"chunk {name[1].hex()} of space {name[0]} is not on this disk")

    def open_nowait(self, name: Name) -> OpenChunk | None:
        """As `open_chunk`, without waiting for the disk, for a chunk that was opened lately; None: use a thread.

        Its directory entry is then in the kernel's cache, where the lookup costs less than the way to a thread.
        """
        if name not in self._opened:
            return None
        try:
            fd = self._files.open(self._layout.chunk(name))
        except OSError:
            return None
        try:
            return OpenChunk(self._files, fd, name[1], wait=False)
        except (BlockingIOError, Corrupt):
            self._files.close(fd)
            return None

    def _note_opened(self, name: Name) -> None:
        with self._guard:
            self._opened[name] = None
            self._opened.move_to_end(name)
            if len(self._opened) > OPENED_MAX:
                self._opened.popitem(last=False)

    def have(self, names: Sequence[Name]) -> list[bool]:
        """Which names are there, durably. The bytes are not looked at."""
        return [name not in self._unsynced and self._files.exists(self._layout.chunk(name)) for name in names]

    def page(self, space: int, after: bytes, limit: int) -> tuple[list[bytes], bool]:
        """Up to `limit` ids greater than `after`, in order, and whether there are more."""
        found: list[bytes] = []
        if space not in self._spaces:
            return found, False
        for room in range(after[0] if after else 0, 256):
            names = folder.room_names(self._files, self._layout, space, room)
            found += [name for name in names if name > after and (space, name) not in self._unsynced]
            if len(found) > limit:
                return found[:limit], True
        return found, False

    # ---- renew, delete, report

    def renew(self, names: Sequence[Name], seen: int) -> list[bool]:
        """Acknowledge again, for `seen`, the names that are there with a good header; False for the others."""
        self.health.check_writable()
        return [self._renew(name, seen) for name in names]

    def _renew(self, name: Name, seen: int) -> bool:
        with self._locks.hold(name):
            if not self.have([name])[0]:
                return False
            try:
                self.open_chunk(name).close()
            except (Corrupt, Refused):
                return False
            self.seen.note(name, seen)
            return True

    def delete(self, names: Sequence[Name], horizon: int) -> list[bool]:
        """Move to the trash the names whose every acknowledgement had `seen < horizon`.

        True: the name is not there any more. False: it was put or renewed too lately. Raises Unavailable
        (RevisionUnknown, DiskFailed, ...); what was deleted by then stays so.
        """
        self.health.check_writable()
        return [self._delete(name, horizon) for name in names]

    def _delete(self, name: Name, horizon: int) -> bool:
        with self._locks.hold(name):
            if self.seen.of(name) >= horizon:
                return False
            try:
                self._trash.take(name)
                with self._guard:
                    self._count -= 1
            except FileNotFoundError:
                pass  # it was not there, which is what was wanted
            except OSError as error:
                raise self.health.blame(error, f"deleting chunk {name[1].hex()}") from error
            self._drop_quarantined(name)
            self.seen.drop(name)
            return True

    def report(self, name: Name) -> Verdict:
        """Re-read a copy in full; a bad one goes to quarantine. Raises Unavailable if it cannot be moved there."""
        with self._locks.hold(name):
            try:
                wrong = check_copy(self._files, self._layout.chunk(name), name[1], sync=False)
            except FileNotFoundError:
                return "bad" if name in self._bad else "missing"
            except OSError:
                wrong = "it cannot be opened"
            if wrong is None:
                return "good"
            self._quarantine(name)
            return "bad"

    def _quarantine(self, name: Name) -> None:
        try:
            self._files.rename(self._layout.chunk(name), self._layout.quarantined(name))
        except OSError as error:
            raise self.health.blame(error, f"moving chunk {name[1].hex()} to quarantine") from error
        with self._guard:
            self._bad.add(name)
            self._count -= 1

    def _drop_quarantined(self, name: Name) -> None:
        """A good copy has replaced the bad one, or nobody wants either."""
        with self._guard:
            if name not in self._bad:
                return
            self._bad.discard(name)
        with suppress(OSError):  # left over, it is listed again at the next start
            self._files.unlink(self._layout.quarantined(name))

    # ---- upkeep

    def empty_trash(self) -> int:
        """Erase deleted files whose time is over; returns how many. Raises Unavailable."""
        try:
            return self._trash.empty_old()
        except OSError as error:
            raise self.health.blame(error, "emptying the trash") from error

    def bad(self) -> list[Name]:
        """Names of the copies in quarantine."""
        with self._guard:
            return sorted(self._bad)

    @property
    def count(self) -> int:
        """Chunk files of all spaces."""
        return self._count

    def state(self) -> tuple[DiskState, str, int, int]:
        """State, its reason, and bytes in total and free. A disk is full when its trash can give way no more."""
        try:
            total, free = self._files.space(self._layout.root)
            full = free < self._limits.disk_reserve_bytes and self._trash.is_empty()
        except OSError as error:
            self.health.blame(error, "asking for free space")
            total, free, full = 0, 0, False
        if self.health.state == "ok" and full:
            return "full", f"{free} bytes are free, {self._limits.disk_reserve_bytes} are kept in reserve", total, free
        return self.health.state, self.health.reason, total, free
