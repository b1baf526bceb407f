"""Snapshot files for tests: of a store that has applied any commands."""

import contextlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import lmdb
from blake3 import blake3

from metaraft.backup.file import finish
from metaraft.commands import Command
from metaraft.store import LMDB_MAJOR
from tests.metaraft.metadata import START_MS, LogEntry, batch, envelope, key_of
from tests.metaraft.stores import new_store, run

LATER_MS = START_MS + 100_000_000


def snapshot_of(directory: Path, file: Path) -> Path:
    """The snapshot file of a closed store."""
    env = lmdb.open(str(directory), readonly=True, lib_version=LMDB_MAJOR)
    with contextlib.closing(env), file.open("wb") as opened:
        env.copyfd(opened.fileno(), compact=True)
    finish(file, blake3=blake3(file.read_bytes()).hexdigest(), term=7, version="1.2.3")
    return file


def some_snapshot(folder: Path, *, entries: int = 40, seed: int = 1, last: Sequence[Command] = ()) -> Path:
    """The snapshot file of a store with the entries of a run, and these commands behind them."""
    store = new_store(folder / "old")
    try:
        store.apply(list(islice(run(seed), entries)))
        envelopes = [envelope(command, key_of(10**9 + n), LATER_MS + 5000) for n, command in enumerate(last)]
        store.apply([LogEntry(entries + 1, batch(LATER_MS, envelopes))])
    finally:
        store.close()
    return snapshot_of(folder / "old", folder / "file")
