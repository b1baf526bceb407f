"""Which bytes of which chunks make a range of an object: pure."""

from collections.abc import Iterable
from typing import NamedTuple

from api.ranges import Span
from metaraft.model import Assembled, ChunkRef, Parts, Scheme, Version


class Segment(NamedTuple):
    """`length` bytes of a chunk from `offset` on."""

    chunk_id: bytes
    offset: int
    length: int
    scheme: Scheme


class PartRange(NamedTuple):
    """Bytes `start` up to `stop` of the part of a number, which has `size`."""

    number: int
    size: int
    start: int
    stop: int


def segments(body: Parts, start: int, stop: int) -> list[Segment]:
    """The bytes [start, stop) of a body, in order. `stop` is at most the body's size."""
    found: list[Segment] = []
    at = 0
    for part in body.parts:
        if at >= stop:
            break
        found += part_segments(part.chunks, part.scheme, start - at, stop - at)
        at += part.size
    return found


def part_segments(chunks: Iterable[ChunkRef], scheme: Scheme, start: int, stop: int) -> list[Segment]:
    """Those of the bytes [start, stop) that a part with these chunks has, in order."""
    found: list[Segment] = []
    at = 0
    for ref in chunks:
        if at >= stop:
            break
        first, last = max(start, at), min(stop, at + ref.length)
        if first < last:
            found.append(Segment(ref.chunk_id, ref.offset + first - at, last - first, scheme))
        at += ref.length
    return found


def part_ranges(body: Assembled, start: int, stop: int) -> list[PartRange]:
    """What the bytes [start, stop) of a body need of its parts, in order. A part of no bytes is never needed."""
    found: list[PartRange] = []
    at = 0
    for number, size in body.parts:
        first, last = max(start, at), min(stop, at + size)
        if first < last:
            found.append(PartRange(number, size, first - at, last - at))
        at += size
    return found


def part_span(version: Version, number: int) -> Span | None:
    """Which bytes of an object its part of that number is, None if it has no such part.

    Part 1 of an object that was not made of parts is the whole (S3: GetObject, partNumber).
    """
    if not isinstance(version.body, Assembled):
        return Span(0, version.size) if number == 1 else None
    at = 0
    for each, size in version.body.parts:
        if each == number:
            return Span(at, at + size)
        at += size
    return None


def parts_count(version: Version) -> int | None:
    """Of how many parts an object was completed; None: of none."""
    return len(version.body.parts) if isinstance(version.body, Assembled) else None
