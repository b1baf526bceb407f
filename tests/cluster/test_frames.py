"""Frames: what was encoded comes out whole, however it was cut; what is malformed costs nothing and says why."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.frames import (
    HEADER_BYTES,
    PROTOCOL_VERSION,
    REMAINING_MS_MAX,
    Frame,
    FrameError,
    FrameParser,
    Kind,
    deadline_at,
    decode_error,
    decode_header,
    encode,
    encode_error,
    encode_header,
    remaining_ms,
    trace_bytes,
    trace_text,
)

BODY_MAX = 1000

frames = st.builds(
    Frame,
    kind=st.sampled_from([int(kind) for kind in Kind if kind != Kind.DATA]),
    method=st.integers(0, 2**16 - 1),
    request_id=st.integers(0, 2**32 - 1),
    remaining_ms=st.integers(0, 2**32 - 1),
    trace=st.binary(min_size=8, max_size=8),
    space=st.integers(0, 2**32 - 1),
    body=st.binary(max_size=BODY_MAX),
)


def bytes_of(frame: Frame) -> bytes:
    return encode(
        frame.kind,
        frame.method,
        frame.request_id,
        frame.body,
        remaining_ms=frame.remaining_ms,
        trace=frame.trace,
        space=frame.space,
    )


def held(parser: FrameParser) -> int:
    return len(parser._held)


@given(sent=st.lists(frames, max_size=8), cuts=st.lists(st.integers(0, 8000), max_size=20))
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(bytes_of, sent))
    parser = FrameParser(BODY_MAX)
    received: list[Frame] = []
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, stop in pairwise(edges):
        received += parser.feed(memoryview(stream)[start:stop])
    assert received == sent
    assert held(parser) == 0


@given(sent=st.lists(frames, min_size=1, max_size=4))
def test_frames_come_out_byte_by_byte(sent: list[Frame]) -> None:
    parser = FrameParser(BODY_MAX)
    received = [frame for byte in b"".join(map(bytes_of, sent)) for frame in parser.feed(bytes([byte]))]
    assert received == sent


@given(pieces=st.lists(st.binary(max_size=200), max_size=20))
def test_random_bytes_are_refused_or_held_within_the_limit(pieces: list[bytes]) -> None:
    parser = FrameParser(BODY_MAX)
    for piece in pieces:
        try:
            parser.feed(piece)
        except FrameError:
            return
        assert held(parser) <= BODY_MAX + HEADER_BYTES + len(piece)


@given(frame=frames, position=st.integers(0, 7), value=st.integers(0, 255))
def test_a_damaged_head_is_refused_or_waits_for_at_most_the_limit(frame: Frame, position: int, value: int) -> None:
    damaged = bytearray(bytes_of(frame))
    damaged[position] = value
    parser = FrameParser(BODY_MAX)
    try:
        parser.feed(bytes(damaged))
    except FrameError:
        return
    assert parser._needed <= BODY_MAX + HEADER_BYTES


def test_a_length_over_the_limit_is_refused_when_its_four_bytes_are_there() -> None:
    parser = FrameParser(BODY_MAX)
    with pytest.raises(FrameError, match="4294967295 bytes"):
        parser.feed(struct.pack(">I", 2**32 - 1))
    with pytest.raises(FrameError, match="1024"):
        FrameParser(BODY_MAX).feed(struct.pack(">I", HEADER_BYTES - 4 + BODY_MAX + 1))


def test_a_length_shorter_than_the_header_is_refused() -> None:
    for length in (0, HEADER_BYTES - 5):
        with pytest.raises(FrameError):
            FrameParser(BODY_MAX).feed(struct.pack(">I", length) + bytes(40))


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1, 255])
def test_another_protocol_version_is_refused(version: int) -> None:
    frame = bytearray(encode(Kind.REQUEST, 1, 1, b"x"))
    frame[4] = version
    with pytest.raises(FrameError, match=f"protocol version {version}"):
        FrameParser(BODY_MAX).feed(bytes(frame))


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    frame = bytearray(encode(Kind.REQUEST, 1, 1, b"x"))
    frame[5] = kind
    with pytest.raises(FrameError, match=f"unknown kind {kind}"):
        FrameParser(BODY_MAX).feed(bytes(frame))


def test_raw_data_never_passes_the_parser_of_frames() -> None:
    with pytest.raises(FrameError, match="raw data"):
        FrameParser(BODY_MAX).feed(encode_header(Kind.DATA, 0, 1, 3) + b"abc")


def test_a_header_of_raw_data_may_be_longer_than_a_frame() -> None:
    header = decode_header(encode_header(Kind.DATA, 0, 7, 2**31), BODY_MAX)
    assert (header.kind, header.request_id, header.body_bytes) == (Kind.DATA, 7, 2**31)


@pytest.mark.parametrize("kind", [Refused, Unavailable, OutcomeUnknown, Corrupt])
def test_an_error_keeps_all_it_says(kind: type[TrilithError]) -> None:
    sent = kind("Code", "what", retry_after_s=1.5, limit={"bytes_max": 3}, detail={"leader": "2"})
    received = decode_error(encode_error(sent))
    assert type(received) is kind
    assert received.to_wire() == sent.to_wire()


@given(body=st.binary(max_size=100))
def test_an_error_body_of_random_bytes_is_an_error_or_a_broken_rule(body: bytes) -> None:
    try:
        decoded: TrilithError | None = decode_error(body)
    except FrameError:
        decoded = None
    assert decoded is None or isinstance(decoded, TrilithError)


def test_a_trace_id_travels_as_eight_bytes() -> None:
    assert trace_text(trace_bytes("0123456789abcdef")) == "0123456789abcdef"
    assert trace_text(trace_bytes("")) == ""
    with pytest.raises(ValueError, match="16 hex"):
        trace_bytes("abcd")


@given(seconds=st.floats(0.001, 1e6), now=st.floats(0, 1e9))
def test_a_deadline_never_gets_earlier_on_its_way_nor_late_by_more_than_a_millisecond(
    seconds: float, now: float
) -> None:
    travelled = deadline_at(remaining_ms(seconds), now)
    assert now + seconds - 1e-6 <= travelled <= now + seconds + 0.0011


def test_no_deadline_stays_none_and_a_passed_one_is_zero() -> None:
    assert remaining_ms(float("inf")) == REMAINING_MS_MAX
    assert deadline_at(REMAINING_MS_MAX, 5.0) == float("inf")
    assert remaining_ms(0) == remaining_ms(-1) == 0
