"""Reading one object: GetObject, HeadObject.

The order of decisions is RFC 9110's (13.2.2): the version, its conditions, then the range. A range that is no byte
range is passed over, as S3 and the RFC do; several ranges are answered with the whole.
"""

import re

from api.conditions import (
    CONDITION_HEADERS,
    decide_read,
    http_date,
    parse_conditions,
    precondition_failed,
    range_applies,
)
from api.layout import part_span, parts_count
from api.messages import Response
from api.operations.objects import Objects
from api.operations.versions import shown_version
from api.ranges import Span, begins_at, content_range, parse_range
from api.s3.checksums import headers_of
from api.s3.exchange import Exchange
from api.s3.fields import overridden, shown_headers
from api.s3.lookups import find
from api.s3.objects import version_headers
from api.s3.paging import invalid_argument
from cluster.errors import Refused
from cluster.limits import UPLOAD_PARTS_MAX
from metaraft.queries import ObjectFound

_RANGE = re.compile(r"[ \t]*bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class DownloadHandlers:
    """Requests that read one object."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get(self, exchange: Exchange) -> Response:
        """GetObject; HeadObject the same without a body."""
        head = exchange.request.method == "HEAD"
        range_header, part = _range_of(exchange), _part_of(exchange)
        found = await find(self._objects, exchange, with_holders=not head, offset=begins_at(range_header), part=part)
        version = found.version
        headers = [("last-modified", http_date(version.created_ms)), ("etag", f'"{version.etag}"')]
        headers += version_headers(shown_version(found.bucket, version))
        if any(name in exchange.headers for name in CONDITION_HEADERS):
            match decide_read(parse_conditions(exchange.headers), version.etag, version.created_ms):
                case "failed":
                    raise precondition_failed(exchange.key)
                case "not_modified":
                    kept = [(name, version.headers[name]) for name in _WITH_304 if name in version.headers]
                    return Response(304, (*headers, *kept))
                case "go":
                    pass
        if not range_applies(exchange.headers.get("if-range"), version.etag, version.created_ms):
            range_header = None
        span = _part_span(found, part) if part is not None else _span(range_header, version.size)
        headers += [("accept-ranges", "bytes"), ("x-content-type-options", "nosniff")]
        headers += overridden(shown_headers(version), exchange.query, exchange.call.principal)
        if part is not None and (count := parts_count(version)) is not None:
            headers.append(("x-amz-mp-parts-count", str(count)))
        if exchange.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers += _checksum_headers(found, part, span)
        whole = span or Span(0, version.size)
        length = whole.stop - whole.start
        status = 200
        if span is not None and version.size > 0:
            status = 206
            headers.append(("content-range", content_range(whole, version.size)))
        if head:
            return Response(status, tuple(headers), length=length)
        content = self._objects.content(found, whole, exchange.call)
        if isinstance(content, bytes):
            return Response(status, tuple(headers), content, length=length)
        return Response(status, tuple(headers), stream=content, length=length)


_WITH_304 = ("cache-control", "expires")


def _part_of(exchange: Exchange) -> int | None:
    text = exchange.query.get("partNumber")
    if text is None:
        return None
    if "range" in exchange.headers:
        raise Refused("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    return part_number(text)


def part_number(text: str) -> int:
    """A part's number. Raises Refused (InvalidArgument)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= UPLOAD_PARTS_MAX):
        message = f"Part number must be an integer between 1 and {UPLOAD_PARTS_MAX}, inclusive"
        raise invalid_argument("partNumber", text, message)
    return int(text)


def _range_of(exchange: Exchange) -> str | None:
    """The Range header if it is one byte range."""
    header = exchange.headers.get("range")
    match = None if header is None else _RANGE.fullmatch(header)
    return header if match is not None and any(match.groups()) else None


def _span(header: str | None, size: int) -> Span | None:
    try:
        return parse_range(header, size)
    except Refused as error:
        detail = {**(error.detail or {}), "RangeRequested": str(header)[:80], "ActualObjectSize": str(size)}
        raise Refused("InvalidRange", "The requested range is not satisfiable", detail=detail) from None


def _part_span(found: ObjectFound, part: int) -> Span:
    span = part_span(found.version, part)
    if span is None:
        count = parts_count(found.version) or 1
        raise Refused(
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
            detail={
                "content_range": f"bytes */{found.version.size}",
                "PartNumberRequested": str(part),
                "ActualPartCount": str(count),
            },
        )
    return span


def _checksum_headers(found: ObjectFound, part: int | None, span: Span | None) -> list[tuple[str, str]]:
    """The checksum of what the answer carries: the whole, or one part; of another range there is none."""
    version = found.version
    count = parts_count(version)
    if part is not None and count is not None:
        head = next((each.head for each in found.parts if each.head.number == part), None)
        return [] if head is None else headers_of(head.checksums, with_type=False)
    if span is None or span == (0, version.size):
        return headers_of(version.checksums, count)
    return []
