"""A database whose disk is full: nothing of what did not fit is there, and all of it is once there is room."""

import errno
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import trio

import metaraft.applier as applier_module
from metaraft.applier import Applier, DiskFailed
from metaraft.journal_records import Entry
from metaraft.store import Store
from metaraft.walking import Change
from tests.metaraft.metadata import LogEntry
from tests.metaraft.stores import Twin, new_store, run

LAST = 20
PATIENCE_S = 60.0


class Log:
    """So many empty entries."""

    def entries(self, start: int, stop: int, bytes_max: int) -> list[Entry]:
        """All of them."""
        assert bytes_max > 0
        return [Entry(index, 1, b"") for index in range(start, stop)]


class Tight:
    """A database on whose disk a transaction of more than `fits` entries has no room."""

    def __init__(self, code: int) -> None:
        self.fits = 0
        self.applied = 0
        self.tried: list[int] = []
        self.done: list[int] = []
        self.alone = threading.Event()
        """One entry was tried, and tried again."""
        self._code = code
        self._entries: Sequence[Entry] = ()

    def execute(self, entries: Sequence[Entry]) -> list[list[bytes]]:
        """Take them, to find at the commit that they do not fit."""
        self._entries = entries
        return [[] for _ in entries]

    def commit(self) -> None:
        """Commit, if they fit."""
        self.tried.append(len(self._entries))
        if self.tried[-2:] == [1, 1]:
            self.alone.set()
        if len(self._entries) > self.fits:
            raise OSError(self._code, os.strerror(self._code))
        self.done += [entry.index for entry in self._entries]
        self.applied = self._entries[-1].index


async def test_what_does_not_fit_is_tried_in_smaller_pieces_and_waits_for_room(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr(applier_module, "ROOM_PAUSE_S", 0.01)
    database, there = Tight(errno.ENOSPC), trio.Event()
    applier = Applier(
        Log(),
        database,
        on_executed=lambda _: None,
        on_applied=lambda: there.set() if database.applied == LAST else None,
        linger_s=0.0,
    )
    nursery.start_soon(applier.run)
    applier.commit_to(LAST)
    assert await trio.to_thread.run_sync(database.alone.wait, PATIENCE_S)
    assert database.tried[0] == LAST
    assert applier.applied == 0
    database.fits = 3
    with trio.fail_after(PATIENCE_S):
        await there.wait()
    assert database.done == list(range(1, LAST + 1))


async def test_another_failure_of_the_disk_ends_it(nursery: trio.Nursery) -> None:
    applier = Applier(Log(), Tight(errno.EIO), on_executed=lambda _: None, on_applied=lambda: None, linger_s=0.0)
    applier.commit_to(1)
    with pytest.raises(DiskFailed):
        await applier.run()


def full_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commit finds the disk full, as LMDB does: it writes some pages, and gives the transaction up."""

    def commit(transaction: Callable[[], None], changes: Sequence[Change], index: int, set_hash: int) -> None:
        monkeypatch.undo()
        cast("Any", transaction).__self__.abort()  # it is a method of an LMDB transaction
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.background, "commit", commit)


def test_a_transaction_that_found_no_room_is_applied_later_as_if_it_had_not_been_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[LogEntry] = list(itertools.islice(run(7), 120))
    store, twin = new_store(tmp_path / "s"), Twin()
    for start in range(0, len(entries), 10):
        some = entries[start : start + 10]
        full_once(store, monkeypatch)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            store.apply(some)
        assert store.applied == start
        assert store.facts().set_hash == twin.set_hash
        assert store.apply(some) == [twin.apply(entry) for entry in some]
    assert store.walk().set_hash == twin.set_hash == store.facts().set_hash
    store.close()
