"""Commands on objects. Pure: see `metaraft.machine`, and `metaraft.machine_versions` for what a new version replaces.

Rules: everything is checked before the first row is written; a version's revision and time are given here; what is
replaced or deleted leaves its bucket and the usage at once, and its references go to a trash row.
"""

import msgspec

from metaraft.commands import (
    CopyObject,
    DeleteObject,
    PutObject,
    SetTags,
)
from metaraft.conditions import refused, unmet
from metaraft.machine_books import Books, no_such_bucket
from metaraft.machine_chunks import Referenced, check_copy, check_new, write
from metaraft.machine_trash import share
from metaraft.machine_versions import (
    Found,
    Place,
    add,
    bucket_of,
    done,
    invalid_owner,
    makes_null,
    named,
    newest,
    place_of,
    present,
    retag,
    take_out,
    wanted,
)
from metaraft.model import (
    Assembled,
    Body,
    Checksum,
    ChecksumAlgorithm,
    DeleteMarker,
    Inline,
    Part,
    Parts,
    Version,
)
from metaraft.results import (
    Failed,
    ObjectDone,
    Result,
)


def put_object(books: Books, space: int, command: PutObject) -> Result:
    """A new current version with bytes of its own."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    if bucket.bucket_id != command.bucket_id:
        return no_such_bucket(command.bucket)
    place = place_of(bucket, command.key)
    if isinstance(place, Failed):
        return place
    failed = invalid_owner(command.owner)
    if failed is not None:
        return failed
    reason = _invalid_body(command.body, command.size)
    if reason is not None:
        return refused("BadBody", reason)
    first = newest(books, place)
    failed = unmet(command.condition, present(first), command.key)
    if failed is not None:
        return failed
    changes: list[Referenced] = []
    if isinstance(command.body, Parts):
        checked = check_new(books, space, place.bucket.scheme, command.body.parts, command.chunks)
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
        null=makes_null(place.bucket),
        tags=command.tags,
    )
    write(books, space, changes)
    return add(books, place, first, version)


def _invalid_body(body: Body, size: int) -> str | None:
    match body:
        case Inline(data):
            return None if len(data) == size else f"the body has {len(data)} bytes, not {size}"
        case Parts(parts):
            for part in parts:
                reason = invalid_part(part)
                if reason is not None:
                    return reason
            total = sum(part.size for part in parts)
            return None if total == size else f"the parts have {total} bytes, not {size}"
        case DeleteMarker():
            return "a delete marker is made by deleting"
        case Assembled():
            return "an assembled body is made by completing an upload"


def invalid_part(part: Part) -> str | None:
    """Why a part's references do not fit together, or None."""
    total = 0
    for ref in part.chunks:
        if ref.offset < 0 or ref.length < 1 or ref.offset + ref.length > ref.chunk_bytes:
            return f"bytes {ref.offset} to {ref.offset + ref.length} are not in a chunk of {ref.chunk_bytes} bytes"
        total += ref.length
    return None if total == part.size else f"a part's chunks have {total} bytes, not {part.size}"


def copy_object(books: Books, space: int, command: CopyObject) -> Result:
    """A new current version that refers to the bytes of another, as it is at this place in the log."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    place = place_of(bucket, command.key)
    if isinstance(place, Failed):
        return place
    failed = invalid_owner(command.owner)
    if failed is not None:
        return failed
    source_bucket = bucket_of(books, space, command.source_bucket)
    if isinstance(source_bucket, Failed):
        return source_bucket
    found = wanted(books, source_bucket, command.source_key, command.source_which)
    if isinstance(found, Failed):
        return found
    source = found.version
    failed = unmet(command.source_condition, present(found), command.source_key)
    if failed is None and command.source_revision is not None:
        failed = changed(source, command.source_revision)
    if failed is not None:
        return failed
    first = newest(books, place)
    failed = unmet(command.condition, present(first), command.key)
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
        checksums=_added(source.checksums, command.checksums),
        owner=command.owner,
        null=makes_null(place.bucket),
        tags=source.tags if command.replace_tags is None else command.replace_tags,
    )
    write(books, space, changes)
    if isinstance(source.body, Assembled):
        share(books, space, source.body.upload_id)
    return add(books, place, first, version)


def changed(source: Version, revision: int) -> Failed | None:
    """The refusal if the source of a copy is no longer the version that the caller has read."""
    if source.revision == revision:
        return None
    message = f"the source is the version of revision {source.revision} by now, not of {revision}"
    return Failed("unavailable", "SourceChanged", message)


def _added(
    present: dict[ChecksumAlgorithm, Checksum], asked: dict[ChecksumAlgorithm, Checksum]
) -> dict[ChecksumAlgorithm, Checksum]:
    """A copy's checksums. What was asked for comes first: the first is the one that is shown."""
    return asked | {algorithm: one for algorithm, one in present.items() if algorithm not in asked}


def delete_object(books: Books, space: int, command: DeleteObject) -> Result:
    """Take a version out; or, where versions are kept and none is named, make a delete marker the newest."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    failed = invalid_owner(command.owner)
    if failed is not None:
        return failed
    which = command.which
    place = place_of(bucket, command.key)
    first = found = None
    if isinstance(place, Place):
        first = newest(books, place)
        found = first if which is None else named(books, place, which, first)
    failed = unmet(command.condition, present(found), command.key)
    if failed is not None:
        return failed
    now = books.state.state_time_ms
    if isinstance(place, Place) and which is None and bucket.versioning != "off":
        return _mark(books, place, first, command.owner)
    if first is None or found is None or isinstance(place, Failed):
        null = which is None or which.revision is None
        return ObjectDone(books.revision(space), now, "", existed=False, null=null, versioning=bucket.versioning)
    revision = books.revise(space)
    take_out(books, place, first, found, revision)
    return ObjectDone(
        revision,
        now,
        "",
        existed=True,
        null=found.version.null,
        delete_marker=found.is_marker,
        versioning=bucket.versioning,
    )


def _mark(books: Books, place: Place, first: Found | None, owner: str) -> ObjectDone:
    marker = Version(
        revision=books.revise(place.bucket.space),
        created_ms=books.state.state_time_ms,
        size=0,
        etag="",
        content_type="",
        body=DeleteMarker(),
        owner=owner,
        null=makes_null(place.bucket),
    )
    return add(books, place, first, marker)


def set_tags(books: Books, space: int, command: SetTags) -> Result:
    """Replace the tags of a version, which stays what it is."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    found = wanted(books, bucket, command.key, command.which)
    if isinstance(found, Failed):
        return found
    books.revise(space)
    retag(books, found, command.tags)
    return done(found.version, bucket.versioning, existed=True)
