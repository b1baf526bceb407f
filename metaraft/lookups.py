"""What several queries look up: a bucket by its name, the holders of chunks. Pure reads.

Decoded buckets are kept by the bytes of their rows, so what is kept is never out of date.
"""

import functools
from collections.abc import Iterable

import msgspec

from metaraft.conditions import refused
from metaraft.model import Bucket, Chunk, ChunkRef, PartHead, Scheme
from metaraft.results import (
    Failed,
)
from metaraft.rows import (
    SCHEME_BYTES,
    Kind,
    Name,
    Reader,
    bucket_key,
    chunk_key,
    name_key,
    scheme_bytes,
    space_key,
    successor,
)

BUCKET_NAME_CHARACTERS_MAX = 255
"""Far above what a name may have, far below what a row's key may."""

decode_name = functools.lru_cache(1024)(msgspec.msgpack.Decoder(Name).decode)
decode_bucket = functools.lru_cache(1024)(msgspec.msgpack.Decoder(Bucket).decode)
decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
decode_part_head = msgspec.msgpack.Decoder(PartHead).decode
decode_part_chunks = msgspec.msgpack.Decoder(tuple[ChunkRef, ...]).decode


def bucket_row(rows: Reader, name: str) -> bytes | None:
    """The row of the bucket of that name, as it is stored."""
    if not 0 < len(name) <= BUCKET_NAME_CHARACTERS_MAX:
        return None
    place = rows.get(name_key(name))
    if place is None:
        return None
    where = decode_name(place)
    row = rows.get(bucket_key(where.space, where.bucket_id))
    assert row is not None, "a name leads to a bucket"
    return row


def find_bucket(rows: Reader, name: str) -> Bucket | Failed:
    """The bucket of that name, or NoSuchBucket."""
    row = bucket_row(rows, name)
    return no_bucket(name) if row is None else decode_bucket(row)


def no_bucket(name: str) -> Failed:
    """There is no such bucket."""
    return refused("NoSuchBucket", f"there is no bucket {name!r}")


def no_upload(upload_id: bytes) -> Failed:
    """There is no such upload, under way or completed."""
    return refused("NoSuchUpload", f"there is no upload {upload_id.hex()}")


def note_holders(
    rows: Reader, space: int, scheme: Scheme, chunks: Iterable[ChunkRef], holders: dict[bytes, tuple[bytes, ...]]
) -> None:
    """Put the holders of referenced chunks into `holders`."""
    in_key = scheme_bytes(scheme)
    for ref in chunks:
        if ref.chunk_id not in holders:
            row = rows.get(chunk_key(space, in_key, ref.chunk_id))
            assert row is not None, "a version's chunks have rows"
            holders[ref.chunk_id] = decode_chunk(row).holders


def chunk_schemes(rows: Reader, space: int) -> list[bytes]:
    """The schemes that chunk rows exist under, as they are in keys: one seek for each."""
    start = space_key(space, Kind.CHUNK)
    stop = successor(start)
    size = len(start) + SCHEME_BYTES
    schemes = []
    position = start
    while (row := rows.first(position, stop)) is not None:
        schemes.append(row[0][len(start) : size])
        position = successor(row[0][:size])
    return schemes
