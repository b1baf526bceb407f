"""The versions of one key: which is the newest, which the null version, how one is added or taken out. Pure.

Rules (S3 User Guide: 'Retaining multiple versions of objects with S3 Versioning', 'How S3 Versioning works'):
* A key's versions are rows, the newest first. A version is null if it was made while its bucket's versioning was off
  or suspended; a key has one null version at most.
* **The null version is the newest of its key, or the key's NULL row names it**: there is a NULL row if and only if
  the null version is not the newest. So it is found by two reads however many versions a key has, and each operation
  here touches O(1) rows.
* A new version takes the null version's place if it is null itself, wherever that stands; else it stands beside the
  others. Versioning is never off again, so where it is off a key has no version but a null one.
* Each version counts with its bytes and as one object in the usage of its bucket and owner, a delete marker with
  neither.
"""

from typing import NamedTuple

import msgspec

from metaraft.conditions import Present, refused
from metaraft.machine_books import OWNER_BYTES_MAX, Books, encode, no_such_bucket
from metaraft.machine_trash import Given, discard, give_up
from metaraft.model import Bucket, DeleteMarker, Version, Versioning, Which
from metaraft.results import (
    Failed,
    ObjectDone,
)
from metaraft.rows import (
    REVISION_MAX,
    PartRows,
    Trash,
    invalid_key,
    null_key,
    version_key,
    versions_key,
    versions_stop,
)

_decode_version = msgspec.msgpack.Decoder(Version).decode
_decode_revision = msgspec.msgpack.Decoder(int).decode


class Place(NamedTuple):
    """A key in a bucket, and what the keys of its versions' rows begin with."""

    bucket: Bucket
    key: str
    versions: bytes

    @property
    def null_row(self) -> bytes:
        """Key of the NULL row."""
        return null_key(self.bucket.space, self.bucket.bucket_id, self.key.encode())


class Found(NamedTuple):
    """A row and the version in it."""

    row_key: bytes
    version: Version

    @property
    def is_marker(self) -> bool:
        """Whether it says that the key was deleted."""
        return isinstance(self.version.body, DeleteMarker)


# ---- finding


def bucket_of(books: Books, space: int, name: str) -> Bucket | Failed:
    """The bucket of that name. Refused: NoSuchBucket."""
    bucket = books.bucket(name)
    return no_such_bucket(name) if bucket is None or bucket.space != space else bucket


def place_of(bucket: Bucket, key: str) -> Place | Failed:
    """Where a key is, or may be. Refused: InvalidKey."""
    encoded = key.encode()
    reason = invalid_key(key, encoded)
    if reason is not None:
        return refused("InvalidKey", reason)
    return Place(bucket, key, versions_key(bucket.space, bucket.bucket_id, encoded))


def invalid_owner(owner: str) -> Failed | None:
    """The refusal of an owner that no row could keep."""
    if len(owner.encode()) > OWNER_BYTES_MAX:
        return refused("InvalidOwner", f"an owner has at most {OWNER_BYTES_MAX} bytes")
    return None


def newest(books: Books, place: Place) -> Found | None:
    """The newest version of a key, which may be a delete marker. One seek."""
    row = books.rows.first(place.versions, versions_stop(place.versions))
    return None if row is None else Found(row[0], _decode_version(row[1]))


def at(books: Books, place: Place, revision: int) -> Found | None:
    """The version that the mutation of that revision made."""
    row_key = version_key(place.versions, revision)
    row = books.rows.get(row_key)
    return None if row is None else Found(row_key, _decode_version(row))


def named(books: Books, place: Place, which: Which, first: Found | None) -> Found | None:
    """The version of that name; `first` is the key's newest. A null version has no other name than null."""
    if which.revision is None:
        return _null(books, place, first)
    found = at(books, place, which.revision) if 0 <= which.revision <= REVISION_MAX else None
    return None if found is None or found.version.null else found


def _null(books: Books, place: Place, first: Found | None) -> Found | None:
    """The null version of a key; `first` is its newest."""
    if first is None:
        return None
    if place.bucket.versioning == "off":
        assert first.version.null, "where versioning is off all versions are null"
        return first
    row = books.rows.get(place.null_row)
    if first.version.null:
        assert row is None, "a NULL row does not name the newest version"
        return first
    if row is None:
        return None
    found = at(books, place, _decode_revision(row))
    assert found is not None, "a NULL row names a version that is there"
    assert found.version.null, "a NULL row names a null version"
    return found


def wanted(books: Books, bucket: Bucket, key: str, which: Which | None) -> Found | Failed:
    """A version with bytes: the current one, or `which`.

    Refused: NoSuchKey; NoSuchVersion and VersionIsDeleteMarker for `which`.
    """
    place = place_of(bucket, key)
    found = None
    if isinstance(place, Place):
        first = newest(books, place)
        found = first if which is None else named(books, place, which, first)
    if found is None or (which is None and found.is_marker):
        said = f"there is no {key!r} in the bucket {bucket.name!r}"
        return refused("NoSuchKey", said) if which is None else refused("NoSuchVersion", f"{said} of that version")
    if found.is_marker:
        return refused("VersionIsDeleteMarker", f"that version of {key!r} is a delete marker")
    return found


def present(found: Found | None) -> Present | None:
    """What a condition looks at: a delete marker is no object."""
    if found is None or found.is_marker:
        return None
    return Present(found.version.etag, found.version.created_ms, found.version.size)


# ---- adding and taking out


def makes_null(bucket: Bucket) -> bool:
    """Whether a version that is made now in a bucket is a null version."""
    return bucket.versioning != "enabled"


def add(
    books: Books, place: Place, first: Found | None, version: Version, unlisted: tuple[PartRows, ...] = ()
) -> ObjectDone:
    """Make `version` the newest of its key, of which `first` was it; what it replaces goes to the trash, and so do
    `unlisted` parts. Its references were written before, so that what it shares with what it replaces stays."""
    rows = books.rows
    assert version.null == makes_null(place.bucket), "a version is made as its bucket's versioning has it"
    replaced = _null(books, place, first) if version.null else None
    given = Given()
    if replaced is not None:
        given = _remove(books, place, replaced)
        if replaced is not first:
            rows.delete(place.null_row)
    elif not version.null and first is not None and first.version.null:
        rows.insert(place.null_row, encode(first.version.revision))
    rows.insert(version_key(place.versions, version.revision), encode(version))
    _use(books, place.bucket, version, 1)
    gone = 0 if replaced is None else replaced.version.revision
    trash = Trash(place.bucket.bucket_id, place.key, gone, given.parts, given.rows + unlisted)
    discard(books, place.bucket.space, version.revision, trash)
    return done(version, place.bucket.versioning, existed=present(first) is not None)


def take_out(books: Books, place: Place, first: Found, found: Found, revision: int) -> None:
    """Take one version out for good, by the mutation `revision`; `first` is the key's newest."""
    rows = books.rows
    given = _remove(books, place, found)
    if found.row_key != first.row_key:
        if found.version.null:
            rows.delete(place.null_row)
    elif place.bucket.versioning != "off":
        heir = newest(books, place)
        if heir is not None and heir.version.null:
            rows.delete(place.null_row)
    trash = Trash(place.bucket.bucket_id, place.key, found.version.revision, given.parts, given.rows)
    discard(books, place.bucket.space, revision, trash)


def retag(books: Books, found: Found, tags: dict[str, str]) -> None:
    """Write a version's tags; all else of it stays."""
    books.rows.put(found.row_key, encode(msgspec.structs.replace(found.version, tags=tags)))


def _remove(books: Books, place: Place, found: Found) -> Given:
    """Remove a version's row: its usage ends now, its references later."""
    books.rows.delete(found.row_key)
    _use(books, place.bucket, found.version, -1)
    return give_up(books, place.bucket.space, found.version.body)


def _use(books: Books, bucket: Bucket, version: Version, sign: int) -> None:
    if not isinstance(version.body, DeleteMarker):
        books.use(bucket, version.owner, sign * version.size, sign)


def done(version: Version, versioning: Versioning, *, existed: bool) -> ObjectDone:
    """What is told of a version that was made."""
    return ObjectDone(
        revision=version.revision,
        created_ms=version.created_ms,
        etag=version.etag,
        existed=existed,
        null=version.null,
        delete_marker=isinstance(version.body, DeleteMarker),
        size=version.size,
        checksums=version.checksums,
        versioning=versioning,
    )
