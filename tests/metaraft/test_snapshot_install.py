"""Installing a copy, interrupted at any call, by a kill or by any power cut: the member has its old log and database,
or the copy and a log that begins there, and the next start comes to the end; term and vote stay."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chaos.sim.disk import MemoryDisk, cuts
from cluster.errors import Corrupt, Refused
from metaraft.journal_disk import Disk, write_all
from metaraft.snapshot_copy import Copied
from metaraft.snapshot_install import MARKER_FILE, finish, mark, next_file
from metaraft.store import DATA_FILE
from tests.metaraft.journal_twin import FOLDER, State, Twin, open_on, state_of

MEMBER = FOLDER.parent
DATABASE = MEMBER / "store" / DATA_FILE
COPY = Copied("a-cluster", 50, 6, "00" * 16, 4, "11" * 32)
OLD, NEW = b"old!", b"copy"


def put(disk: Disk, path: Path, content: bytes) -> None:
    """A file, synced."""
    descriptor = disk.create(path)
    write_all(disk, descriptor, content, 0)
    disk.fsync(descriptor)
    disk.close(descriptor)
    disk.sync_directory(path.parent)


def content(disk: MemoryDisk, path: Path) -> bytes | None:
    """What a file has; None if it is not there."""
    file = disk.names_cached.get(path)
    return None if file is None else bytes(file.cache)


def lagging() -> Twin:
    """A member's journal, and its database, on a disk."""
    twin = Twin()
    put(twin.disk, DATABASE, OLD)
    twin.set_term(7, 1)
    for at in range(12):
        twin.add(b"entry %d" % at * 20)
        twin.sync()
    twin.mark_idle()
    return twin


def marked(copied: Copied = COPY) -> Twin:
    """The same with a copy that is to be taken."""
    twin = lagging()
    put(twin.disk, next_file(MEMBER), NEW)
    mark(MEMBER, copied, twin.journal, twin.disk)
    return twin


def start(disk: MemoryDisk) -> tuple[State, bytes | None]:
    """What a start that comes to its end finds: the journal's state and the database."""
    journal = open_on(disk)
    finish(MEMBER, journal, disk)
    found = state_of(journal)
    journal.close()
    assert state_of(open_on(disk.kill())) == found
    leftovers = {path.name for path in disk.names_cached if not path.name.endswith(".segment")}
    assert leftovers <= {DATA_FILE, "lock"}
    return found, content(disk, DATABASE)


BEGUN_ANEW = State(((50, 6, b""),), 7, 1), NEW


def after_each_call(disk: MemoryDisk, act: Callable[[], object]) -> list[MemoryDisk]:
    """The disk before each call that changes it, and at the end."""
    seen: list[MemoryDisk] = []

    def note(name: str) -> None:
        if name != "read":
            seen.append(disk.copy())

    disk.on_call = note

    act()
    disk.on_call = lambda name: None
    return [*seen, disk.copy()]


def test_a_start_installs_what_was_marked_and_the_next_has_nothing_to_do() -> None:
    twin = marked()
    disk = twin.disk.kill()
    assert start(disk) == start(disk) == BEGUN_ANEW
    assert finish(MEMBER, open_on(disk.kill()), disk) is None


def test_a_start_that_is_interrupted_anywhere_is_finished_by_the_next_one() -> None:
    twin = marked()
    disk = twin.disk.kill()
    moments = after_each_call(disk, lambda: start(disk))
    assert len(moments) > 10
    for moment in moments:
        for crashed in (moment.kill(), *cuts(moment)):
            assert start(crashed) == BEGUN_ANEW


def test_starts_that_are_interrupted_again_and_again_come_to_the_same_end() -> None:
    twin = marked()
    disk = twin.disk.kill()

    class Killed(BaseException):
        pass

    for calls in itertools.count(1):
        left = calls

        def count(name: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        disk = disk.power_cut(lambda length: 0)
        disk.on_call = count
        try:
            assert start(disk) == BEGUN_ANEW
        except Killed:
            continue
        break
    assert calls > 10


def test_a_mark_that_is_interrupted_anywhere_is_there_or_not() -> None:
    twin = lagging()
    put(twin.disk, next_file(MEMBER), NEW)
    as_before = state_of(twin.journal), OLD
    moments = after_each_call(twin.disk, lambda: mark(MEMBER, COPY, twin.journal, twin.disk))
    ends = [start(crashed) for moment in moments for crashed in (moment.kill(), *cuts(moment))]
    assert all(end in (as_before, BEGUN_ANEW) for end in ends)
    assert ends[0] == as_before
    assert ends[-1] == BEGUN_ANEW


def test_a_copy_that_was_never_marked_is_swept_away() -> None:
    twin = lagging()
    put(twin.disk, next_file(MEMBER), b"half of a co")
    put(twin.disk, MEMBER / f"{MARKER_FILE}.new", b"half of a mark")
    assert start(twin.disk.kill()) == (state_of(twin.journal), OLD)


@pytest.mark.parametrize("index", [1, 12, 13])
def test_a_copy_that_is_not_beyond_the_log_is_not_marked(index: int) -> None:
    twin = lagging()
    assert twin.journal.last_index == 13
    put(twin.disk, next_file(MEMBER), NEW)
    with pytest.raises(Refused, match="not beyond this member's log"):
        mark(MEMBER, msgspec.structs.replace(COPY, index=index), twin.journal, twin.disk)
    assert MEMBER / MARKER_FILE not in twin.disk.names_cached


def test_what_was_acknowledged_after_the_mark_is_kept_and_the_copy_dropped_if_it_is_stale() -> None:
    twin = marked(Copied("a-cluster", 14, 7, "00" * 16, 4, "11" * 32))
    twin.add(b"acknowledged before the process ended")
    twin.sync()
    assert start(twin.disk.kill()) == (state_of(twin.journal), OLD)


def test_a_member_that_never_heard_of_the_copys_term_has_it_afterwards_and_no_vote_in_it() -> None:
    twin = marked(Copied("a-cluster", 50, 9, "00" * 16, 4, "11" * 32))
    assert start(twin.disk.kill()) == (State(((50, 9, b""),), 9, None), NEW)


def test_a_rotten_mark_keeps_the_member_from_starting() -> None:
    twin = marked()
    whole = content(twin.disk, MEMBER / MARKER_FILE)
    assert whole is not None
    for bit in range(8 * len(whole)):
        disk = twin.disk.kill()
        disk.names_cached[MEMBER / MARKER_FILE].cache[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match="install is not what was written"):
            start(disk)


def test_a_mark_whose_copy_is_lost_keeps_the_member_from_starting_and_its_log_as_it_is() -> None:
    twin = marked()
    disk = twin.disk.kill()
    del disk.names_cached[next_file(MEMBER)]
    with pytest.raises(Corrupt, match="is not there"):
        start(disk)
    assert state_of(open_on(disk.kill())) == state_of(twin.journal)
