"""GetObjectAttributes: what is known of a version, in one document.

Asked for by `x-amz-object-attributes`; of an object that was completed from an upload `ObjectParts` has its parts, page
by page. Source: S3 API reference, 'GetObjectAttributes'.
"""

from collections.abc import Mapping

from api.conditions import http_date
from api.layout import parts_count
from api.messages import Response
from api.operations.objects import Objects
from api.operations.versions import shown_version
from api.s3 import xml
from api.s3.answers import answer
from api.s3.checksums import elements_of
from api.s3.exchange import Exchange
from api.s3.lookups import find
from api.s3.objects import version_headers
from api.s3.paging import invalid_argument, number, page_limit
from api.s3.refusals import STORAGE_CLASS
from cluster.errors import Refused
from metaraft.queries import ObjectFound

ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
"""Those that there are, in the order of the document."""

_HEADER = "x-amz-object-attributes"


class AttributesHandler:
    """The request for attributes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get(self, exchange: Exchange) -> Response:
        """GetObjectAttributes."""
        asked = _asked(exchange.headers)
        limit = page_limit(exchange.headers, "x-amz-max-parts")
        after = number(exchange.headers, "x-amz-part-number-marker", 0)
        found = await find(self._objects, exchange)
        version = found.version
        count = parts_count(version)
        elements: list[str] = []
        if "ETag" in asked:
            elements.append(xml.element("ETag", version.etag))
        if "Checksum" in asked and (checksum := elements_of(version.checksums)):  # S3 leaves out "-N" here alone
            elements.append(xml.group("Checksum", checksum))
        if "ObjectParts" in asked and count is not None:
            elements.append(await self._parts(exchange, found, count, after, limit))
        if "StorageClass" in asked:
            elements.append(xml.element("StorageClass", STORAGE_CLASS))
        if "ObjectSize" in asked:
            elements.append(xml.element("ObjectSize", version.size))
        headers = version_headers(shown_version(found.bucket, version))
        document = xml.document("GetObjectAttributesResponse", elements)
        return answer(document, ("last-modified", http_date(version.created_ms)), *headers)

    async def _parts(self, exchange: Exchange, found: ObjectFound, count: int, after: int, limit: int) -> str:
        heads, more = await self._objects.part_heads(found, after, limit, exchange.call)
        parts = [
            xml.group(
                "Part",
                xml.element("PartNumber", head.number),
                xml.element("Size", head.size),
                elements_of(head.checksums, with_type=False),
            )
            for head in heads
        ]
        return xml.group(
            "ObjectParts",
            xml.element("PartsCount", count),
            xml.element("PartNumberMarker", after),
            xml.element("NextPartNumberMarker", heads[-1].number if heads else after),
            xml.element("MaxParts", limit),
            xml.flag("IsTruncated", more),
            *parts,
        )


def _asked(headers: Mapping[str, str]) -> set[str]:
    asked = {name.strip() for name in headers.get(_HEADER, "").split(",") if name.strip()}
    if not asked:
        raise Refused(
            "InvalidRequest",
            f"The {_HEADER} header specifying the attributes to be retrieved is either missing or empty",
        )
    for name in asked:
        if name not in ATTRIBUTES:
            raise invalid_argument(_HEADER, name, "Invalid attribute name specified.")
    return asked
