"""The background walk: its sum is right while rows change, and what is wrong with the rows does not escape it."""

import itertools
import threading
from pathlib import Path
from random import Random

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Corrupt
from cluster.limits import MIB
from metaraft.rows import Kind, seal
from metaraft.store import LMDB_MAJOR
from metaraft.walking import Tally
from tests.metaraft.rot import alter_row
from tests.metaraft.stores import new_store, open_store, run

KEYS = st.sampled_from([bytes([letter]) for letter in b"abcdefgh"])
WRITES = st.tuples(KEYS, st.integers(1, 1 << 130))
PIECES = st.booleans()  # it begins, or ends
STEPS = st.lists(st.one_of(WRITES, PIECES))


@given(STEPS, st.randoms(use_true_random=False))
def test_the_sum_is_that_of_the_rows_as_they_are_whenever_each_was_read(
    steps: list[tuple[bytes, int] | bool], random: Random
) -> None:
    rows: dict[bytes, int] = {}
    snapshot: dict[bytes, int] | None = None
    tally = Tally()
    for step in [*steps, False, True, False]:
        if step is True:
            if snapshot is None:
                tally.begin_piece()
                snapshot = dict(rows)
        elif step is False:
            if snapshot is not None:
                place = max(tally.place, bytes([random.choice(b"abcdefgh")]))
                read = [value for key, value in snapshot.items() if tally.place <= key < place]
                tally.end_piece(place, len(read), sum(read))
                snapshot = None
        else:
            key, value = step
            tally.changed([(key, value - rows.get(key, 0))])
            rows[key] = value
        if snapshot is None:
            assert tally.set_hash == sum(value for key, value in rows.items() if key < tally.place) % (1 << 128)


def test_walks_beside_a_writer_find_nothing_wrong_with_what_is_right(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    written = threading.Event()

    def write() -> None:
        entries = run(5)
        for size in itertools.islice(itertools.cycle([1, 4, 2]), 60):
            store.apply(list(itertools.islice(entries, size)))
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    pieces = 0
    while not written.is_set() or store.background.rounds < 3:
        store.background.piece(0.0002)
        pieces += 1
    writer.join()
    assert pieces > store.background.rounds  # some walks were more than one piece
    assert store.walk().set_hash == store.facts().set_hash
    store.close()


def whole_walk(directory: Path) -> None:
    store = open_store(directory)
    try:
        while not store.background.piece(0.0001):
            pass
    finally:
        store.close()


def some_store(directory: Path) -> None:
    store = new_store(directory)
    store.apply(list(itertools.islice(run(3), 60)))
    store.close()


def test_a_row_that_was_altered_and_sealed_again_is_found(tmp_path: Path) -> None:
    some_store(tmp_path / "s")
    whole_walk(tmp_path / "s")
    alter_row(tmp_path / "s", bytes([Kind.NAME]) + b"b", lambda value: value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(Corrupt, match="set hash") as wrong:
        whole_walk(tmp_path / "s")
    assert wrong.value.code == "SetHashWrong"


@pytest.mark.parametrize("change", ["lost", "added", "unsealed"])
def test_a_row_that_is_lost_added_or_rotten_is_found(tmp_path: Path, change: str) -> None:
    some_store(tmp_path / "s")
    key = bytes([Kind.NAME]) + b"b"
    opened = lmdb.open(str(tmp_path / "s"), map_size=64 * MIB, lib_version=LMDB_MAJOR, create=False)
    with opened as env, env.begin(write=True) as txn:
        if change == "lost":
            txn.delete(key)
        elif change == "added":
            txn.put(key + b"2", seal(key + b"2", b"x"))
        else:
            txn.put(key, b"not what was written")
    with pytest.raises(Corrupt) as wrong:
        whole_walk(tmp_path / "s")
    assert wrong.value.code == ("RowRot" if change == "unsealed" else "SetHashWrong")


def test_a_walk_under_way_pins_no_page(tmp_path: Path) -> None:
    used = []
    for walks in (True, False):
        store = new_store(tmp_path / str(walks))
        entries = run(9)
        store.apply(list(itertools.islice(entries, 40)))
        for _ in range(60):
            store.apply(list(itertools.islice(entries, 2)))
            if walks:
                store.background.piece(0.0)
        used.append(store.facts().used_bytes)
        store.close()
    assert used[0] == used[1]
