"""The wire as values: heads and chunked bodies, however their bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.edge.http1 import Chunked, Head, Refusal, find_head, parse_head, response_head
from cluster.limits import Limits

LIMITS = Limits()


def head(*lines: bytes) -> Head:
    return parse_head(b"\r\n".join(lines), LIMITS)


def test_a_head_is_read_into_a_value() -> None:
    found = head(b"PUT /a%20b?c HTTP/1.1", b"Host: x", b"X-A:  b c \t", b"Content-Length: 12", b"Expect: 100-Continue")
    assert found == Head(
        "PUT",
        b"/a%20b?c",
        1,
        [(b"host", b"x"), (b"x-a", b"b c"), (b"content-length", b"12"), (b"expect", b"100-Continue")],
        12,
        True,
        True,
    )
    assert not head(b"GET / HTTP/1.0").keep_alive
    assert not head(b"GET / HTTP/1.1", b"Host: x", b"Connection: x, Close").keep_alive
    assert head(b"PUT / HTTP/1.1", b"Host: x", b"Transfer-Encoding: Chunked").length is None
    assert not head(b"PUT / HTTP/1.0", b"Expect: 100-continue").expects_continue


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    for block in (raw, b"GET / HTTP/1.1\r\nHost: x\r\n" + raw):
        try:
            found = parse_head(block, LIMITS)
        except Refusal as refusal:
            assert refusal.status in (400, 417, 431, 501)  # noqa: PT017 - either outcome is right
        else:
            assert found.target.startswith(b"/")
            assert found.target.isascii()
            assert all(b"\n" not in value and b"\r" not in value for _, value in found.headers)


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7), st.booleans())
def test_a_chunked_body_is_the_same_however_it_is_cut(pieces: list[bytes], step: int, trailers: bool) -> None:
    raw = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    raw += b"0\r\n" + (b"X-A: b\r\nX-B: c\r\n" if trailers else b"") + b"\r\nNEXT"
    chunked, buffer, got = Chunked(LIMITS), bytearray(), b""
    for start in range(0, len(raw), step):
        buffer += raw[start : start + step]
        while not chunked.done:
            data = chunked.take(buffer)
            if not data:
                break
            got += data
    assert chunked.done
    assert got == b"".join(pieces)
    assert bytes(buffer) == b"NEXT"


@given(st.binary(max_size=60))
def test_no_bytes_break_the_chunked_reader(raw: bytes) -> None:
    chunked, buffer = Chunked(LIMITS), bytearray(raw)
    try:
        while chunked.take(buffer):
            pass
    except Refusal as refusal:
        assert refusal.status in (400, 431)  # noqa: PT017 - either outcome is right
    assert len(buffer) <= len(raw)


@pytest.mark.parametrize(
    "raw",
    [b"5\rX", b"g\r\n", b"\r\n", b" 5\r\n", b"0x5\r\n", b"-1\r\n", b"5\n", b"5\0\r\n", b"1" * 300, b"1" * 16 + b"\r\n"],
)
def test_a_chunk_line_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        Chunked(LIMITS).take(bytearray(raw + b"hello\r\n0\r\n\r\n"))


def test_a_head_is_found_once_and_its_limit_counts_its_blank_line() -> None:
    exact = b"GET / HTTP/1.1\r\nX: " + b"a" * (16_384 - 23) + b"\r\n\r\n"
    assert len(exact) == 16_384
    assert find_head(bytearray(exact), 0, LIMITS) == 16_380
    assert find_head(bytearray(exact[:-1]), 0, LIMITS) == -1
    assert find_head(bytearray(exact), 16_383, LIMITS) == 16_380
    with pytest.raises(Refusal):
        find_head(bytearray(b"GET / HTTP/1.1\r\nX: a" + exact[19:]), 0, LIMITS)


def test_an_answers_head_has_what_it_must_and_no_line_end_of_a_value_comes_through() -> None:
    raw = response_head(404, [(b"a", b"b")], b"now", close=True)
    assert raw == b"HTTP/1.1 404 Not Found\r\na: b\r\ndate: now\r\nconnection: close\r\n\r\n"
    for value in (b"b\r\nSet-Cookie: x", b"b\nc", b"b\rc", b"\0"):
        with pytest.raises(AssertionError):
            response_head(200, [(b"a", value)], b"now", close=False)
