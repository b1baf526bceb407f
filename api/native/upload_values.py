"""The JSON of uploads and their parts. Field names are the contract; a field is only ever added."""

from collections.abc import Mapping

import msgspec

from api.native.values import hex_of
from api.operations.values import PartStored
from api.operations.versions import upload_id
from api.times import iso_time
from metaraft.model import Checksum, ChecksumAlgorithm, PartHead, Upload
from metaraft.queries import PartsListed


class UploadEntry(msgspec.Struct):
    """An upload in a listing and as begun."""

    upload_id: str
    bucket: str
    key: str
    created: str


class UploadPage(msgspec.Struct):
    """One page of uploads."""

    uploads: list[UploadEntry]
    prefixes: tuple[str, ...]
    cursor: str | None


class PartEntry(msgspec.Struct):
    """A part of an upload, as put and in a listing."""

    number: int
    size: int
    etag: str
    sha256: str | None
    blake3: str | None
    crc64nvme: str | None
    created: str


class UploadMetadata(msgspec.Struct):
    """An upload with one page of its parts."""

    upload_id: str
    bucket: str
    key: str
    created: str
    content_type: str
    metadata: dict[str, str]
    headers: dict[str, str]
    parts: list[PartEntry]
    cursor: str | None


def upload_entry(bucket: str, upload: Upload) -> UploadEntry:
    """An upload without its parts."""
    return UploadEntry(upload_id(upload.upload_id), bucket, upload.key, iso_time(upload.created_ms))


def upload_metadata(bucket: str, listed: PartsListed, cursor: str | None) -> UploadMetadata:
    """An upload with those of its parts that were listed."""
    upload = listed.upload
    return UploadMetadata(
        upload_id=upload_id(upload.upload_id),
        bucket=bucket,
        key=upload.key,
        created=iso_time(upload.created_ms),
        content_type=upload.content_type,
        metadata=upload.user_metadata,
        headers=upload.headers,
        parts=[_head(head) for head in listed.parts],
        cursor=cursor,
    )


def part_stored(number: int, stored: PartStored) -> PartEntry:
    """A part as it was made."""
    return _part(number, stored.size, stored.etag, stored.checksums, stored.created_ms)


def _head(head: PartHead) -> PartEntry:
    return _part(head.number, head.size, head.etag, head.checksums, head.created_ms)


def _part(
    number: int, size: int, etag: str, checksums: Mapping[ChecksumAlgorithm, Checksum], created_ms: int
) -> PartEntry:
    return PartEntry(
        number=number,
        size=size,
        etag=etag,
        sha256=hex_of(checksums, "SHA256"),
        blake3=hex_of(checksums, "BLAKE3"),
        crc64nvme=hex_of(checksums, "CRC64NVME"),
        created=iso_time(created_ms),
    )
