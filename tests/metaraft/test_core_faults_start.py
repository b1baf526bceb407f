"""What PySyncObj 0.3.17 does at a start on files that do not fit each other,
or with a follower behind its cut log, and what the guard does.

Each story is told twice, as in `test_core_faults_log.py`.
"""

import copy
import random
from pathlib import Path

import msgspec
import pytest
from pysyncobj.journal import FileJournal

from cluster.errors import Corrupt
from cluster.limits import Limits, Timings
from metaraft.core import Core, LostEntries
from metaraft.core_messages import Forgot
from metaraft.journal_records import Entry
from tests.metaraft.bare import (
    BareCluster,
    GuardedCluster,
    bare_cluster,
    drop,
    elect,
    incarnation_of,
    node_of,
    seats_of,
    settle,
)
from tests.metaraft.memory_journal import MemoryDisk, MemoryJournal

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the bare library's own


def _crash_between_dump_and_trim(cluster: BareCluster, directory: Path) -> list[int]:
    """A dump is written; while it is, more is committed and acknowledged; kill -9; start again on the files."""
    settings = {
        "journalFile": str(directory / "journal"),
        "fullDumpFile": str(directory / "dump"),
        "useFork": False,
        "logCompactionMinEntries": 10**9,
        "logCompactionMinTime": 10**9,
    }
    member = cluster.start(0, **settings)
    cluster.campaign(0)
    for value in range(5):
        cluster.propose(0, value)
    cluster.tick(0)
    member._forceLogCompaction()  # type: ignore[attr-defined]
    cluster.propose(0, 5)  # in the tick that writes the dump; acknowledged in the next, before its trim
    saved: dict[str, bytes] = {}
    acknowledged = cluster.acknowledged

    class _Crash(list[int]):
        def append(self, value: int) -> None:
            super().append(value)
            for path in directory.iterdir():
                saved[path.name] = path.read_bytes()

    cluster.acknowledged = _Crash(acknowledged)
    cluster.tick(0)
    assert cluster.acknowledged == list(range(6))
    for name, data in saved.items():
        (directory / name).write_bytes(data)
    cluster.start(0, **settings)
    cluster.campaign(0)
    cluster.tick(0)
    return cluster.values(0)


def test_bare_library_clears_its_journal_when_the_dump_is_newer(tmp_path: Path) -> None:
    with bare_cluster(1, start=False) as cluster:
        assert _crash_between_dump_and_trim(cluster, tmp_path) == [0, 1, 2, 3, 4]


def _cut_at(journal: MemoryJournal, index: int) -> None:
    journal.sync()
    journal.cut(index)


def test_guarded_start_takes_the_log_as_it_is_and_goes_on_behind_what_is_applied() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    for value in range(10):
        cluster.propose(0, value)
    settle(cluster, 0, 1, 2)
    _cut_at(cluster.journals[0], 8)
    journal = cluster.journals[0]
    assert (journal.first_index, journal.last_index) == (8, 12)
    cluster.start(0, applied=9)
    drop(cluster, 0)
    status = cluster.cores[0].status
    assert (status.commit, status.last_index) == (9, 12)
    elect(cluster, 0, 1, 2)
    assert [entry.index for entry in cluster.committed[0]] == [10, 11, 12, 13]
    assert cluster.values(0) == [7, 8, 9]


def test_bare_library_applies_nothing_after_a_start_on_a_cut_log(tmp_path: Path) -> None:
    with bare_cluster(1, start=False) as cluster:
        path = str(tmp_path / "journal")
        cluster.start(0, journalFile=path)
        cluster.campaign(0)
        for value in range(10):
            cluster.propose(0, value)
        cluster.tick(0)
        cluster.members[0]._SyncObj__raftLog.deleteEntriesTo(7)
        cluster.start(0, journalFile=path)
        cluster.campaign(0)
        cluster.propose(0, 10)
        settle(cluster, 0)
        assert cluster.values(0) == []
        assert 10 not in cluster.acknowledged


def test_bare_library_applies_all_again_after_a_start(tmp_path: Path) -> None:
    with bare_cluster(1, start=False) as cluster:
        path = str(tmp_path / "journal")
        cluster.start(0, journalFile=path)
        cluster.campaign(0)
        cluster.propose(0, 1)
        cluster.tick(0)
        state = cluster.values(0)  # as if it were on a disk
        cluster.start(0, journalFile=path).applied = state
        cluster.campaign(0)
        cluster.tick(0)
        assert state == [1, 1]


def test_bare_library_acknowledges_by_a_commit_index_beyond_its_log(tmp_path: Path) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    journal.add(b"\1", 1, 0)
    journal.setRaftCommitIndex(10)
    journal.setCurrentTerm(1, None)
    with bare_cluster(3, start=False) as cluster:
        cluster.start(0, journalFile=str(tmp_path / "journal"))
        cluster.campaign(0)
        cluster.members[0].transport.receive(node_of(1), {"type": "response_vote", "term": 2})
        cluster.propose(0, 1)
        cluster.tick(0)
        assert cluster.acknowledged == [1]  # no follower has seen it


@pytest.mark.parametrize(("applied", "code"), [(10, "JournalBehindState"), (5, "StateBehindJournal")])
def test_guarded_start_refuses_journal_and_state_that_do_not_meet(applied: int, code: str) -> None:
    journal = MemoryJournal()
    for index in range(2, 10):
        journal.add(index, 1, b"")
    _cut_at(journal, 7)
    with pytest.raises(Corrupt) as refused:
        Core(
            slot=0,
            incarnation=incarnation_of(0),
            membership=seats_of((0, 1, 2)),
            journal=journal,
            applied=applied,
            now=0.0,
            random=random.Random(0),
            timings=Timings(),
            limits=Limits(),
        )
    assert refused.value.code == code


# ---- a follower behind the cut log (row 13)


def test_bare_leader_spins_on_a_follower_behind_its_cut_log() -> None:
    with bare_cluster(3) as cluster:
        elect(cluster, 0, 1)
        for value in range(10):
            cluster.propose(0, value)
        settle(cluster, 0, 1)
        cluster.members[0]._SyncObj__raftLog.deleteEntriesTo(9)
        cluster.members[0]._SyncObj__raftNextIndex[node_of(2)] = 3
        drop(cluster, 2)
        cluster.reading_s = 1e-4
        settle(cluster, 0, rounds=1)
        assert len(cluster.queues[0, 2]) > 100  # for as long as its clock lets it


def test_guarded_leader_reports_a_follower_behind_its_cut_log_and_sends_heartbeats_alone() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1)
    for value in range(10):
        cluster.propose(0, value)
    settle(cluster, 0, 1)
    assert cluster.cores[0].status.safe_cut == 0
    _cut_at(cluster.journals[0], 9)
    drop(cluster, 2)
    for _ in range(20):
        settle(cluster, 0, 1, 2, rounds=1)
        assert len(cluster.queues[0, 2]) <= 1
    assert cluster.cores[0].status.needs_snapshot == (2,)
    assert cluster.cores[2].status.leader == 0
    assert cluster.values(2) == []
    cluster.propose(0, 10)
    settle(cluster, 0, 1, 2)
    assert cluster.acknowledged[-1] == 10


# ---- a member that was set back to an older copy of its folder


def _set_back(cluster: GuardedCluster, slot: int, disk: MemoryDisk) -> None:
    """The member begins again on an older disk, and the leader reaches it again."""
    cluster.journals[slot] = MemoryJournal(disk)
    cluster.start(slot)
    drop(cluster, slot)
    cluster.cores[0].peer_disconnected(slot)
    cluster.cores[0].peer_connected(slot)


def test_a_member_without_what_it_had_acknowledged_ends_and_says_so() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    older = copy.deepcopy(cluster.journals[2].disk)
    for value in range(5):
        cluster.propose(0, value)
    settle(cluster, 0, 1, 2)
    _set_back(cluster, 2, older)
    with pytest.raises(LostEntries, match="had acknowledged entry 7, which its log up to 2 lacks"):
        settle(cluster, 0, 1, 2)


def test_a_member_that_had_acknowledged_other_entries_than_it_has_ends_too() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    older = copy.deepcopy(cluster.journals[2].disk)
    for value in range(5):
        cluster.propose(0, value)
    settle(cluster, 0, 1, 2)
    older.log += [Entry(index, 0, b"of a leader that was voted out") for index in range(3, 9)]
    older.log[1] = Entry(2, 0, b"")
    _set_back(cluster, 2, older)
    with pytest.raises(LostEntries):
        settle(cluster, 0, 1, 2)


def test_a_member_that_was_away_and_lost_only_what_nobody_was_told_of_goes_on() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    acknowledged = copy.deepcopy(cluster.journals[2].disk)
    for value in range(5):
        cluster.propose(0, value)
    cluster.deliver(0, 2)
    drop(cluster, 2)  # what it would have acknowledged never arrived
    _set_back(cluster, 2, acknowledged)
    settle(cluster, 0, 1, 2)
    assert cluster.values(2) == list(range(5))


def test_who_is_asked_for_an_entry_that_its_leader_has_cut_away_is_not_called_a_loser_of_it() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 0)
    settle(cluster, 0, 1, 2)
    cut_away = Forgot(cluster.term(0), incarnation_of(2), 2, 0)
    cluster.step(2, inbox=((0, cut_away),))
    last = cluster.journals[2].last_index
    with pytest.raises(LostEntries):
        cluster.step(2, inbox=((0, msgspec.structs.replace(cut_away, index=last + 1)),))


def test_what_another_incarnation_of_the_slot_forgot_is_not_this_ones_loss() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    forgot = Forgot(cluster.term(0), "another", 99, cluster.term(0))
    cluster.step(2, inbox=((0, forgot),))
    with pytest.raises(LostEntries):
        cluster.step(2, inbox=((0, msgspec.structs.replace(forgot, incarnation=incarnation_of(2))),))
