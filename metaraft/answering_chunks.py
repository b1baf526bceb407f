"""All chunks of a space, and all that refers to them: for whoever holds the metadata against the disks. Pure reads.

References are walked in pieces that no single object can make long: a cursor names a row, and how many of its parts
were told already.
"""

import struct
from collections.abc import Iterator

import msgspec

from metaraft.conditions import refused
from metaraft.lookups import decode_bucket, decode_chunk, decode_part_chunks, decode_part_head
from metaraft.model import Assembled, ChunkRef, Parts, Scheme, Version
from metaraft.queries import ChunksFound, ListChunks, ListedChunk, ListReferences, Reference, ReferencesFound
from metaraft.results import Failed
from metaraft.rows import (
    CHUNK_ID_BYTES,
    SCHEME_BYTES,
    UPLOAD_ID_BYTES,
    VERSION_HEAD_BYTES,
    VERSION_TAIL_BYTES,
    Kind,
    Reader,
    bucket_key,
    parse_scheme,
    part_key,
    part_number,
    parts_key,
    space_key,
    successor,
)

CHUNKS_MAX = 1000
"""Chunks of one answer: some 100 KB, in about 2 ms."""

REFERENCES_MAX = 10_000
"""References of one answer, but for those of the last part: some 350 KB."""

PARTS_MAX = 2000
"""Rows that one answer looks at: parts, and what has none in chunks (chosen: some 4 ms)."""

_SPACE_BYTES = len(space_key(0))
_UPLOAD_TAIL_BYTES = 1 + UPLOAD_ID_BYTES
_CURSOR = struct.Struct(">H")
_CURSOR_BYTES_MAX = 2048

_decode_version = msgspec.msgpack.Decoder(Version).decode

type _Part = tuple[Scheme, tuple[ChunkRef, ...]]


def list_chunks(rows: Reader, space: int, query: ListChunks, rows_max: int) -> ChunksFound | Failed:
    """Chunks with a count above 0."""
    begin = space_key(space, Kind.CHUNK)
    if len(query.cursor) not in (0, SCHEME_BYTES + CHUNK_ID_BYTES):
        return refused("BadQuery", "the cursor is not one that was given")
    limit = min(max(query.limit, 1), CHUNKS_MAX)
    chunks: list[ListedChunk] = []
    last = b""
    start = begin + query.cursor + b"\x00" if query.cursor else begin
    for looked, (key, value) in enumerate(rows.scan(start, successor(begin))):
        if looked == rows_max or len(chunks) == limit:
            return ChunksFound(tuple(chunks), last)
        last = key[_SPACE_BYTES:]
        chunk = decode_chunk(value)
        if chunk.count:
            scheme = parse_scheme(last[:SCHEME_BYTES])
            chunks.append(ListedChunk(scheme, last[SCHEME_BYTES:], chunk.size, chunk.holders))
    return ChunksFound(tuple(chunks), None)


def list_references(rows: Reader, space: int, query: ListReferences, rows_max: int) -> ReferencesFound | Failed:
    """Versions and uploads with the chunks of their parts."""
    place, told = b"", 0
    if query.cursor:
        place, told = query.cursor[_CURSOR.size :], _told(query.cursor)
        if not place.startswith((space_key(space, Kind.VERSION), space_key(space, Kind.UPLOAD))) or told < 0:
            return refused("BadQuery", "the cursor is not one that was given")
    budget = _Budget(min(max(query.limit, 1), REFERENCES_MAX), min(rows_max, PARTS_MAX))
    found: list[Reference] = []
    for key, value in _holding(rows, space, place):
        if key != place:
            told = 0
        if budget.spent:
            return ReferencesFound(tuple(found), _CURSOR.pack(told) + key)
        budget.rows -= 1
        head, parts = _parts(rows, space, key, value, told)
        for scheme, chunks in parts:
            if chunks:
                found.append(msgspec.structs.replace(head, scheme=scheme, chunk_ids=_ids(chunks)))
            told += 1
            budget.rows -= 1
            budget.references -= len(chunks)
            if budget.spent:
                return ReferencesFound(tuple(found), _CURSOR.pack(told) + key)
    return ReferencesFound(tuple(found), None)


class _Budget:
    """What one answer may still look at."""

    def __init__(self, references: int, rows: int) -> None:
        self.references = references
        self.rows = rows

    @property
    def spent(self) -> bool:
        """Nothing is left of one of them."""
        return self.references <= 0 or self.rows <= 0


def _told(cursor: bytes) -> int:
    if not _CURSOR.size < len(cursor) <= _CURSOR_BYTES_MAX:
        return -1
    told: int = _CURSOR.unpack_from(cursor)[0]
    return told


def _holding(rows: Reader, space: int, place: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows of versions, then those of uploads, from a key on."""
    for kind in (Kind.VERSION, Kind.UPLOAD):
        begin = space_key(space, kind)
        stop = successor(begin)
        if place < stop:
            yield from rows.scan(max(begin, place), stop)


def _parts(rows: Reader, space: int, key: bytes, value: bytes, told: int) -> tuple[Reference, Iterator[_Part]]:
    """Whose chunks they are, and its parts behind the first `told`."""
    bucket_id = int.from_bytes(key[_SPACE_BYTES:VERSION_HEAD_BYTES], "big")
    row = rows.get(bucket_key(space, bucket_id))
    assert row is not None, "a bucket with versions or uploads stays"
    bucket = decode_bucket(row)
    if key[0] == Kind.UPLOAD:
        name, upload_id = key[VERSION_HEAD_BYTES:-_UPLOAD_TAIL_BYTES], key[-UPLOAD_ID_BYTES:]
        head = Reference(bucket.name, name.decode(), 0, False, upload_id, bucket.scheme, ())
        start = parts_key(space, upload_id)
        numbers = [part_number(part) for part, _ in rows.scan(start, successor(start))]
        return head, _rows_of(rows, space, upload_id, numbers[told:])
    version = _decode_version(value)
    name = key[VERSION_HEAD_BYTES:-VERSION_TAIL_BYTES]
    head = Reference(bucket.name, name.decode(), version.revision, version.null, b"", bucket.scheme, ())
    match version.body:
        case Parts(parts):
            return head, iter([(part.scheme, part.chunks) for part in parts[told:]])
        case Assembled(upload_id, numbered):
            return head, _rows_of(rows, space, upload_id, [number for number, _ in numbered[told:]])
        case _:
            return head, iter(())


def _rows_of(rows: Reader, space: int, upload_id: bytes, numbers: list[int]) -> Iterator[_Part]:
    for number in numbers:
        head = rows.get(part_key(space, upload_id, number))
        chunks = rows.get(part_key(space, upload_id, number, Kind.PART_CHUNKS))
        assert head is not None, "the parts of a version or upload have rows"
        assert chunks is not None, "a part's chunks lie beside it"
        yield decode_part_head(head).scheme, decode_part_chunks(chunks)


def _ids(chunks: tuple[ChunkRef, ...]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(ref.chunk_id for ref in chunks))
