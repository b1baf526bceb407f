"""A copy of the open database is of one index while commits go on, keeps its rate, is whole or not there, and is
believed only when every byte and every row of it were looked at."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import msgspec
import pytest
from blake3 import blake3

from cluster.errors import Corrupt, Refused, TrilithError, Unavailable
from cluster.limits import MIB
from metaraft.snapshot_copy import Copied, FileSink, copy_store, require_room, verify_copy
from metaraft.store import DATA_FILE, LMDB_MAJOR, Store
from tests.metaraft.full_disk import files_of_at_most
from tests.metaraft.stores import CLUSTER, Twin, faults_of_file, new_store, open_store, run

FAST = 1 << 40


def filled(directory: Path, entries: int) -> tuple[Store, Twin]:
    """A store and its twin after a run of so many entries."""
    store, twin = new_store(directory), Twin()
    log = list(itertools.islice(run(1), entries))
    store.apply(log)
    for entry in log:
        twin.apply(entry)
    return store, twin


def copied(store: Store, file: Path, *, bytes_per_s: int = FAST) -> Copied:
    return copy_store(store, file, bytes_per_s=bytes_per_s, stop=threading.Event())


@contextlib.contextmanager
def copying(store: Store, file: Path, bytes_per_s: int) -> Iterator[tuple[threading.Event, "list[Copied]"]]:
    """A copy under way in a thread: what stops it, and, in the end, what it said. Its error comes out of here."""
    stop = threading.Event()
    results: list[Copied] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(copy_store, store, file, bytes_per_s=bytes_per_s, stop=stop)
        try:
            while not file.exists() or not file.stat().st_size:
                assert not future.done(), future.result()
                time.sleep(0.001)
            yield stop, results
        finally:
            results.append(future.result())


def test_a_copy_is_of_one_index_while_commits_go_on(tmp_path: Path) -> None:
    store, twin = filled(tmp_path / "store", 400)
    at_start = (store.applied, twin.set_hash)
    with copying(store, tmp_path / "copy", 2 * MIB) as (_, results):
        for entry in itertools.islice(run(1), 400, 600):
            store.apply([entry])
            twin.apply(entry)
        meanwhile = not results
    assert meanwhile
    assert store.facts().set_hash == twin.set_hash
    copy = results[0]
    assert (copy.cluster_id, copy.index, copy.term, copy.set_hash) == (CLUSTER, at_start[0], 1, at_start[1])
    verify_copy(tmp_path / "copy", copy)
    store.close()
    assert not faults_of_file(tmp_path / "store")


def test_a_copy_opens_as_a_store_and_goes_on_like_the_first(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store", 300)
    (tmp_path / "other").mkdir()
    copy = copied(store, tmp_path / "other" / DATA_FILE)
    other = open_store(tmp_path / "other")
    assert other.walk() == store.walk()
    for entry in itertools.islice(run(1), 300, 400):
        assert other.apply([entry]) == store.apply([entry])
    assert other.facts().set_hash == store.facts().set_hash != copy.set_hash
    other.close()
    assert not faults_of_file(tmp_path / "other")


def test_a_copy_keeps_its_rate(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store", 600)
    at_once = copied(store, tmp_path / "copy")
    began = time.monotonic()
    copy = copied(store, tmp_path / "copy", bytes_per_s=2 * at_once.size)
    assert time.monotonic() - began >= 0.5
    assert copy == at_once


def test_a_copy_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store", 600)
    with pytest.raises(Unavailable, match="stopped"), copying(store, tmp_path / "copy", 1) as (stop, _):
        stop.set()
    assert not (tmp_path / "copy").exists()
    verify_copy(tmp_path / "copy", copied(store, tmp_path / "copy"))


def test_a_copy_on_a_disk_that_fills_up_leaves_nothing_and_the_store_goes_on(tmp_path: Path) -> None:
    store, twin = filled(tmp_path / "store", 600)
    with files_of_at_most(MIB // 2), pytest.raises(OSError, match="File too large"):
        copied(store, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    entry = next(itertools.islice(run(1), 600, 601))
    store.apply([entry])
    twin.apply(entry)
    assert store.facts().set_hash == twin.set_hash


def test_what_a_full_disk_did_not_take_is_not_hashed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        sink = FileSink(file.fileno())
        with files_of_at_most(5000), pytest.raises(OSError, match="File too large"):
            sink.write(bytes(range(250)) * 40)
        assert (sink.size, sink.blake3) == (5000, blake3(file.read()).hexdigest())


def test_a_copy_without_twice_its_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="begins only with"):
        require_room(tmp_path, 1 << 60)


def test_a_copy_that_is_cut_short_or_longer_is_refused(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store", 50)
    copy = copied(store, tmp_path / "copy")
    good = (tmp_path / "copy").read_bytes()
    assert blake3(good).hexdigest() == copy.blake3
    for content in (good[:-1], good + b"\0", b""):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(Corrupt, match="bytes"):
            verify_copy(tmp_path / "bad", copy)


def _other_row(txn: "lmdb.Transaction[bytes]") -> None:
    cursor = txn.cursor()
    assert cursor.last()
    txn.put(cursor.key(), cursor.value()[:-1] + b"?")


def _no_row(txn: "lmdb.Transaction[bytes]") -> None:
    cursor = txn.cursor()
    assert cursor.last()
    cursor.delete()


@pytest.mark.parametrize(("change", "code"), [(_other_row, "RowRot"), (_no_row, "SetHashWrong")])
def test_rows_that_were_wrong_before_the_copy_are_found(tmp_path: Path, change: object, code: str) -> None:
    store, _ = filled(tmp_path / "store", 50)
    assert callable(change)
    store.close()
    with (
        lmdb.open(str(tmp_path / "store"), lib_version=LMDB_MAJOR, map_size=256 * MIB) as env,
        env.begin(write=True) as txn,
    ):
        change(txn)
    store = open_store(tmp_path / "store")
    with pytest.raises(Corrupt) as caught:
        verify_copy(tmp_path / "copy", copied(store, tmp_path / "copy"))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "wrong",
    [{"cluster_id": "another"}, {"index": 51}, {"term": 2}, {"set_hash": "0" * 32}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_copy_of_something_else_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    store, _ = filled(tmp_path / "store", 50)
    copy = copied(store, tmp_path / "copy")
    verify_copy(tmp_path / "copy", copy)
    with pytest.raises(TrilithError) as caught:
        verify_copy(tmp_path / "copy", msgspec.structs.replace(copy, **wrong))
    assert isinstance(caught.value, Refused if "cluster_id" in wrong else Corrupt)
