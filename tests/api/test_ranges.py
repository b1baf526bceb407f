"""One byte range (RFC 9110 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ranges import Span, begins_at, content_range, parse_range
from cluster.errors import Refused


@pytest.mark.parametrize(
    ("header", "size", "span"),
    [
        (None, 10, None),
        ("bytes=0-0", 10, Span(0, 1)),
        ("bytes=0-9", 10, Span(0, 10)),
        ("bytes=0-99", 10, Span(0, 10)),
        ("bytes=3-", 10, Span(3, 10)),
        ("bytes=-3", 10, Span(7, 10)),
        ("bytes=-99", 10, Span(0, 10)),
        ("BYTES=1-2", 10, Span(1, 3)),
        ("bytes= 1-2 ", 10, Span(1, 3)),
        ("bytes=9-9", 10, Span(9, 10)),
        ("lines=1-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("nonsense", 10, None),
    ],
)
def test_a_range_is_read_as_the_rfc_says(header: str | None, size: int, span: Span | None) -> None:
    assert parse_range(header, size) == span


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=", 10),
        ("bytes=-", 10),
        ("bytes=5-2", 10),
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=-5", 0),
        ("bytes=a-b", 10),
        ("bytes=1-2-3", 10),
        ("bytes=+1-2", 10),
        ("bytes=1", 10),
        ("bytes=٣-٤", 10),
        ("bytes=" + "9" * 30 + "-", 10),
        ("bytes", 10),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_with_the_size(header: str, size: int) -> None:
    with pytest.raises(Refused) as refused:
        parse_range(header, size)
    assert refused.value.code == "InvalidRange"
    assert refused.value.detail == {"content_range": f"bytes */{size}"}


@given(st.binary(max_size=64), st.integers(0, 80), st.integers(0, 80))
def test_a_range_gives_the_bytes_that_a_slice_gives(data: bytes, first: int, last: int) -> None:
    expected = data[first : last + 1]
    try:
        span = parse_range(f"bytes={first}-{last}", len(data))
    except Refused:
        assert expected == b""
    else:
        assert span is not None
        assert data[span.start : span.stop] == expected != b""
        assert content_range(span, len(data)) == f"bytes {first}-{first + len(expected) - 1}/{len(data)}"


@given(st.text(max_size=40), st.integers(0, 2**63))
def test_no_header_breaks_it_and_no_span_leaves_the_object(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        try:
            span = parse_range(header, size)
        except Refused:
            continue
        assert span is None or 0 <= span.start < span.stop <= size


@given(st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1), st.integers(1, 10**12))
def test_where_a_range_begins_is_known_before_its_size_is(first: int, last: int, size: int) -> None:
    for header in (f"bytes={first}-", f"bytes={first}-{last}", f"bytes=-{last}"):
        hint = begins_at(header)
        assert abs(hint) < 1 << 63
        try:
            span = parse_range(header, size)
        except Refused:
            continue
        assert span is not None
        assert span.start == (hint if hint >= 0 else max(0, size + hint))


@pytest.mark.parametrize("header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5"])
def test_what_says_nothing_of_a_beginning_begins_at_0(header: str | None) -> None:
    assert begins_at(header) == 0
