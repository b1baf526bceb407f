"""Which bytes of which chunks make a range of an object: pure."""

from typing import NamedTuple

from metaraft.model import Parts


class Segment(NamedTuple):
    """`length` bytes of a chunk from `offset` on."""

    chunk_id: bytes
    offset: int
    length: int


def segments(body: Parts, start: int, stop: int) -> list[Segment]:
    """The bytes [start, stop) of a body, in order. `stop` is at most the body's size."""
    found: list[Segment] = []
    at = 0
    for part in body.parts:
        if at >= stop:
            break
        if at + part.size <= start:
            at += part.size
            continue
        for ref in part.chunks:
            first, last = max(start, at), min(stop, at + ref.length)
            if first < last:
                found.append(Segment(ref.chunk_id, ref.offset + first - at, last - first))
            at += ref.length
    return found
