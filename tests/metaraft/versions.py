"""What tests of versions and uploads share: short commands, and the rows as values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from metaraft.commands import (
    Command,
    CompleteUpload,
    CopyPart,
    CreateUpload,
    Dereference,
    PutPart,
    SetVersioning,
    StoredChunk,
)
from metaraft.machine_chunks import ROWS_MAX
from metaraft.model import (
    Chunk,
    ChunkRef,
    Copies,
    Part,
    PartHead,
    Scheme,
    Upload,
    UploadedPart,
    Usage,
    Version,
    Versioning,
)
from metaraft.results import (
    Dereferenced,
    Done,
    ObjectDone,
    PartDone,
    UploadDone,
)
from metaraft.rows import (
    Assembly,
    Kind,
    Trash,
    assembly_key,
    bucket_key,
    chunk_key,
    null_key,
    part_key,
    part_number,
    parts_key,
    scheme_bytes,
    successor,
    upload_key,
    versions_key,
    versions_stop,
)
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id

NONCE = b"12345678"
CHUNK = 100
"""Bytes of a chunk."""

decode = msgspec.msgpack.decode


def set_versioning(metadata: Metadata, versioning: Versioning, bucket: str = "b") -> None:
    """Enable or suspend versioning; `off` is how a bucket begins."""
    if versioning != "off":
        result = metadata.do(SetVersioning(bucket, versioning))
        assert isinstance(result, Done), result


# ---- rows as values


def value[T](metadata: Metadata, key: bytes, kind: type[T]) -> T | None:
    """What a row says, or None."""
    row = metadata.rows.get(key)
    return None if row is None else decode(row, type=kind)


def versions(metadata: Metadata, key: str = "k", bucket_id: int = 1) -> list[Version]:
    """All versions of a key, the newest first."""
    start = versions_key(1, bucket_id, key.encode())
    return [decode(row, type=Version) for _, row in metadata.rows.scan(start, versions_stop(start))]


def null_row(metadata: Metadata, key: str = "k", bucket_id: int = 1) -> int | None:
    """What the key's NULL row says."""
    return value(metadata, null_key(1, bucket_id, key.encode()), int)


def upload_row(metadata: Metadata, upload: Upload, bucket_id: int = 1) -> Upload | None:
    """An upload as it is now."""
    return value(metadata, upload_key(1, bucket_id, upload.key.encode(), upload.upload_id), Upload)


def assembly_row(metadata: Metadata, upload: Upload) -> Assembly | None:
    """What is known of a completed upload."""
    return value(metadata, assembly_key(1, upload.upload_id), Assembly)


def part_rows(metadata: Metadata, upload_id: bytes) -> dict[int, UploadedPart]:
    """The parts that an upload has, by number."""
    start = parts_key(1, upload_id)
    parts = {}
    for key, row in metadata.rows.scan(start, successor(start)):
        chunks = metadata.rows.get(part_key(1, upload_id, part_number(key), Kind.PART_CHUNKS))
        assert chunks is not None
        parts[part_number(key)] = UploadedPart(decode(row, type=PartHead), decode(chunks, type=tuple[ChunkRef, ...]))
    return parts


def trash_rows(metadata: Metadata) -> list[Trash]:
    """All trash, the oldest first."""
    return [decode(row, type=Trash) for key, row in metadata.rows.items() if key[0] == Kind.TRASH]


def counted(scheme: Scheme, refs: Sequence[ChunkRef]) -> Counter[tuple[bytes, bytes]]:
    """References by scheme and chunk id, as chunk rows count them."""
    return Counter((scheme_bytes(scheme), ref.chunk_id) for ref in refs)


def trashed(metadata: Metadata) -> Counter[tuple[bytes, bytes]]:
    """The references of all trash."""
    total: Counter[tuple[bytes, bytes]] = Counter()
    for trash in trash_rows(metadata):
        for part in trash.parts:
            total += counted(part.scheme, part.chunks)
    for stored in given_up(metadata).values():
        total += counted(stored.head.scheme, stored.chunks)
    return total


def given_up(metadata: Metadata) -> dict[tuple[bytes, int], UploadedPart]:
    """Part rows that trash names. Some are named twice: by their numbers, and later with all of their upload."""
    parts = {}
    for rows in (rows for trash in trash_rows(metadata) for rows in trash.rows):
        there = part_rows(metadata, rows.upload_id)
        for number in there if rows.numbers is None else rows.numbers:
            parts[rows.upload_id, number] = there[number]
    return parts


def chunk_rows(metadata: Metadata) -> dict[tuple[bytes, bytes], Chunk]:
    """All chunk rows by scheme and chunk id."""
    rows = metadata.rows.items()
    return {(key[5:8], key[8:]): decode(row, type=Chunk) for key, row in rows if key[0] == Kind.CHUNK}


def kinds(metadata: Metadata) -> Counter[Kind]:
    """How many rows of each kind there are."""
    return Counter(Kind(key[0]) for key, _ in metadata.rows.items())


def count(metadata: Metadata, name: object, scheme: Copies = COPIES) -> int:
    """References to a named chunk."""
    found = value(metadata, chunk_key(1, scheme_bytes(scheme), chunk_id(name)), Chunk)
    return 0 if found is None else found.count


def usage(metadata: Metadata, bucket_id: int = 1) -> Usage:
    """What a bucket's counters say."""
    return value(metadata, bucket_key(1, bucket_id, Kind.BUCKET_USAGE), Usage) or Usage()


# ---- short commands


def made(metadata: Metadata, command: Command) -> ObjectDone:
    """What a command on an object made."""
    result = metadata.do(command)
    assert isinstance(result, ObjectDone), result
    return result


def dereference(metadata: Metadata, limit: int = ROWS_MAX) -> tuple[int, bool]:
    """References taken down, and whether there is more."""
    result = metadata.do(Dereference(limit))
    assert isinstance(result, Dereferenced), result
    return result.references, result.more


def begin(metadata: Metadata, key: str = "k", bucket: str = "b", **more: Any) -> Upload:
    """A new upload."""
    result = metadata.do(CreateUpload(bucket, key, NONCE, "text/plain", **more))
    assert isinstance(result, UploadDone), result
    return result.upload


def part_command(
    upload: Upload,
    number: int,
    names: Sequence[object],
    *,
    bucket: str = "b",
    bucket_id: int = 1,
    scheme: Copies = COPIES,
    seen: int = 0,
) -> PutPart:
    """A part with a chunk of 100 bytes for each name, acknowledged by disks 1, 2 and 3."""
    ids = [chunk_id(name) for name in names]
    part = Part(CHUNK * len(ids), b"m" * 16, tuple(ChunkRef(one, 0, CHUNK, CHUNK) for one in ids), scheme)
    return PutPart(
        bucket=bucket,
        bucket_id=bucket_id,
        key=upload.key,
        upload_id=upload.upload_id,
        number=number,
        etag=f"part-{number}-{'-'.join(map(repr, names))}",
        part=part,
        chunks=tuple(StoredChunk(one, CHUNK, acks(1, 2, 3, seen=seen)) for one in dict.fromkeys(ids)),
    )


def put_parts(metadata: Metadata, upload: Upload, parts: dict[int, Sequence[object]]) -> None:
    """Parts 1, 2, ... of named chunks."""
    for number, names in parts.items():
        result = metadata.do(part_command(upload, number, names))
        assert isinstance(result, PartDone), result


def copy_command(
    upload: Upload, number: int, source: tuple[str, str, int], start: int, stop: int, bucket: str = "b"
) -> CopyPart:
    """A part of the bytes [start, stop) of (bucket, key, revision)."""
    return CopyPart(
        bucket=bucket,
        key=upload.key,
        upload_id=upload.upload_id,
        number=number,
        etag=f"copied-{start}-{stop}",
        md5=b"c" * 16,
        checksums={},
        source_bucket=source[0],
        source_key=source[1],
        source_revision=source[2],
        start=start,
        stop=stop,
    )


def complete_command(
    upload: Upload, parts: Sequence[int], generation: int, etag: str = "whole", bucket: str = "b", **more: Any
) -> CompleteUpload:
    """An object of these parts."""
    return CompleteUpload(bucket, upload.key, upload.upload_id, generation, tuple(parts), etag, **more)


def assembled(
    metadata: Metadata, key: str, parts: dict[int, Sequence[object]], **more: Any
) -> tuple[Upload, ObjectDone]:
    """An object completed from parts of named chunks."""
    upload = begin(metadata, key)
    put_parts(metadata, upload, parts)
    result = metadata.do(complete_command(upload, list(parts), len(parts), **more))
    assert isinstance(result, ObjectDone), result
    return upload, result
