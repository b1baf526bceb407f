"""The JSON of the native dialect's answers. Field names are the contract; a field is only ever added."""

import base64
from collections.abc import Mapping

import msgspec

from api.layout import parts_count
from api.operations.values import Written
from api.operations.versions import shown_version, version_id
from api.times import iso_time
from metaraft.model import Bucket, Checksum, ChecksumAlgorithm, Coded, Copies, Scheme, Usage, Versioning
from metaraft.queries import ListedObject, ListedVersion, ObjectFound


class ObjectEntry(msgspec.Struct):
    """An object in a listing."""

    key: str
    size: int
    etag: str
    sha256: str | None
    content_type: str
    created: str
    revision: int


class ObjectPage(msgspec.Struct):
    """One page of objects."""

    objects: list[ObjectEntry]
    prefixes: tuple[str, ...]
    cursor: str | None


class ObjectMetadata(msgspec.Struct):
    """All that is known of an object but its bytes."""

    bucket: str
    key: str
    size: int
    content_type: str
    metadata: dict[str, str]
    headers: dict[str, str]
    created: str
    etag: str
    sha256: str | None
    blake3: str | None
    crc64nvme: str | None
    revision: int
    version_id: str | None
    parts: int | None


class VersionEntry(msgspec.Struct):
    """A version or delete marker in a listing; a delete marker has neither bytes nor ETag."""

    key: str
    version_id: str
    latest: bool
    delete_marker: bool
    size: int
    etag: str | None
    sha256: str | None
    created: str
    revision: int


class VersionPage(msgspec.Struct):
    """One page of versions."""

    versions: list[VersionEntry]
    prefixes: tuple[str, ...]
    cursor: str | None


class ObjectStored(msgspec.Struct):
    """Answer to what makes an object. `version_id` is null while the bucket's versioning is off."""

    bucket: str
    key: str
    size: int | None
    etag: str
    sha256: str | None
    blake3: str | None
    created: str
    revision: int
    version_id: str | None


class BucketEntry(msgspec.Struct):
    """A bucket in a listing and as made."""

    name: str
    created: str
    owner: str
    copies: int | None
    versioning: Versioning


class BucketMetadata(msgspec.Struct):
    """A bucket with its exact usage."""

    name: str
    created: str
    owner: str
    copies: int | None
    versioning: Versioning
    objects: int
    bytes: int


class BucketVersioning(msgspec.Struct):
    """Whether a bucket keeps versions."""

    versioning: Versioning


class BucketPage(msgspec.Struct):
    """One page of buckets."""

    buckets: list[BucketEntry]
    cursor: str | None


def hex_of(checksums: Mapping[ChecksumAlgorithm, Checksum], algorithm: ChecksumAlgorithm) -> str | None:
    """A checksum over the whole object in hex."""
    found = checksums.get(algorithm)
    return None if found is None or found.type != "FULL_OBJECT" else found.value.hex()


def repr_digest(checksums: Mapping[ChecksumAlgorithm, Checksum]) -> str | None:
    """The value of Repr-Digest (RFC 9530)."""
    found = checksums.get("SHA256")
    if found is None or found.type != "FULL_OBJECT":
        return None
    return f"sha-256=:{base64.b64encode(found.value).decode()}:"


def metadata(key: str, found: ObjectFound) -> ObjectMetadata:
    """A version as JSON shows it."""
    version = found.version
    return ObjectMetadata(
        bucket=found.bucket.name,
        key=key,
        size=version.size,
        content_type=version.content_type,
        metadata=version.user_metadata,
        headers=version.headers,
        created=iso_time(version.created_ms),
        etag=version.etag,
        sha256=hex_of(version.checksums, "SHA256"),
        blake3=hex_of(version.checksums, "BLAKE3"),
        crc64nvme=hex_of(version.checksums, "CRC64NVME"),
        revision=version.revision,
        version_id=shown_version(found.bucket, version),
        parts=parts_count(version),
    )


def stored(written: Written) -> ObjectStored:
    """What was made."""
    return ObjectStored(
        bucket=written.bucket,
        key=written.key,
        size=written.size,
        etag=written.etag,
        sha256=hex_of(written.checksums, "SHA256"),
        blake3=hex_of(written.checksums, "BLAKE3"),
        created=iso_time(written.created_ms),
        revision=written.revision,
        version_id=written.version_id,
    )


def entry(listed: ListedObject) -> ObjectEntry:
    """An object in a listing."""
    return ObjectEntry(
        key=listed.key,
        size=listed.size,
        etag=listed.etag,
        sha256=None if listed.sha256 is None else listed.sha256.hex(),
        content_type=listed.content_type,
        created=iso_time(listed.created_ms),
        revision=listed.revision,
    )


def version_entry(listed: ListedVersion) -> VersionEntry:
    """A version or delete marker in a listing."""
    return VersionEntry(
        key=listed.key,
        version_id=version_id(listed.revision, listed.null),
        latest=listed.latest,
        delete_marker=listed.delete_marker,
        size=listed.size,
        etag=None if listed.delete_marker else listed.etag,
        sha256=hex_of(listed.checksums, "SHA256"),
        created=iso_time(listed.created_ms),
        revision=listed.revision,
    )


def bucket_entry(bucket: Bucket) -> BucketEntry:
    """A bucket without its usage."""
    return BucketEntry(
        bucket.name, iso_time(bucket.created_ms), bucket.owner, _copies(bucket.scheme), bucket.versioning
    )


def bucket_metadata(bucket: Bucket, usage: Usage) -> BucketMetadata:
    """A bucket with its usage."""
    return BucketMetadata(
        name=bucket.name,
        created=iso_time(bucket.created_ms),
        owner=bucket.owner,
        copies=_copies(bucket.scheme),
        versioning=bucket.versioning,
        objects=usage.objects,
        bytes=usage.bytes,
    )


def _copies(scheme: Scheme) -> int | None:
    match scheme:
        case Copies(n):
            return n
        case Coded():
            return None
