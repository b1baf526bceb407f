"""What is read from the rows: one function per query. Pure reads over `rows.Reader`, which is one read transaction.

An object's answer is put together from stored bytes: bucket and version go out as they lie in their rows, and only
what decides is decoded.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cluster.errors import UNDECODABLE, Refused
from cluster.limits import LIST_LIMIT_MAX
from metaraft.commands import (
    Failed,
)
from metaraft.conditions import refused
from metaraft.listing import DELETE_MARKER, decode_head, list_objects
from metaraft.model import Body, Bucket, Chunk, Copies, Disk, Parts, SpaceInfo, Usage
from metaraft.queries import (
    Answer,
    Ask,
    BucketFound,
    BucketsFound,
    GetBucket,
    GetHolders,
    GetObject,
    GetSpace,
    GetUsage,
    HoldersFound,
    ListBuckets,
    ListObjects,
    SpaceFound,
    UsageFound,
)
from metaraft.rows import (
    CHUNK_ID_BYTES,
    Kind,
    Name,
    Reader,
    Space,
    bucket_key,
    chunk_key,
    invalid_key,
    name_key,
    prefix,
    scheme_bytes,
    space_key,
    successor,
    versions_key,
    versions_stop,
)

_BUCKET_NAME_CHARACTERS_MAX = 255  # far above what a name may have, far below what a row's key may
_PARTS_HEAD = msgspec.msgpack.encode(Parts(()))[:-1]
_NO_HOLDERS: dict[bytes, tuple[bytes, ...]] = {}

encode = msgspec.msgpack.Encoder().encode
_decode_ask = msgspec.msgpack.Decoder(Ask).decode
_decode_name = functools.lru_cache(1024)(msgspec.msgpack.Decoder(Name).decode)
_decode_bucket = functools.lru_cache(1024)(msgspec.msgpack.Decoder(Bucket).decode)
_decode_body = msgspec.msgpack.Decoder(Body).decode
_decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
_decode_disk = msgspec.msgpack.Decoder(Disk).decode
_decode_space = msgspec.msgpack.Decoder(Space).decode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode


class _StoredObjectFound(msgspec.Struct, frozen=True, tag="object_found"):
    """`ObjectFound` with bucket and version as they are stored."""

    bucket: msgspec.Raw
    version: msgspec.Raw
    holders: dict[bytes, tuple[bytes, ...]]


def answer(rows: Reader, ask: bytes, rows_max: int) -> bytes:
    """The encoded `Answer` to an encoded `Ask`, from `rows_max` rows at most where it looks through many.

    Raises Refused (BadQuery) for what cannot be decoded, Corrupt (RowRot).
    """
    try:
        asked = _decode_ask(ask)
    except UNDECODABLE as error:
        raise Refused("BadQuery", f"the query is not one of the known: {error}") from error
    query = asked.query
    return encode(_ANSWER[type(query)](rows, asked.space, query, rows_max))


def _no_bucket(name: str) -> Failed:
    return refused("NoSuchBucket", f"there is no bucket {name!r}")


def _bucket_row(rows: Reader, name: str) -> bytes | None:
    if not 0 < len(name) <= _BUCKET_NAME_CHARACTERS_MAX:
        return None
    place = rows.get(name_key(name))
    if place is None:
        return None
    where = _decode_name(place)
    row = rows.get(bucket_key(where.space, where.bucket_id))
    assert row is not None, "a name leads to a bucket"
    return row


def _usage(rows: Reader, bucket: Bucket) -> Usage:
    row = rows.get(bucket_key(bucket.space, bucket.bucket_id, Kind.BUCKET_USAGE))
    return Usage() if row is None else _decode_usage(row)


def _get_bucket(rows: Reader, _space: int, query: GetBucket, _rows_max: int) -> Answer:
    row = _bucket_row(rows, query.name)
    if row is None:
        return _no_bucket(query.name)
    bucket = _decode_bucket(row)
    return BucketFound(bucket, _usage(rows, bucket))


def _get_usage(rows: Reader, _space: int, query: GetUsage, _rows_max: int) -> Answer:
    row = _bucket_row(rows, query.bucket)
    return _no_bucket(query.bucket) if row is None else UsageFound(_usage(rows, _decode_bucket(row)))


def _list_buckets(rows: Reader, _space: int, query: ListBuckets, rows_max: int) -> Answer:
    limit = min(max(query.limit, 1), LIST_LIMIT_MAX, rows_max)
    names = prefix(Kind.NAME)
    after = query.after.partition("\x00")[0][:_BUCKET_NAME_CHARACTERS_MAX]
    start = name_key(after) + b"\x00" if after else names
    buckets: list[Bucket] = []
    for _, place in rows.scan(start, successor(names)):
        if len(buckets) == limit:
            return BucketsFound(tuple(buckets), more=True)
        where = _decode_name(place)
        row = rows.get(bucket_key(where.space, where.bucket_id))
        assert row is not None, "a name leads to a bucket"
        buckets.append(_decode_bucket(row))
    return BucketsFound(tuple(buckets), more=False)


def _get_object(rows: Reader, _space: int, query: GetObject, _rows_max: int) -> _StoredObjectFound | Failed:
    bucket_row = _bucket_row(rows, query.bucket)
    if bucket_row is None:
        return _no_bucket(query.bucket)
    bucket = _decode_bucket(bucket_row)
    key = query.key.encode()
    found = None
    if invalid_key(query.key, key) is None:
        start = versions_key(bucket.space, bucket.bucket_id, key)
        found = rows.first(start, versions_stop(start))
    body = b"" if found is None else bytes(decode_head(found[1]).body)
    if found is None or body == DELETE_MARKER:
        return refused("NoSuchKey", f"there is no {query.key!r} in the bucket {query.bucket!r}")
    holders = _NO_HOLDERS
    if query.with_holders and body.startswith(_PARTS_HEAD):
        holders = _holders(rows, bucket.space, _decode_body(body))
    return _StoredObjectFound(msgspec.Raw(bucket_row), msgspec.Raw(found[1]), holders)


def _holders(rows: Reader, space: int, body: Body) -> dict[bytes, tuple[bytes, ...]]:
    assert isinstance(body, Parts), "only parts are in chunks"
    holders: dict[bytes, tuple[bytes, ...]] = {}
    for part in body.parts:
        scheme = scheme_bytes(part.scheme)
        for ref in part.chunks:
            if ref.chunk_id not in holders:
                row = rows.get(chunk_key(space, scheme, ref.chunk_id))
                assert row is not None, "a version's chunks have rows"
                holders[ref.chunk_id] = _decode_chunk(row).holders
    return holders


def _get_holders(rows: Reader, space: int, query: GetHolders, rows_max: int) -> Answer:
    if len(query.chunk_ids) > rows_max:
        return refused("TooManyChunks", f"{len(query.chunk_ids)} chunks were asked for; at most {rows_max}")
    if not isinstance(query.scheme, Copies) or not 0 < query.scheme.n <= 255:
        return refused("InvalidScheme", f"there are no chunks of {query.scheme}")
    scheme = scheme_bytes(query.scheme)
    chunks: dict[bytes, Chunk] = {}
    for chunk_id in query.chunk_ids:
        row = rows.get(chunk_key(space, scheme, chunk_id)) if len(chunk_id) == CHUNK_ID_BYTES else None
        if row is not None:
            chunks[chunk_id] = _decode_chunk(row)
    return HoldersFound(chunks)


def _list_objects(rows: Reader, _space: int, query: ListObjects, rows_max: int) -> Answer:
    row = _bucket_row(rows, query.bucket)
    return _no_bucket(query.bucket) if row is None else list_objects(rows, _decode_bucket(row), query, rows_max)


def _get_space(rows: Reader, space: int, _query: GetSpace, _rows_max: int) -> Answer:
    row = rows.get(space_key(space)) if 0 <= space < 1 << 32 else None
    if row is None:
        return refused("NoSuchSpace", f"there is no space {space}")
    found = _decode_space(row)
    return SpaceFound(SpaceInfo(space, found.revision, found.horizon, tuple(_disks(rows))))


def _disks(rows: Reader) -> Iterable[Disk]:
    start = prefix(Kind.DISK)
    return (_decode_disk(value) for _, value in rows.scan(start, successor(start)))


_ANSWER: dict[type[Any], Callable[[Reader, int, Any, int], Answer | _StoredObjectFound]] = {
    GetBucket: _get_bucket,
    ListBuckets: _list_buckets,
    GetObject: _get_object,
    GetHolders: _get_holders,
    ListObjects: _list_objects,
    GetSpace: _get_space,
    GetUsage: _get_usage,
}
