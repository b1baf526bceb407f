"""The rows in LMDB: one read transaction, and one write transaction with the set hash that goes along.

Rules: every stored value is checked against its CRC32C before anything is made of it, also before it is overwritten
or removed; LMDB is told to delete a value of over 2 KB before a shorter one takes its place, because it leaks pages
otherwise; an error of LMDB leaves here as what it means: `Corrupt` for a damaged file, `OSError` for the disk.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

import lmdb

from cluster.errors import Corrupt
from metaraft.rows import SET_HASH_MODULUS, row_hash, seal, unseal

type _Transaction = lmdb.Transaction[bytes]
type _Cursor = lmdb.Cursor[bytes]

_SHORT_WRITE = -30772
"""MDB_SHORT_WRITE of LMDB 1.0 (lmdb.h): a disk that took some of the bytes and then was full."""

SHRINK_BYTES_MIN = 1800
"""Values up to this are overwritten in place, whatever takes their place."""

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.BadChecksumError,
    lmdb.CursorFullError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
    lmdb.BadDbiError,
    lmdb.BadValsizeError,
)


@contextlib.contextmanager
def errors(path: object) -> Iterator[None]:
    """Say an error of LMDB in our words."""
    try:
        yield
    except lmdb.Error as error:
        raise translated(error, path) from error


def translated(error: lmdb.Error, path: object) -> Corrupt | OSError:
    """What an error of LMDB means: a damaged file, or the disk."""
    if isinstance(error, _DAMAGE):
        return Corrupt("StoreRot", f"the database {path} is damaged: {error}")
    if isinstance(error, lmdb.MapFullError):  # not the disk's fault: no waiting helps
        return OSError(errno.EFBIG, f"the database {path} is full: limits.map_bytes is reached")
    code = errno.ENOSPC if error.code == _SHORT_WRITE else error.code
    code = code if 0 < code < 4096 else errno.EIO
    return OSError(code, f"{os.strerror(code)}: the database {path}: {error}")


def checked_rows(txn: _Transaction, place: bytes = b"") -> Iterator[tuple[bytes, bytes, bytes]]:
    """Every row from `place` on, as (key, what is stored, value), each found again by its key.

    It sees what a single read cannot: a row that is no longer found, because a page of the tree above it is damaged.
    Raises Corrupt (RowRot, StoreRot).
    """
    cursor = txn.cursor()
    if not cursor.set_range(place):
        return
    for key, stored in cursor:
        value = unseal(key, stored)
        if txn.get(key) != stored:
            raise Corrupt("StoreRot", f"the row {key.hex()} is there and not found by its key")
        yield key, stored, value


class LmdbReader:
    """`rows.Reader` over one LMDB transaction."""

    def __init__(self, txn: _Transaction) -> None:
        self._txn = txn
        self._get = txn.get
        self._cursor: _Cursor | None = None

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        stored = self._get(key)
        if stored is None:
            return None
        return unseal(key, stored)

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """The first row of [start, stop), or None."""
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = self._txn.cursor()
        if not cursor.set_range(start):
            return None
        key, stored = cursor.item()
        if key >= stop:
            return None
        return key, unseal(key, stored)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows of [start, stop) in order."""
        cursor = self._txn.cursor()
        if not cursor.set_range(start):
            return
        for key, stored in cursor:
            if key >= stop:
                return
            yield key, unseal(key, stored)


class LmdbRows(LmdbReader):
    """`rows.Rows` over one LMDB write transaction. `set_hash` follows every change."""

    def __init__(self, txn: _Transaction, set_hash: int) -> None:
        super().__init__(txn)
        self._put = txn.put
        self._sum = set_hash
        self.changes: list[tuple[bytes, int]] = []
        """Each row that was changed, and by how much the set hash."""

    @property
    def set_hash(self) -> int:
        """The set hash of all rows as they are now."""
        return self._sum % SET_HASH_MODULUS

    def put(self, key: bytes, value: bytes) -> None:
        """Write, over what is there."""
        stored = seal(key, value)
        old = self._get(key)
        by = row_hash(key, stored)
        if old is not None:
            unseal(key, old)
            by -= row_hash(key, old)
            if len(old) > SHRINK_BYTES_MIN and len(stored) < len(old):
                self._txn.delete(key)
        self._put(key, stored)
        self._changed(key, by)

    def insert(self, key: bytes, value: bytes) -> None:
        """Write a row that is known not to be there."""
        stored = seal(key, value)
        new = self._put(key, stored, overwrite=False)
        assert new, "an inserted row is new"
        self._changed(key, row_hash(key, stored))

    def delete(self, key: bytes) -> None:
        """Remove a row that is known to be there."""
        old = self._txn.pop(key)
        assert old is not None, "a removed row is there"
        unseal(key, old)
        self._changed(key, -row_hash(key, old))

    def _changed(self, key: bytes, by: int) -> None:
        self._sum += by
        self.changes.append((key, by))

    def note(self, key: bytes, value: bytes) -> None:
        """Write a LOCAL row: it is in no set hash."""
        self._put(key, seal(key, value))
