"""The store on a disk that fails, is full, or cannot be written: what it says, and what it leaves."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkd.blocks import DATA_OFFSET, name_chunk
from chunkd.wire import DiskState
from cluster.errors import Corrupt, Unavailable
from cluster.limits import Limits
from tests.chunkd.copies import put, read, told
from tests.chunkd.faulty import FaultyFiles
from tests.chunkd.worlds import open_disk, random_bytes


def fail_on(call: str, code: int) -> FaultyFiles:
    files = FaultyFiles()
    files.fault = lambda asked, path: OSError(code, "injected") if asked == call and armed else None
    return files


armed: list[bool] = []


@pytest.fixture(autouse=True)
def _disarm() -> None:
    armed.clear()


@pytest.mark.parametrize(
    ("call", "code", "error_code", "state"),
    [
        ("create", errno.ENOSPC, "DiskFull", "ok"),
        ("create", errno.EROFS, "DiskReadOnly", "read_only"),
        ("create", errno.EIO, "DiskFailed", "failed"),
        ("create", errno.EMFILE, "Overloaded", "ok"),
        ("write", errno.ENOSPC, "DiskFull", "ok"),
        ("write", errno.EDQUOT, "DiskFull", "ok"),
        ("write", errno.EIO, "DiskFailed", "failed"),
        ("sync_data", errno.EIO, "DiskFailed", "failed"),
        ("sync_data", errno.ENOSPC, "DiskFull", "ok"),
        ("rename", errno.ENOSPC, "DiskFull", "ok"),
        ("rename", errno.EROFS, "DiskReadOnly", "read_only"),
        ("sync_folder", errno.EIO, "DiskFailed", "failed"),
    ],
)
def test_a_put_that_the_disk_fails_leaves_nothing(
    tmp_path: Path, call: str, code: int, error_code: str, state: DiskState
) -> None:
    files = fail_on(call, code)
    store = open_disk(tmp_path, files)
    kept = put(store, b"kept")
    armed.append(True)
    data = random_bytes(100)
    name = 1, name_chunk(data)[0]
    with pytest.raises(Unavailable) as raised:
        put(store, data)
    assert raised.value.code == error_code
    armed.clear()
    assert store.state()[0] == state
    assert store.have([name, kept]) == [False, True]
    assert [path.name for path in (tmp_path / "disk").rglob("*") if path.is_file()].count(name[1].hex()) == 0
    assert list((tmp_path / "disk" / "temp").iterdir()) == []
    assert read(store, kept) == b"kept"
    assert store.count == 1
    if state == "ok":
        put(store, data)
        assert store.have([name]) == [True]
    else:
        with pytest.raises(Unavailable) as again:
            put(store, data)
        assert again.value.code == error_code
    store.close()


def test_a_disk_that_failed_stays_failed_and_serves_reads(tmp_path: Path) -> None:
    files = fail_on("sync_data", errno.EIO)
    store = open_disk(tmp_path, files)
    told(store, 1)
    name = put(store, b"kept")
    armed.append(True)
    with pytest.raises(Unavailable):
        put(store, b"lost")
    armed.clear()
    refusals: list[Callable[[], object]] = [
        lambda: put(store, b"other"),
        lambda: put(store, b"kept"),
        lambda: store.renew([name], 9),
        lambda: store.delete([name], 9),
    ]
    for call in refusals:
        with pytest.raises(Unavailable) as raised:
            call()
        assert raised.value.code == "DiskFailed"
    state, reason, _, _ = store.state()
    assert (state, "injected" in reason) == ("failed", True)
    assert read(store, name) == b"kept"
    store.close()


def test_below_the_reserve_the_disk_is_full_and_says_so(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files, limits=Limits(disk_reserve_bytes=1000))
    name = put(store, b"kept")
    files.free = 1000 + 8192 + 10
    with pytest.raises(Unavailable) as raised:
        put(store, b"eleven byte")
    assert raised.value.code == "DiskFull"
    assert raised.value.limit == {"disk_reserve_bytes": 1000}
    put(store, b"ten bytes.")
    files.free = 999
    assert store.state()[0] == "full"
    assert read(store, name) == b"kept"
    put(store, b"kept", seen=5)
    files.free = None
    assert store.state()[0] == "ok"


def test_a_disk_is_not_full_while_its_trash_can_give_way(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files, limits=Limits(disk_reserve_bytes=1000))
    told(store, 1)
    name = put(store, b"deleted")
    assert store.delete([name], 100) == [True]
    files.free = 999
    assert store.state()[0] == "ok"  # a put is tried, and the trash goes first
    store.empty_trash()
    assert store.state()[0] == "ok"  # not yet: what was deleted just now
    with pytest.raises(Unavailable, match="disk_reserve_bytes"):
        put(store, b"more")
    assert store.state()[0] == "full"
    store.close()


def test_puts_under_way_count_as_taken(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = open_disk(tmp_path, files, limits=Limits(disk_reserve_bytes=0))
    files.free = DATA_OFFSET + 150
    data = [random_bytes(100), random_bytes(100)]
    (first, first_hashes), (second, second_hashes) = map(name_chunk, data)
    upload = store.begin((1, first), 100, first_hashes, 1)
    assert upload is not None
    with pytest.raises(Unavailable):
        store.begin((1, second), 100, second_hashes, 1)
    store.discard(upload)
    put(store, data[1])
    store.close()


@pytest.mark.parametrize("call", ["open", "read"])
def test_an_unreadable_copy_is_corrupt_and_nothing_else(tmp_path: Path, call: str) -> None:
    files = fail_on(call, errno.EIO)
    store = open_disk(tmp_path, files)
    name = put(store, b"x")
    armed.append(True)
    with pytest.raises(Corrupt) as raised:
        store.open_chunk(name)
    assert raised.value.code == "ReadFailed"
    assert store.report(name) == "bad"
    armed.clear()
    assert store.state()[0] == "ok"
    put(store, b"x")
    assert read(store, name) == b"x"
    store.close()


def test_a_read_only_disk_still_opens(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    name = put(store, b"x")
    store.close()
    files = fail_on("sync_all", errno.EROFS)
    armed.append(True)
    store = open_disk(tmp_path, files)
    assert store.state()[0] == "read_only"
    assert read(store, name) == b"x"
    store.close()
