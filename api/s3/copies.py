"""CopyObject: a new object of another one's bytes, none of which is moved.

What it has besides them is the source's, or this request's where a directive says so; the redirect location is never
copied. A copy onto itself must change something. For another checksum the bytes are read, which may take long.
"""

from collections.abc import Mapping
from typing import Literal

from api.access.gate import Gate
from api.conditions import parse_conditions
from api.messages import Response
from api.operations.buckets import Buckets
from api.operations.objects import Objects
from api.operations.values import Source, Written
from api.s3 import xml
from api.s3.answers import answer
from api.s3.checksums import elements_of, parse_algorithm
from api.s3.copy_source import CONDITIONS, allowed_source, too_large
from api.s3.exchange import Exchange
from api.s3.fields import REDIRECT, description, no_version, redirect_location
from api.s3.lookups import missing_instead
from api.s3.objects import version_headers
from api.s3.paging import invalid_argument
from api.s3.tagging import parse_header
from api.s3.waiting import LongAnswers
from api.times import iso_time
from cluster.errors import Refused
from cluster.limits import Limits

_METADATA = "x-amz-metadata-directive"
_TAGGING = "x-amz-tagging-directive"
_ALGORITHM = "x-amz-checksum-algorithm"

_CHANGES = (_ALGORITHM, REDIRECT, "x-amz-storage-class")
"""Headers by which a copy of an object onto itself changes it; so do directives."""

type Directive = Literal["COPY", "REPLACE"]


class CopyHandler:
    """The request that copies an object."""

    def __init__(self, objects: Objects, buckets: Buckets, gate: Gate, limits: Limits, answers: LongAnswers) -> None:
        self._objects = objects
        self._buckets = buckets
        self._gate = gate
        self._limits = limits
        self._answers = answers

    async def put(self, exchange: Exchange) -> Response:
        """CopyObject."""
        no_version(exchange.query)
        source = await allowed_source(exchange, self._gate, self._buckets)
        _require_change(source, exchange)
        await self._check_size(source, exchange)
        return await self._answers.answer(exchange, lambda: self._copy(source, exchange))

    async def _copy(self, source: Source, exchange: Exchange) -> Response:
        headers = exchange.headers
        condition = parse_conditions(headers)
        algorithm = headers.get(_ALGORITHM)
        replaces = _directive(headers, _METADATA) == "REPLACE"
        try:
            written = await self._objects.copy(
                source,
                (exchange.bucket, exchange.key),
                replace=description(headers, self._limits) if replaces else None,
                replace_tags=_tags(headers),
                source_condition=parse_conditions(headers, CONDITIONS),
                condition=condition,
                call=exchange.call,
                algorithm=None if algorithm is None else parse_algorithm(algorithm),
                own_headers=None if replaces else {REDIRECT: redirect_location(headers)},
            )
        except Refused as error:
            raise await missing_instead(self._objects, exchange, condition, error) from None
        return _copied(written)

    async def _check_size(self, source: Source, exchange: Exchange) -> None:
        """Raises Refused (InvalidRequest) for a source that S3 does not copy in one request.

        One that cannot be read now is the copy's to refuse: it may have been copied by this very request before.
        """
        try:
            found = await self._objects.find(source.bucket, source.key, exchange.call, version=source.version)
        except Refused:
            return
        if found.version.size > self._limits.put_bytes_max:
            raise too_large(self._limits.put_bytes_max)


def _require_change(source: Source, exchange: Exchange) -> None:
    headers = exchange.headers
    same = (source.bucket, source.key, source.version) == (exchange.bucket, exchange.key, None)
    replaces = "REPLACE" in (_directive(headers, _METADATA), _directive(headers, _TAGGING))
    if same and not replaces and not any(name in headers for name in _CHANGES):
        raise Refused(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )


def _directive(headers: Mapping[str, str], name: str) -> Directive:
    text = headers.get(name, "COPY")
    if text == "COPY":
        return "COPY"
    if text == "REPLACE":
        return "REPLACE"
    what = "metadata" if name == _METADATA else "tagging"
    raise invalid_argument(name, text, f"Unknown {what} directive.")


def _tags(headers: Mapping[str, str]) -> dict[str, str] | None:
    if _directive(headers, _TAGGING) == "COPY":
        return None
    return parse_header(headers.get("x-amz-tagging", ""))


def _copied(written: Written) -> Response:
    document = xml.document(
        "CopyObjectResult",
        [
            xml.element("LastModified", iso_time(written.created_ms)),
            xml.element("ETag", f'"{written.etag}"'),
            elements_of(written.checksums, parts_of(written.etag)),
        ],
    )
    return answer(document, *version_headers(written.version_id), *source_headers(written.source_version_id))


def parts_of(etag: str) -> int | None:
    """Of how many parts an object was made, as its ETag says; None: of none."""
    _, dash, count = etag.partition("-")
    return int(count) if dash else None


def source_headers(version_id: str | None) -> list[tuple[str, str]]:
    """The header that tells which version was copied."""
    return [] if version_id is None else [("x-amz-copy-source-version-id", version_id)]
