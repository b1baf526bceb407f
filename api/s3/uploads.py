"""An upload in parts: CreateMultipartUpload, CompleteMultipartUpload, AbortMultipartUpload, ListParts.

Source: S3 API reference, and 'Uploading and copying objects using multipart upload'. Completing may take long.
"""

from collections.abc import Mapping, Sequence

from api.conditions import parse_conditions
from api.digests import CHECKSUM_TYPES
from api.messages import Response
from api.operations.objects import Objects
from api.operations.uploads import Uploads
from api.operations.values import NamedPart, Written
from api.operations.versions import parse_upload_id, upload_id
from api.s3 import xml
from api.s3.address import object_url
from api.s3.answers import answer, gone
from api.s3.checksums import ALGORITHMS, ELEMENTS, decode, elements_of, parse_algorithm, stated_of_whole
from api.s3.documents import read_document
from api.s3.exchange import Exchange
from api.s3.fields import description
from api.s3.lookups import missing_instead
from api.s3.objects import byte_count, version_headers, with_tags
from api.s3.owners import owner
from api.s3.paging import asked, number
from api.s3.refusals import STORAGE_CLASS
from api.s3.waiting import LongAnswers
from api.times import iso_time
from cluster.errors import Refused
from cluster.limits import UPLOAD_PARTS_MAX, Limits
from metaraft.model import ChecksumAlgorithm, ChecksumType, PartHead, Upload
from metaraft.queries import PartsListed

_ALGORITHM, _TYPE = "x-amz-checksum-algorithm", "x-amz-checksum-type"
_SIZE = "x-amz-mp-object-size"
_NUMBER_DIGITS_MAX = 9


class UploadHandlers:
    """Requests on an upload as a whole."""

    def __init__(
        self, uploads: Uploads, objects: Objects, limits: Limits, answers: LongAnswers, domains: tuple[str, ...]
    ) -> None:
        self._uploads = uploads
        self._objects = objects
        self._limits = limits
        self._answers = answers
        self._domains = domains

    async def create(self, exchange: Exchange) -> Response:
        """CreateMultipartUpload."""
        headers = exchange.headers
        described = with_tags(description(headers, self._limits), headers)
        upload = await self._uploads.create(
            exchange.bucket, exchange.key, described, checksum_asked(headers), exchange.call
        )
        document = xml.document(
            "InitiateMultipartUploadResult",
            [
                xml.element("Bucket", exchange.bucket),
                xml.element("Key", exchange.key),
                xml.element("UploadId", upload_id(upload.upload_id)),
            ],
        )
        if upload.checksum is None:
            return answer(document)
        return answer(document, (_ALGORITHM, upload.checksum[0]), (_TYPE, upload.checksum[1]))

    async def complete(self, exchange: Exchange) -> Response:
        """CompleteMultipartUpload."""
        upload = parse_upload_id(exchange.query["uploadId"])
        parts = await _named(exchange)
        return await self._answers.answer(exchange, lambda: self._complete(exchange, upload, parts))

    async def _complete(self, exchange: Exchange, upload: bytes, parts: Sequence[NamedPart]) -> Response:
        headers = exchange.headers
        checksum, kind = stated_of_whole(headers, len(parts))
        size = headers.get(_SIZE)
        condition = parse_conditions(headers)
        try:
            written = await self._uploads.complete(
                exchange.bucket,
                exchange.key,
                upload,
                parts,
                size=None if size is None else byte_count(_SIZE, size),
                checksum=checksum,
                checksum_type=kind,
                condition=condition,
                call=exchange.call,
            )
        except Refused as error:
            raise await missing_instead(self._objects, exchange, condition, error) from None
        host = exchange.headers.get("host", "")
        url = object_url(exchange.request.scheme, host, self._domains, exchange.bucket, exchange.key)
        return _completed(written, url, len(parts))

    async def abort(self, exchange: Exchange) -> Response:
        """AbortMultipartUpload."""
        upload = parse_upload_id(exchange.query["uploadId"])
        await self._uploads.abort(exchange.bucket, exchange.key, upload, exchange.call)
        return gone()

    async def list_parts(self, exchange: Exchange) -> Response:
        """ListParts."""
        upload = parse_upload_id(exchange.query["uploadId"])
        page = asked(exchange.query, "max-parts")
        after = number(exchange.query, "part-number-marker", 0)
        if page.limit:
            listed = await self._uploads.parts(exchange.bucket, exchange.key, upload, after, page.limit, exchange.call)
        else:
            found = await self._uploads.upload(exchange.bucket, exchange.key, upload, exchange.call)
            listed = PartsListed(found.bucket, found.upload, (), more=False)
        key = xml.optional("EncodingType", page.encoding) + f"<Key>{page.text(exchange.key)}</Key>"
        return answer(_listed(exchange, listed, key, after, page.limit))


def checksum_asked(headers: Mapping[str, str]) -> tuple[ChecksumAlgorithm, ChecksumType] | None:
    """The checksum that an upload's object shall have, None if nothing is said. Raises Refused (InvalidRequest)."""
    named, kind = headers.get(_ALGORITHM), headers.get(_TYPE)
    if named is None:
        if kind is not None:
            raise Refused("InvalidRequest", f"The {_TYPE} header can only be used with the {_ALGORITHM} header.")
        return None
    algorithm = parse_algorithm(named)
    possible = CHECKSUM_TYPES[algorithm]
    if kind is None:
        return algorithm, possible[0]
    for each in possible:
        if each == kind.upper():
            return algorithm, each
    raise Refused(
        "InvalidRequest",
        f"The {kind[:40]} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.",
    )


async def _named(exchange: Exchange) -> list[NamedPart]:
    """The parts that the body names; the document is gone when they are known."""
    document = await read_document(exchange, "CompleteMultipartUpload", of_object=True, most=xml.BODY_BYTES_MAX)
    return parse_parts(document)


def parse_parts(document: xml.Node) -> list[NamedPart]:
    """The parts that an object is completed of. Raises Refused (MalformedXML, InvalidRequest)."""
    nodes = document.all("Part")
    if not 1 <= len(nodes) <= UPLOAD_PARTS_MAX:
        raise xml.malformed(f"it has {len(nodes)} parts; 1 to {UPLOAD_PARTS_MAX} are allowed")
    return [_part(node) for node in nodes]


def _part(node: xml.Node) -> NamedPart:
    text = xml.required(node, "PartNumber").text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS_MAX):
        raise xml.malformed(f"PartNumber {text[:40]!r} is no number")
    checksums: dict[ChecksumAlgorithm, bytes] = {}
    for algorithm in ALGORITHMS:
        value = node.value(ELEMENTS[algorithm])
        if value:
            checksums[algorithm] = decode(algorithm, value)
    return NamedPart(int(text), xml.required(node, "ETag").text, checksums)


def _completed(written: Written, url: str, parts: int) -> Response:
    document = xml.document(
        "CompleteMultipartUploadResult",
        [
            xml.element("Location", url),
            xml.element("Bucket", written.bucket),
            xml.element("Key", written.key),
            xml.element("ETag", f'"{written.etag}"'),
            elements_of(written.checksums, parts),
        ],
    )
    return answer(document, *version_headers(written.version_id))


def _listed(exchange: Exchange, listed: PartsListed, key: str, after: int, limit: int) -> bytes:
    upload, asking = listed.upload, exchange.call.principal
    return xml.document(
        "ListPartsResult",
        [
            xml.element("Bucket", exchange.bucket),
            key,
            xml.element("UploadId", upload_id(upload.upload_id)),
            owner(upload.owner, asking, "Initiator"),
            owner(listed.bucket.owner, asking),
            xml.element("StorageClass", STORAGE_CLASS),
            xml.element("PartNumberMarker", after),
            xml.element("NextPartNumberMarker", listed.parts[-1].number if listed.parts else after),
            xml.element("MaxParts", limit),
            xml.flag("IsTruncated", listed.more),
            *(_head(head, upload) for head in listed.parts),
            _checksum_of(upload),
        ],
    )


def _head(head: PartHead, upload: Upload) -> str:
    return xml.group(
        "Part",
        xml.element("PartNumber", head.number),
        xml.element("LastModified", iso_time(head.created_ms)),
        xml.element("ETag", f'"{head.etag}"'),
        xml.element("Size", head.size),
        elements_of(head.checksums, with_type=False),
    )


def _checksum_of(upload: Upload) -> str:
    if upload.checksum is None:
        return ""
    return xml.element("ChecksumAlgorithm", upload.checksum[0]) + xml.element("ChecksumType", upload.checksum[1])
