"""Rot for tests: rows that were altered behind the store's back, and files that were damaged."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec

from cluster.limits import MIB
from metaraft.rows import STATE_KEY, State, seal, unseal
from metaraft.store import LMDB_MAJOR


def alter_row(store: Path, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Give a row of a closed store other content with a right checksum: what no read of it can notice."""
    opened = lmdb.open(str(store), map_size=64 * MIB, lib_version=LMDB_MAJOR, create=False)
    with opened as env, env.begin(write=True) as txn:
        stored = txn.get(key)
        assert stored is not None
        txn.put(key, seal(key, change(unseal(key, stored))))


def miscount_users(store: Path) -> None:
    """Alter the row that every transaction writes again."""

    def change(value: bytes) -> bytes:
        state = msgspec.msgpack.decode(value, type=State)
        state.users += 1
        return msgspec.msgpack.encode(state)

    alter_row(store, STATE_KEY, change)
