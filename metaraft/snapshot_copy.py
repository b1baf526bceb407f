"""A copy of the open database in one file, made at a limited rate, and how such a file is checked.

Rules:
* The copy is LMDB's own compacting one, from one read transaction: the rows of one index, while commits go on. The
  engine writes it into a pipe without holding the interpreter; here it is read, hashed, written and synced, piece by
  piece, so that no more than a few MiB wait for the disk when something important is to be synced.
* While it lasts no page that the transaction can see is used again: the database grows by what is written meanwhile.
  So the rate must not be too low either, and a copy begins only with twice its room free.
* A file that `copy_store` returned is whole and synced; one that it did not return is removed.
* Who takes a copy believes nothing of it: the BLAKE3 is compared with the bytes as they are written, and `verify_copy`
  reads the rows.

Source: LMDB's `mdb_env_copyfd2` with MDB_CP_COMPACT.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import lmdb
import msgspec
import trio
from blake3 import blake3

from cluster.errors import Corrupt, Refused, TrilithError, Unavailable
from cluster.limits import MIB
from metaraft.files import sync_directory
from metaraft.lmdb_rows import LmdbReader, errors
from metaraft.store import LMDB_MAJOR, Store, Stored, read_stored, walk_rows

PIECE_BYTES = MIB
"""Copied between two looks at the clock. A pipe holds as much (pipe(7): the most without privileges)."""

SYNC_BYTES = 4 * MIB
"""Written between two syncs: a journal's sync waits for no more than this (chosen)."""

ROOM_FACTOR = 2
"""A copy begins only with so many times the database's size free on its disk."""


class Copied(msgspec.Struct, frozen=True, array_like=True):
    """A copy: the rows of a cluster at entry `index` of its log, of `term`. Hashes are hexadecimal: `set_hash` of the
    rows, `blake3` of the file's `size` bytes."""

    cluster_id: str
    index: int
    term: int
    set_hash: str
    size: int
    blake3: str


def copy_store(store: Store, file: Path, *, bytes_per_s: int, stop: threading.Event) -> Copied:
    """Copy the open database to `file`, in place of one that is there, and sync it. Blocking; give it a thread.

    Raises Unavailable (NoRoom; CopyStopped: `stop` was set), OSError, Corrupt (StoreRot); no file is there then.
    """
    require_room(file.parent, store.facts().used_bytes)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        sink = _Sink(descriptor, bytes_per_s, stop)
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as engine:
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # pipe(7): all pipes of a user may be too many; a smaller one will do
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
            copying = engine.submit(_feed, store, theirs)
            try:
                sink.drain(ours)
            finally:
                os.close(ours)  # an engine that still writes fails now, and ends
            stored = copying.result()
        sink.sync()
        sync_directory(file.parent)
    except BaseException:
        file.unlink()
        raise
    finally:
        os.close(descriptor)
    return Copied(stored.cluster_id, stored.index, stored.term, stored.set_hash.hex(), sink.size, sink.blake3)


async def copy_in_thread(
    store: Store, file: Path, *, bytes_per_s: int, meanwhile: Callable[[], Awaitable[object]]
) -> Copied:
    """`copy_store` in a thread, with `meanwhile` beside it: the copy is stopped when that ends, and if this is
    cancelled."""
    stop = threading.Event()

    async def stop_behind() -> None:
        try:
            await meanwhile()
        finally:
            stop.set()

    copied: Copied | TrilithError | OSError
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_behind)
        try:
            with trio.CancelScope(shield=True):  # the other is cancelled, and stops the thread
                copy = partial(copy_store, store, file, bytes_per_s=bytes_per_s, stop=stop)
                copied = await trio.to_thread.run_sync(copy)
        except (TrilithError, OSError) as error:  # a nursery would wrap it
            copied = error
        nursery.cancel_scope.cancel()
    if isinstance(copied, Exception):
        raise copied
    return copied


def verify_copy(file: Path, copied: Copied) -> None:
    """Check that `file` is the copy that it is said to be, to its last row. Blocking, and slow. The BLAKE3 of its bytes
    is for who wrote them to compare.

    Raises Refused (WrongStore), Corrupt (CopyDamaged, RowRot,
    StoreRot, SetHashWrong), OSError.
    """
    size = file.stat().st_size
    if size != copied.size:
        raise damaged(file, f"it has {size} bytes, not {copied.size}")
    with opened(file) as txn:
        stored = read_stored(LmdbReader(txn), file)
        if stored.cluster_id != copied.cluster_id:
            raise Refused("WrongStore", f"{file} is of cluster {stored.cluster_id}, not {copied.cluster_id}")
        if (stored.index, stored.term) != (copied.index, copied.term):
            raise damaged(file, f"it is of entry {stored.index} of term {stored.term}, not {copied.index}")
        walked = walk_rows(txn)
    if walked.set_hash != copied.set_hash:
        raise damaged(file, f"its rows have the set hash {walked.set_hash}, not {copied.set_hash}")


@contextlib.contextmanager
def opened(file: Path) -> Iterator["lmdb.Transaction[bytes]"]:
    """The rows of a copy, where it lies; nothing is written, neither to it nor beside it."""
    size = file.stat().st_size
    with (
        errors(file),
        contextlib.closing(
            lmdb.open(
                str(file), subdir=False, readonly=True, lock=False, create=False, map_size=size, lib_version=LMDB_MAJOR
            )
        ) as env,
        env.begin() as txn,
    ):
        yield txn


def require_room(folder: Path, size: int) -> None:
    """Raises Unavailable (NoRoom) unless a copy of `size` bytes may begin there."""
    found = os.statvfs(folder)
    free, needed = found.f_bavail * found.f_frsize, ROOM_FACTOR * size
    if free < needed:
        raise Unavailable("NoRoom", f"{folder} has {free} bytes free; a copy of {size} bytes begins only with {needed}")


def damaged(file: Path, what: str) -> Corrupt:
    """The error of a file that is not what it is said to be."""
    return Corrupt("CopyDamaged", f"{file} is no copy of the metadata that can be used: {what}")


class FileSink:
    """Writes a file from its start, hashed on the way and synced every few MiB. The pages written are given back to the
    kernel: a copy is read again much later or never, and what the members read is to stay in memory."""

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._hasher = blake3()
        self._synced = 0

    @property
    def blake3(self) -> str:
        """Of all that was written, hexadecimal."""
        return self._hasher.hexdigest()

    def write(self, data: memoryview | bytes) -> None:
        """Write all of it. After an OSError, from here or `sync`, the file is of no use."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, self.size)
            self._hasher.update(view[:written])
            view = view[written:]
            self.size += written
        if self.size - self._synced >= SYNC_BYTES:
            self.sync(os.fdatasync)

    def sync(self, sync: Callable[[int], None] = os.fsync) -> None:
        """Return when all of it is on the disk."""
        sync(self._descriptor)
        os.posix_fadvise(self._descriptor, self._synced, self.size - self._synced, os.POSIX_FADV_DONTNEED)
        self._synced = self.size


class _Sink(FileSink):
    """The end of the pipe: takes what comes, no faster than it may."""

    def __init__(self, descriptor: int, bytes_per_s: int, stop: threading.Event) -> None:
        super().__init__(descriptor)
        self._bytes_per_s = max(1, bytes_per_s)
        self._stop = stop

    def drain(self, source: int) -> None:
        """Take all that comes out of a pipe. Raises Unavailable (CopyStopped), OSError."""
        buffer = memoryview(bytearray(PIECE_BYTES))
        began = time.monotonic()
        filled, ended = 0, False
        while not ended:
            taken = os.readv(source, [buffer[filled:]])
            filled, ended = filled + taken, taken == 0
            if filled < PIECE_BYTES and not ended:
                continue
            self.write(buffer[:filled])
            filled = 0
            if self._stop.wait(max(0.0, began + self.size / self._bytes_per_s - time.monotonic())):
                raise Unavailable("CopyStopped", "the copy of the database was stopped")


def _feed(store: Store, descriptor: int) -> Stored:
    try:
        return store.copy_into(descriptor)
    finally:
        os.close(descriptor)
