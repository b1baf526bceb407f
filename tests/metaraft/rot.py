"""Rot for tests: rows that were altered behind the store's back, and files that were damaged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import msgspec

from cluster.limits import MIB
from metaraft.lmdb_rows import LmdbRows
from metaraft.rows import STATE_KEY, Kind, State, seal, unseal
from metaraft.store import LMDB_MAJOR

APPLIED_KEY = bytes([Kind.LOCAL]) + b"applied"


def alter_row(store: Path, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Give a row of a closed store other content with a right checksum: what no read of it can notice."""
    with _writing(store) as txn:
        txn.put(key, seal(key, change(unseal(key, _get(txn, key)))))


def flip_row(store: Path, key: bytes) -> None:
    """Give a row of a closed store other content under its old checksum."""
    with _writing(store) as txn:
        stored = _get(txn, key)
        txn.put(key, stored[:-1] + bytes([stored[-1] ^ 1]))


def miscount_users(store: Path) -> None:
    """What a command leaves that had another effect here: a row of other content, and a set hash that tells so."""
    with _writing(store) as txn:
        state = msgspec.msgpack.decode(unseal(STATE_KEY, _get(txn, STATE_KEY)), type=State)
        state.users += 1
        index, set_hash, *others = msgspec.msgpack.decode(unseal(APPLIED_KEY, _get(txn, APPLIED_KEY)))
        rows = LmdbRows(txn, int.from_bytes(set_hash, "big"))
        rows.put(STATE_KEY, msgspec.msgpack.encode(state))
        rows.note(APPLIED_KEY, msgspec.msgpack.encode([index, rows.set_hash.to_bytes(16, "big"), *others]))


@contextmanager
def _writing(store: Path) -> "Iterator[lmdb.Transaction[bytes]]":
    opened = lmdb.open(str(store), map_size=64 * MIB, lib_version=LMDB_MAJOR, create=False)
    with opened as env, env.begin(write=True) as txn:
        yield txn


def _get(txn: "lmdb.Transaction[bytes]", key: bytes) -> bytes:
    stored = txn.get(key)
    assert stored is not None
    return stored
