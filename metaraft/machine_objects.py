"""Commands on objects. Pure: see `metaraft.machine`.

Rules: everything is checked before the first row is written; a version's revision and time are given here; in a
bucket without versioning the version that is replaced or deleted leaves its bucket and the usage at once, and its
references go to a trash row.
"""

from typing import NamedTuple

import msgspec

from metaraft.commands import (
    Condition,
    CopyObject,
    DeleteObject,
    Failed,
    ObjectDone,
    PutObject,
    Result,
)
from metaraft.conditions import Present, refused, unmet
from metaraft.machine_books import OWNER_BYTES_MAX, Books, encode, no_such_bucket
from metaraft.machine_chunks import Referenced, check_copy, check_new, discard, write
from metaraft.model import Assembled, Body, Bucket, DeleteMarker, Inline, Part, Parts, Version
from metaraft.rows import Trash, invalid_key, version_key, versions_key, versions_stop

_decode_version = msgspec.msgpack.Decoder(Version).decode


class _Current(NamedTuple):
    """A row and the version in it."""

    row_key: bytes
    version: Version


def _current(books: Books, versions: bytes) -> _Current | None:
    """The newest version of a key, found by one seek."""
    row = books.rows.first(versions, versions_stop(versions))
    return None if row is None else _Current(row[0], _decode_version(row[1]))


def _present(current: _Current | None) -> Present | None:
    if current is None or isinstance(current.version.body, DeleteMarker):
        return None
    return Present(current.version.etag, current.version.created_ms)


def put_object(books: Books, space: int, command: PutObject) -> Result:
    """A new current version with bytes of its own."""
    bucket = books.bucket(command.bucket)
    if bucket is None or bucket.space != space or bucket.bucket_id != command.bucket_id:
        return no_such_bucket(command.bucket)
    key = command.key.encode()
    reason = invalid_key(command.key, key)
    if reason is not None:
        return refused("InvalidKey", reason)
    if len(command.owner.encode()) > OWNER_BYTES_MAX:
        return refused("InvalidOwner", f"an owner has at most {OWNER_BYTES_MAX} bytes")
    reason = _invalid_body(command.body, command.size)
    if reason is not None:
        return refused("BadBody", reason)
    versions = versions_key(bucket.space, bucket.bucket_id, key)
    current = _current(books, versions)
    failed = unmet(command.condition, _present(current), command.key)
    if failed is not None:
        return failed
    changes: list[Referenced] = []
    if isinstance(command.body, Parts):
        checked = check_new(books, space, bucket.scheme, command.body.parts, command.chunks)
        if isinstance(checked, Failed):
            return checked
        changes = checked
    version = Version(
        revision=books.revise(space),
        created_ms=books.state.state_time_ms,
        size=command.size,
        etag=command.etag,
        content_type=command.content_type,
        body=command.body,
        headers=command.headers,
        user_metadata=command.user_metadata,
        checksums=command.checksums,
        owner=command.owner,
    )
    return _replace(books, bucket, command.key, versions, current, version, changes)


def _invalid_body(body: Body, size: int) -> str | None:
    match body:
        case Inline(data):
            return None if len(data) == size else f"the body has {len(data)} bytes, not {size}"
        case Parts(parts):
            for part in parts:
                reason = _invalid_part(part)
                if reason is not None:
                    return reason
            total = sum(part.size for part in parts)
            return None if total == size else f"the parts have {total} bytes, not {size}"
        case DeleteMarker():
            return "a delete marker is made by deleting"
        case Assembled():
            return "an assembled body is made by completing an upload"


def _invalid_part(part: Part) -> str | None:
    total = 0
    for ref in part.chunks:
        if ref.offset < 0 or ref.length < 1 or ref.offset + ref.length > ref.chunk_bytes:
            return f"bytes {ref.offset} to {ref.offset + ref.length} are not in a chunk of {ref.chunk_bytes} bytes"
        total += ref.length
    return None if total == part.size else f"a part's chunks have {total} bytes, not {part.size}"


def copy_object(books: Books, space: int, command: CopyObject) -> Result:
    """A new current version that refers to the bytes of another, as it is at this place in the log."""
    source_bucket = books.bucket(command.source_bucket)
    if source_bucket is None or source_bucket.space != space:
        return no_such_bucket(command.source_bucket)
    bucket = books.bucket(command.bucket)
    if bucket is None or bucket.space != space:
        return no_such_bucket(command.bucket)
    key = command.key.encode()
    reason = invalid_key(command.key, key)
    if reason is not None:
        return refused("InvalidKey", reason)
    if len(command.owner.encode()) > OWNER_BYTES_MAX:
        return refused("InvalidOwner", f"an owner has at most {OWNER_BYTES_MAX} bytes")
    source = _source(books, source_bucket, command.source_key, command.source_condition)
    if isinstance(source, Failed):
        return source
    versions = versions_key(bucket.space, bucket.bucket_id, key)
    current = _current(books, versions)
    failed = unmet(command.condition, _present(current), command.key)
    if failed is not None:
        return failed
    changes = check_copy(books, space, source.body.parts) if isinstance(source.body, Parts) else []
    replaced = command.replace or (source.content_type, source.headers, source.user_metadata)
    version = msgspec.structs.replace(
        source,
        revision=books.revise(space),
        created_ms=books.state.state_time_ms,
        content_type=replaced[0],
        headers=replaced[1],
        user_metadata=replaced[2],
        owner=command.owner,
    )
    return _replace(books, bucket, command.key, versions, current, version, changes)


def _source(books: Books, bucket: Bucket, key: str, condition: Condition) -> Version | Failed:
    """The version to copy from, if its condition holds."""
    encoded = key.encode()
    found = None
    if invalid_key(key, encoded) is None:
        found = _current(books, versions_key(bucket.space, bucket.bucket_id, encoded))
    if found is None or isinstance(found.version.body, DeleteMarker):
        return refused("NoSuchKey", f"there is no {key!r} in the bucket {bucket.name!r}")
    failed = unmet(condition, _present(found), key)
    return found.version if failed is None else failed


def delete_object(books: Books, space: int, command: DeleteObject) -> Result:
    """Take the current version out."""
    bucket = books.bucket(command.bucket)
    if bucket is None or bucket.space != space:
        return no_such_bucket(command.bucket)
    key = command.key.encode()
    current = None
    if invalid_key(command.key, key) is None:
        current = _current(books, versions_key(bucket.space, bucket.bucket_id, key))
    failed = unmet(command.condition, _present(current), command.key)
    if failed is not None:
        return failed
    now = books.state.state_time_ms
    if current is None:
        return ObjectDone(books.revision(space), now, "", existed=False)
    revision = books.revise(space)
    _take_out(books, bucket, command.key, current, revision)
    return ObjectDone(revision, now, "", existed=True)


def _replace(
    books: Books,
    bucket: Bucket,
    key: str,
    versions: bytes,
    current: _Current | None,
    version: Version,
    changes: list[Referenced],
) -> Result:
    """Make `version` the only one of its key."""
    write(books, bucket.space, changes)
    if current is not None:
        _take_out(books, bucket, key, current, version.revision)
    books.rows.insert(version_key(versions, version.revision), encode(version))
    books.use(bucket, version.owner, version.size, 1)
    return ObjectDone(version.revision, version.created_ms, version.etag, existed=_present(current) is not None)


def _take_out(books: Books, bucket: Bucket, key: str, current: _Current, revision: int) -> None:
    """Move a version to the trash: its usage ends now, its references later."""
    gone = current.version
    books.rows.delete(current.row_key)
    books.use(bucket, gone.owner, -gone.size, -1)
    if isinstance(gone.body, Parts):
        trash = Trash(bucket.bucket_id, key, gone.revision, gone.body.parts)
        discard(books, bucket.space, revision, trash)
