"""The journal on a real disk: what it keeps, who may open it, and what goes on during a sync."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Corrupt, Refused, Unavailable
from cluster.limits import GIB, KIB, Limits
from metaraft.journal import Entry, Journal, JournalFailed
from metaraft.journal_disk import Disk

OWNER: dict[str, Any] = {"cluster_id": "a-cluster", "slot": 1, "incarnation": "ef" * 16}
SMALL = Limits(journal_segment_bytes=4096, journal_cache_bytes=2000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a fresh journal."""
    Journal.create(tmp_path / "journal", **OWNER)
    return tmp_path / "journal"


def opened(folder: Path, limits: Limits = SMALL, disk: Disk | None = None) -> Journal:
    """The folder's journal, opened."""
    return Journal.open(folder, **OWNER, limits=limits, disk=disk)


def filled(journal: Journal, count: int, size: int = 100) -> None:
    """Adds entries of term 1, a sync after each."""
    for index in range(journal.last_index + 1, journal.last_index + 1 + count):
        journal.add(index, 1, index.to_bytes(4) * (size // 4))
        journal.sync()


def segments(folder: Path) -> list[str]:
    """Names of the segments."""
    return sorted(path.name for path in folder.glob("*.segment"))


def test_a_tail_is_the_fewest_newest_segments_that_have_so_many_bytes(folder: Path) -> None:
    journal = opened(folder)
    assert journal.tail_from(0) == journal.tail_from(1 << 40) == 1
    filled(journal, 200)
    whole = len(segments(folder))
    for wanted in (1, 4096, 10_000):
        journal.cut(journal.tail_from(wanted))
        left = len(segments(folder))
        assert journal.bytes >= wanted
        assert left - 1 <= -(-wanted // 4096) < whole
        journal.cut(journal.last_index)
        filled(journal, 200)
    journal.close()


def test_a_fresh_journal_has_an_empty_first_entry_and_no_vote(folder: Path) -> None:
    journal = opened(folder)
    assert (journal.first_index, journal.last_index, journal.term, journal.voted_for) == (1, 1, 0, None)
    assert journal.entry(1) == Entry(1, 0, b"")
    assert not journal.dirty
    journal.close()


def test_what_was_synced_is_there_after_a_restart_and_what_was_not_is_not(folder: Path) -> None:
    journal = opened(folder)
    journal.set_term(3, 2)
    journal.add(2, 3, b"kept")
    assert journal.dirty
    journal.sync()
    assert not journal.dirty
    journal.add(3, 3, b"not kept")
    journal.set_term(4, None)
    journal.close()
    journal = opened(folder)
    assert (journal.term, journal.voted_for, journal.last_index) == (3, 2, 2)
    assert journal.entry(2) == Entry(2, 3, b"kept")
    journal.close()


def test_many_segments_are_read_from_memory_and_disk_alike(folder: Path) -> None:
    journal = opened(folder)
    filled(journal, 300)
    assert len(segments(folder)) > 8
    for _ in range(2):
        found = journal.entries(1, 302, 1 << 30)
        assert found == [Entry(1, 0, b""), *[Entry(index, 1, index.to_bytes(4) * 25) for index in range(2, 302)]]
        journal.close()
        journal = opened(folder)
    assert len(journal.entries(5, 200, 1000)) == 10
    assert len(journal.entries(5, 200, 99)) == 1
    assert journal.bytes == pytest.approx(sum(path.stat().st_size for path in folder.glob("*.segment")), abs=6000)
    for start, stop in ((0, 5), (302, 310), (5, 5)):
        with pytest.raises(IndexError):
            journal.entries(start, stop, 100)
    assert [journal.term_at(index) for index in (0, 1, 2, 301, 302)] == [None, 0, 1, 1, None]
    journal.close()


def test_a_truncation_into_an_older_segment_holds_after_a_restart(folder: Path) -> None:
    journal = opened(folder)
    filled(journal, 200)
    journal.truncate_from(20)
    assert journal.last_index == 19
    journal.set_term(5, 1)
    journal.add(20, 5, b"other")
    journal.sync()
    assert journal.entry(19) == Entry(19, 1, (19).to_bytes(4) * 25)
    journal.close()
    journal = opened(folder)
    assert journal.last_index == 20
    assert journal.entries(19, 21, 1000) == [Entry(19, 1, (19).to_bytes(4) * 25), Entry(20, 5, b"other")]
    assert journal.term_at(20) == 5
    journal.close()


def test_a_cut_drops_whole_segments_and_keeps_term_vote_and_the_last_entry(folder: Path) -> None:
    journal = opened(folder)
    journal.set_term(7, 3)
    filled(journal, 200)
    before, size = segments(folder), journal.bytes
    journal.cut(100)
    assert 70 < journal.first_index <= 100
    assert len(segments(folder)) < len(before)
    assert journal.bytes < size
    journal.cut(10_000)
    first = journal.first_index
    assert 2 < first <= journal.last_index == 201
    journal.close()
    journal = opened(folder)
    assert (journal.first_index, journal.last_index, journal.term, journal.voted_for) == (first, 201, 7, 3)
    assert journal.entry(201).data == (201).to_bytes(4) * 25
    with pytest.raises(IndexError):
        journal.entry(first - 1)
    journal.close()


def test_a_cut_can_be_made_segment_by_segment(folder: Path) -> None:
    journal = opened(folder)
    filled(journal, 200)
    whole = len(segments(folder))
    rounds = 1
    while journal.cut(150, 1):
        rounds += 1
        assert len(segments(folder)) == whole - rounds + 1
    first = journal.first_index
    assert rounds > 2
    assert not journal.cut(150)
    assert journal.first_index == first
    assert len(segments(folder)) == whole - rounds
    journal.close()


def test_a_cut_waits_until_the_entries_above_it_are_synced(folder: Path) -> None:
    journal = opened(folder)
    filled(journal, 200)
    journal.truncate_from(20)
    journal.add(20, 2, b"not synced")
    journal.cut(20)
    assert journal.first_index < 20
    journal.close()
    journal = opened(folder)
    assert journal.last_index == 201
    journal.close()


def test_a_mark_is_written_once_and_changes_nothing(folder: Path) -> None:
    journal = opened(folder)
    size = journal.bytes
    journal.mark_idle()
    assert journal.bytes == size  # the opening left a mark
    filled(journal, 1)
    size = journal.bytes
    journal.mark_idle()
    assert journal.bytes > size
    assert not journal.dirty
    size = journal.bytes
    journal.mark_idle()
    assert journal.bytes == size
    journal.add(3, 1, b"")
    journal.mark_idle()
    assert journal.dirty
    journal.close()


def test_steps_that_no_raft_takes_are_our_own_bugs(folder: Path) -> None:
    journal = opened(folder)
    journal.set_term(2, 1)
    filled(journal, 3)
    with pytest.raises(AssertionError):
        journal.add(7, 2, b"gap")
    with pytest.raises(AssertionError):
        journal.add(5, 0, b"older term")
    with pytest.raises(AssertionError):
        journal.truncate_from(1)
    with pytest.raises(AssertionError):
        journal.set_term(1, None)
    with pytest.raises(AssertionError):
        journal.set_term(2, 3)
    assert not journal.dirty
    journal.close()


def test_two_may_not_open_it_at_once(folder: Path) -> None:
    journal = opened(folder)
    with pytest.raises(Refused, match="in use"):
        opened(folder)
    journal.close()
    opened(folder).close()


def test_a_journal_is_never_made_in_passing_nor_over_another(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        Journal.create(folder, **OWNER)
    assert refusal.value.code == "JournalExists"
    (tmp_path / "empty").mkdir()
    for missing in ("nowhere", "empty"):
        with pytest.raises(Refused) as refusal:
            opened(tmp_path / missing)
        assert refusal.value.code == "NoJournal"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("other", [{"cluster_id": "another"}, {"slot": 2}, {"incarnation": "00" * 16}])
def test_somebody_elses_journal_is_refused(folder: Path, other: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        Journal.open(folder, **(OWNER | other), limits=SMALL)
    assert refusal.value.code == "ForeignJournal"
    opened(folder).close()


def test_rot_names_the_file_and_the_offset(folder: Path) -> None:
    journal = opened(folder)
    filled(journal, 100)
    journal.close()
    path = folder / segments(folder)[0]
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    with pytest.raises(Corrupt, match=r"0000000000000001\.segment: bad record at offset \d+") as rot:
        opened(folder)
    assert rot.value.code == "JournalRot"
    assert path.stat().st_size > 0


def test_a_closed_journal_says_so(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    journal = opened(folder)
    filled(journal, 200)
    journal.entries(1, 300, 1 << 20)
    journal.close()
    journal.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(JournalFailed, match="closed"):
        journal.sync()


def test_memory_holds_the_newest_entries_only(folder: Path) -> None:
    journal = opened(folder, Limits(journal_segment_bytes=100_000, journal_cache_bytes=20_000))
    filled(journal, 1000)
    assert sum(journal._recent.get(index) is not None for index in range(1, 1002)) < 80
    for index in range(1002, 1502):
        journal.add(index, 1, bytes(100))
    assert all(journal._recent.get(index) for index in range(1002, 1502))  # not synced: nowhere else to be read
    journal.sync()
    assert sum(journal._recent.get(index) is not None for index in range(1, 1502)) < 80
    assert len(journal.entries(1, 1502, 1 << 30)) == 1501
    journal.close()


def test_offsets_over_four_gibibytes(folder: Path) -> None:
    limits = Limits(journal_segment_bytes=16 * GIB, journal_cache_bytes=0)
    journal = opened(folder, limits)
    # A hole stands for the records before: writing 5 GiB would take minutes.
    journal._tail = journal._synced = journal._active.allocated = 5 * GIB
    filled(journal, 50)
    journal.truncate_from(40)
    filled(journal, 10)
    assert journal._table.locate(49)[1] > 5 * GIB
    assert journal.bytes > 5 * GIB
    assert [entry.data[:4] for entry in journal.entries(2, 50, 1 << 20)] == [n.to_bytes(4) for n in range(2, 50)]
    journal.close()


class SlowDisk(Disk):
    """A disk on which an fdatasync lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.ended.set()

    def fdatasync(self, fd: int) -> None:
        self.begun.set()
        assert self.ended.wait(10)
        super().fdatasync(fd)


@pytest.mark.parametrize("segment_bytes", [600, 1 << 20])
def test_what_is_added_during_a_sync_belongs_to_the_next_one(folder: Path, segment_bytes: int) -> None:
    disk = SlowDisk()
    journal = opened(folder, Limits(journal_segment_bytes=segment_bytes, journal_cache_bytes=0), disk)
    journal.set_term(2, 1)
    journal.add(2, 2, b"first")
    journal.add(3, 2, b"void soon")
    disk.begun.clear()
    disk.ended.clear()
    syncing = threading.Thread(target=journal.sync)
    syncing.start()
    assert disk.begun.wait(10)
    journal.truncate_from(3)
    journal.add(3, 2, b"second")
    journal.set_term(3, None)
    assert [entry.data for entry in journal.entries(1, 4, 100)] == [b"", b"first", b"second"]
    assert journal.dirty
    disk.ended.set()
    syncing.join()
    assert journal.dirty
    assert [entry.data for entry in journal.entries(1, 4, 100)] == [b"", b"first", b"second"]
    journal.sync()
    assert not journal.dirty
    journal.close()
    journal = opened(folder)
    assert [entry.data for entry in journal.entries(1, 4, 100)] == [b"", b"first", b"second"]
    assert (journal.term, journal.voted_for) == (3, None)
    journal.close()


def test_adding_reading_cutting_and_syncing_at_the_same_time(folder: Path) -> None:
    journal = opened(folder)
    done = threading.Event()
    errors: list[BaseException] = []

    def writes() -> None:
        try:
            while not done.is_set():
                journal.sync()
                journal.cut(journal.last_index - 300)
                journal.mark_idle()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    thread = threading.Thread(target=writes)
    thread.start()
    for index in range(2, 1500):
        journal.add(index, 1, index.to_bytes(4) * 20)
        if index % 50 == 0:
            start = max(journal.first_index + 40, index - 200)
            found = journal.entries(start, index, 10_000)
            assert [entry.data for entry in found] == [entry.index.to_bytes(4) * 20 for entry in found]
        if index % 350 == 0:
            journal.truncate_from(index - 5)
            for again in range(index - 5, index + 1):
                journal.add(again, 1, again.to_bytes(4) * 20)
    done.set()
    thread.join()
    assert errors == []
    journal.sync()
    first = journal.first_index
    journal.close()
    journal = opened(folder)
    assert (journal.first_index, journal.last_index) == (first, 1499)
    assert all(entry.data == entry.index.to_bytes(4) * 20 for entry in journal.entries(max(first, 2), 1500, 1 << 30))
    journal.close()


class FullDisk(Disk):
    """A disk that others fill."""

    full = False
    makes_files = False
    code = errno.ENOSPC

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Allocate, if there is space."""
        if self.full:
            raise OSError(self.code, os.strerror(self.code))
        super().allocate(fd, offset, length)

    def create(self, path: Path) -> int:
        """Make a file, if there is space."""
        if self.full and not self.makes_files:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().create(path)

    def free(self, directory: Path) -> int:
        """None, if it is full."""
        return 0 if self.full else super().free(directory)


def test_what_is_added_fits_into_the_room_made_ahead_when_the_disk_is_full(folder: Path) -> None:
    disk = FullDisk()
    limits = Limits(journal_segment_bytes=64 * KIB)
    journal = opened(folder, limits, disk)
    filled(journal, 40, 1000)
    journal.make_room()
    disk.full = True
    journal.make_room()  # there is none, and nothing failed
    filled(journal, 20, 1000)
    disk.full = False
    journal.make_room()
    filled(journal, 20, 1000)
    assert journal.last_index == 81
    journal.close()
    again = opened(folder, limits)
    assert again.last_index == 81
    again.close()


def test_room_is_made_for_what_is_to_come_and_said_not_to_be_there_on_a_full_disk(folder: Path) -> None:
    disk = FullDisk()
    journal = opened(folder, Limits(journal_segment_bytes=64 * KIB), disk)
    assert journal.make_room(200 * KIB)
    assert journal.room.left >= 200 * KIB
    disk.full = True
    assert journal.make_room(200 * KIB)
    assert not journal.make_room(300 * KIB)
    journal.close()


def test_a_journal_is_not_opened_on_a_full_disk_loses_nothing_and_is_opened_when_there_is_room(folder: Path) -> None:
    filled(journal := opened(folder), 20)
    journal.close()
    disk = FullDisk()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for disk.makes_files, disk.code in ((False, errno.ENOSPC), (True, errno.ENOSPC), (True, errno.EDQUOT)):
        disk.full = True
        with pytest.raises(Unavailable) as refused:
            opened(folder, disk=disk)
        assert refused.value.code == "NoSpace"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    disk.full = False
    again = opened(folder, disk=disk)
    assert again.last_index == 21
    again.close()


def test_room_beyond_the_quota_is_room_on_a_full_disk(folder: Path) -> None:
    disk = FullDisk()
    disk.code = errno.EDQUOT
    journal = opened(folder, Limits(journal_segment_bytes=64 * KIB), disk)
    disk.full = True
    journal.make_room()
    filled(journal, 1)
    journal.close()


def test_room_that_cannot_be_made_because_the_disk_fails_fails_the_journal(folder: Path) -> None:
    class Failing(Disk):
        failing = False

        def allocate(self, fd: int, offset: int, length: int) -> None:
            if self.failing:
                raise OSError(errno.EIO, "Input/output error")
            super().allocate(fd, offset, length)

    disk = Failing()
    journal = opened(folder, Limits(journal_segment_bytes=64 * KIB), disk)
    filled(journal, 40, 1000)
    disk.failing = True
    with pytest.raises(JournalFailed):
        journal.make_room()
    with pytest.raises(JournalFailed):
        journal.sync()


def test_on_a_full_disk_no_segment_is_begun_and_the_journal_goes_on_in_the_last_one(folder: Path) -> None:
    disk = FullDisk()
    journal = opened(folder, Limits(journal_segment_bytes=64 * KIB, journal_cache_bytes=4096), disk)
    filled(journal, 300)
    journal.make_room()
    disk.full = True
    before = segments(folder)
    filled(journal, 200)  # 140 bytes each: beyond the segment's size
    assert journal.bytes > 64 * KIB
    assert segments(folder) == before
    disk.full = False
    filled(journal, 1)
    assert len(segments(folder)) == len(before) + 1
    journal.close()
    journal = opened(folder)
    assert journal.entry(400).data == (400).to_bytes(4) * 25
    journal.close()
