"""The store: the same as its twin in memory, whole after every transaction, and strict about what it opens."""

import itertools
import shutil
import threading
from pathlib import Path

import lmdb
import msgspec
import pytest

from cluster.errors import Corrupt, Refused
from cluster.limits import MIB, Limits
from metaraft.commands import (
    CreateBucket,
)
from metaraft.condemned import condemn
from metaraft.machine import UnknownMeaning
from metaraft.memory_rows import MemoryRows
from metaraft.model import Inline, Usage, Which
from metaraft.queries import (
    Answer,
    Ask,
    GetAccessKey,
    GetBucket,
    GetBucketSetting,
    GetHolders,
    GetObject,
    GetParts,
    GetSpace,
    GetUpload,
    GetUsage,
    GetUser,
    ListBuckets,
    ListObjects,
    ListParts,
    ListStaleUploads,
    ListUploads,
    ListUsers,
    ListVersions,
    ObjectFound,
    Query,
    UsageFound,
)
from metaraft.rows import Kind, successor
from metaraft.store import DATA_FILE, LMDB_MAJOR, Store
from tests.metaraft.metadata import COPIES, START_MS, LogEntry, ask, batch, encode, envelope, key_of, put
from tests.metaraft.stores import CLUSTER, SMALL, Twin, faults_of_file, new_store, open_store, run


def answer(store: Store, query: Query) -> Answer:
    found: Answer = msgspec.msgpack.decode(store.answer(encode(Ask(1, query))), type=Answer)
    return found


def rows_of(store: Store) -> list[tuple[bytes, bytes]]:
    with store.reader() as rows:
        return list(rows.scan(bytes([Kind.STATE]), b"\xff"))


def put_entry(index: int, *data: bytes) -> LogEntry:
    envelopes = [
        envelope(put(f"k{place}", one), key_of(index * 100 + place), START_MS + index) for place, one in enumerate(data)
    ]
    return LogEntry(index, batch(START_MS + index, envelopes))


BUCKET = LogEntry(1, batch(START_MS, [envelope(CreateBucket("b", "o", COPIES), key_of(1), START_MS)]))


@pytest.mark.parametrize("seed", range(4))
def test_store_and_twin_are_equal_after_every_transaction(tmp_path: Path, seed: int) -> None:
    store, twin = new_store(tmp_path / "s"), Twin()
    entries = run(seed)
    for size in itertools.islice(itertools.cycle([1, 5, 2, 17]), 40):
        some = list(itertools.islice(entries, size))
        assert store.apply(some) == [twin.apply(entry) for entry in some]
        assert store.facts().set_hash == twin.set_hash
    assert rows_of(store) == twin.rows.items()
    assert store.walk().set_hash == twin.set_hash
    assert store.walk().rows == len(twin.rows)
    queries: list[Query] = [GetSpace(), ListBuckets(), GetUsage("b"), ListObjects("b", delimiter="/")]
    queries += [ListVersions("b", limit=7), ListUsers(), GetBucketSetting("b1", "x"), GetAccessKey("K")]
    listed = ask(twin.rows, ListObjects("b"))
    assert answer(store, ListObjects("b")) == listed
    queries += [GetObject("b", one.key) for one in getattr(listed, "objects", ())]
    assert [answer(store, query) for query in queries] == [ask(twin.rows, query) for query in queries]
    facts = store.facts()
    assert (facts.applied, facts.level, facts.revision) == (twin.applied, 1, twin.machine.revision())
    assert facts.state_time_ms == twin.machine.state_time_ms
    store.close()
    assert faults_of_file(tmp_path / "s") == []


@pytest.mark.parametrize("text", ["k" * 100_000, "\U0010ffff" * 2000, "a\0" * 5000])
def test_no_text_of_a_query_is_too_long_for_the_store(tmp_path: Path, text: str) -> None:
    store, twin = new_store(tmp_path / "s"), Twin()
    for entry in (BUCKET, put_entry(2, b"1", b"2")):
        store.apply([entry])
        twin.apply(entry)
    data = text.encode()
    queries: list[Query] = [
        GetBucket(text),
        GetBucketSetting("b", text),
        ListBuckets(text),
        ListBuckets(prefix=text),
        GetObject("b", text),
        GetObject("b", text, which=Which()),
        GetParts(data, (1,)),
        GetUpload("b", text, b"u" * 16),
        GetUpload("b", "k", data),
        ListParts("b", "k", data),
        ListObjects("b", text, text),
        ListObjects("b", "", "", text),
        ListVersions("b", text, text),
        ListVersions("b", "", "", text, 5),
        ListVersions("b", "", "", text, None, True),
        ListUploads("b", text, text),
        ListUploads("b", "", "", text, data),
        ListUploads("b", "", "", "k", data),
        ListStaleUploads(1, data),
        GetAccessKey(text),
        GetUser(text),
        ListUsers(text),
        GetHolders(COPIES, (data,)),
    ]
    assert [answer(store, query) for query in queries] == [ask(twin.rows, query) for query in queries]
    store.close()


def test_a_store_goes_on_after_it_was_opened_again(tmp_path: Path) -> None:
    twin = Twin()
    new_store(tmp_path / "s").close()
    entries = run(99)
    for _ in range(6):
        store = open_store(tmp_path / "s")
        some = list(itertools.islice(entries, 20))
        assert store.apply(some) == [twin.apply(entry) for entry in some]
        assert store.sync() == store.applied == some[-1].index
        store.close()
    store = open_store(tmp_path / "s")
    assert rows_of(store) == twin.rows.items()
    assert store.facts().set_hash == twin.set_hash
    assert (store.state_time_ms, store.level) == (twin.machine.state_time_ms, 1)
    store.close()


def test_entries_that_were_applied_are_skipped(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    entries = list(itertools.islice(run(5), 12))
    store.apply(entries[:8])
    before = store.facts().set_hash
    assert store.apply(entries[:8]) == [[]] * 8
    assert store.facts().set_hash == before
    results = store.apply(entries[4:])
    assert results[:4] == [[]] * 4
    assert store.applied == 12
    store.close()


def test_a_gap_in_the_log_is_not_applied(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    with pytest.raises(AssertionError, match="without a gap"):
        store.apply([LogEntry(2, b"")])
    assert store.applied == 0
    store.close()


def test_an_empty_entry_moves_the_applied_index_only(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    before = store.facts().set_hash
    assert store.apply([LogEntry(1, b""), LogEntry(2, b"")]) == [[], []]
    assert (store.applied, store.facts().set_hash) == (2, before)
    store.close()
    store = open_store(tmp_path / "s")
    assert store.applied == 2
    store.close()


def test_after_a_failed_transaction_nothing_of_it_is_there_and_nothing_more_is_applied(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.apply([BUCKET])
    before = rows_of(store)
    with pytest.raises(UnknownMeaning):
        store.apply([put_entry(2, b"1"), LogEntry(3, b"\xc1")])
    assert rows_of(store) == before
    assert store.applied == 1
    with pytest.raises(OSError, match="failed before"):
        store.apply([put_entry(2, b"1")])
    store.close()


def test_a_full_map_is_a_disk_error_and_leaves_the_store_whole(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", cluster_id=CLUSTER, limits=SMALL)
    store = Store.open(tmp_path / "s", cluster_id=CLUSTER, limits=Limits(map_bytes=MIB))
    store.apply([BUCKET])
    entries = [
        LogEntry(index, batch(START_MS, [envelope(put(f"{index}", b"x" * 4000), key_of(index), START_MS)]))
        for index in range(2, 1000)
    ]
    with pytest.raises(OSError, match="map_bytes"):
        list(map(store.apply, ([entry] for entry in entries)))
    applied = store.applied
    store.close()
    store = open_store(tmp_path / "s")
    assert store.walk().applied == applied
    store.close()


def test_readers_see_whole_transactions_while_another_thread_applies(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.apply([BUCKET, put_entry(2, b"2", b"2")])
    done = threading.Event()

    def write() -> None:
        for index in range(3, 150):
            store.apply([put_entry(index, b"%d" % index, b"%d" % index)])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not done.is_set():
        applied = store.applied
        with store.reader() as rows:
            found = [ask(rows, GetObject("b", key)) for key in ("k0", "k1")]
            usage = ask(rows, GetUsage("b"))
        bodies = {one.version.body for one in found if isinstance(one, ObjectFound)}
        assert len(bodies) == 1
        body = bodies.pop()
        assert isinstance(body, Inline)
        assert usage == UsageFound(Usage(2 * len(body.data), 2))
        assert int(body.data) >= applied, "what was published as applied is visible"
        seen.add(body)
    thread.join()
    assert seen
    store.close()


# ---- opening


def test_a_store_is_made_once(tmp_path: Path) -> None:
    new_store(tmp_path / "s").close()
    with pytest.raises(Refused) as raised:
        Store.create(tmp_path / "s", cluster_id=CLUSTER, limits=SMALL)
    assert raised.value.code == "StoreExists"


def test_a_store_half_made_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / "s.new"
    left.mkdir()
    (left / DATA_FILE).write_bytes(b"half of a page")
    new_store(tmp_path / "s").close()
    assert not left.exists()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "s" / DATA_FILE).stat().st_mode & 0o777 == 0o600


def test_there_is_no_store_where_none_was_made(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refused) as raised:
            open_store(directory)
        assert raised.value.code == "NoStore"


def test_a_store_is_open_in_one_place_at_a_time(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    with pytest.raises(Refused) as raised:
        open_store(tmp_path / "s")
    assert raised.value.code == "StoreInUse"
    store.close()
    open_store(tmp_path / "s").close()


def test_a_store_of_another_cluster_or_program_is_refused(tmp_path: Path) -> None:
    new_store(tmp_path / "s").close()
    with pytest.raises(Refused) as raised:
        Store.open(tmp_path / "s", cluster_id="another", limits=SMALL)
    assert raised.value.code == "WrongStore"
    (tmp_path / "t").mkdir()
    with lmdb.open(str(tmp_path / "t"), map_size=MIB, lib_version=LMDB_MAJOR) as env, env.begin(write=True) as txn:
        txn.put(b"key", b"value")
    with pytest.raises(Refused) as raised:
        open_store(tmp_path / "t")
    assert raised.value.code == "WrongStore"
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / DATA_FILE).write_bytes(bytes(range(256)) * 64)
    with pytest.raises(Corrupt) as damaged:
        open_store(tmp_path / "u")
    assert damaged.value.code == "StoreRot"


# ---- rot


def overwrite(directory: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a closed store's file, wherever they are."""
    file = directory / DATA_FILE
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new))


def test_a_rotten_row_is_an_error_wherever_it_is_met(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.apply([BUCKET, put_entry(2, b"good bytes", b"other")])
    store.close()
    overwrite(tmp_path / "s", b"good bytes", b"bad bytes!")
    store = open_store(tmp_path / "s")
    for query in (GetObject("b", "k0"), ListObjects("b")):
        with pytest.raises(Corrupt) as raised:
            answer(store, query)
        assert raised.value.code == "RowRot"
    assert isinstance(answer(store, GetObject("b", "k1")), ObjectFound)
    with pytest.raises(Corrupt):
        store.walk()
    with pytest.raises(Corrupt):
        store.apply([put_entry(3, b"new")])
    store.close()


def test_a_lost_row_is_found_by_the_walk(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.apply([BUCKET, put_entry(2, b"1", b"2")])
    store.close()
    with (
        lmdb.open(str(tmp_path / "s"), map_size=SMALL.map_bytes, lib_version=LMDB_MAJOR) as env,
        env.begin(write=True) as txn,
    ):
        cursor = txn.cursor()
        assert cursor.set_range(bytes([Kind.VERSION]))
        assert cursor.delete()
    store = open_store(tmp_path / "s")
    with pytest.raises(Corrupt) as raised:
        store.walk()
    assert raised.value.code == "SetHashWrong"
    store.close()


def test_the_twin_copies(tmp_path: Path) -> None:
    rows = MemoryRows()
    rows.put(b"\x20a", b"1")
    copy = rows.copy()
    copy.put(b"\x20a", b"2")
    copy.insert(b"\x20b", b"3")
    assert rows.items() == [(b"\x20a", b"1")]
    assert len(copy) == 2
    copy.delete(b"\x20b")
    copy.put(b"\x20a", b"1")
    assert copy.set_hash == rows.set_hash != 0
    assert copy.first(b"\x20", successor(b"\x20")) == (b"\x20a", b"1")
    rows.delete(b"\x20a")
    assert rows.set_hash == 0
    assert rows.first(b"", b"\xff") is None


def test_room_is_allocated_behind_the_last_page_and_again_when_half_is_used(tmp_path: Path) -> None:
    limits = Limits(map_bytes=64 * MIB, room_bytes=MIB)
    Store.create(tmp_path / "s", cluster_id=CLUSTER, limits=limits)
    store = Store.open(tmp_path / "s", cluster_id=CLUSTER, limits=limits)
    file = tmp_path / "s" / DATA_FILE
    store.make_room()
    first = file.stat()
    assert first.st_blocks * 512 >= store.facts().used_bytes + MIB
    store.make_room()
    assert file.stat().st_size == first.st_size
    store.apply([BUCKET])
    index = 2
    while store.facts().used_bytes < first.st_size - MIB // 2:
        store.apply([put_entry(index, b"x" * 4000, b"y" * 4000, b"z" * 4000)])
        index += 1
    store.make_room()
    assert file.stat().st_blocks * 512 >= store.facts().used_bytes + MIB
    store.close()
    again = Store.open(tmp_path / "s", cluster_id=CLUSTER, limits=limits)
    assert again.walk().applied == index - 1
    again.close()
    assert faults_of_file(tmp_path / "s") == []


def test_a_store_that_was_condemned_is_refused_until_it_is_another(tmp_path: Path) -> None:
    new_store(tmp_path / "s").close()
    condemn(tmp_path / "s", "its rows differ")
    with pytest.raises(Corrupt, match="its rows differ") as refused:
        open_store(tmp_path / "s")
    assert refused.value.code == "StoreCondemned"
    shutil.rmtree(tmp_path / "s")
    new_store(tmp_path / "s").close()
    condemn(tmp_path / "nowhere", "a disk that is gone")  # there is nothing to be done about it
