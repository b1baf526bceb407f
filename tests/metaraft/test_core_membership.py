"""Members that come and go, at the core: who counts, from when, and what a leader refuses to change.

The same under faults is in `test_core_world.py`.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Refused, TrilithError, Unavailable
from cluster.limits import Limits, Timings
from metaraft.core import Admit, BrokenInvariant, Change, Core, Membership, Retire, Seat
from metaraft.core_membership import CHANGE, LAG_MAX, RETIRED_KEPT, decode_change, encode_change
from metaraft.core_messages import Append, AppendAnswer, PreVote, PreVoteAnswer, RequestVote, VoteAnswer
from tests.metaraft.bare import ROUND_S, GuardedCluster, drop, elect, incarnation_of, seats_of, settle
from tests.metaraft.memory_journal import MemoryJournal


def led(size: int = 3) -> GuardedCluster:
    """A cluster that slot 0 leads, all others following."""
    cluster = GuardedCluster(size)
    elect(cluster, *range(size))
    return cluster


def change(cluster: GuardedCluster, what: Change, *, leader: int = 0) -> None:
    """Have a leader propose a change, which it must not refuse; no message is delivered."""
    assert cluster.cores[leader].refusal(what, cluster.now) is None
    assert cluster.step(leader, change=what).changed is not None


def refused(cluster: GuardedCluster, what: Change, *, leader: int = 0) -> TrilithError:
    """Why a leader does not propose a change; it is also not proposed when it is asked to."""
    error = cluster.cores[leader].refusal(what, cluster.now)
    assert error is not None
    before = cluster.journals[leader].last_index
    assert cluster.step(leader, change=what).changed is None
    assert cluster.journals[leader].last_index == before
    return error


def succeed(cluster: GuardedCluster, slot: int, incarnation: str) -> None:
    """The slot's process from now on: a successor with an empty disk."""
    cluster.incarnations[slot] = incarnation
    cluster.journals[slot] = MemoryJournal()
    drop(cluster, slot)
    cluster.start(slot)


def replace(cluster: GuardedCluster, slot: int, incarnation: str, *others: int) -> None:
    """The whole of a replacement, with slot 0 leading and the others following."""
    change(cluster, Retire(slot, incarnation))
    settle(cluster, 0, *others)
    succeed(cluster, slot, incarnation)
    settle(cluster, 0, slot, *others)
    change(cluster, Admit(slot, incarnation))
    settle(cluster, 0, slot, *others)


# ---- who counts


def test_a_successor_neither_votes_nor_acknowledges_before_it_is_admitted() -> None:
    cluster = led()
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 1)
    succeed(cluster, 2, "2.1")
    settle(cluster, 0, 2, rounds=3)  # a leader that hears nobody who counts steps down soon
    cluster.propose(0, 7)
    settle(cluster, 0, 2, rounds=3)
    assert cluster.cores[0].status.match[2] == cluster.journals[0].last_index  # it has all
    assert cluster.acknowledged == []  # and counts for nobody
    cluster.now += 5.0
    cluster.campaign(0)
    settle(cluster, 0, 2)
    assert not cluster.leads(0)
    settle(cluster, 0, 1, 2)
    elect(cluster, 0, 1, 2)
    assert cluster.values(0) == [7]


def test_an_admitted_successor_votes_and_acknowledges() -> None:
    cluster = led()
    replace(cluster, 2, "2.1", 1)
    cluster.propose(0, 7)
    settle(cluster, 0, 2)
    assert cluster.acknowledged == [7]
    elect(cluster, 2, 0)
    assert cluster.values(2) == [7]


def test_a_successor_never_campaigns_before_it_is_admitted() -> None:
    cluster = led()
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 1)
    succeed(cluster, 2, "2.1")
    settle(cluster, 0, 1, 2)
    cluster.now += 60.0
    cluster.campaign(2)
    assert cluster.cores[2].status.state == "follower"
    assert not cluster.queues[2, 0]
    assert cluster.cores[2].next_wakeup(cluster.now) > cluster.now


def test_two_wiped_members_never_make_a_new_cluster() -> None:
    cluster = led()
    cluster.propose(0, 1)
    settle(cluster, 0, 1, 2)
    for slot in (1, 2):
        succeed(cluster, slot, f"{slot}.1")
    for slot in (1, 2):
        for _ in range(20):
            cluster.now += 5.0
            cluster.campaign(slot)
            settle(cluster, 1, 2)
    for slot in (1, 2):
        assert cluster.term(slot) == 0
        assert cluster.journals[slot].voted_for is None
        assert cluster.journals[slot].last_index == 1


@pytest.mark.parametrize("term", [0, 1, 9])
def test_a_wiped_member_grants_no_vote(term: int) -> None:
    cluster = led()
    succeed(cluster, 2, "2.1")
    ready = cluster.step(2, inbox=((0, RequestVote(term, 99, term)), (1, RequestVote(term, 99, term, transfer=True))))
    assert ready.messages == []
    [(_, answer)] = cluster.step(2, inbox=((0, PreVote(term, 1, 99, term)),)).messages
    assert isinstance(answer, PreVoteAnswer)
    assert not answer.granted
    assert cluster.journals[2].voted_for is None


def test_an_old_disk_counts_for_nothing_once_its_slot_was_replaced() -> None:
    cluster = led()
    replace(cluster, 2, "2.1", 1)
    core = cluster.cores[0]
    cluster.propose(0, 7)
    sequence = core._member.sequence
    acknowledgement = AppendAnswer(1, sequence, True, cluster.journals[0].last_index, 0, "0.0")
    for old in ("2.0", "unknown"):
        core.step(inbox=((2, old, acknowledgement),), proposals=(), reads=0, now=cluster.now)
        cluster.journals[0].sync()
        core.step(inbox=(), proposals=(), reads=0, now=cluster.now)
    assert core.status.commit < cluster.journals[0].last_index
    drop(cluster, 0, 1, 2)
    cluster.now += 5.0
    cluster.campaign(1)
    for old in ("2.0", "unknown"):
        granted = PreVoteAnswer(1, 1, cluster.cores[1]._member._pre_vote_round, True, "1.0")
        cluster.cores[1].step(inbox=((2, old, granted),), proposals=(), reads=0, now=cluster.now)
    assert cluster.term(1) == 1
    # and nobody obeys it
    before = cluster.cores[1].status
    for message in (RequestVote(9, 99, 9), Append(9, 1, 2, 2, 1), PreVote(9, 1, 99, 9)):
        ready = cluster.cores[1].step(inbox=((2, "2.0", message),), proposals=(), reads=0, now=cluster.now)
        assert ready.messages == []
    assert cluster.cores[1].status == before


def test_a_vote_for_the_other_incarnation_of_a_slot_is_not_taken_for_the_own() -> None:
    cluster = led()
    replace(cluster, 2, "2.1", 1)
    drop(cluster, 0, 1, 2)
    cluster.now += 5.0
    cluster.campaign(2)
    number = cluster.cores[2]._member._pre_vote_round
    for asker, term in (("2.0", 1), ("2.1", 2)):
        answer = PreVoteAnswer(1, 1, number, True, asker)
        cluster.cores[2].step(inbox=((0, "0.0", answer),), proposals=(), reads=0, now=cluster.now)
        cluster.journals[2].sync()
        assert cluster.term(2) == term
    vote = VoteAnswer(2, True, "2.0")
    cluster.cores[2].step(inbox=((0, "0.0", vote),), proposals=(), reads=0, now=cluster.now)
    assert not cluster.leads(2)


def test_who_does_not_know_the_newest_seats_still_follows_and_votes_for_them() -> None:
    """Slot 1 slept while 2 was replaced; then 0 and 4 die. The three that are left are a majority."""
    cluster = led(5)
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 3, 4)
    succeed(cluster, 2, "2.1")
    settle(cluster, 0, 2, 3, 4)
    change(cluster, Admit(2, "2.1"))
    settle(cluster, 0, 2, 3)
    assert cluster.cores[1].status.membership.seats[2].incarnation == "2.0"
    elect(cluster, 2, 1, 3)
    assert cluster.cores[1].status.membership == cluster.cores[2].status.membership


def test_a_learner_that_was_admitted_without_knowing_it_gives_its_vote() -> None:
    """The leader dies when one of two others has the entry that admits the third: these two must go on."""
    cluster = led()
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 1)
    succeed(cluster, 2, "2.1")
    settle(cluster, 0, 1, 2)
    change(cluster, Admit(2, "2.1"))
    cluster.deliver(0, 1)
    drop(cluster, 0, 2)
    assert not cluster.cores[2].status.membership.seats[2].voter
    elect(cluster, 1, 2)
    assert cluster.cores[2].status.membership.seats[2].voter


# ---- in force when appended, out of force when truncated


def _lose_a_change(cluster: GuardedCluster) -> Membership:
    """0 appends a change that nobody hears of; the others elect 1. Returns what 0 thought meanwhile."""
    drop(cluster, 0, 1, 2)
    change(cluster, Retire(2, "2.1"))
    thought = cluster.cores[0].status.membership
    assert thought.seats[2] == Seat("2.1", False, "", ("2.0",))
    drop(cluster, 0)
    elect(cluster, 1, 2)
    return thought


def test_a_change_that_was_not_committed_when_the_leader_changed_is_rolled_back() -> None:
    cluster = led()
    thought = _lose_a_change(cluster)
    settle(cluster, 0, 1, 2)
    assert cluster.cores[0].status.membership == seats_of((0, 1, 2)) != thought
    drop(cluster, 0, 1, 2)
    elect(cluster, 0, 2)  # 2's old incarnation counts again
    cluster.propose(0, 7)
    settle(cluster, 0, 2)
    assert cluster.acknowledged == [7]


def test_who_had_retired_a_member_in_vain_follows_it_when_it_leads() -> None:
    cluster = led()
    drop(cluster, 0, 1, 2)
    change(cluster, Retire(2, "2.1"))  # nobody hears of it
    drop(cluster, 0)
    elect(cluster, 2, 1)
    settle(cluster, 0, 1, 2)
    assert cluster.log(0) == cluster.log(2)
    assert cluster.cores[0].status.membership == seats_of((0, 1, 2))


def test_a_change_that_is_in_a_log_is_in_force_after_a_restart() -> None:
    cluster = led()
    thought = _lose_a_change(cluster)
    cluster.start(0)
    assert cluster.cores[0].status.membership == thought
    cluster.start(1)
    assert cluster.cores[1].status.membership == seats_of((0, 1, 2))


def test_a_change_survives_its_leader_if_a_majority_has_it() -> None:
    cluster = led()
    change(cluster, Retire(2, "2.1", "tcp:127.0.0.1:7"))
    cluster.deliver(0, 1)
    drop(cluster, 0, 2)
    cluster.now += 5.0
    cluster.campaign(1)
    settle(cluster, 1, 2)  # 2's old incarnation may like to vote, and does not count
    assert not cluster.leads(1)
    elect(cluster, 1, 0)
    assert cluster.cores[1].status.membership.seats[2] == Seat("2.1", False, "tcp:127.0.0.1:7", ("2.0",))


def test_what_was_applied_is_not_read_from_the_log_again() -> None:
    cluster = led()
    replace(cluster, 2, "2.1", 1)
    known = cluster.cores[0].status.membership
    applied = cluster.journals[0].last_index
    cluster.journals[0].cut(applied)
    cluster.start(0, applied, known)
    assert cluster.cores[0].status.membership == known


# ---- what is refused


def test_changes_come_one_at_a_time() -> None:
    cluster = led(5)
    change(cluster, Retire(4, "4.1"))
    error = refused(cluster, Retire(3, "3.1"))
    assert isinstance(error, Unavailable)
    assert error.code == "ChangeUnderWay"
    settle(cluster, *range(5))
    change(cluster, Retire(3, "3.1"))


def test_a_new_leader_changes_nothing_before_its_own_entry_is_committed() -> None:
    cluster = led()
    drop(cluster, 0)
    cluster.now += 2.0
    cluster.campaign(1)
    for _ in range(2):  # pre-votes, votes
        cluster.deliver(1, 2)
        cluster.deliver(2, 1)
    assert cluster.leads(1)
    assert refused(cluster, Retire(0, "0.1"), leader=1).code == "ChangeUnderWay"
    settle(cluster, 1, 2)
    change(cluster, Retire(0, "0.1"), leader=1)


def test_a_single_member_cannot_be_replaced() -> None:
    cluster = GuardedCluster(1)
    elect(cluster, 0)
    error = refused(cluster, Retire(0, "0.1"))
    assert isinstance(error, Refused)
    assert error.code == "LastMember"


@pytest.mark.parametrize("size", [3, 5])
def test_no_retirement_costs_the_majority(size: int) -> None:
    cluster = led(size)
    silent = range(size // 2 + 1, size)
    there = [slot for slot in range(1, size) if slot not in silent]
    for _ in range(20):
        settle(cluster, 0, *there, rounds=1)
        drop(cluster, *silent)
    error = refused(cluster, Retire(there[0], "new"))
    assert isinstance(error, Unavailable)  # who is silent may come back
    assert error.code == "CostsQuorum"
    change(cluster, Retire(silent[0], "new"))  # who is missed already may go
    settle(cluster, 0, *there)
    assert refused(cluster, Retire(there[0], "new")).code == "CostsQuorum"


def test_two_retired_slots_of_three_are_one_too_many() -> None:
    cluster = led()
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 1)
    error = refused(cluster, Retire(1, "1.1"))
    assert isinstance(error, Refused)
    assert error.code == "CostsQuorum"
    assert "without slot 1" in error.message
    change(cluster, Retire(2, "2.2"))  # the successor's disk was lost too
    settle(cluster, 0, 1)
    assert cluster.cores[0].status.membership.seats[2].retired == ("2.0", "2.1")


def test_no_leader_retires_itself_nor_gives_a_seat_to_one_who_had_it() -> None:
    cluster = led()
    assert refused(cluster, Retire(0, "0.1")).code == "RetiresLeader"
    assert refused(cluster, Retire(7, "7.1")).code == "NoSuchSlot"
    assert refused(cluster, Retire(1, "1.0")).code == "UsedIncarnation"
    replace(cluster, 2, "2.1", 1)
    assert refused(cluster, Retire(2, "2.0")).code == "UsedIncarnation"


def test_nobody_is_admitted_who_has_not_the_seat_or_lacks_entries() -> None:
    cluster = led()
    change(cluster, Retire(2, "2.1"))
    settle(cluster, 0, 1)
    assert refused(cluster, Admit(2, "2.9")).code == "NotSeated"
    assert refused(cluster, Admit(2, "2.1")).code == "NotCaughtUp"  # nobody is there
    succeed(cluster, 2, "2.1")
    settle(cluster, 0, 1, 2)
    for value in range(LAG_MAX + 1):
        cluster.propose(0, value)
    settle(cluster, 0, 1)
    assert refused(cluster, Admit(2, "2.1")).code == "NotCaughtUp"
    settle(cluster, 0, 1, 2)
    change(cluster, Admit(2, "2.1"))


def test_a_follower_proposes_no_change() -> None:
    cluster = led()
    assert cluster.step(1, change=Retire(2, "2.1")).changed is None
    assert cluster.journals[1].last_index == cluster.journals[0].last_index


# ---- values


def test_a_change_that_does_not_fit_its_seat_changes_none() -> None:
    seats = seats_of((0, 1, 2))
    for what in (Admit(1, "other"), Retire(9, "new"), Retire(1, "1.0"), Admit(9, "9.0")):
        assert seats.changed(what, 5) == Membership(seats.seats, 5)


def test_an_address_stays_until_another_is_given_and_the_list_of_the_retired_is_bounded() -> None:
    seats = seats_of((0, 1, 2))
    for number in range(1, 30):
        seats = seats.changed(Retire(1, f"1.{number}", "unix:x" if number == 1 else ""), number)
    assert seats.seats[1].address == "unix:x"
    assert seats.seats[1].retired == tuple(f"1.{number}" for number in range(29 - RETIRED_KEPT, 29))


@given(
    st.one_of(
        st.builds(Retire, st.integers(0, 9), st.text(), st.text()), st.builds(Admit, st.integers(0, 9), st.text())
    )
)
def test_a_change_comes_out_as_it_went_in(what: Change) -> None:
    assert decode_change(encode_change(what)) == what
    assert encode_change(what)[:1] == CHANGE


@given(st.binary(max_size=60))
def test_a_change_that_is_not_known_ends_the_process(data: bytes) -> None:
    try:
        change_made = decode_change(CHANGE + data)
    except BrokenInvariant:
        return
    assert isinstance(change_made, Retire | Admit)


def test_a_core_of_another_incarnation_than_its_seat_takes_no_part() -> None:
    core = Core(
        slot=0,
        incarnation="0.9",
        membership=Membership({0: Seat(incarnation_of(0))}),
        journal=MemoryJournal(),
        applied=0,
        now=0.0,
        random=random.Random(0),
        timings=Timings(),
        limits=Limits(),
    )
    for second in range(1, 10):
        assert core.step(inbox=(), proposals=(), reads=0, now=second * ROUND_S * 10).status.state == "follower"
