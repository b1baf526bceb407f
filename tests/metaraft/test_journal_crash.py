"""The journal through power cuts, kills, rot and a disk that fails, on a disk that loses what was not synced."""

import contextlib
import errno
from collections.abc import Callable

import pytest

from chaos.sim.disk import MemoryDisk, cuts
from cluster.errors import Corrupt, Refused
from metaraft.journal import JournalFailed
from metaraft.journal_records import HEADER_BYTES
from tests.metaraft.journal_twin import (
    FOLDER,
    FRESH,
    Twin,
    create,
    history,
    history_with_resets,
    open_on,
    same,
    state_of,
)


def moments(act: Callable[[], object], disk: MemoryDisk, synced: Callable[[], int]) -> list[tuple[MemoryDisk, int]]:
    """The disk, and how much was certain, before each call that changes the disk, and at the end."""
    seen: list[tuple[MemoryDisk, int]] = []

    def note(name: str) -> None:
        if name != "read":
            seen.append((disk.copy(), synced()))

    disk.on_call = note
    act()
    disk.on_call = lambda name: None
    seen.append((disk.copy(), synced()))
    return seen


def test_after_a_power_cut_at_any_call_and_any_byte_all_that_was_synced_is_there() -> None:
    twin = Twin()
    seen = moments(lambda: history(twin), twin.disk, lambda: twin.synced)
    assert len(seen) > 60
    for disk, synced in seen:
        wanted = twin.states[synced:]
        for after in cuts(disk):
            found = state_of(open_on(after))
            assert any(same(found, state) for state in wanted)


def test_after_a_kill_at_any_call_all_that_was_synced_is_there_and_stays() -> None:
    twin = Twin()
    for disk, synced in moments(lambda: history(twin), twin.disk, lambda: twin.synced):
        killed = disk.kill()
        found = state_of(open_on(killed))
        assert any(same(found, state) for state in twin.states[synced:])
        again = killed.power_cut(lambda length: 0)
        assert state_of(open_on(again)) == found  # what was shown once is not taken back


def test_a_crash_while_opening_loses_nothing() -> None:
    twin = Twin()
    history(twin)
    twin.add(b"not synced")
    torn = twin.disk.kill()
    for disk, _ in moments(lambda: open_on(torn).close(), torn, lambda: 0):
        for after in cuts(disk):
            assert twin.certain(state_of(open_on(after)))


def test_a_log_that_begins_anew_does_so_wholly_or_not_at_all_whatever_the_power_cut_keeps() -> None:
    twin = Twin()
    seen = moments(lambda: history_with_resets(twin), twin.disk, lambda: twin.synced)
    for disk, synced in seen:
        wanted = twin.states[synced:]
        for after in cuts(disk):
            found = state_of(open_on(after))
            assert any(same(found, state) for state in wanted)
        killed = disk.kill()
        found = state_of(open_on(killed))
        assert any(same(found, state) for state in wanted)
        assert state_of(open_on(killed.power_cut(lambda length: 0))) == found
    assert state_of(open_on(twin.disk.kill())) == twin.state


def test_a_log_never_begins_anew_below_what_was_acknowledged() -> None:
    twin = Twin()
    history(twin)
    for index in (0, 1, twin.journal.last_index):
        with pytest.raises(Refused, match="cannot begin anew"):
            twin.journal.reset(index, 9)
    assert not twin.journal.dirty
    assert state_of(open_on(twin.disk.kill())) == state_of(twin.journal)


def test_a_log_that_began_anew_keeps_term_and_vote_and_lets_go_of_the_older_segments() -> None:
    twin = Twin()
    twin.set_term(8, 1)
    for at in range(40):
        twin.add(b"%d" % at * 100)
        twin.sync()
    twin.reset(1000, 5)
    twin.sync()
    twin.journal.cut(1000)
    assert len([path for path in twin.disk.names_cached if path.suffix == ".segment"]) == 1
    journal = open_on(twin.disk.kill())
    assert (journal.term, journal.voted_for) == (8, 1)
    assert (journal.first_index, journal.last_index, journal.term_at(1000)) == (1000, 1000, 5)
    assert journal.entry(1000).data == b""
    journal.add(1001, 8, b"goes on")
    journal.sync()
    assert journal.entries(1000, 1002, 100)[1].data == b"goes on"
    with pytest.raises(AssertionError):
        journal.truncate_from(1000)


def test_a_crash_while_a_journal_is_made_leaves_none_or_a_fresh_one() -> None:
    made = MemoryDisk()
    for disk, _ in moments(lambda: create(made), made, lambda: 0):
        for after in cuts(disk):
            with contextlib.suppress(Refused):  # it is there already
                create(after)
            assert state_of(open_on(after.kill())) == FRESH


def test_a_cut_interrupted_anywhere_leaves_a_log_that_begins_earlier() -> None:
    twin = Twin()
    for at in range(30):
        twin.add(b"%d" % at * 60)
        twin.sync()
    last = twin.journal.last_index
    for disk, _ in moments(lambda: twin.journal.cut(last), twin.disk, lambda: 0):
        for after in cuts(disk):
            found = state_of(open_on(after))
            assert same(found, twin.state)
            assert found.log[-1][0] == last


def flipped(disk: MemoryDisk) -> list[tuple[str, int, MemoryDisk]]:
    """The disk with each single bit flipped, and in a segment's header one of each byte: (file, offset, disk)."""
    found = []
    for path, file in disk.names_cached.items():
        for offset in range(len(file.cache)):
            for bit in range(8) if offset >= HEADER_BYTES else (offset % 8,):
                other = disk.kill()
                other.names_cached[path].cache[offset] ^= 1 << bit
                found.append((path.name, offset, other))
    return found


def short_history(twin: Twin) -> None:
    """Two segments and a few batches, small enough to flip every bit."""
    twin.set_term(1, 2)
    twin.add(b"one")
    twin.sync()
    twin.add(b"two" * 120)
    twin.sync()
    twin.add(b"three")
    twin.add(b"four")
    twin.truncate_from(5)
    twin.sync()
    twin.set_term(3, None)
    twin.add(b"five")
    twin.sync()


@pytest.mark.parametrize("marked", [True, False])
def test_each_flipped_bit_is_refused_or_was_in_the_last_batch(marked: bool) -> None:
    twin = Twin()
    short_history(twin)
    if marked:
        twin.mark_idle()
    assert (twin.marked == twin.synced) == marked
    refused = 0
    for name, offset, disk in flipped(twin.disk):
        try:
            found = state_of(open_on(disk))
        except Corrupt as error:
            refused += error.code == "JournalRot" and name in error.message
        else:
            assert any(same(found, state) for state in twin.states[twin.marked :]), (name, offset)
    assert refused > 2 * HEADER_BYTES


@pytest.mark.parametrize("lost", ["older", "newest"])
def test_a_missing_segment_is_refused(lost: str) -> None:
    twin = Twin()
    history(twin)
    disk = twin.disk.kill()
    paths = sorted(path for path in disk.names_cached if path.suffix == ".segment")
    assert len(paths) > 2
    del disk.names_cached[paths[1] if lost == "older" else paths[-1]]
    with pytest.raises(Corrupt, match="segment"):
        open_on(disk)


@pytest.mark.parametrize("segment", [0, 1])
def test_a_short_segment_is_refused_wherever_it_ends(segment: int) -> None:
    twin = Twin()
    short_history(twin)
    twin.mark_idle()
    twin.add(b"vouches for the mark")
    twin.sync()
    path = sorted(path for path in twin.disk.names_cached if path.suffix == ".segment")[segment]
    whole = len(twin.disk.names_cached[path].cache)
    for size in range(whole):
        disk = twin.disk.kill()
        del disk.names_cached[path].cache[size:]
        if segment == 0:
            with pytest.raises(Corrupt):
                open_on(disk)
            continue
        try:  # of the newest one a file system may lose the end; what is left must be a state there was
            found = state_of(open_on(disk))
        except Corrupt:
            assert size < HEADER_BYTES + 40
        else:
            assert any(same(found, state) for state in twin.states)


FAILURES = ["write", "fdatasync", "allocate", "create", "rename", "sync_directory", "truncate", "unlink"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("failing", FAILURES)
def test_a_call_that_failed_is_not_tried_again_and_nothing_synced_is_lost(failing: str, code: int) -> None:
    times, codes = 0, set()
    while True:
        twin = Twin()
        twin.disk.calls.clear()
        left = times

        def fail(name: str, twin: Twin = twin) -> None:
            nonlocal left
            if name == failing:
                left -= 1
                if left == -1:
                    raise OSError(code, "injected")

        twin.disk.on_call = fail
        try:
            history(twin)
        except JournalFailed as error:
            codes.add(error.errno)
        else:
            break
        times += 1
        count = len(twin.disk.calls)
        for call in (
            twin.journal.sync,
            twin.journal.mark_idle,
            lambda twin=twin: twin.journal.cut(3),
            lambda twin=twin: twin.journal.add(twin.journal.last_index + 1, 9, b""),
            lambda twin=twin: twin.journal.set_term(9, None),
            lambda twin=twin: twin.journal.truncate_from(twin.journal.last_index),
            lambda twin=twin: twin.journal.entry(twin.journal.last_index),
        ):
            with pytest.raises(JournalFailed):
                call()
        assert len(twin.disk.calls) == count
        twin.disk.on_call = lambda name: None
        twin.journal.close()
        killed = twin.disk.kill()
        found = state_of(open_on(killed))
        assert twin.certain(found)
        assert state_of(open_on(killed.power_cut(lambda length: 0))) == found
        assert twin.certain(state_of(open_on(twin.disk.power_cut(lambda length: 0))))
    assert times > 0
    assert codes == {code}


def test_a_disk_that_fails_while_opening_is_said_and_the_lock_given_back() -> None:
    twin = Twin()
    history(twin)
    twin.journal.close()
    failed = 0
    for at in range(100):
        disk = twin.disk.kill()
        left = at

        def fail(name: str) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(errno.EIO, "injected")

        disk.on_call = fail
        try:
            open_on(disk).close()
        except JournalFailed:
            failed += 1
            disk.on_call = lambda name: None
            assert twin.certain(state_of(open_on(disk)))
        else:
            break
    assert failed > 10


def test_a_read_error_of_an_older_entry_fails_the_journal() -> None:
    twin = Twin()
    history(twin)
    twin.journal.close()
    journal = open_on(twin.disk)

    def fail(name: str) -> None:
        if name == "read":
            raise OSError(errno.EIO, "injected")

    twin.disk.on_call = fail
    with pytest.raises(JournalFailed):
        journal.entry(journal.first_index)
    with pytest.raises(JournalFailed):
        journal.sync()


def test_rot_of_an_older_entry_is_seen_when_it_is_read() -> None:
    twin = Twin()
    for at in range(20):
        twin.add(b"entry %d " % at * 10)
        twin.sync()
    oldest = min(path for path in twin.disk.names_cached if path.suffix == ".segment")
    content = twin.disk.names_cached[oldest].cache
    content[content.index(b"entry 1 ")] ^= 1
    assert twin.journal.entry(2).data == b"entry 0 " * 10
    with pytest.raises(Corrupt, match=oldest.name):
        twin.journal.entry(3)
    with pytest.raises(Corrupt, match="offset"):
        twin.journal.entries(2, 20, 1 << 20)


def test_short_writes_are_finished() -> None:
    disk = MemoryDisk()
    disk.write_bytes_max = 7
    create(disk)
    twin = Twin(disk)
    history(twin)
    assert same(state_of(open_on(disk.power_cut(lambda length: 0))), twin.state)


def test_leftovers_of_a_crash_are_removed() -> None:
    twin = Twin()
    twin.journal.close()
    twin.disk.create(FOLDER / "0000000000000002.segment.new")
    assert state_of(open_on(twin.disk)) == FRESH
    assert not any(path.suffix == ".new" for path in twin.disk.names_cached)
