"""Reads at the leader: confirmed, then applied, then answered; never otherwise."""

from collections.abc import Callable

import msgspec
import pytest

from cluster.errors import Corrupt
from cluster.limits import Limits
from metaraft.reads import Reads
from metaraft.wire import decode_read_answer
from tests.metaraft.replies import Kept

FAR = 1e9


def look(ask: bytes) -> bytes:
    return msgspec.msgpack.encode(ask.decode() + "!")


def add(reads: Reads, ask: str, deadline: float = FAR) -> Kept:
    reply = Kept()
    reads.add(ask.encode(), reply, deadline=deadline)
    return reply


def answers(reads: Reads, applied: int, look: Callable[[bytes], bytes] = look) -> bool:
    return reads.answer(applied, 10.0, 777, look)


def said(reply: Kept) -> object:
    assert reply.body is not None
    answer = decode_read_answer(reply.body)
    assert answer.state_time_ms == 777
    return msgspec.msgpack.decode(answer.answer)


def test_a_read_is_answered_when_its_round_is_confirmed_and_its_index_applied() -> None:
    reads = Reads(Limits())
    first, second = add(reads, "a"), add(reads, "b")
    reads.asked(1)
    third = add(reads, "c")
    reads.asked(2)
    assert not answers(reads, 100)
    reads.confirmed(1, 7)
    assert not answers(reads, 6)
    assert first.open
    answers(reads, 7)
    assert [said(first), said(second)] == ["a!", "b!"]
    assert third.open


def test_leadership_lost_fails_what_was_not_confirmed_and_nothing_else() -> None:
    reads = Reads(Limits())
    confirmed = add(reads, "a")
    reads.asked(1)
    reads.confirmed(1, 7)
    asked = add(reads, "b")
    reads.asked(2)
    waiting = add(reads, "c")
    reads.lost(leader=2)
    assert asked.said == waiting.said == ("unavailable", "NotLeader")
    reads.confirmed(2, 9)
    answers(reads, 9)
    assert said(confirmed) == "a!"
    assert asked.body is None


def test_only_so_many_reads_wait() -> None:
    reads = Reads(Limits(reads_pending_max=1))
    kept, refused = add(reads, "a"), add(reads, "b")
    assert refused.said == ("unavailable", "Overloaded")
    reads.asked(1)
    reads.confirmed(1, 1)
    answers(reads, 1)
    assert said(kept) == "a!"
    assert add(reads, "c").open


def test_a_read_past_its_deadline_is_not_looked_up() -> None:
    reads = Reads(Limits())
    late = add(reads, "a", deadline=9.0)
    reads.asked(1)
    reads.confirmed(1, 1)

    def never(_ask: bytes) -> bytes:
        raise AssertionError

    answers(reads, 1, never)
    assert late.said == ("unavailable", "DeadlineExceeded")


def test_long_answers_leave_the_loop_its_turn() -> None:
    reads = Reads(Limits())
    replies = [add(reads, "a") for _ in range(3)]
    reads.asked(1)
    reads.confirmed(1, 1)
    turns = 1
    while reads.answer(1, 10.0, 777, look, turn_s=-1.0):
        turns += 1
    assert turns == 3
    assert all(not reply.open for reply in replies)


def test_a_corrupt_database_ends_the_member_and_sends_its_readers_elsewhere() -> None:
    reads = Reads(Limits())
    reply = add(reads, "a")
    reads.asked(1)
    reads.confirmed(1, 1)

    def rotten(_ask: bytes) -> bytes:
        raise Corrupt("RowCorrupt", "a row does not match its checksum")

    with pytest.raises(Corrupt):
        answers(reads, 1, rotten)
    assert reply.said == ("unavailable", "MemberFailed")
