"""Multipart uploads under way: one of them and its parts, those of a bucket, the old ones of all. Pure reads."""

from collections.abc import Iterator

import msgspec

from cluster.limits import KEY_BYTES_MAX, LIST_LIMIT_MAX
from metaraft.conditions import refused
from metaraft.listing_places import (
    PAGE_BYTES_MAX,
    Span,
    behind,
    behind_group,
    group_of,
    key_before,
    span_of,
)
from metaraft.lookups import decode_bucket, decode_part_head, no_upload
from metaraft.model import Bucket, PartHead, Upload
from metaraft.queries import (
    GetUpload,
    ListParts,
    ListStaleUploads,
    ListUploads,
    PartsListed,
    StaleUploadsFound,
    UploadFound,
    UploadsFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import (
    UPLOAD_ID_BYTES,
    Kind,
    Reader,
    bucket_key,
    invalid_key,
    part_key,
    parts_key,
    space_key,
    successor,
    upload_key,
)

_HEAD_BYTES = len(bucket_key(0, 0, Kind.UPLOAD))
_SPACE_BYTES = len(space_key(0, Kind.UPLOAD))
_TAIL_BYTES = 1 + UPLOAD_ID_BYTES
_CURSOR_BYTES_MAX = _HEAD_BYTES - _SPACE_BYTES + KEY_BYTES_MAX + _TAIL_BYTES
_NUMBER_MAX = (1 << 16) - 1

_decode_upload = msgspec.msgpack.Decoder(Upload).decode


def get_upload(rows: Reader, bucket: Bucket, query: GetUpload, _rows_max: int) -> UploadFound | Failed:
    """An upload by key and id."""
    upload = _upload(rows, bucket, query.key, query.upload_id)
    return no_upload(query.upload_id) if upload is None else UploadFound(bucket, upload)


def _upload(rows: Reader, bucket: Bucket, key: str, upload_id: bytes) -> Upload | None:
    encoded = key.encode()
    if len(upload_id) != UPLOAD_ID_BYTES or invalid_key(key, encoded) is not None:
        return None
    row = rows.get(upload_key(bucket.space, bucket.bucket_id, encoded, upload_id))
    return None if row is None else _decode_upload(row)


def list_parts(rows: Reader, bucket: Bucket, query: ListParts, rows_max: int) -> PartsListed | Failed:
    """Parts of an upload, without their chunks."""
    upload = _upload(rows, bucket, query.key, query.upload_id)
    if upload is None:
        return no_upload(query.upload_id)
    limit = min(query.limit, LIST_LIMIT_MAX, rows_max)
    parts: list[PartHead] = []
    if limit < 1 or query.after >= _NUMBER_MAX:
        return PartsListed(bucket, upload, (), more=False)
    start = part_key(bucket.space, query.upload_id, max(query.after, 0) + 1)
    for _, value in rows.scan(start, successor(parts_key(bucket.space, query.upload_id))):
        if len(parts) == limit:
            return PartsListed(bucket, upload, tuple(parts), more=True)
        parts.append(decode_part_head(value))
    return PartsListed(bucket, upload, tuple(parts), more=False)


def list_uploads(rows: Reader, bucket: Bucket, query: ListUploads, rows_max: int) -> UploadsFound:
    """One page of a bucket's uploads: every row looked at is an entry or stands for a common prefix."""
    base = bucket_key(bucket.space, bucket.bucket_id, Kind.UPLOAD)
    prefix, delimiter = query.prefix.encode(), query.delimiter.encode()
    span = _span(base, prefix, delimiter, query)
    limit = min(query.limit, LIST_LIMIT_MAX, rows_max)
    if span is None or limit < 1:
        return UploadsFound(bucket, (), (), None)
    uploads: list[Upload] = []
    prefixes: list[str] = []
    room_bytes = PAGE_BYTES_MAX
    after = ("", b"")
    position: bytes | None = span.start
    while position is not None:
        start, position = position, None
        for row_key, value in rows.scan(start, span.stop):
            if len(uploads) + len(prefixes) == limit or room_bytes <= 0:
                return UploadsFound(bucket, tuple(uploads), tuple(prefixes), after)
            group = group_of(row_key[_HEAD_BYTES:-_TAIL_BYTES], prefix, delimiter)
            if group is not None:
                prefixes.append(group.decode())
                after = (prefixes[-1], b"")
                position = successor(base + group)
                break
            upload = _decode_upload(value)
            uploads.append(upload)
            after = (upload.key, upload.upload_id)
            room_bytes -= len(value)
    return UploadsFound(bucket, tuple(uploads), tuple(prefixes), None)


def _span(base: bytes, prefix: bytes, delimiter: bytes, query: ListUploads) -> Span | None:
    after = query.after_key.encode()
    span = span_of(base, prefix)
    key = key_before(after)
    if span is None or not key:
        return span
    start = behind_group(base, key, prefix, delimiter)
    if start is None and query.after_id and key == after:
        start = base + key + b"\x00" + query.after_id[:UPLOAD_ID_BYTES] + b"\x00"
    start = max(span.start, start or behind(base, key))
    return Span(start, span.stop) if start < span.stop else None


def list_stale_uploads(rows: Reader, space: int, query: ListStaleUploads, rows_max: int) -> StaleUploadsFound | Failed:
    """Old uploads of all buckets, in order of their rows."""
    if len(query.cursor) > _CURSOR_BYTES_MAX:
        return refused("BadQuery", "the cursor is not one that was given")
    limit = min(max(query.limit, 1), LIST_LIMIT_MAX)
    found: list[tuple[str, str, bytes]] = []
    last = b""
    for looked, (row_key, upload) in enumerate(_uploads_behind(rows, space, query.cursor)):
        if looked == rows_max or len(found) == limit:
            return StaleUploadsFound(tuple(found), last[_SPACE_BYTES:])
        last = row_key
        if upload.created_ms < query.made_before_ms:
            found.append((_bucket_name(rows, row_key, space), upload.key, upload.upload_id))
    return StaleUploadsFound(tuple(found), None)


def _uploads_behind(rows: Reader, space: int, cursor: bytes) -> Iterator[tuple[bytes, Upload]]:
    begin = space_key(space, Kind.UPLOAD)
    start = begin + cursor + b"\x00" if cursor else begin
    for row_key, value in rows.scan(start, successor(begin)):
        yield row_key, _decode_upload(value)


def _bucket_name(rows: Reader, row_key: bytes, space: int) -> str:
    row = rows.get(bucket_key(space, int.from_bytes(row_key[_SPACE_BYTES:_HEAD_BYTES], "big")))
    assert row is not None, "a bucket with uploads stays"
    return decode_bucket(row).name
