"""Parts of uploads: made from bytes of their own, or from those of a version. Pure: see `metaraft.machine`.

Rules: everything is checked before the first row is written; a part is two rows, what is known of it and its
references, so that completing need not read the latter; each change of an upload's parts raises its generation; a
part that is replaced leaves its references to a trash row. All references of a part are under one scheme: a copied
range that has two is refused, and is sent as bytes instead.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from metaraft.commands import (
    CopyPart,
    PutPart,
)
from metaraft.conditions import refused
from metaraft.lookups import decode_part_chunks, decode_part_head
from metaraft.machine_books import Books, encode, no_such_bucket
from metaraft.machine_chunks import Referenced, check_copy, check_new, write
from metaraft.machine_objects import changed, invalid_part
from metaraft.machine_trash import discard
from metaraft.machine_versions import bucket_of, wanted
from metaraft.model import (
    Assembled,
    Body,
    Bucket,
    ChunkRef,
    DeleteMarker,
    Inline,
    Part,
    PartHead,
    Parts,
    Scheme,
    Upload,
)
from metaraft.results import (
    Failed,
    PartDone,
    Result,
)
from metaraft.rows import (
    UPLOAD_ID_BYTES,
    Kind,
    Trash,
    invalid_key,
    part_key,
    parts_key,
    successor,
    upload_key,
)

PART_NUMBER_MAX = 10_000
"""S3: 'Amazon S3 multipart upload limits'."""

PART_REFERENCES_MAX = 4096
"""References of one part: a part of 5 GiB has 640, or twice as many if it is copied from parts that are cut anywhere.
A bound for what one apply does, and for a row (chosen)."""

_decode_upload = msgspec.msgpack.Decoder(Upload).decode


class Begun(NamedTuple):
    """An upload that is under way, its row and its bucket."""

    bucket: Bucket
    row_key: bytes
    upload: Upload


def begun(books: Books, bucket: Bucket, key: str, upload_id: bytes) -> Begun | Failed:
    """The upload under way of that id. Refused: NoSuchUpload."""
    encoded = key.encode()
    if invalid_key(key, encoded) is None and len(upload_id) == UPLOAD_ID_BYTES:
        row_key = upload_key(bucket.space, bucket.bucket_id, encoded, upload_id)
        row = books.rows.get(row_key)
        if row is not None:
            return Begun(bucket, row_key, _decode_upload(row))
    return refused("NoSuchUpload", f"no upload of {key!r} with the id {upload_id[:UPLOAD_ID_BYTES].hex()} is under way")


def sizes(books: Books, space: int, upload_id: bytes) -> dict[int, int]:
    """The size of each part of an upload by its number, ascending."""
    heads = parts_key(space, upload_id)
    parts = (decode_part_head(value) for _, value in books.rows.scan(heads, successor(heads)))
    return {head.number: head.size for head in parts}


def _part(books: Books, space: int, upload_id: bytes, number: int) -> Part | None:
    row = books.rows.get(part_key(space, upload_id, number))
    if row is None:
        return None
    head = decode_part_head(row)
    chunks = books.rows.get(part_key(space, upload_id, number, Kind.PART_CHUNKS))
    assert chunks is not None, "a part has a row of references, though it may be empty"
    return Part(head.size, head.md5, decode_part_chunks(chunks), head.scheme, head.checksums)


def put_part(books: Books, space: int, command: PutPart) -> Result:
    """A part with bytes of its own."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    if bucket.bucket_id != command.bucket_id:
        return no_such_bucket(command.bucket)
    into = _target(books, bucket, command)
    if isinstance(into, Failed):
        return into
    part = command.part
    reason = invalid_part(part)
    if reason is not None:
        return refused("BadBody", reason)
    if len(part.chunks) > PART_REFERENCES_MAX:
        return _too_many_references()
    changes = check_new(books, space, bucket.scheme, (part,), command.chunks)
    if isinstance(changes, Failed):
        return changes
    return _store(books, into, command.number, command.etag, part, changes)


def copy_part(books: Books, space: int, command: CopyPart) -> Result:
    """A part that refers to the bytes of a version, as it is at this place in the log."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    source_bucket = bucket_of(books, space, command.source_bucket)
    if isinstance(source_bucket, Failed):
        return source_bucket
    into = _target(books, bucket, command)
    if isinstance(into, Failed):
        return into
    found = wanted(books, source_bucket, command.source_key, command.source_which)
    if isinstance(found, Failed):
        return found
    source = found.version
    failed = changed(source, command.source_revision)
    if failed is not None:
        return failed
    start, stop = command.start, command.stop
    if not 0 <= start <= stop <= source.size:
        return refused("BadBody", f"bytes {start} to {stop} are not in a version of {source.size} bytes")
    cut = _cut(books, bucket, source.body, start, stop)
    if isinstance(cut, Failed):
        return cut
    part = Part(stop - start, command.md5, cut.chunks, cut.scheme, command.checksums)
    assert invalid_part(part) is None, "a version's bytes are all referenced"
    return _store(books, into, command.number, command.etag, part, check_copy(books, space, (part,)))


def _target(books: Books, bucket: Bucket, command: PutPart | CopyPart) -> Begun | Failed:
    into = begun(books, bucket, command.key, command.upload_id)
    if isinstance(into, Begun) and not 0 < command.number <= PART_NUMBER_MAX:
        return refused("BadPartNumber", f"parts are numbered 1 to {PART_NUMBER_MAX}, not {command.number}")
    return into


def _too_many_references() -> Failed:
    return refused("BadBody", f"a part refers to at most {PART_REFERENCES_MAX} pieces of chunks")


class _Run(NamedTuple):
    """References that follow each other, under one scheme."""

    scheme: Scheme
    chunks: tuple[ChunkRef, ...]


def _cut(books: Books, bucket: Bucket, body: Body, start: int, stop: int) -> _Run | Failed:
    """The references to bytes [start, stop) of a body; those to none are under the bucket's own scheme."""
    if isinstance(body, Inline):
        return refused("BadBody", "the source lies in its row and has no chunks to refer to")
    chunks: list[ChunkRef] = []
    schemes: list[Scheme] = []
    for position, part in _parts_within(books, bucket.space, body, start, stop):
        chunks.extend(_clipped(part.chunks, start - position, stop - position))
        if part.scheme not in schemes:
            schemes.append(part.scheme)
        if len(schemes) > 1:
            return refused("BadBody", f"the range is stored as {schemes[0]} and as {schemes[1]}; a part has one scheme")
        if len(chunks) > PART_REFERENCES_MAX:
            return _too_many_references()
    return _Run(schemes[0] if schemes else bucket.scheme, tuple(chunks))


def _parts_within(books: Books, space: int, body: Body, start: int, stop: int) -> Iterator[tuple[int, Part]]:
    """The parts of a body that have bytes in [start, stop), with their places. Only these are read."""
    position = 0
    match body:
        case Parts(parts):
            for part in parts:
                if max(position, start) < min(position + part.size, stop):
                    yield position, part
                position += part.size
        case Assembled(upload_id, numbers):
            for number, size in numbers:
                if max(position, start) < min(position + size, stop):
                    stored = _part(books, space, upload_id, number)
                    assert stored is not None, "a completed object has its parts"
                    yield position, stored
                position += size
        case Inline() | DeleteMarker():
            raise AssertionError("only bodies in chunks are cut")


def _clipped(chunks: tuple[ChunkRef, ...], start: int, stop: int) -> Iterator[ChunkRef]:
    """What of a run of references is in [start, stop) of its bytes."""
    position = 0
    for ref in chunks:
        begin, end = max(start - position, 0), min(stop - position, ref.length)
        if begin < end:
            yield ChunkRef(ref.chunk_id, ref.offset + begin, end - begin, ref.chunk_bytes)
        position += ref.length


def _store(books: Books, into: Begun, number: int, etag: str, part: Part, changes: list[Referenced]) -> PartDone:
    """Write a part's rows, over those of the part that it replaces."""
    rows, space, upload = books.rows, into.bucket.space, into.upload
    revision = books.revise(space)
    write(books, space, changes)
    replaced = _part(books, space, upload.upload_id, number)
    if replaced is not None:
        discard(books, space, revision, Trash(into.bucket.bucket_id, upload.key, 0, (replaced,)))
    head = PartHead(
        number=number,
        created_ms=books.state.state_time_ms,
        etag=etag,
        size=part.size,
        md5=part.md5,
        scheme=part.scheme,
        references=len(part.chunks),
        checksums=part.checksums,
    )
    rows.put(part_key(space, upload.upload_id, number), encode(head))
    rows.put(part_key(space, upload.upload_id, number, Kind.PART_CHUNKS), encode(part.chunks))
    rows.put(into.row_key, encode(msgspec.structs.replace(upload, generation=upload.generation + 1)))
    return PartDone(number, head.created_ms, etag)
