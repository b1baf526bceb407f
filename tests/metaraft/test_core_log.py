"""How a follower takes appends in, against a plain twin: the leader's log is a list, so is the follower's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaraft.core_log import Accepted, BrokenInvariant, Conflict, last_index_with, take
from metaraft.core_messages import Append
from metaraft.journal_records import Entry
from tests.metaraft.memory_journal import MemoryDisk, MemoryJournal


def journal_of(terms: list[int], first: int = 1) -> MemoryJournal:
    """A synced journal whose entries, from index `first` on, have these terms and say so."""
    disk = MemoryDisk()
    disk.log = [Entry(index, term, b"%d.%d" % (index, term)) for index, term in enumerate(terms, first)]
    disk.term = max(terms)
    return MemoryJournal(disk)


def terms_of(journal: MemoryJournal) -> list[int]:
    """The terms of all its entries."""
    return [journal.term_at(index) or 0 for index in range(journal.first_index, journal.last_index + 1)]


def append_of(leader: MemoryJournal, prev: int, stop: int) -> Append:
    """The leader's append of what follows `prev`, to before `stop`."""
    entries = leader.entries(prev + 1, stop, 1 << 20) if stop > prev + 1 else []
    term = leader.term_at(prev)
    assert term is not None
    return Append(9, 1, 0, prev, term, tuple((entry.term, entry.data) for entry in entries))


@st.composite
def logs(draw: st.DrawFn) -> tuple[MemoryJournal, MemoryJournal, int, Append]:
    """A leader's log, a follower's that may come of it by Raft's rules, its commit index, and an append."""
    shared = [0, *sorted(draw(st.lists(st.integers(1, 3), max_size=8)))]
    leader = [*shared, *sorted(draw(st.lists(st.sampled_from([shared[-1], 4, 6, 8]), max_size=8)))]
    ours = sorted(draw(st.lists(st.sampled_from([5, 7]), max_size=8)))  # no term is led by two
    follower = [*shared, *ours] if draw(st.booleans()) else shared
    committed = draw(st.integers(1, len(shared)))
    prev = draw(st.integers(1, len(leader)))
    stop = draw(st.integers(prev + 1, len(leader) + 1))
    kept = journal_of(follower)
    if draw(st.booleans()):
        kept.cut(draw(st.integers(1, committed)))
    whole = journal_of(leader)
    return whole, kept, committed, append_of(whole, prev, stop)


@given(logs())
def test_after_an_append_the_logs_match_and_nothing_that_matched_is_gone(
    case: tuple[MemoryJournal, MemoryJournal, int, Append],
) -> None:
    leader, follower, committed, append = case
    first, before = follower.first_index, terms_of(follower)
    taken = take(follower, append, committed)
    after = terms_of(follower)
    ours = terms_of(leader)
    matched = next((n for n, term in enumerate(before) if ours[first - 1 + n : first + n] != [term]), len(before))
    assert after[:matched] == before[:matched]
    match taken:
        case Accepted(index):
            assert index == append.prev_index + len(append.entries)
            assert after[: max(0, index - first + 1)] == ours[first - 1 : index]  # it may end before what is kept
            if matched == len(before):
                assert len(after) >= len(before)
        case Conflict(index, term):
            assert after == before
            assert committed <= index <= follower.last_index
            assert follower.term_at(index) == term
            assert index >= first - 1 + matched or append.prev_index > index


@given(logs())
def test_a_hint_never_skips_where_the_logs_meet_and_the_leader_reaches_it_by_terms(
    case: tuple[MemoryJournal, MemoryJournal, int, Append],
) -> None:
    leader, follower, committed, append = case
    rounds = 0
    while isinstance(hint := take(follower, append, committed), Conflict):
        meets = max(n for n in range(1, follower.last_index + 1) if _same(leader, follower, n))
        assert hint.index >= meets or hint.index >= committed
        found = last_index_with(leader, min(hint.index, append.prev_index), hint.term)
        assert found is not None
        assert meets <= found
        append = append_of(leader, min(found, append.prev_index - 1), leader.last_index + 1)
        rounds += 1
        assert rounds <= len({*terms_of(leader), *terms_of(follower)})


def _same(leader: MemoryJournal, follower: MemoryJournal, index: int) -> bool:
    return index < follower.first_index or leader.term_at(index) == follower.term_at(index)


@given(st.lists(st.integers(0, 4), min_size=1), st.integers(1, 20), st.integers(0, 40), st.integers(0, 5))
def test_bisection_finds_what_a_walk_finds(terms: list[int], first: int, index: int, term: int) -> None:
    journal = journal_of(sorted(terms), first)
    found = [n for n in range(first, min(index, journal.last_index) + 1) if (journal.term_at(n) or 0) <= term]
    assert last_index_with(journal, index, term) == max(found, default=None)


def test_entries_below_a_cut_are_taken_for_what_they_are() -> None:
    follower = journal_of([0, 1, 1, 1, 1, 2])
    follower.cut(5)
    assert take(follower, Append(3, 1, 0, 2, 1, tuple((1, b"x") for _ in range(3))), 5) == Accepted(5)
    assert take(follower, Append(3, 1, 0, 2, 1), 5) == Accepted(2)
    assert terms_of(follower) == [1, 2]


@pytest.mark.parametrize("append", [Append(9, 1, 0, 1, 0, ((3, b"x"),)), Append(9, 1, 0, 2, 3)])
def test_what_is_committed_is_never_replaced(append: Append) -> None:
    follower = journal_of([0, 1, 1])
    with pytest.raises(BrokenInvariant, match="committed"):
        take(follower, append, 2)
    assert terms_of(follower) == [0, 1, 1]


def test_what_is_not_committed_is_replaced_at_a_real_conflict() -> None:
    follower = journal_of([0, 1, 1, 1])
    assert take(follower, Append(9, 1, 0, 1, 0, ((1, b"2.1"), (9, b"x"))), 2) == Accepted(3)
    assert terms_of(follower) == [0, 1, 9]
    assert follower.entries(3, 4, 1)[0].data == b"x"
