"""What is read of one object: its version, its parts, and who holds its chunks. Pure reads.

An object's answer is put together from stored bytes: bucket and version go out as they lie in their rows, and only
what decides is decoded.
"""

from collections.abc import Iterable, Sequence

import msgspec

from metaraft.conditions import refused
from metaraft.listing import decode_head
from metaraft.lookups import (
    bucket_row,
    decode_bucket,
    decode_chunk,
    decode_part_chunks,
    decode_part_head,
    no_bucket,
    no_upload,
    note_holders,
)
from metaraft.model import Assembled, Body, Bucket, Chunk, Copies, Parts, UploadedPart, Which
from metaraft.queries import (
    Answer,
    GetHolders,
    GetObject,
    GetParts,
    HoldersFound,
    PartsFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import (
    CHUNK_ID_BYTES,
    REVISION_MAX,
    UPLOAD_ID_BYTES,
    Kind,
    Reader,
    assembly_key,
    chunk_key,
    invalid_key,
    null_key,
    part_key,
    scheme_bytes,
    version_key,
    versions_key,
    versions_stop,
)

REFERENCES_MAX = 256
"""Chunk references of one answer, if its parts are more than one: 2 GiB of chunks that are full, in about 2 ms."""

FIRST_REFERENCES_MAX = 32
"""Of these the ones that come with the object itself: some 200 MB to begin with, so that a short range is cheap."""

_PART_NUMBERS = range(1, 10_001)
_PARTS_HEAD = msgspec.msgpack.encode(Parts(()))[:-1]
_ASSEMBLED_HEAD = msgspec.msgpack.encode(Assembled(b"", ()))[:-3]
_NO_HOLDERS: dict[bytes, tuple[bytes, ...]] = {}

_decode_body = msgspec.msgpack.Decoder(Body).decode
_decode_revision = msgspec.msgpack.Decoder(int).decode


class StoredObjectFound(msgspec.Struct, frozen=True, tag="object_found", omit_defaults=True):
    """`ObjectFound` with bucket and version as they are stored."""

    bucket: msgspec.Raw
    version: msgspec.Raw
    holders: dict[bytes, tuple[bytes, ...]] = {}
    parts: tuple[UploadedPart, ...] = ()
    current: bool = True


def get_object(rows: Reader, _space: int, query: GetObject, _rows_max: int) -> StoredObjectFound | Failed:
    """The current version of a key, or one that is named."""
    stored_bucket = bucket_row(rows, query.bucket)
    if stored_bucket is None:
        return no_bucket(query.bucket)
    bucket = decode_bucket(stored_bucket)
    key = query.key.encode()
    newest = found = None
    if invalid_key(query.key, key) is None:
        versions = versions_key(bucket.space, bucket.bucket_id, key)
        newest = found = rows.first(versions, versions_stop(versions))
        if query.which is not None and newest is not None:
            found = _named(rows, bucket, key, query.which, newest)
    if found is None:
        if query.which is not None:
            return refused("NoSuchVersion", f"there is no such version of {query.key!r} in {query.bucket!r}")
        return refused("NoSuchKey", f"there is no {query.key!r} in the bucket {query.bucket!r}")
    holders = _NO_HOLDERS
    parts: tuple[UploadedPart, ...] = ()
    head = decode_head(found[1])
    body = bytes(head.body)
    if body.startswith(_ASSEMBLED_HEAD):
        if query.with_holders or query.part is not None:
            parts = _assembled_parts(rows, bucket.space, _decode_body(body), head.size, query)
        if query.with_holders:
            holders = _holders_of(rows, bucket.space, parts)
    elif query.with_holders and body.startswith(_PARTS_HEAD):
        in_row = _decode_body(body)
        assert isinstance(in_row, Parts), "told by its first bytes"
        holders = {}
        for part in in_row.parts:
            note_holders(rows, bucket.space, part.scheme, part.chunks, holders)
    return StoredObjectFound(msgspec.Raw(stored_bucket), msgspec.Raw(found[1]), holders, parts, found is newest)


type _Row = tuple[bytes, bytes]


def _named(rows: Reader, bucket: Bucket, key: bytes, which: Which, newest: _Row) -> _Row | None:
    """A version's row; `newest` itself if that is meant. A null version has no other name than null."""
    revision = which.revision
    if revision is None:
        return _null(rows, bucket, key, newest)
    found = _at(rows, bucket, key, revision, newest) if 0 <= revision <= REVISION_MAX else None
    return None if found is None or decode_head(found[1]).null else found


def _null(rows: Reader, bucket: Bucket, key: bytes, newest: _Row) -> _Row | None:
    if decode_head(newest[1]).null:
        return newest
    row = rows.get(null_key(bucket.space, bucket.bucket_id, key))
    return None if row is None else _at(rows, bucket, key, _decode_revision(row), newest)


def _at(rows: Reader, bucket: Bucket, key: bytes, revision: int, newest: _Row) -> _Row | None:
    row_key = version_key(versions_key(bucket.space, bucket.bucket_id, key), revision)
    if row_key == newest[0]:
        return newest
    value = rows.get(row_key)
    return None if value is None else (row_key, value)


def _assembled_parts(rows: Reader, space: int, body: Body, size: int, query: GetObject) -> tuple[UploadedPart, ...]:
    """The parts that are asked for, from their rows."""
    assert isinstance(body, Assembled), "told by its first bytes"
    numbers = _needed(body, size, query)
    parts = _parts(rows, space, body.upload_id, numbers, FIRST_REFERENCES_MAX)
    assert parts or not numbers, "a version's parts have rows"
    return parts


def _needed(body: Assembled, size: int, query: GetObject) -> Sequence[int]:
    """The numbers of the parts that are asked for, in order."""
    if query.part is not None:
        return [number for number, _ in body.parts if number == query.part]
    offset = query.offset if query.offset >= 0 else max(0, size + query.offset)
    end = 0
    for place, (_, length) in enumerate(body.parts):
        end += length
        if end > offset:
            return [number for number, _ in body.parts[place : place + FIRST_REFERENCES_MAX]]
    return []


def _parts(
    rows: Reader, space: int, upload_id: bytes, numbers: Iterable[int], references_max: int
) -> tuple[UploadedPart, ...]:
    """The first parts of those with the numbers, up to one that is not there."""
    parts: list[UploadedPart] = []
    references = 0
    for number in numbers:
        row = rows.get(part_key(space, upload_id, number)) if number in _PART_NUMBERS else None
        if row is None:
            break
        head = decode_part_head(row)
        references += head.references
        if parts and (references > references_max or len(parts) == references_max):
            break
        chunks = rows.get(part_key(space, upload_id, number, Kind.PART_CHUNKS))
        assert chunks is not None, "a part's chunks lie beside it"
        parts.append(UploadedPart(head, decode_part_chunks(chunks)))
    return tuple(parts)


def _holders_of(rows: Reader, space: int, parts: Iterable[UploadedPart]) -> dict[bytes, tuple[bytes, ...]]:
    holders: dict[bytes, tuple[bytes, ...]] = {}
    for part in parts:
        note_holders(rows, space, part.head.scheme, part.chunks, holders)
    return holders


def get_parts(rows: Reader, space: int, query: GetParts, _rows_max: int) -> Answer:
    """Parts of a completed object."""
    upload_id = query.upload_id
    if len(upload_id) != UPLOAD_ID_BYTES or rows.get(assembly_key(space, upload_id)) is None:
        return no_upload(upload_id)
    parts = _parts(rows, space, upload_id, query.numbers, REFERENCES_MAX)
    if query.numbers and not parts:
        message = f"the object of the upload {upload_id.hex()} has no part {query.numbers[0]}"
        return refused("NoSuchUpload", message)
    return PartsFound(parts, _holders_of(rows, space, parts) if query.with_holders else {})


def get_holders(rows: Reader, space: int, query: GetHolders, rows_max: int) -> Answer:
    """Chunk rows by id."""
    if len(query.chunk_ids) > rows_max:
        return refused("TooManyChunks", f"{len(query.chunk_ids)} chunks were asked for; at most {rows_max}")
    if not isinstance(query.scheme, Copies) or not 0 < query.scheme.n <= 255:
        return refused("InvalidScheme", f"there are no chunks of {query.scheme}")
    scheme = scheme_bytes(query.scheme)
    chunks: dict[bytes, Chunk] = {}
    for chunk_id in query.chunk_ids:
        row = rows.get(chunk_key(space, scheme, chunk_id)) if len(chunk_id) == CHUNK_ID_BYTES else None
        if row is not None:
            chunks[chunk_id] = decode_chunk(row)
    return HoldersFound(chunks)
