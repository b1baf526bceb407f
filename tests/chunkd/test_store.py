"""The store: what it acknowledges and what it refuses, alone and many at once."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkd.blocks import name_chunk
from chunkd.reading import PIECE_BYTES
from chunkd.seen import Name
from cluster.errors import Corrupt, Refused, TrilithError, Unavailable
from cluster.limits import BLOCK_BYTES, CHUNK_BYTES, Limits, Timings
from tests.chunkd.copies import damaged, file_of, put, read, told
from tests.chunkd.faulty import FaultyFiles
from tests.chunkd.worlds import open_disk, random_bytes


@pytest.mark.parametrize("size", [1, BLOCK_BYTES, PIECE_BYTES + 1, CHUNK_BYTES])
def test_what_was_put_is_read_also_after_a_restart(tmp_path: Path, size: int) -> None:
    data = random_bytes(size)
    store = open_disk(tmp_path)
    name = put(store, data)
    assert read(store, name) == data
    store.close()
    store = open_disk(tmp_path)
    assert read(store, name) == data
    assert (store.have([name]), store.count) == ([True], 1)
    store.close()


def test_file_sync_then_rename_then_folder_sync_then_the_acknowledgement(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files)
    files.calls.clear()
    name = put(store, random_bytes(3 * PIECE_BYTES))
    target = file_of(tmp_path, name)
    steps = [call for call in files.calls if call[0] in ("sync_data", "rename", "sync_folder", "write")]
    temporary = steps[0][1]
    assert steps == [
        *[("write", temporary)] * 3,
        ("sync_data", temporary),
        ("rename", target.name),
        ("sync_folder", target.parent.name),
    ]
    assert files.calls[-1] == ("sync_folder", target.parent.name)
    store.close()


def test_a_copy_that_is_there_is_synced_and_read_in_full_before_it_counts(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files)
    data = random_bytes(3 * PIECE_BYTES)
    name = put(store, data)
    files.calls.clear()
    _, hashes = name_chunk(data)
    assert store.begin(name, len(data), hashes, 9) is None
    calls = [call for call, _ in files.calls]
    assert calls.index("sync_data") < calls.index("read")
    assert calls.count("read") >= 1 + 3
    assert calls[-1] == "sync_folder"
    assert store.count == 1
    store.close()


@pytest.mark.parametrize("damage", ["flip", "header", "short", "long", "empty"])
def test_a_bad_copy_that_is_there_is_written_anew(tmp_path: Path, damage: str) -> None:
    store = open_disk(tmp_path)
    data = random_bytes(200_000)
    name = put(store, data)
    path = file_of(tmp_path, name)
    damaged(path, damage)
    put(store, data, seen=2)
    assert read(store, name) == data
    assert (store.count, store.bad()) == (1, [])
    assert list((tmp_path / "disk" / "quarantine").iterdir()) == []
    store.close()


@pytest.mark.parametrize("damage", ["flip", "header", "short", "long", "empty"])
def test_a_reported_bad_copy_is_quarantined_and_stays_readable_block_by_block(tmp_path: Path, damage: str) -> None:
    store = open_disk(tmp_path)
    data = random_bytes(200_000)
    name = put(store, data)
    damaged(file_of(tmp_path, name), damage)
    assert store.report(name) == "bad"
    assert (store.have([name]), store.count, store.bad()) == ([False], 0, [name])
    if damage in ("header", "empty"):
        with pytest.raises(Corrupt):
            store.open_chunk(name)
    else:
        chunk = store.open_chunk(name)
        block = bytearray(BLOCK_BYTES)
        chunk.read_into(memoryview(block), 0)
        chunk.close()
        assert block == data[:BLOCK_BYTES]
    store.close()
    store = open_disk(tmp_path)
    assert store.bad() == [name]
    assert store.report(name) == "bad"
    assert store.renew([name], 5) == [False]
    put(store, data)
    assert (store.report(name), store.bad(), read(store, name)) == ("good", [], data)
    store.close()


def test_a_report_of_a_good_or_missing_copy_changes_nothing(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    name = put(store, b"good")
    assert store.report(name) == "good"
    assert store.report((1, bytes(32))) == "missing"
    assert (store.count, store.bad()) == (1, [])
    store.close()


def test_two_swapped_files_are_both_bad(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    names = [put(store, random_bytes(1000)) for _ in range(2)]
    first, second = (file_of(tmp_path, name) for name in names)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    for name in names:
        with pytest.raises(Corrupt):
            store.open_chunk(name)
        assert store.report(name) == "bad"
    store.close()


def test_wrong_bytes_are_refused_before_they_have_a_name(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    data = bytearray(random_bytes(3 * BLOCK_BYTES))
    chunk_id, hashes = name_chunk(data)
    upload = store.begin((1, chunk_id), len(data), hashes, 1)
    assert upload is not None
    upload.write(memoryview(data)[:BLOCK_BYTES])
    data[BLOCK_BYTES] ^= 1
    with pytest.raises(Refused) as raised:
        upload.write(memoryview(data)[BLOCK_BYTES:])
    assert raised.value.code == "ChunkMismatch"
    store.discard(upload)
    assert empty_but_rooms(tmp_path)
    store.close()


def empty_but_rooms(tmp_path: Path) -> bool:
    return [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and path.name != "format"] == []


def test_a_hash_list_that_is_not_the_ids_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files)
    files.calls.clear()
    chunk_id, hashes = name_chunk(b"x")
    for name, length, listed in [
        ((1, chunk_id), 2, hashes),
        ((1, bytes(32)), 1, hashes),
        ((1, chunk_id), 1, bytes(32)),
    ]:
        with pytest.raises(Refused) as raised:
            store.begin(name, length, listed, 1)
        assert raised.value.code == "ChunkMismatch"
    assert files.calls == []
    store.close()


def test_the_temporary_folder_is_emptied_and_the_file_system_synced_at_the_start(tmp_path: Path) -> None:
    open_disk(tmp_path).close()
    (tmp_path / "disk" / "temp" / "7-1").write_bytes(b"half")
    (tmp_path / "disk" / "temp" / "space-9" / "00").mkdir(parents=True)
    files = FaultyFiles()
    store = open_disk(tmp_path, files)
    assert list((tmp_path / "disk" / "temp").iterdir()) == []
    assert ("sync_all", "disk") in files.calls
    store.close()


def test_a_name_is_not_shown_before_its_folder_is_synced(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files)
    data = random_bytes(10)
    name = 1, name_chunk(data)[0]
    shown: list[tuple[bool, bool, list[bytes]]] = []

    def look(call: str, path: Path) -> None:
        if call == "sync_folder":
            shown.append((file_of(tmp_path, name).exists(), store.have([name])[0], store.page(1, b"", 10)[0]))

    files.fault = look
    put(store, data)
    assert shown == [(True, False, [])]
    assert store.page(1, b"", 10)[0] == [name[1]]
    store.close()


# ---- seen, horizon


def test_only_names_seen_below_the_horizon_are_deleted(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    told(store, 1)
    old, new, renewed = (put(store, random_bytes(10), seen=seen) for seen in (5, 10, 5))
    assert store.renew([renewed], 12) == [True]
    missing = (1, bytes(32))
    assert store.delete([old, new, renewed, missing], 10) == [True, False, False, True]
    assert store.have([old, new, renewed]) == [False, True, True]
    assert store.count == 2
    assert store.delete([new, renewed], 12) == [True, False]
    store.close()


def test_after_a_start_nothing_is_deleted_until_the_present_revision_is_told(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    name = put(store, b"x", seen=100)
    store.close()
    store = open_disk(tmp_path)
    other = put(store, b"y", seen=7)
    for which in (name, other):
        with pytest.raises(Unavailable) as raised:
            store.delete([which], 1000)
        assert raised.value.code == "RevisionUnknown"
    told(store, 120)
    assert store.delete([name, other], 120) == [False, False]
    assert store.delete([name, other], 121) == [True, True]
    store.close()


def test_a_put_of_a_copy_that_is_there_raises_its_seen(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    told(store, 1)
    name = put(store, b"x", seen=5)
    put(store, b"x", seen=50)
    assert store.delete([name], 50) == [False]
    store.close()


def test_deleted_files_lie_in_the_trash_for_their_time(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    told(store, 1)
    name = put(store, b"x")
    store._trash._wall = lambda: 1_000_000.0
    assert store.delete([name], 10) == [True]
    trash = tmp_path / "disk" / "trash"
    assert [path.name for path in trash.rglob("1-*")] == [f"1-{name[1].hex()}"]
    store._trash._wall = lambda: 1_000_000.0 + 86_400
    assert store.empty_trash() == 0
    store._trash._wall = lambda: 1_000_000.0 + 86_400 + 3_601
    assert store.empty_trash() == 1
    assert list(trash.iterdir()) == []
    store.close()


def test_a_trash_that_keeps_nothing_frees_the_space_at_once(tmp_path: Path) -> None:
    store = open_disk(tmp_path, timings=Timings(trash_s=0))
    told(store, 1)
    name = put(store, b"x")
    assert store.delete([name, name], 10) == [True, True]
    assert list((tmp_path / "disk").rglob(f"*{name[1].hex()}")) == []
    assert store.count == 0
    store.close()


def test_the_trash_gives_way_when_space_is_low(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files, limits=Limits(disk_reserve_bytes=1000))
    told(store, 1)
    name = put(store, b"x")
    store.delete([name], 10)
    files.fault = lambda call, path: setattr(files, "free", None) if call == "unlink" else None
    files.free = 500
    put(store, b"y")
    assert not any((tmp_path / "disk" / "trash").rglob("1-*"))
    store.close()


def test_a_deleted_name_can_be_put_again(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    told(store, 1)
    name = put(store, b"x", seen=5)
    for horizon in (10, 20):
        assert store.delete([name], horizon) == [True]
        put(store, b"x", seen=horizon + 1)
        assert read(store, name) == b"x"
    store.close()


# ---- pages, spaces


def test_pages_list_every_name_once_in_order(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    names = sorted(put(store, random_bytes(8))[1] for _ in range(40))
    put(store, b"elsewhere", space=2)
    found: list[bytes] = []
    more = True
    while more:
        page, more = store.page(1, found[-1] if found else b"", 7)
        assert len(page) <= 7
        found += page
    assert found == names
    assert store.page(3, b"", 10) == ([], False)
    store.close()


def test_spaces_are_apart(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    name = put(store, b"x", space=2)
    assert store.have([name, (1, name[1])]) == [True, False]
    with pytest.raises(Refused):
        store.open_chunk((1, name[1]))
    store.close()
    store = open_disk(tmp_path)
    assert read(store, name) == b"x"
    assert len(list((tmp_path / "disk" / "space-2").iterdir())) == 256
    store.close()


# ---- at the same time


def in_threads(count: int, call: Callable[[int], None]) -> list[TrilithError]:
    failures: list[TrilithError] = []

    def run(number: int) -> None:
        try:
            call(number)
        except TrilithError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


def test_puts_of_one_name_at_once_are_one_chunk(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    data = random_bytes(300_000)
    names: list[Name] = []
    assert in_threads(8, lambda number: names.append(put(store, data, seen=number))) == []
    assert set(names) == {names[0]}
    assert store.count == 1
    assert read(store, names[0]) == data
    assert list((tmp_path / "disk" / "temp").iterdir()) == []
    told(store, 1)
    assert store.delete([names[0]], 7) == [False]
    assert store.delete([names[0]], 8) == [True]
    store.close()


def test_puts_and_deletes_of_one_name_never_lose_an_acknowledged_seen(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    told(store, 1)
    data = random_bytes(5000)
    name = 1, name_chunk(data)[0]

    def act(number: int) -> None:
        for step in range(20):
            if number % 2:
                put(store, data, seen=100)
                assert store.have([name]) == [True]  # from here on no delete below 100 may take it
            else:
                store.delete([name], step)

    assert in_threads(6, act) == []
    assert read(store, name) == data
    assert store.count == 1
    store.close()


def test_many_names_at_once(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    data = [random_bytes(2000) for _ in range(64)]

    def act(number: int) -> None:
        for item in data[number::8]:
            put(store, item)

    assert in_threads(8, act) == []
    assert store.count == 64
    assert all(read(store, (1, name_chunk(item)[0])) == item for item in data)
    assert len(store._locks) == 0
    store.close()
