"""The last of the room made ahead: what is taken in, what is not, and what it is kept for."""

import pytest

from metaraft.core_messages import Append, Message, RequestVote
from metaraft.journal_records import RECORD_BYTES
from metaraft.room import SMALL_BYTES_MAX, Room, fitting, may_take

PIECE = 1 << 20
PLENTY = Room(PIECE, PIECE)


def append(*sizes: int) -> Message:
    """An append of entries of such sizes."""
    return Append(2, 1, 1, 1, 1, tuple((2, bytes(size)) for size in sizes))


def taken(messages: list[Message], journal: Room = PLENTY, database: Room = PLENTY) -> list[Message]:
    """Which of them are taken in."""
    return [message for _, _, message in fitting([(2, "2.1", message) for message in messages], journal, database)]


def test_a_piece_is_had_below_half_and_commands_are_refused_below_a_quarter() -> None:
    assert [Room(left, 400).wanted for left in (200, 199)] == [False, True]
    assert [Room(left, 400).used_up for left in (100, 99)] == [False, True]


def test_as_much_is_left_to_others_on_the_disk_as_is_taken() -> None:
    assert may_take(2 * PIECE, PIECE)
    assert not may_take(2 * PIECE - 1, PIECE)


def test_what_does_not_fit_in_the_journal_is_not_taken_and_the_reserve_is_left() -> None:
    journal = Room(PIECE // 16 + 1000 + RECORD_BYTES, PIECE)
    assert taken([append(1000)], journal) == [append(1000)]
    assert taken([append(1001)], journal) == []
    assert taken([append(600), append(600), append(200)], journal) == [append(600), append(200)]


@pytest.mark.parametrize("left", [0, PIECE // 16 - 1])
def test_votes_and_heartbeats_are_taken_whatever_is_left(left: int) -> None:
    others: list[Message] = [append(), RequestVote(3, 1, 1)]
    assert taken([*others, append(1)], Room(left, PIECE), Room(left, PIECE)) == others


def test_a_database_whose_room_is_used_up_is_given_what_a_change_of_members_needs_and_no_more() -> None:
    used_up = Room(PIECE // 16, PIECE)
    small = append(200)
    assert taken([small, append(SMALL_BYTES_MAX)], PLENTY, used_up) == [small]
    assert taken([small], PLENTY, Room(PIECE // 16 - 1, PIECE)) == []
