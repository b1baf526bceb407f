"""What is read from the rows: one function per query. Pure reads over `rows.Reader`, which is one read transaction."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cluster.errors import UNDECODABLE, Refused
from cluster.limits import LIST_LIMIT_MAX
from metaraft import answering_chunks, answering_objects, answering_users, listing_uploads
from metaraft.answering_objects import StoredObjectFound
from metaraft.conditions import refused
from metaraft.listing import list_objects
from metaraft.listing_versions import list_versions
from metaraft.lookups import (
    BUCKET_NAME_CHARACTERS_MAX,
    chunk_schemes,
    decode_bucket,
    decode_chunk,
    decode_name,
    find_bucket,
)
from metaraft.model import Bucket, Disk, SpaceInfo, Usage
from metaraft.queries import (
    Answer,
    Ask,
    BucketFound,
    BucketSettingFound,
    BucketsFound,
    FindStrays,
    GetAccessKey,
    GetBucket,
    GetBucketSetting,
    GetHolders,
    GetObject,
    GetParts,
    GetSpace,
    GetUpload,
    GetUsage,
    GetUser,
    ListBuckets,
    ListChunks,
    ListObjects,
    ListParts,
    ListReferences,
    ListStaleUploads,
    ListUploads,
    ListUsers,
    ListVersions,
    SpaceFound,
    StraysFound,
    UsageFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import (
    CHUNK_ID_BYTES,
    Kind,
    Reader,
    Space,
    bucket_key,
    chunk_key,
    name_key,
    prefix,
    setting_key,
    space_key,
    successor,
)

_SETTING_NAME_CHARACTERS_MAX = 255  # far above what a name may have, far below what a row's key may
_SPACES = range(1 << 32)

encode = msgspec.msgpack.Encoder().encode
_decode_ask = msgspec.msgpack.Decoder(Ask).decode
_decode_disk = msgspec.msgpack.Decoder(Disk).decode
_decode_space = msgspec.msgpack.Decoder(Space).decode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode

type _Found = Answer | StoredObjectFound


def answer(rows: Reader, ask: bytes, rows_max: int) -> bytes:
    """The encoded `Answer` to an encoded `Ask`, from `rows_max` rows at most where it looks through many.

    Raises Refused (BadQuery) for what cannot be decoded, Corrupt (RowRot).
    """
    try:
        asked = _decode_ask(ask)
    except UNDECODABLE as error:
        raise Refused("BadQuery", f"the query is not one of the known: {error}") from error
    if asked.space not in _SPACES:
        return encode(_no_space(asked.space))
    query = asked.query
    return encode(_ANSWER[type(query)](rows, asked.space, query, rows_max))


def _usage(rows: Reader, bucket: Bucket) -> Usage:
    row = rows.get(bucket_key(bucket.space, bucket.bucket_id, Kind.BUCKET_USAGE))
    return Usage() if row is None else _decode_usage(row)


def _get_bucket(rows: Reader, _space: int, query: GetBucket, _rows_max: int) -> Answer:
    bucket = find_bucket(rows, query.name)
    return bucket if isinstance(bucket, Failed) else BucketFound(bucket, _usage(rows, bucket))


def _get_usage(rows: Reader, bucket: Bucket, _query: GetUsage, _rows_max: int) -> Answer:
    return UsageFound(_usage(rows, bucket))


def _get_bucket_setting(rows: Reader, bucket: Bucket, query: GetBucketSetting, _rows_max: int) -> Answer:
    value = None
    if 0 < len(query.name) <= _SETTING_NAME_CHARACTERS_MAX:
        value = rows.get(setting_key(bucket.space, bucket.bucket_id, query.name))
    return BucketSettingFound(bucket, value)


def _list_buckets(rows: Reader, _space: int, query: ListBuckets, rows_max: int) -> Answer:
    limit = min(max(query.limit, 1), LIST_LIMIT_MAX)
    if len(query.prefix) > BUCKET_NAME_CHARACTERS_MAX:
        return BucketsFound((), more=False)
    begin = name_key(query.prefix)
    after = query.after.partition("\x00")[0][:BUCKET_NAME_CHARACTERS_MAX]
    start = max(begin, name_key(after) + b"\x00") if after else begin
    buckets: list[Bucket] = []
    last = ""
    for looked, (_, place) in enumerate(rows.scan(start, successor(begin))):
        if looked == rows_max:
            return BucketsFound(tuple(buckets), more=True, next_after=last)
        where = decode_name(place)
        row = rows.get(bucket_key(where.space, where.bucket_id))
        assert row is not None, "a name leads to a bucket"
        bucket = decode_bucket(row)
        if query.owner is None or bucket.owner == query.owner:
            if len(buckets) == limit:
                return BucketsFound(tuple(buckets), more=True, next_after=last)
            buckets.append(bucket)
        last = bucket.name
    return BucketsFound(tuple(buckets), more=False)


def _no_space(space: int) -> Failed:
    return refused("NoSuchSpace", f"there is no space {space}")


def _get_space(rows: Reader, space: int, _query: GetSpace, _rows_max: int) -> Answer:
    row = rows.get(space_key(space))
    if row is None:
        return _no_space(space)
    found = _decode_space(row)
    return SpaceFound(SpaceInfo(space, found.revision, found.horizon, tuple(_disks(rows))))


def _find_strays(rows: Reader, space: int, query: FindStrays, rows_max: int) -> Answer:
    row = rows.get(space_key(space))
    if row is None:
        return _no_space(space)
    if len(query.chunk_ids) > rows_max:
        return refused("TooManyChunks", f"{len(query.chunk_ids)} chunks were asked for; at most {rows_max}")
    schemes = chunk_schemes(rows, space)
    strays = (
        chunk_id
        for chunk_id in query.chunk_ids
        if len(chunk_id) == CHUNK_ID_BYTES and not _is_held(rows, space, schemes, chunk_id, query.disk_id)
    )
    return StraysFound(tuple(strays), _decode_space(row).horizon)


def _is_held(rows: Reader, space: int, schemes: Iterable[bytes], chunk_id: bytes, disk_id: bytes) -> bool:
    found = (rows.get(chunk_key(space, scheme, chunk_id)) for scheme in schemes)
    return any(row is not None and disk_id in decode_chunk(row).holders for row in found)


def _disks(rows: Reader) -> Iterable[Disk]:
    start = prefix(Kind.DISK)
    return (_decode_disk(value) for _, value in rows.scan(start, successor(start)))


def _in_bucket(read: Callable[[Reader, Bucket, Any, int], Answer]) -> Callable[[Reader, int, Any, int], Answer]:
    """A query about the bucket that it names: NoSuchBucket, or what `read` finds."""

    def answered(rows: Reader, _space: int, query: Any, rows_max: int) -> Answer:
        bucket = find_bucket(rows, query.bucket)
        return bucket if isinstance(bucket, Failed) else read(rows, bucket, query, rows_max)

    return answered


_ANSWER: dict[type[Any], Callable[[Reader, int, Any, int], _Found]] = {
    GetBucket: _get_bucket,
    GetBucketSetting: _in_bucket(_get_bucket_setting),
    GetUsage: _in_bucket(_get_usage),
    ListBuckets: _list_buckets,
    GetObject: answering_objects.get_object,
    GetParts: answering_objects.get_parts,
    GetHolders: answering_objects.get_holders,
    FindStrays: _find_strays,
    ListChunks: answering_chunks.list_chunks,
    ListReferences: answering_chunks.list_references,
    ListObjects: _in_bucket(list_objects),
    ListVersions: _in_bucket(list_versions),
    GetUpload: _in_bucket(listing_uploads.get_upload),
    ListParts: _in_bucket(listing_uploads.list_parts),
    ListUploads: _in_bucket(listing_uploads.list_uploads),
    ListStaleUploads: listing_uploads.list_stale_uploads,
    GetAccessKey: answering_users.get_access_key,
    GetUser: answering_users.get_user,
    ListUsers: answering_users.list_users,
    GetSpace: _get_space,
}
