"""What PySyncObj 0.3.17 does to logs, shown on the bare library, and shown not to happen behind the guard.

Each story is told twice: `bare` must fail in the way that is known, `guarded` must hold. The whole list of faults, with
the tests that cover each, is in `test_core_faults.py`.
"""

import math
import os
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pysyncobj.journal as library_journal
import pytest
from pysyncobj.journal import FileJournal

from cluster.limits import Limits, Timings
from metaraft.core import BrokenInvariant, Core
from metaraft.core_messages import Append, AppendAnswer, RequestVote, VoteAnswer
from metaraft.journal_records import Entry
from tests.metaraft.bare import (
    Cluster,
    GuardedCluster,
    bare_cluster,
    drop,
    elect,
    incarnation_of,
    seats_of,
    settle,
)
from tests.metaraft.memory_journal import MemoryDisk, MemoryJournal

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the bare library's own

BYTES_OF_TWO = 30
"""A batch size of the bare library into which two of the test's commands go."""


# ---- nothing is ever synced; the leader counts itself before it is (row 18)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts each call that could make a file durable."""
    counted: Counter[str] = Counter()

    def counting(name: str, call: Any) -> Any:
        def counts(*arguments: Any) -> Any:
            counted[name] += 1
            return call(*arguments)

        return counts

    for name in ("fsync", "fdatasync", "sync"):
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    flush = library_journal.ResizableFile.flush
    monkeypatch.setattr(library_journal.ResizableFile, "flush", counting("msync", flush))
    return counted


def test_bare_library_acknowledges_and_votes_without_any_sync(tmp_path: Path, syncs: Counter[str]) -> None:
    with bare_cluster(3, start=False) as cluster:
        for slot in cluster.slots:
            cluster.start(slot, journalFile=str(tmp_path / f"journal{slot}"))
        elect(cluster, 0, 1, 2)
        cluster.propose(0, 1)
        settle(cluster, 0, 1, 2)
        assert cluster.acknowledged == [1]
        assert not syncs


def test_guarded_promises_leave_only_behind_a_sync() -> None:
    cluster = GuardedCluster(3)
    promises = 0
    for slot in cluster.slots:
        core, journal = cluster.cores[slot], cluster.journals[slot]

        def step(core: Core = core, journal: MemoryJournal = journal, real: Any = core.step, **given: Any) -> Any:
            nonlocal promises
            before = journal.term, journal.voted_for, journal.last_index
            ready = real(**given)
            assert ready.sync == (before != (journal.term, journal.voted_for, journal.last_index))
            assert ready.sync == journal.dirty
            promises += sum(isinstance(message, (VoteAnswer, AppendAnswer)) for _, message in ready.messages)
            return ready

        core.step = step  # type: ignore[method-assign]
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    settle(cluster, 0, 1, 2)
    assert cluster.acknowledged == [1]
    assert promises > 3


def test_guarded_acknowledged_value_outlives_a_power_cut_of_all() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    settle(cluster, 0, 1, 2)
    assert cluster.acknowledged == [1]
    for slot in cluster.slots:
        cluster.journals[slot] = MemoryJournal(cluster.journals[slot].power_cut(random.Random(slot)))
        cluster.start(slot)
    drop(cluster, *cluster.slots)
    assert [cluster.term(slot) for slot in cluster.slots] == [1, 1, 1]
    elect(cluster, 2, 0, 1)
    assert all(cluster.values(slot) == [1] for slot in cluster.slots)


def test_guarded_vote_outlives_a_power_cut() -> None:
    cluster = GuardedCluster(3)
    request = RequestVote(5, 1, 0)
    assert cluster.step(1, inbox=((0, request),)).messages == [(0, VoteAnswer(5, True, "0.0"))]
    cluster.journals[1] = MemoryJournal(cluster.journals[1].power_cut(random.Random(0)))
    cluster.start(1)
    assert cluster.step(1, inbox=((2, request),)).messages == [(2, VoteAnswer(5, False, "2.0"))]
    assert cluster.step(1, inbox=((0, request),)).messages == [(0, VoteAnswer(5, True, "0.0"))]


def test_guarded_leader_commits_former_terms_only_below_its_own_entry() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    drop(cluster, *range(3))
    cluster.now += 2.0
    cluster.campaign(0)  # it steps down
    drop(cluster, 0)  # and nobody hears of it
    cluster.campaign(0)
    for _ in range(2):  # pre-votes, votes
        cluster.deliver(0, 1)
        cluster.deliver(1, 0)
    assert cluster.leads(0)
    assert cluster.log(0) == [(1, 0), (2, 1), (3, 1), (4, 2)]
    probe = cluster.queues[0, 1][-1]
    assert isinstance(probe, Append)
    assert (probe.prev_index, len(probe.entries)) == (3, 1)
    drop(cluster, *range(3))
    former = Append(2, 10**6, 2, 2, 1, ((1, b"1"),))
    accepted = cluster.step(1, inbox=((0, former),)).messages[0][1]
    assert isinstance(accepted, AppendAnswer)
    peer = cluster.cores[0]._member.peers[1]
    peer.sent(10**6, 2, 3, 1)
    assert cluster.step(0, inbox=((1, accepted),)).status.match[1] == 3  # two of three have it
    assert cluster.acknowledged == []
    settle(cluster, 0, 1)
    assert cluster.acknowledged == [1]


def test_bare_single_member_commits_by_its_own_unsynced_vote(tmp_path: Path, syncs: Counter[str]) -> None:
    with bare_cluster(1, start=False) as cluster:
        cluster.start(0, journalFile=str(tmp_path / "journal"))
        cluster.campaign(0)
        cluster.propose(0, 1)
        cluster.tick(0)
        assert cluster.acknowledged == [1]
        assert not syncs


def test_guarded_single_member_commits_only_what_a_sync_covered() -> None:
    journal = MemoryJournal()
    core = Core(
        slot=0,
        incarnation=incarnation_of(0),
        membership=seats_of((0,)),
        journal=journal,
        applied=0,
        now=0.0,
        random=random.Random(0),
        timings=Timings(),
        limits=Limits(),
    )
    ready = core.step(inbox=(), proposals=(), reads=0, now=core.next_wakeup(0.0))
    assert ready.status.state == "leader"
    assert ready.status.last_index == 2
    assert ready.status.commit == 0
    with pytest.raises(BrokenInvariant, match="before all of the last one was synced"):
        core.step(inbox=(), proposals=(), reads=0, now=2.0)
    journal.sync()
    ready = core.step(inbox=(), proposals=(b"x",), reads=0, now=core.next_wakeup(2.0))
    assert ready.status.commit == 2
    assert ready.proposed == [(3, 1)]
    journal.sync()
    assert core.next_wakeup(3.0) == 3.0
    assert core.step(inbox=(), proposals=(), reads=0, now=3.0).status.commit == 3
    assert core.next_wakeup(3.0) == math.inf


# ---- a follower truncates entries that match


def _resent_after_acknowledged(cluster: Cluster) -> list[int]:
    """Acks come back one by one, the leader goes on meanwhile, all is acknowledged, the leader dies. What is left?"""
    elect(cluster, 0, 1, 2)
    for value in range(8):
        cluster.propose(0, value)
    settle(cluster, 0, rounds=1)
    cluster.deliver(0, 1)
    cluster.deliver(1, 0, 1)
    settle(cluster, 0, rounds=1)
    cluster.deliver(1, 0)
    for _ in range(8):  # the guard applies in slices
        cluster.tick(0)
    assert cluster.acknowledged == list(range(8))
    cluster.deliver(0, 1, 1)
    drop(cluster, 0)
    elect(cluster, 1, 2)
    settle(cluster, 1, 2)
    assert cluster.values(1) == cluster.values(2)
    return cluster.values(1)


def test_bare_library_loses_acknowledged_values_on_links_that_lose_nothing() -> None:
    with bare_cluster(3, appendEntriesBatchSizeBytes=BYTES_OF_TWO) as cluster:
        assert len(_resent_after_acknowledged(cluster)) < 8


def test_guarded_follower_never_truncates_what_matches() -> None:
    assert _resent_after_acknowledged(GuardedCluster(3, limits=Limits(append_bytes_max=2))) == list(range(8))


# ---- answers carry no term


def _answers_of_an_old_term(cluster: Cluster) -> list[int]:
    """0 leads, only 1 gets ten entries, its answers are delayed; 3 leads and replaces them; 0 leads again.

    Its next value is on 0 and 2 alone, two of five, when the old answers arrive. Returns what was acknowledged.
    """
    elect(cluster, 0, 1, 2, 3, 4)
    for value in range(10):
        cluster.propose(0, value)
    settle(cluster, 0, rounds=1)
    cluster.deliver(0, 1)
    delayed = list(cluster.queues[1, 0])
    assert delayed
    drop(cluster, *range(5))
    elect(cluster, 3, 2, 4)
    settle(cluster, 1, 2, 3, 4)
    settle(cluster, 0, 1, 2, 3, 4)
    elect(cluster, 0, 1, 2, 3, 4)
    assert cluster.log(0) == cluster.log(1)
    cluster.propose(0, 99)
    settle(cluster, 0, rounds=1)
    cluster.deliver(0, 2)
    cluster.deliver(2, 0)
    drop(cluster, *range(5))
    cluster.queues[1, 0].extend(delayed)
    cluster.deliver(1, 0)
    cluster.tick(0)
    return cluster.acknowledged


def test_bare_leader_counts_answers_of_a_former_term() -> None:
    with bare_cluster(5) as cluster:
        assert _answers_of_an_old_term(cluster) == [99]
        drop(cluster, *range(5))
        elect(cluster, 4, 1, 3)
        assert 99 not in cluster.values(4)


def test_guarded_leader_drops_answers_of_a_former_term() -> None:
    cluster = GuardedCluster(5)
    assert _answers_of_an_old_term(cluster) == []
    settle(cluster, *range(5))
    assert cluster.acknowledged == [99]


# ---- conflicts go back one index per round trip (row 5)


def _rounds_to_agree(cluster: Cluster, entries: int) -> int:
    elect(cluster, 0, 1, 2)
    for value in range(entries):
        cluster.propose(0, value)
    settle(cluster, 0, rounds=1)
    drop(cluster, 0)
    elect(cluster, 1, 2)
    for value in range(entries):
        cluster.propose(1, 1000 + value)
    settle(cluster, 1, 2)
    elect(cluster, 2, 1)
    drop(cluster, 0)
    elect(cluster, 1, 2)
    drop(cluster, 0)
    rounds = 0
    while cluster.log(0) != cluster.log(1):
        settle(cluster, 0, 1, 2, rounds=1)
        rounds += 1
        assert rounds < 1000
    return rounds


def test_bare_leader_goes_back_one_entry_per_round_trip() -> None:
    with bare_cluster(3) as cluster:
        assert _rounds_to_agree(cluster, 50) >= 50


def test_guarded_leader_skips_a_whole_term_at_once() -> None:
    assert _rounds_to_agree(GuardedCluster(3), 50) <= 4


# ---- 32-bit offsets


class _SparseFile:
    """A file of any size in little memory, in the place of the library's mapped one."""

    def __init__(self, *_: object, defaultContent: bytes = b"", **__: object) -> None:  # noqa: N803
        self._written: dict[int, bytes] = {}
        self.write(0, defaultContent)

    def write(self, offset: int, values: bytes) -> None:
        for place, byte in enumerate(values, offset):
            self._written[place] = bytes([byte])

    def read(self, offset: int, size: int) -> bytes:
        return b"".join(self._written.get(place, b"\0") for place in range(offset, offset + size))


def test_bare_journal_breaks_at_four_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_journal, "ResizableFile", _SparseFile)
    journal = FileJournal(str(tmp_path / "journal"))
    journal._FileJournal__currentOffset = 2**32 - 40  # type: ignore[attr-defined]
    journal.add(b"", 1, 0)
    with pytest.raises(struct.error):
        journal.add(b"", 2, 0)
    assert len(journal) == 2  # in memory, and not in the file


def test_guarded_numbers_have_64_bits() -> None:
    base = 2**40
    cluster = GuardedCluster(3, start=False)
    for slot in cluster.slots:
        disk = MemoryDisk()
        disk.term = base
        disk.log = [Entry(base, base, b"")]
        cluster.journals[slot] = MemoryJournal(disk)
        cluster.start(slot, applied=base)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    settle(cluster, 0, 1, 2)
    assert cluster.acknowledged == [1]
    assert cluster.log(2) == [(base, base), (base + 1, base + 1), (base + 2, base + 1)]
