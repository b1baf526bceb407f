"""What a copy reads: `x-amz-copy-source` and the headers beside it. Pure, but for the decision whether it may.

The value is `BUCKET/KEY` (a slash before it is allowed), percent-encoded, and is decoded exactly once; a version is
named by `?versionId=` behind the key. Source: S3 API reference, 'CopyObject' and 'UploadPartCopy'. What it is silent
about is as S3 does it: `+` is a space (s5cmd writes spaces so), and the slash may be encoded too (in JavaScript, by
`encodeURIComponent` of the whole).
"""

import re

from api.access.decisions import Action, Context
from api.access.gate import Gate
from api.messages import percent_decode
from api.names import decode_key
from api.operations.buckets import Buckets
from api.operations.values import Source
from api.operations.versions import parse_version
from api.ranges import Span
from api.s3.exchange import Exchange
from api.s3.owners import EXPECTED_SOURCE_OWNER, require_owner
from api.s3.paging import invalid_argument
from cluster.errors import Refused

HEADER = "x-amz-copy-source"
CONDITIONS = "x-amz-copy-source-"
"""Before the names of the conditions on the source."""

RANGE = "x-amz-copy-source-range"

_VERSION = "?versionId="
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)


async def allowed_source(exchange: Exchange, gate: Gate, buckets: Buckets) -> Source:
    """The source of a copy, which who asks may read. Raises Refused (what `parse_source` does, AccessDenied,
    NoSuchBucket)."""
    source = parse_source(exchange.headers[HEADER])
    action: Action = "GetObject" if source.version is None else "GetObjectVersion"
    context = Context(exchange.request.client)
    await gate.require(action, source.bucket, source.key, exchange.call, context)
    await require_owner(buckets, source.bucket, exchange.headers.get(EXPECTED_SOURCE_OWNER), exchange.call)
    return source


def parse_source(value: str) -> Source:
    """The source that a header names. Raises Refused (InvalidArgument, KeyTooLong, InvalidKey)."""
    named, mark, version_id = value.partition(_VERSION)
    bucket, _, key = _decoded(named).removeprefix(b"/").partition(b"/")
    if not bucket or not key:
        raise _invalid(value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    return Source(_text(bucket), decode_key(key), parse_version(_text(_decoded(version_id))) if mark else None)


def _decoded(text: str) -> bytes:
    return percent_decode(text.replace("+", " ").encode())


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _invalid(raw.decode(errors="replace"), "Copy Source must be percent-encoded UTF-8") from None


def _invalid(value: str, message: str) -> Refused:
    return invalid_argument(HEADER, value, message)


def copied_span(header: str | None, size: int, *, most: int) -> Span:
    """Which bytes of a source of that size are copied. Raises Refused (InvalidArgument, InvalidRange, InvalidRequest).

    Only the strict form is known: both ends, of bytes that there are.
    """
    span = Span(0, size) if header is None else _strict(header, size)
    if span.stop - span.start > most:
        raise too_large(most)
    return span


def _strict(header: str, size: int) -> Span:
    match = _RANGE.fullmatch(header)
    if match is None:
        raise invalid_argument(
            RANGE,
            header,
            f"The {RANGE} value must be of the form bytes=first-last where first and last are the zero-based offsets of"
            " the first and last bytes to copy",
        )
    first, last = int(match[1]), int(match[2])
    if not first <= last < size:
        raise Refused(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            detail={"RangeRequested": header, "ActualObjectSize": str(size)},
        )
    return Span(first, last + 1)


def too_large(most: int) -> Refused:
    """The refusal of a source that is over what one copy may have."""
    return Refused(
        "InvalidRequest",
        f"The specified copy source is larger than the maximum allowable size for a copy source: {most}",
        limit={"put_bytes_max": most},
    )
