"""A leader's view of a follower: probing, pipelining, and what lost messages do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaraft.core_messages import AppendAnswer
from metaraft.core_peers import APPENDS_MAX, BYTES_MAX, OPEN_MAX, Peer
from tests.metaraft.test_core_log import journal_of

LEADER = journal_of([0, 1, 1, 1, 2, 2, 2, 3, 3])


def peer_at(next_index: int) -> Peer:
    """A follower in the state after an election, its next entry at an index."""
    peer = Peer(1)
    peer.follow(next_index - 1)
    return peer


def replicating(match: int) -> Peer:
    """A follower known to match up to an index."""
    peer = peer_at(match + 1)
    peer.sent(1, match, match, 0)
    assert peer.answered(AppendAnswer(3, 1, True, match), LEADER)
    assert not peer.probing
    return peer


def test_a_probe_is_one_append_until_it_is_answered() -> None:
    peer = peer_at(9)
    assert peer.room()
    peer.sent(1, 8, 9, 10)
    assert not peer.room()
    peer.sent(2, 8, 8, 0)  # a heartbeat
    assert peer.answered(AppendAnswer(3, 1, True, 9), LEADER)
    assert (peer.match, peer.next, peer.probing) == (9, 10, False)
    assert peer.confirmed == 1


def test_a_refused_probe_goes_on_where_the_hint_says() -> None:
    peer = peer_at(10)
    peer.sent(1, 9, 9, 0)
    assert peer.answered(AppendAnswer(3, 1, False, 5, 1), LEADER)
    assert (peer.next, peer.probing, peer.greet) == (5, True, True)  # entry 4 is the last of term 1
    peer.sent(2, 4, 9, 100)
    assert peer.answered(AppendAnswer(3, 2, True, 9), LEADER)
    assert peer.match == 9


def test_the_first_conflict_closes_all_that_was_pipelined() -> None:
    peer = replicating(3)
    for number, last in enumerate((5, 7, 9), 2):
        peer.sent(number, last - 2, last, 10)
    assert peer.answered(AppendAnswer(3, 3, False, 4, 2), LEADER)
    assert peer.next == 5
    for late in (AppendAnswer(3, 2, True, 5), AppendAnswer(3, 4, False, 3, 1)):
        assert not peer.answered(late, LEADER)
    assert (peer.match, peer.next) == (3, 5)


def test_an_answer_covers_what_was_sent_before_it() -> None:
    peer = replicating(1)
    for number in range(2, 9):
        peer.sent(number, number - 1, number, 1)
    assert peer.answered(AppendAnswer(3, 6, True, 6), LEADER)
    assert peer.match == 6
    assert not peer.answered(AppendAnswer(3, 4, True, 4), LEADER)
    assert peer.confirmed == 6


def test_a_conflict_below_what_is_known_to_match_changes_nothing() -> None:
    peer = replicating(6)
    peer.sent(2, 4, 4, 0)
    assert peer.answered(AppendAnswer(3, 2, False, 2, 1), LEADER)
    assert (peer.match, peer.next, peer.probing) == (6, 7, False)


@pytest.mark.parametrize(
    "answer", [AppendAnswer(3, 2, True, 6), AppendAnswer(3, 2, True, 3), AppendAnswer(3, 9, True, 5)]
)
def test_an_answer_that_does_not_say_what_was_asked_is_dropped(answer: AppendAnswer) -> None:
    peer = replicating(3)
    peer.sent(2, 3, 5, 10)
    assert not peer.answered(answer, LEADER)
    assert peer.match == 3


def test_entries_on_their_way_are_bounded_by_count_and_bytes() -> None:
    many, large = replicating(1), replicating(1)
    for number in range(2, APPENDS_MAX + 2):
        assert many.room()
        many.sent(number, number - 1, number, 1)
    assert not many.room()
    large.sent(2, 1, 2, BYTES_MAX)
    assert not large.room()
    assert large.answered(AppendAnswer(3, 2, True, 2), LEADER)
    assert large.room()


def test_heartbeats_to_who_never_answers_are_forgotten() -> None:
    peer = replicating(1)
    for number in range(2, 10 * OPEN_MAX):
        peer.sent(number, 1, 1, 0)
    assert not peer.answered(AppendAnswer(3, 2, True, 1), LEADER)
    assert peer.answered(AppendAnswer(3, 10 * OPEN_MAX - 1, True, 1), LEADER)


def test_a_new_connection_starts_from_what_is_known_to_match() -> None:
    peer = replicating(3)
    peer.sent(2, 3, 9, 10)
    peer.reconnected(9)
    assert (peer.next, peer.probing, peer.greet) == (4, True, True)
    assert not peer.answered(AppendAnswer(3, 2, True, 9), LEADER)


def test_a_follower_behind_the_cut_needs_a_snapshot_until_it_says_otherwise() -> None:
    cut = journal_of([0, 1, 1, 1, 2, 2, 2, 3, 3])
    cut.cut(6)
    peer = peer_at(10)
    assert not peer.needs_snapshot(cut)
    peer.sent(1, 9, 9, 0)
    assert peer.answered(AppendAnswer(3, 1, False, 3, 1), cut)
    assert peer.needs_snapshot(cut)
    assert not peer.greet
    peer.sent(2, 9, 9, 0)
    assert peer.answered(AppendAnswer(3, 2, False, 7, 2), cut)
    assert not peer.needs_snapshot(cut)
    assert peer.next == 8


@given(st.integers(0, 12), st.integers(0, 4), st.integers(2, 9))
def test_no_hint_moves_a_probe_forward_or_below_the_match(index: int, term: int, prev: int) -> None:
    peer = peer_at(prev + 1)
    peer.sent(1, prev, prev, 0)
    assert peer.answered(AppendAnswer(3, 1, False, index, term), LEADER)
    assert peer.match < peer.next <= prev
