"""One page of all versions and delete markers of a bucket, in byte order of the keys, the newest of a key first. Pure
reads.

Every row looked at is an entry or stands for a common prefix, so a page reads one row for each of its entries. A marker
is a place in that order and need not be a version that is (still) there.
"""

import msgspec

from cluster.limits import LIST_LIMIT_MAX
from metaraft.listing import decode_head
from metaraft.listing_places import Span, behind, behind_group, group_of, key_before, span_of
from metaraft.model import Bucket
from metaraft.queries import (
    ListedVersion,
    ListVersions,
    VersionsFound,
)
from metaraft.rows import (
    REVISION_MAX,
    VERSION_HEAD_BYTES,
    VERSION_TAIL_BYTES,
    Kind,
    Reader,
    bucket_key,
    null_key,
    successor,
    version_key,
    versions_key,
    versions_stop,
)

_decode_revision = msgspec.msgpack.Decoder(int).decode


def list_versions(rows: Reader, bucket: Bucket, query: ListVersions, rows_max: int) -> VersionsFound:
    """The page that `query` asks for, looking at `rows_max` rows at most."""
    base = bucket_key(bucket.space, bucket.bucket_id, Kind.VERSION)
    prefix, delimiter = query.prefix.encode(), query.delimiter.encode()
    span = _span(rows, bucket, base, query)
    limit = min(query.limit, LIST_LIMIT_MAX, rows_max)
    if span is None or limit < 1:
        return VersionsFound(bucket, (), (), None)
    versions: list[ListedVersion] = []
    prefixes: list[str] = []
    last = b""
    after: tuple[str, int | None] | None = None
    position: bytes | None = span.start
    while position is not None:
        start, position = position, None
        for row_key, value in rows.scan(start, span.stop):
            if len(versions) + len(prefixes) == limit:
                return VersionsFound(bucket, tuple(versions), tuple(prefixes), after)
            key = row_key[VERSION_HEAD_BYTES:-VERSION_TAIL_BYTES]
            group = group_of(key, prefix, delimiter)
            if group is not None:
                prefixes.append(group.decode())
                after = (prefixes[-1], None)
                position = successor(base + group)
                break
            latest = key != last
            if latest and not versions:
                # The page may begin among this key's versions.
                latest = _newest(rows, bucket, key) == row_key
            last = key
            versions.append(_listed(key.decode(), value, latest=latest))
            after = (versions[-1].key, versions[-1].revision)
    return VersionsFound(bucket, tuple(versions), tuple(prefixes), None)


def _span(rows: Reader, bucket: Bucket, base: bytes, query: ListVersions) -> Span | None:
    prefix = query.prefix.encode()
    after = query.after_key.encode()
    span = span_of(base, prefix)
    key = key_before(after)
    if span is None or not key:
        return span
    start = behind_group(base, key, prefix, query.delimiter.encode())
    if start is None:
        start = _behind_version(rows, bucket, key, query) if key == after else behind(base, key)
    start = max(span.start, start)
    return Span(start, span.stop) if start < span.stop else None


def _behind_version(rows: Reader, bucket: Bucket, key: bytes, query: ListVersions) -> bytes:
    versions = versions_key(bucket.space, bucket.bucket_id, key)
    if query.after_null:
        null = _null(rows, bucket, key)
        return versions if null is None else null + b"\x00"
    if query.after_revision is None:
        return versions_stop(versions)
    return version_key(versions, min(max(query.after_revision, 0), REVISION_MAX)) + b"\x00"


def _null(rows: Reader, bucket: Bucket, key: bytes) -> bytes | None:
    """Key of the row of a key's null version, which may be gone since it was a marker: then the key's versions are
    listed from the newest on, because to list some twice is better than to miss some."""
    versions = versions_key(bucket.space, bucket.bucket_id, key)
    newest = rows.first(versions, versions_stop(versions))
    if newest is not None and decode_head(newest[1]).null:
        return newest[0]
    row = rows.get(null_key(bucket.space, bucket.bucket_id, key))
    return None if row is None else version_key(versions, _decode_revision(row))


def _newest(rows: Reader, bucket: Bucket, key: bytes) -> bytes:
    versions = versions_key(bucket.space, bucket.bucket_id, key)
    newest = rows.first(versions, versions_stop(versions))
    assert newest is not None, "one of them was seen"
    return newest[0]


def _listed(key: str, value: bytes, *, latest: bool) -> ListedVersion:
    head = decode_head(value)
    return ListedVersion(
        key=key,
        revision=head.revision,
        null=head.null,
        latest=latest,
        delete_marker=head.delete_marker,
        created_ms=head.created_ms,
        size=head.size,
        etag=head.etag,
        owner=head.owner,
        checksums=head.checksums,
    )
