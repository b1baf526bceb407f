"""PySyncObj 0.3.17's faults on the wire and at its edges, and the table of all faults with the tests that cover each.

`FAULTS` names for each fault the tests that show it on the bare library and those that show it mended. A fault that
lives in the journal, the driver or the store is shown here as far as the core is concerned; the rest is named too.
"""

import contextlib
import importlib
import pickle
import random
import socket
from pathlib import Path
from typing import Any, NoReturn

import pysyncobj.pickle as library_pickle
import pytest
from pysyncobj.config import SyncObjConf
from pysyncobj.node import TCPNode
from pysyncobj.syncobj import SyncObj, SyncObjException

from cluster.errors import Refused
from cluster.limits import Limits, Timings
from metaraft.core import BrokenInvariant, Core, decode_message, encode_message
from metaraft.core_library import clock, syncobj
from metaraft.core_messages import Append, AppendAnswer, PreVote, RequestVote, VoteAnswer
from tests.metaraft.bare import (
    GuardedCluster,
    bare_cluster,
    drop,
    elect,
    incarnation_of,
    node_of,
    seats_of,
    settle,
)
from tests.metaraft.core_world import simulate
from tests.metaraft.memory_journal import MemoryJournal

_HERE = "test_core_faults"
_LOG = "test_core_faults_log"
_START = "test_core_faults_start"
_ELECTIONS = "test_core_faults_elections"
_JOURNAL = "test_journal"
_CRASH = "test_journal_crash"
_WORLD = "test_core_world"

FAULTS: dict[str, tuple[tuple[str, str], ...]] = {
    "journal and term never synced": (
        (_LOG, "test_bare_library_acknowledges_and_votes_without_any_sync"),
        (_LOG, "test_guarded_promises_leave_only_behind_a_sync"),
        (_LOG, "test_guarded_acknowledged_value_outlives_a_power_cut_of_all"),
        (_LOG, "test_guarded_vote_outlives_a_power_cut"),
        (_CRASH, "test_after_a_power_cut_at_any_call_and_any_byte_all_that_was_synced_is_there"),
    ),
    "answers carry no term": (
        (_LOG, "test_bare_leader_counts_answers_of_a_former_term"),
        (_LOG, "test_guarded_leader_drops_answers_of_a_former_term"),
    ),
    "matching entries are truncated": (
        (_LOG, "test_bare_library_loses_acknowledged_values_on_links_that_lose_nothing"),
        (_LOG, "test_guarded_follower_never_truncates_what_matches"),
    ),
    "pickle": (
        (_HERE, "test_bare_library_runs_what_arrives_as_an_entry"),
        (_HERE, "test_guarded_entries_are_bytes"),
        (_HERE, "test_guarded_cluster_runs_where_nothing_can_be_unpickled"),
    ),
    "no pre-vote": (
        (_ELECTIONS, "test_bare_deaf_member_raises_term_after_term"),
        (_ELECTIONS, "test_guarded_deaf_member_disturbs_nobody"),
        (_ELECTIONS, "test_guarded_pre_vote_is_refused_by_who_hears_a_leader_and_by_who_has_more"),
    ),
    "no ReadIndex, two leaders for 30 s": (
        (_ELECTIONS, "test_bare_cut_off_leader_leads_on_and_reads_what_is_old"),
        (_ELECTIONS, "test_guarded_cut_off_leader_confirms_no_read_and_steps_down"),
        (_ELECTIONS, "test_guarded_reads_need_answers_to_what_was_sent_after_they_were_asked"),
        (_ELECTIONS, "test_guarded_new_leader_reads_only_after_its_own_entry_is_committed"),
    ),
    "32-bit offsets": (
        (_LOG, "test_bare_journal_breaks_at_four_gib"),
        (_LOG, "test_guarded_numbers_have_64_bits"),
        (_JOURNAL, "test_offsets_over_four_gibibytes"),
    ),
    "3 the journal is cleared when it does not fit the dump": (
        (_START, "test_bare_library_clears_its_journal_when_the_dump_is_newer"),
        (_START, "test_guarded_start_takes_the_log_as_it_is_and_goes_on_behind_what_is_applied"),
        (_CRASH, "test_a_cut_interrupted_anywhere_leaves_a_log_that_begins_earlier"),
    ),
    "5 conflict hints are overwritten, and go back by one": (
        (_LOG, "test_bare_leader_goes_back_one_entry_per_round_trip"),
        (_LOG, "test_guarded_leader_skips_a_whole_term_at_once"),
        ("test_core_peers", "test_the_first_conflict_closes_all_that_was_pipelined"),
    ),
    "6 votes are counted by message, from anybody": (
        (_ELECTIONS, "test_bare_candidate_is_elected_by_one_voter_twice_and_by_strangers"),
        (_ELECTIONS, "test_guarded_candidate_counts_members_once"),
    ),
    "7 repeated and stale requests are not answered": (
        (_ELECTIONS, "test_bare_member_answers_no_repeated_and_no_stale_request"),
        (_ELECTIONS, "test_guarded_member_answers_each_request_with_the_newest_term"),
        (_ELECTIONS, "test_guarded_candidate_asks_again_until_it_is_answered"),
    ),
    "8 the commit index may lie beyond the log": (
        (_START, "test_bare_library_acknowledges_by_a_commit_index_beyond_its_log"),
        (_START, "test_guarded_start_refuses_journal_and_state_that_do_not_meet"),
    ),
    "9 all is applied again, or nothing": (
        (_START, "test_bare_library_applies_all_again_after_a_start"),
        (_START, "test_bare_library_applies_nothing_after_a_start_on_a_cut_log"),
        (_START, "test_guarded_start_takes_the_log_as_it_is_and_goes_on_behind_what_is_applied"),
    ),
    "10 an exception in apply stops every member for good": (
        (_HERE, "test_bare_library_applies_nothing_after_an_entry_that_raises"),
        (_HERE, "test_guarded_entries_are_bytes"),
    ),
    "13 the leader spins on a follower behind its cut log": (
        (_START, "test_bare_leader_spins_on_a_follower_behind_its_cut_log"),
        (_START, "test_guarded_leader_reports_a_follower_behind_its_cut_log_and_sends_heartbeats_alone"),
    ),
    "16 who waits for a forwarded command may wait for ever": (
        (_HERE, "test_bare_library_never_answers_when_a_forwarded_command_is_lost"),
        (_HERE, "test_guarded_follower_refuses_at_once"),
    ),
    "17 a leader that steps down campaigns at once": (
        (_ELECTIONS, "test_bare_leader_that_steps_down_raises_the_term_in_its_next_tick"),
        (_ELECTIONS, "test_guarded_leader_that_steps_down_waits_and_asks_first"),
    ),
    "18 the leader counts itself before its own sync": (
        (_LOG, "test_bare_single_member_commits_by_its_own_unsynced_vote"),
        (_LOG, "test_guarded_single_member_commits_only_what_a_sync_covered"),
    ),
    "20 timers before the inbox; all applied in one tick": (
        (_ELECTIONS, "test_bare_member_campaigns_while_its_leaders_heartbeat_waits_unread"),
        (_ELECTIONS, "test_guarded_member_reads_its_inbox_first"),
        (_ELECTIONS, "test_bare_member_applies_its_whole_backlog_in_one_tick"),
        (_ELECTIONS, "test_guarded_member_commits_its_backlog_as_an_index_and_has_nothing_to_do_for_it"),
        ("test_driver", "test_a_long_backlog_of_small_entries_is_applied_in_slices"),
    ),
    "22 strangers are obeyed; the library's own port": (
        (_HERE, "test_bare_library_obeys_a_stranger_and_opens_a_port"),
        (_HERE, "test_guarded_member_drops_strangers_and_opens_nothing"),
        (_HERE, "test_messages_are_bounded_before_they_are_decoded"),
    ),
    "all of it together": (
        (_WORLD, "test_promises_hold_under_faults"),
        (_WORLD, "test_each_mutant_is_found"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault: str) -> None:
    for module, name in FAULTS[fault]:
        assert callable(getattr(importlib.import_module(f"tests.metaraft.{module}"), name))


# ---- pickle, and exceptions in apply (row 10)

RAN: list[str] = []


def run(what: str) -> None:
    """What an attacker would like to be called."""
    RAN.append(what)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return run, ("unpickled",)


EVIL = pickle.dumps(_Evil())


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_bare_library_runs_what_arrives_as_an_entry(kind: int) -> None:
    RAN.clear()
    with bare_cluster(3) as cluster:  # dynamicMembershipChange is off
        append = {
            "type": "append_entries",
            "term": 1,
            "commit_index": 2,
            "entries": [(bytes([kind]) + EVIL, 2, 1)],
            "prevLogIdx": 1,
            "prevLogTerm": 0,
        }
        cluster.members[1].transport.receive(node_of(0), append)
        with contextlib.suppress(KeyError, TypeError):
            cluster.tick(1)
    assert RAN


def test_guarded_entries_are_bytes() -> None:
    RAN.clear()
    cluster = GuardedCluster(3)
    datas = tuple(bytes([kind]) + EVIL for kind in (0, 1, 2, 3))
    append = Append(1, 1, 6, 1, 0, tuple((1, data) for data in (*datas, b"7")))
    cluster.step(1, inbox=((0, append),))
    assert [entry.data for entry in cluster.committed[1]] == [b"", *datas, b"7"]
    assert not RAN


def test_guarded_cluster_runs_where_nothing_can_be_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something was unpickled")

    for module in (pickle, library_pickle):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert simulate(3, 3).acknowledged


def test_pickle_inside_the_guarded_library_raises() -> None:
    for name in ("load", "loads", "dump", "dumps"):
        with pytest.raises(BrokenInvariant, match="pickle"):
            getattr(syncobj.pickle, name)(b"")


def test_bare_library_applies_nothing_after_an_entry_that_raises() -> None:
    with bare_cluster(3) as cluster:
        elect(cluster, 0, 1, 2)

        def tick_all() -> int:
            raised = 0
            for slot in cluster.slots:
                try:
                    cluster.tick(slot)
                except ValueError:
                    raised += 1
            for pair in list(cluster.queues):
                cluster.deliver(*pair)
            cluster.now += 0.11
            return raised

        cluster.members[0].put(-1)
        cluster.members[0].put(1)
        for _ in range(20):
            tick_all()
        assert [tick_all() for _ in range(5)][-1] > 0
        assert all(cluster.values(slot) == [] for slot in cluster.slots)


# ---- forwarded commands (row 16)


def test_bare_library_never_answers_when_a_forwarded_command_is_lost() -> None:
    with bare_cluster(3) as cluster:
        elect(cluster, 0, 1, 2)
        cluster.propose(1, 5)
        assert [message["type"] for message in cluster.queues[1, 0]][-1] == "apply_command"
        drop(cluster, 1)
        settle(cluster, 0, 1, 2, rounds=600)  # over a minute
        assert cluster.acknowledged == []
        assert cluster.refused == []


def test_guarded_follower_refuses_at_once() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    ready = cluster.step(1, proposals=(b"5", b"6"))
    assert ready.proposed == [None, None]
    assert ready.appends == ready.messages == []
    assert ready.status.leader == 0
    assert not ready.sync


# ---- strangers, and the library's own port (row 22)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Sockets that anybody tried to open."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> NoReturn:
        tried.append(arguments)
        raise OSError("no sockets here")

    monkeypatch.setattr(socket, "socket", refuse)
    return tried


def test_bare_library_obeys_a_stranger_and_opens_a_port(opened: list[object]) -> None:
    with bare_cluster(3) as cluster:
        elect(cluster, 0, 1, 2)
        order = {"type": "append_entries", "term": 9, "commit_index": 2, "prevLogIdx": 2, "prevLogTerm": 1}
        cluster.members[1].transport.receive(node_of(66), order)
        assert cluster.term(1) == 9
    conf = SyncObjConf(autoTick=False, maxBindRetries=1, bindRetryTime=1e-9)
    with pytest.raises(SyncObjException, match="BindError"):
        SyncObj(TCPNode("127.0.0.1:1"), [], conf)
    assert opened


def test_guarded_member_drops_strangers_and_opens_nothing(opened: list[object]) -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    assert not opened
    before = cluster.cores[1].status
    strange = (Append(9, 1, 2, 2, 1), RequestVote(9, 99, 9), PreVote(9, 1, 99, 9), VoteAnswer(9, True))
    ready = cluster.step(1, inbox=tuple((slot, message) for slot in (66, 1) for message in strange))
    assert ready.appends == ready.messages == []
    assert ready.status == before


def test_messages_are_bounded_before_they_are_decoded() -> None:
    append = Append(1, 1, 1, 1, 1, ((1, b"x" * 100),))
    body = encode_message("i", append)
    assert decode_message(body, len(body)) == ("i", append)
    with pytest.raises(Refused, match="at most 50 are allowed") as refused:
        decode_message(body, 50)
    assert refused.value.code == "MessageTooLarge"


# ---- what the core refuses to go on with


def test_second_leader_of_a_term_ends_the_process() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    for slot in (0, 1):
        with pytest.raises(BrokenInvariant, match="leads term 1"):
            cluster.step(slot, inbox=((2, Append(1, 1, 1, 2, 1)),))


def test_replacing_a_committed_entry_ends_the_process() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    settle(cluster, 0, 1, 2)
    for append in (Append(7, 1, 1, 1, 0, ((7, b"other"),)), Append(7, 1, 1, 2, 7)):
        with pytest.raises(BrokenInvariant, match="committed"):
            cluster.step(1, inbox=((2, append),))
        cluster.journals[1].sync()
    assert cluster.values(1) == [1]


@pytest.mark.parametrize(
    ("slot", "slots", "timings", "reason"),
    [
        (3, (0, 1, 2), Timings(), "not one of"),
        (0, (0, 1), Timings(), "odd number"),
        (0, (0,), Timings(heartbeat_s=0.2), "must rise"),
        (0, (0,), Timings(election_timeout_max_s=0.5), "must rise"),
        (0, (0,), Timings(leader_fallback_s=0.1), "leader_fallback_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    slot: int, slots: tuple[int, ...], timings: Timings, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Core(
            slot=slot,
            incarnation=incarnation_of(slot),
            membership=seats_of(slots),
            journal=MemoryJournal(),
            applied=0,
            now=0.0,
            random=random.Random(0),
            timings=timings,
            limits=Limits(),
        )


def test_clock_advances_at_each_reading_so_that_no_loop_of_the_library_hangs() -> None:
    clock.now = 1e6
    readings = [clock() for _ in range(100)]
    assert len(set(readings)) == 100
    assert readings == sorted(readings)
    assert readings[-1] - 1e6 < 1e-6


def test_only_modules_of_the_core_import_the_library() -> None:
    package = Path(__file__).parents[2] / "metaraft"
    using = [path.name for path in package.glob("*.py") if "pysyncobj" in path.read_text().lower()]
    assert "core_library.py" in using
    imports = [path.name for path in package.glob("*.py") if "from pysyncobj" in path.read_text()]
    assert all(name.startswith("core") for name in imports)


def test_answers_that_name_nothing_open_change_nothing() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    before = cluster.cores[0].status
    for answer in (
        AppendAnswer(1, 10**9, True, 99),
        AppendAnswer(0, 1, True, 99),
        AppendAnswer(1, 1, True, 99),
    ):
        ready = cluster.step(0, inbox=((1, answer),))
        assert ready.status == before


def test_the_library_leaves_the_address_functions_of_the_process_alone() -> None:
    assert socket.inet_ntop(socket.AF_INET, bytes([127, 0, 0, 1])) == "127.0.0.1"
