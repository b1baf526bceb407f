"""A disk that a restored cluster adopts: the same chunks under the same id, with what was deleted lately."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chunkd import folder
from chunkd.adopt import Adopted, adopt, look
from chunkd.blocks import name_chunk
from chunkd.files import Files
from chunkd.store import Store
from cluster.errors import Refused, Unavailable
from cluster.exits import CommandExit
from cluster.limits import Limits, Timings
from tests.chunkd.copies import damaged, file_of, put, read, told
from tests.chunkd.faulty import FaultyFiles, PowerCut
from tests.chunkd.worlds import CLUSTER, open_disk, random_bytes

DISK = "0" * 32
NEW = "new-cluster"
STEPS_MAX = 60
KEPT, DELETED, BAD = random_bytes(100_000), random_bytes(1000), random_bytes(2000)


def old_disk(root: Path) -> None:
    """A disk with a chunk, one that was deleted, and one in quarantine."""
    store = open_disk(root)
    told(store, 1)
    store.seen.present(2, store.seen.boot, 1)
    put(store, KEPT)
    store.delete([put(store, DELETED), put(store, DELETED, space=2)], 100)
    bad = put(store, BAD)
    damaged(file_of(root, bad), "flip")
    assert store.report(bad) == "bad"
    store.close()


def new_disk(root: Path) -> Store:
    """The same folder, opened by the new cluster."""
    return Store(
        root / "disk",
        cluster_id=NEW,
        disk_id=DISK,
        limits=Limits(disk_reserve_bytes=0),
        timings=Timings(),
    )


def name(data: bytes, space: int = 1) -> tuple[int, bytes]:
    return space, name_chunk(data)[0]


def test_an_adopted_disk_is_the_new_clusters_alone_with_all_it_had(tmp_path: Path) -> None:
    old_disk(tmp_path)
    assert look(tmp_path / "disk") == Adopted(DISK, CLUSTER, 1)
    assert adopt(tmp_path / "disk", NEW) == Adopted(DISK, CLUSTER, 3, taken_back=2)
    with pytest.raises(Refused, match=r"is disk 0+ of cluster new-cluster"):
        open_disk(tmp_path)
    store = new_disk(tmp_path)
    assert store.count == 3
    assert read(store, name(KEPT)) == KEPT
    assert read(store, name(DELETED)) == read(store, name(DELETED, 2)) == DELETED
    assert store.bad() == [name(BAD)]
    store.close()


def test_a_copy_that_is_there_again_stays_and_strange_files_in_the_trash_are_left(tmp_path: Path) -> None:
    old_disk(tmp_path)
    store = open_disk(tmp_path)
    put(store, DELETED)
    store.close()
    (hour,) = (tmp_path / "disk" / "trash").iterdir()
    (hour / "letter").write_text("x")
    (tmp_path / "disk" / "trash" / "note").write_text("x")
    assert adopt(tmp_path / "disk", NEW) == Adopted(DISK, CLUSTER, 3, taken_back=1)
    assert sorted(path.name for path in hour.iterdir()) == [folder.flat(name(DELETED)), "letter"]


def test_an_adopted_disk_deletes_nothing_until_the_horizon_has_passed_the_restore(tmp_path: Path) -> None:
    old_disk(tmp_path)
    adopt(tmp_path / "disk", NEW)
    store = new_disk(tmp_path)
    with pytest.raises(Unavailable, match="was not told the present revision"):
        store.delete([name(KEPT)], 1 << 50)
    told(store, (1 << 40) + 7)
    assert store.delete([name(KEPT)], (1 << 40) + 7) == [False]
    assert store.delete([name(KEPT)], (1 << 40) + 8) == [True]
    store.close()


def test_adopting_again_changes_nothing_and_what_the_new_cluster_deleted_stays_deleted(tmp_path: Path) -> None:
    old_disk(tmp_path)
    adopt(tmp_path / "disk", NEW)
    store = new_disk(tmp_path)
    told(store, 1)
    store.delete([name(KEPT)], 100)
    store.close()
    assert adopt(tmp_path / "disk", NEW) == Adopted(DISK, NEW, 2)
    store = new_disk(tmp_path)
    assert store.have([name(KEPT)]) == [False]
    store.close()


def test_a_disk_that_a_daemon_uses_is_refused(tmp_path: Path) -> None:
    store = open_disk(tmp_path)
    with pytest.raises(Refused, match="end the cluster test-cluster first") as caught:
        adopt(tmp_path / "disk", NEW)
    assert caught.value.code == "DiskInUse"
    store.close()
    open_disk(tmp_path).close()


@pytest.mark.parametrize(("text", "code"), [(None, "NoDisk"), ("{}", "BadFormat"), ("", "BadFormat")])
def test_what_is_no_disk_is_not_adopted(tmp_path: Path, text: str | None, code: str) -> None:
    if text is not None:
        (tmp_path / "format").write_text(text)
    with pytest.raises(Refused) as looked:
        look(tmp_path)
    with pytest.raises(Refused) as adopted:
        adopt(tmp_path, NEW)
    assert looked.value.code == adopted.value.code == code


@pytest.mark.parametrize("lose_renames", [True, False])
def test_the_power_goes_off_at_every_step_and_it_is_adopted_after_all(tmp_path: Path, *, lose_renames: bool) -> None:
    for step in range(STEPS_MAX):
        root = tmp_path / str(step)
        root.mkdir()
        old_disk(root)
        files = FaultyFiles()
        files.cut_at = step
        done = True
        try:
            adopt(root / "disk", NEW, files)
        except PowerCut:
            done = False
        files.cut_power(lose_renames=lose_renames)
        found = folder.read_format(root / "disk").cluster_id
        assert found == NEW if done else found in (CLUSTER, NEW)
        adopt(root / "disk", NEW)
        store = new_disk(root)
        assert store.have([name(KEPT), name(DELETED), name(DELETED, 2)]) == [True] * 3
        assert read(store, name(DELETED)) == DELETED
        store.close()
        if done:
            assert step > 5
            return
    raise AssertionError(f"there are more than {STEPS_MAX} steps")


def test_the_program_prints_what_it_did_or_why_not(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "disk", CLUSTER, DISK)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-P", "-m", "chunkd.adopt", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode, msgspec.json.decode(done.stdout, type=dict[str, Any])

    disk = str(tmp_path / "disk")
    assert run(disk) == (0, {"disk_id": DISK, "cluster_id": CLUSTER, "chunks": 0, "taken_back": 0})
    assert run(disk, "--cluster-id", NEW)[0] == 0
    assert folder.read_format(tmp_path / "disk").cluster_id == NEW
    lock = Files().lock(tmp_path / "disk")
    assert lock is not None
    code, said = run(disk, "--cluster-id", "third")
    Files().close(lock)
    assert (code, said["error"]["code"]) == (CommandExit.REFUSED, "DiskInUse")
    code, said = run(str(tmp_path / "none"))
    assert (code, said["error"]["code"]) == (CommandExit.REFUSED, "NoDisk")
