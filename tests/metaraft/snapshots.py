"""Snapshot files for tests: of a store that has applied any commands."""

import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from metaraft.backup.file import finish
from metaraft.commands import Command
from metaraft.core_membership import Membership, Seat
from metaraft.snapshot_copy import copy_store
from metaraft.store import Store
from tests.metaraft.metadata import START_MS, LogEntry, batch, envelope, key_of
from tests.metaraft.stores import CLUSTER, SMALL, open_store, run

LATER_MS = START_MS + 100_000_000


def some_snapshot(folder: Path, *, entries: int = 40, seed: int = 1, last: Sequence[Command] = ()) -> Path:
    """The snapshot file of a store with the entries of a run, and these commands behind them."""
    file = folder / "file"
    Store.create(folder / "old", cluster_id=CLUSTER, limits=SMALL, first_seats=Membership({1: Seat("0" * 32)}))
    store = open_store(folder / "old")
    try:
        store.apply(list(islice(run(seed), entries)))
        envelopes = [envelope(command, key_of(10**9 + n), LATER_MS + 5000) for n, command in enumerate(last)]
        store.apply([LogEntry(entries + 1, batch(LATER_MS, envelopes), 7)])
        copied = copy_store(store, file, bytes_per_s=1 << 40, stop=threading.Event())
    finally:
        store.close()
    finish(file, copied, "1.2.3")
    return file
