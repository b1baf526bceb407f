"""Multipart uploads: begun, completed, aborted. Pure: see `metaraft.machine`, and `metaraft.machine_parts` for parts.

Rules: everything is checked before the first row is written; an upload's id is the revision that began it and a nonce,
so ids sort by their beginning and none comes twice; completing leaves the parts where they are and makes a version
that names them, O(parts) without their references; aborting is O(1). What is not needed goes to a trash row.

Completing again is answered as the first time, because a client that lost the answer asks again: the ASSEMBLY row
remembers what the version was made of. That ends with this version.
"""

import struct
from collections.abc import Iterable

from metaraft.commands import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
)
from metaraft.conditions import refused, unmet
from metaraft.machine_books import Books, encode
from metaraft.machine_parts import begun, sizes
from metaraft.machine_trash import assembly, discard
from metaraft.machine_versions import (
    Place,
    add,
    at,
    bucket_of,
    done,
    invalid_owner,
    makes_null,
    newest,
    place_of,
    present,
)
from metaraft.model import Assembled, Bucket, Upload, Version
from metaraft.results import (
    Done,
    Failed,
    ObjectDone,
    Result,
    UploadDone,
)
from metaraft.rows import Assembly, PartRows, Trash, assembly_key, parts_key, successor, upload_key

NONCE_BYTES = 8

_REVISION = struct.Struct(">Q")


def create_upload(books: Books, space: int, command: CreateUpload) -> Result:
    """Begin an upload."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    place = place_of(bucket, command.key)
    if isinstance(place, Failed):
        return place
    failed = invalid_owner(command.owner)
    if failed is not None:
        return failed
    if len(command.nonce) != NONCE_BYTES:
        return refused("BadCommand", f"a nonce has {NONCE_BYTES} bytes, not {len(command.nonce)}")
    upload = Upload(
        upload_id=_REVISION.pack(books.revise(space)) + command.nonce,
        key=command.key,
        created_ms=books.state.state_time_ms,
        generation=0,
        owner=command.owner,
        content_type=command.content_type,
        headers=command.headers,
        user_metadata=command.user_metadata,
        tags=command.tags,
        checksum=command.checksum,
    )
    row_key = upload_key(space, bucket.bucket_id, command.key.encode(), upload.upload_id)
    books.rows.insert(row_key, encode(upload))
    return UploadDone(upload)


def complete_upload(books: Books, space: int, command: CompleteUpload) -> Result:
    """Make the object of an upload."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    found = begun(books, bucket, command.key, command.upload_id)
    if isinstance(found, Failed):
        return _completed(books, bucket, command) or found
    upload = found.upload
    if not command.parts or any(one >= other for one, other in zip(command.parts, command.parts[1:], strict=False)):
        return refused("BadCommand", "an object is made of one part at least, and their numbers ascend")
    if command.generation != upload.generation:
        message = f"the upload's parts are of generation {upload.generation} by now, not of {command.generation}"
        return Failed("unavailable", "UploadChanged", message)
    there = sizes(books, space, upload.upload_id)
    for number in command.parts:
        if number not in there:
            return refused("InvalidPart", f"the upload has no part {number}")
    place = place_of(bucket, command.key)
    assert isinstance(place, Place), "an upload's key was checked when it was begun"
    first = newest(books, place)
    failed = unmet(command.condition, present(first), command.key)
    if failed is not None:
        return failed
    version = Version(
        revision=books.revise(space),
        created_ms=books.state.state_time_ms,
        size=sum(there[number] for number in command.parts),
        etag=command.etag,
        content_type=upload.content_type,
        body=Assembled(upload.upload_id, tuple((number, there[number]) for number in command.parts)),
        headers=upload.headers,
        user_metadata=upload.user_metadata,
        checksums=command.checksums,
        owner=upload.owner,
        null=makes_null(bucket),
        tags=upload.tags,
    )
    existed = present(first) is not None
    made = Assembly(1, version.revision, existed, bucket.versioning)
    books.rows.delete(found.row_key)
    books.rows.insert(assembly_key(space, upload.upload_id), encode(made))
    return add(books, place, first, version, _unlisted(upload.upload_id, there, command.parts))


def _unlisted(upload_id: bytes, there: Iterable[int], listed: Iterable[int]) -> tuple[PartRows, ...]:
    wanted = frozenset(listed)
    numbers = tuple(number for number in there if number not in wanted)
    return (PartRows(upload_id, numbers),) if numbers else ()


def _completed(books: Books, bucket: Bucket, command: CompleteUpload) -> ObjectDone | None:
    """The answer that this upload was completed with, as long as what it made is there."""
    made = assembly(books, bucket.space, command.upload_id)
    place = place_of(bucket, command.key)
    if made is None or isinstance(place, Failed):
        return None
    found = at(books, place, made.revision)  # no other key has a version of that revision
    if found is None or found.version.etag != command.etag:
        return None
    return done(found.version, made.versioning, existed=made.existed)


def abort_upload(books: Books, space: int, command: AbortUpload) -> Result:
    """End an upload and give its parts up."""
    bucket = bucket_of(books, space, command.bucket)
    if isinstance(bucket, Failed):
        return bucket
    found = begun(books, bucket, command.key, command.upload_id)
    if isinstance(found, Failed):
        return found
    created_ms = found.upload.created_ms
    if command.made_before_ms is not None and created_ms >= command.made_before_ms:
        return refused("NotStale", f"the upload was begun at {created_ms}, not before {command.made_before_ms}")
    revision = books.revise(space)
    books.rows.delete(found.row_key)
    heads = parts_key(space, command.upload_id)
    if books.rows.first(heads, successor(heads)) is not None:
        trash = Trash(bucket.bucket_id, command.key, 0, (), (PartRows(command.upload_id),))
        discard(books, space, revision, trash)
    return Done(revision)
