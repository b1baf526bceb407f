"""Pages of listings as XML. Pure, and quick: a page of 1,000 keys is a few string formats for each.

Source: S3 API reference, ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads, in the order that S3
sends. Markers and prefixes that were not given are empty elements, a delimiter that was not given is none.
"""

from collections.abc import Iterable, Mapping

from api.access.decisions import Principal
from api.operations.listing import Page
from api.operations.versions import upload_id, version_id
from api.s3 import xml
from api.s3.checksums import ALGORITHMS
from api.s3.owners import owner
from api.s3.paging import Asked
from api.s3.refusals import STORAGE_CLASS
from api.times import iso_time
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, Upload
from metaraft.queries import ListedObject, ListedVersion, UploadsFound, VersionsFound

_TYPES: tuple[ChecksumType, ...] = ("FULL_OBJECT", "COMPOSITE")

_CLASS = f"<StorageClass>{STORAGE_CLASS}</StorageClass>"


class Owners:
    """Owners of one page, each written once."""

    def __init__(self, asking: Principal) -> None:
        self._asking = asking
        self._written: dict[str, str] = {}

    def of(self, owner_id: str) -> str:
        """The `Owner` element."""
        written = self._written.get(owner_id)
        if written is None:
            written = self._written[owner_id] = owner(owner_id, self._asking)
        return written


def objects_v1(bucket: str, asked: Asked, marker: str, page: Page, next_marker: str | None, owners: Owners) -> bytes:
    """`ListBucketResult` of ListObjects."""
    text = asked.text
    inner = [
        xml.element("Name", bucket),
        f"<Prefix>{text(asked.prefix)}</Prefix><Marker>{text(marker)}</Marker>",
        "" if next_marker is None else f"<NextMarker>{text(next_marker)}</NextMarker>",
        _bounds(asked, "MaxKeys", truncated=page.next_after is not None),
        *[_object(asked, listed, owners.of(listed.owner)) for listed in page.objects],
        _common_prefixes(asked, page.prefixes),
    ]
    return xml.document("ListBucketResult", inner)


def objects_v2(
    bucket: str, asked: Asked, given: Mapping[str, str], page: Page, next_token: str | None, owners: Owners | None
) -> bytes:
    """`ListBucketResult` of ListObjectsV2. `given`: the query, of which two parameters are shown again; `owners` None:
    they are not wanted."""
    text = asked.text
    start_after = given.get("start-after")
    inner = [
        xml.element("Name", bucket),
        f"<Prefix>{text(asked.prefix)}</Prefix>",
        "" if start_after is None else f"<StartAfter>{text(start_after)}</StartAfter>",
        xml.optional("ContinuationToken", given.get("continuation-token")),
        xml.optional("NextContinuationToken", next_token),
        xml.element("KeyCount", len(page.objects) + len(page.prefixes)),
        _bounds(asked, "MaxKeys", truncated=page.next_after is not None),
        *[_object(asked, listed, "" if owners is None else owners.of(listed.owner)) for listed in page.objects],
        _common_prefixes(asked, page.prefixes),
    ]
    return xml.document("ListBucketResult", inner)


def versions(
    bucket: str, asked: Asked, key_marker: str, version_marker: str, found: VersionsFound, owners: Owners
) -> bytes:
    """`ListVersionsResult`."""
    text = asked.text
    following = ""
    if found.next_after is not None:
        key, revision = found.next_after
        following = f"<NextKeyMarker>{text(key)}</NextKeyMarker>" + xml.optional(
            "NextVersionIdMarker", None if revision is None else version_id(revision, null=False)
        )
    inner = [
        xml.element("Name", bucket),
        f"<Prefix>{text(asked.prefix)}</Prefix><KeyMarker>{text(key_marker)}</KeyMarker>",
        xml.element("VersionIdMarker", version_marker),
        following,
        _bounds(asked, "MaxKeys", truncated=found.next_after is not None),
        *[_version(asked, listed, owners.of(listed.owner)) for listed in found.versions],
        _common_prefixes(asked, found.prefixes),
    ]
    return xml.document("ListVersionsResult", inner)


def uploads(
    bucket: str, asked: Asked, key_marker: str, id_marker: str, found: UploadsFound, asking: Principal
) -> bytes:
    """`ListMultipartUploadsResult`."""
    text = asked.text
    following = ""
    if found.next_after is not None:
        key, raw_id = found.next_after
        following = f"<NextKeyMarker>{text(key)}</NextKeyMarker>" + xml.element("NextUploadIdMarker", upload_id(raw_id))
    inner = [
        xml.element("Bucket", bucket),
        f"<KeyMarker>{text(key_marker)}</KeyMarker>",
        xml.element("UploadIdMarker", id_marker),
        following,
        f"<Prefix>{text(asked.prefix)}</Prefix>",
        _bounds(asked, "MaxUploads", truncated=found.next_after is not None),
        *[_upload(asked, upload, asking) for upload in found.uploads],
        _common_prefixes(asked, found.prefixes),
    ]
    return xml.document("ListMultipartUploadsResult", inner)


def _bounds(asked: Asked, limit_name: str, *, truncated: bool) -> str:
    delimiter = f"<Delimiter>{asked.text(asked.delimiter)}</Delimiter>" if asked.delimiter else ""
    return (
        f"<{limit_name}>{asked.limit}</{limit_name}>"
        f"{delimiter}{xml.optional('EncodingType', asked.encoding)}{xml.flag('IsTruncated', truncated)}"
    )


def _common_prefixes(asked: Asked, prefixes: Iterable[str]) -> str:
    text = asked.text
    return "".join([f"<CommonPrefixes><Prefix>{text(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes])


def _object(asked: Asked, listed: ListedObject, owned: str) -> str:
    return (
        f"<Contents><Key>{asked.text(listed.key)}</Key><LastModified>{iso_time(listed.created_ms)}</LastModified>"
        f"<ETag>&quot;{listed.etag}&quot;</ETag>{_checksum(listed.checksums)}<Size>{listed.size}</Size>{owned}{_CLASS}"
        "</Contents>"
    )


def _version(asked: Asked, listed: ListedVersion, owned: str) -> str:
    common = (
        f"<Key>{asked.text(listed.key)}</Key><VersionId>{version_id(listed.revision, listed.null)}</VersionId>"
        f"{xml.flag('IsLatest', listed.latest)}<LastModified>{iso_time(listed.created_ms)}</LastModified>"
    )
    if listed.delete_marker:
        return f"<DeleteMarker>{common}{owned}</DeleteMarker>"
    return (
        f"<Version>{common}<ETag>&quot;{listed.etag}&quot;</ETag>{_checksum(listed.checksums)}"
        f"<Size>{listed.size}</Size>{owned}{_CLASS}</Version>"
    )


def _upload(asked: Asked, upload: Upload, asking: Principal) -> str:
    algorithm, kind = upload.checksum or (None, None)
    return (
        f"<Upload><Key>{asked.text(upload.key)}</Key><UploadId>{upload_id(upload.upload_id)}</UploadId>"
        f"{owner(upload.owner, asking, 'Initiator')}{owner(upload.owner, asking)}{_CLASS}"
        f"<Initiated>{iso_time(upload.created_ms)}</Initiated>"
        f"{xml.optional('ChecksumAlgorithm', algorithm)}{xml.optional('ChecksumType', kind)}</Upload>"
    )


def _checksum(checksums: Mapping[ChecksumAlgorithm, Checksum]) -> str:
    """What `api.s3.checksums.shown` finds, without asking it a thousand times."""
    for algorithm, checksum in checksums.items():
        found = _CHECKSUMS.get((algorithm, checksum.type))
        if found is not None:
            return found
    return ""


_CHECKSUMS: dict[tuple[ChecksumAlgorithm, ChecksumType], str] = {
    (algorithm, kind): xml.element("ChecksumAlgorithm", algorithm) + xml.element("ChecksumType", kind)
    for algorithm in ALGORITHMS
    for kind in _TYPES
}
