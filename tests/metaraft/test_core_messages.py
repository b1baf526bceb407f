"""What members say to each other: round trips, and nothing that no member can have sent."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Refused
from metaraft.core_messages import (
    Append,
    AppendAnswer,
    Message,
    PreVote,
    PreVoteAnswer,
    RequestVote,
    TimeoutNow,
    VoteAnswer,
    decode_message,
    encode_message,
    invalid,
)

NUMBERS = st.integers(0, 2**63 - 1)
ENTRIES = st.lists(st.tuples(st.just(7), st.binary(max_size=50)), max_size=5).map(tuple)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(PreVote, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(PreVoteAnswer, NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    st.builds(RequestVote, NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    st.builds(TimeoutNow, NUMBERS),
    st.builds(VoteAnswer, NUMBERS, st.booleans()),
    st.builds(Append, st.integers(7, 2**63 - 1), NUMBERS, NUMBERS, st.integers(1, 2**63 - 1), st.just(7), ENTRIES),
    st.builds(AppendAnswer, NUMBERS, NUMBERS, st.booleans(), NUMBERS, NUMBERS),
)


@given(st.text(max_size=32), MESSAGES)
def test_a_message_comes_out_as_it_went_in(incarnation: str, message: Message) -> None:
    body = encode_message(incarnation, message)
    assert decode_message(body, len(body)) == (incarnation, message)
    assert decode_message(memoryview(body), len(body)) == (incarnation, message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    try:
        _, message = decode_message(body, 200)
    except Refused:
        return
    assert invalid(message) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Append(5, 1, 1, 1, 6), "above its own"),
        (Append(5, 1, 1, 1, 1, ((6, b""),)), "above its own"),
        (Append(5, 1, 1, 1, 3, ((2, b""),)), "fall from 3 to 2"),
        (Append(5, 1, 1, 1, 1, ((4, b""), (3, b""))), "fall from 4 to 3"),
        (Append(5, 1, 1, 0, 1), "first index is 1"),
        (Append(5, 1, -1, 1, 1), "out of range"),
        (AppendAnswer(1, 1, True, -1), "out of range"),
        (RequestVote(2**63, 1, 1), "out of range"),
        (PreVote(1, 1, -5, 1), "out of range"),
        (PreVoteAnswer(-1, 1, 1, True), "out of range"),
        (VoteAnswer(-1, True), "out of range"),
        (TimeoutNow(-1), "out of range"),
    ],
)
def test_what_no_member_can_have_sent_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        decode_message(encode_message("i", message), 1000)


def test_another_tag_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be read"):
        decode_message(msgspec.msgpack.encode([99, 1, 2]), 1000)
