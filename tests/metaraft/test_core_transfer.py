"""Who heard a leader obeys no other one, unless that leader hands over: `trilith member move-leader`."""

import pytest

from cluster.limits import Timings
from metaraft.core import Retire
from metaraft.core_messages import RequestVote, TimeoutNow, VoteAnswer
from tests.metaraft.bare import drop, settle
from tests.metaraft.test_core_membership import change, led

# ---- who heard a leader does not obey another


def test_a_request_for_votes_is_ignored_by_who_heard_a_leader_of_late() -> None:
    cluster = led()
    settle(cluster, 0, 1, 2)
    request = RequestVote(9, 99, 9)
    assert cluster.step(1, inbox=((2, request),)).messages == []
    assert cluster.step(0, inbox=((2, request),)).messages == []  # nor by the leader
    assert [cluster.term(slot) for slot in (0, 1)] == [1, 1]
    cluster.now += Timings().election_timeout_min_s
    assert cluster.step(1, inbox=((2, request),)).messages == [(2, VoteAnswer(9, True, "2.0"))]


# ---- moving the leader


def test_leadership_moves_at_once_to_who_is_told_to_take_it() -> None:
    cluster = led()
    began = cluster.now
    assert cluster.cores[0].hand_over(2, cluster.now) is None
    ready = cluster.step(0, proposals=(b"7",))
    assert (ready.proposed, ready.status.transfer) == ([None], 2)
    assert (2, TimeoutNow(1)) in ready.appends
    for pair in ((0, 2), (2, 0), (2, 1), (0, 2), (1, 2)):
        cluster.deliver(*pair)
    assert cluster.leads(2)
    assert not cluster.leads(0)
    assert cluster.now == began  # no timer ran out
    assert cluster.term(0) == 2


def test_leadership_moves_only_behind_all_of_the_log() -> None:
    cluster = led()
    drop(cluster, 0, 1, 2)
    cluster.propose(0, 7)
    drop(cluster, 0)
    assert cluster.cores[0].hand_over(2, cluster.now) is None
    assert not any(isinstance(message, TimeoutNow) for _, message in cluster.step(0).appends)
    settle(cluster, 0, 1, 2)
    assert cluster.leads(2)
    assert cluster.values(2) == [7]


def test_a_leader_that_cannot_hand_over_goes_on() -> None:
    cluster = led()
    assert cluster.cores[0].hand_over(2, cluster.now) is None
    for _ in range(12):
        drop(cluster, 2)
        settle(cluster, 0, 1, rounds=1)
    assert cluster.cores[0].status.transfer is None
    cluster.propose(0, 7)
    settle(cluster, 0, 1)
    assert cluster.acknowledged == [7]


def test_a_transfer_is_refused_to_who_does_not_vote_lacks_entries_or_is_silent() -> None:
    cluster = led()
    now = cluster.now

    def code(slot: int) -> str:
        error = cluster.cores[0].hand_over(slot, now)
        assert error is not None
        assert cluster.cores[0].status.transfer is None
        return error.code

    assert code(0) == "LeadsAlready"
    assert code(8) == "NoSuchSlot"
    for _ in range(12):
        drop(cluster, 2)
        settle(cluster, 0, 1, rounds=1)
    now = cluster.now
    assert code(2) == "NotCaughtUp"
    change(cluster, Retire(2, "2.1"))
    assert code(2) == "NoVoter"


@pytest.mark.parametrize(("sender", "term"), [(2, 1), (0, 0), (0, 2)])
def test_only_the_leader_of_the_term_can_hand_over(sender: int, term: int) -> None:
    cluster = led()
    cluster.step(1, inbox=((sender, TimeoutNow(term)),))
    assert cluster.term(1) == 1
    assert cluster.cores[1].status.state == "follower"
