"""One byte range of an object (RFC 9110 14). Pure.

Several ranges in one header, and units other than bytes, are answered with the whole object, as the RFC allows
and S3 does; a byte range that makes no sense, or begins behind the end, is refused.
"""

import re
from typing import NamedTuple

from cluster.errors import Refused

_OFFSET_MAX = 1 << 62  # behind any object, and a message can carry it
_RANGE = re.compile(r"[ \t]*(\d{0,20})-(\d{0,20})[ \t]*", re.ASCII)


class Span(NamedTuple):
    """Bytes `start` up to `stop`, `stop` not among them."""

    start: int
    stop: int


def parse_range(header: str | None, size: int) -> Span | None:
    """The span asked for, None for the whole. Raises Refused (InvalidRange), answered by 416.

    `size` is the object's. A span reaches at most to the end.
    """
    if header is None:
        return None
    unit, equals, text = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in text:
        return None
    match = _RANGE.fullmatch(text) if equals else None
    if match is None or match.group(1) == match.group(2) == "":
        raise _refused(header, size, "it is not 'bytes=FIRST-LAST', 'bytes=FIRST-' or 'bytes=-COUNT'")
    first, last = match.groups()
    if first == "":
        count = int(last)
        if count == 0 or size == 0:
            raise _refused(header, size, "it asks for no byte that there is")
        return Span(max(0, size - count), size)
    start, end = int(first), int(last) if last else size - 1
    if last and end < start:
        raise _refused(header, size, "its last byte is before its first")
    if start >= size:
        raise _refused(header, size, "it begins behind the end")
    return Span(start, min(end + 1, size))


def begins_at(header: str | None) -> int:
    """Where a span begins, as far as that is known without the size; from the end if negative, 0 if nothing is said."""
    match = None if header is None else _RANGE.fullmatch(header.partition("=")[2])
    if match is None:
        return 0
    first, last = match.groups()
    return min(int(first), _OFFSET_MAX) if first else -min(int(last or 0), _OFFSET_MAX)


def content_range(span: Span, size: int) -> str:
    """The value of Content-Range for a 206."""
    return f"bytes {span.start}-{span.stop - 1}/{size}"


def _refused(header: str, size: int, why: str) -> Refused:
    return Refused(
        "InvalidRange",
        f"range {header[:80]!r} cannot be served from {size} bytes: {why}",
        detail={"content_range": f"bytes */{size}"},
    )
