"""Handlers of objects: PUT (also a copy), GET, HEAD, DELETE."""

from api.conditions import (
    CONDITION_HEADERS,
    decide_read,
    http_date,
    parse_conditions,
    precondition_failed,
    range_applies,
)
from api.messages import Response
from api.native import values
from api.native.answers import json_response, version_headers, written_response
from api.native.bodies import refuse_body
from api.native.exchange import Exchange
from api.native.fields import (
    COPY_SOURCE,
    METADATA_PREFIX,
    body_size,
    copied,
    description,
    known_parameters,
    named_version,
    replaces_metadata,
    requested_digests,
)
from api.operations.objects import Objects
from api.operations.versions import shown_version
from api.ranges import Span, begins_at, content_range, parse_range
from cluster.errors import Refused
from cluster.limits import Limits
from metaraft.model import Version
from metaraft.queries import ObjectFound


class ObjectHandlers:
    """Requests on one object."""

    def __init__(self, objects: Objects, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits

    async def put(self, exchange: Exchange) -> Response:
        """Store the body, or copy from X-Copy-Source. 201 when the key had no object, else 200."""
        known_parameters(exchange.query)
        headers, request = exchange.headers, exchange.request
        condition = parse_conditions(headers)
        if COPY_SOURCE in headers:
            return await self._copy(exchange)
        expected = requested_digests(headers)
        if "content-range" in headers:
            raise Refused("InvalidArgument", "content-range is not possible with PUT: an object is written whole")
        written = await self._objects.put(
            exchange.bucket,
            exchange.key,
            description(headers, self._limits),
            request.body,
            size=body_size(request.length, self._limits),
            expected=expected,
            condition=condition,
            call=exchange.call,
        )
        return written_response(written)

    async def _copy(self, exchange: Exchange) -> Response:
        headers = exchange.headers
        refuse_body(exchange.request, f"a request with {COPY_SOURCE}")
        written = await self._objects.copy(
            copied(headers),
            (exchange.bucket, exchange.key),
            replace=description(headers, self._limits) if replaces_metadata(headers) else None,
            replace_tags=None,
            source_condition=parse_conditions(headers, f"{COPY_SOURCE}-"),
            condition=parse_conditions(headers),
            call=exchange.call,
        )
        return written_response(written)

    async def get(self, exchange: Exchange) -> Response:
        """The bytes, one range of them, or with `?metadata` the metadata as JSON; of the current version, or of
        `?version=ID`. HEAD: the same without a body."""
        headers, key = exchange.headers, exchange.key
        head = exchange.request.method == "HEAD"
        as_json, which = False, None
        if exchange.query:
            known_parameters(exchange.query, "metadata", "version")
            as_json = "metadata" in exchange.query
            which = named_version(exchange.query)
        found = await self._objects.find(
            exchange.bucket,
            key,
            exchange.call,
            with_holders=not (head or as_json),
            version=which,
            offset=begins_at(headers.get("range")),
        )
        version = found.version
        for name in CONDITION_HEADERS:
            if name in headers:
                match decide_read(parse_conditions(headers), version.etag, version.created_ms):
                    case "failed":
                        raise precondition_failed(key)
                    case "not_modified":
                        return Response(304, tuple(_validators(found)))
                    case "go":
                        break
        if as_json:
            tag = ("etag", f'"{version.etag}"')
            return json_response(200, values.metadata(key, found), tag, *_version_headers(found))
        span: Span | None = None
        if "range" in headers and range_applies(headers.get("if-range"), version.etag, version.created_ms):
            span = parse_range(headers["range"], version.size)
        answer = _representation(found)
        status = 200
        if span is not None:
            status = 206
            answer.append(("content-range", content_range(span, version.size)))
        whole = span or Span(0, version.size)
        length = whole.stop - whole.start
        if head:
            return Response(status, tuple(answer), length=length)
        content = self._objects.content(found, whole, exchange.call)
        if isinstance(content, bytes):
            return Response(status, tuple(answer), content, length=length)
        return Response(status, tuple(answer), stream=content, length=length)

    async def delete(self, exchange: Exchange) -> Response:
        """204, whether there was one or not. The current version goes, or gets a delete marker above it where versions
        are kept; `?version=ID` goes for good."""
        known_parameters(exchange.query, "version")
        deleted = await self._objects.delete(
            exchange.bucket,
            exchange.key,
            parse_conditions(exchange.headers),
            exchange.call,
            version=named_version(exchange.query),
        )
        marker = [("x-delete-marker", "true")] if deleted.delete_marker else []
        return Response(204, (*marker, *version_headers(deleted.version_id)))


def _version_headers(found: ObjectFound) -> list[tuple[str, str]]:
    return version_headers(shown_version(found.bucket, found.version))


def _validators(found: ObjectFound) -> list[tuple[str, str]]:
    version = found.version
    validators = [("etag", f'"{version.etag}"'), ("last-modified", http_date(version.created_ms))]
    validators += _version_headers(found)
    return validators + [
        (name, version.headers[name]) for name in ("cache-control", "expires") if name in version.headers
    ]


def _representation(found: ObjectFound) -> list[tuple[str, str]]:
    version = found.version
    headers = [
        ("content-type", version.content_type),
        ("etag", f'"{version.etag}"'),
        ("last-modified", http_date(version.created_ms)),
        ("accept-ranges", "bytes"),
        ("x-revision", str(version.revision)),
        ("x-content-type-options", "nosniff"),
        *_version_headers(found),
        *_digest(version),
    ]
    headers += version.headers.items()
    headers += [(METADATA_PREFIX + name, value) for name, value in version.user_metadata.items()]
    return headers


def _digest(version: Version) -> list[tuple[str, str]]:
    """What the whole can be checked by: its SHA-256, or its CRC if it was made of parts."""
    sha256 = values.repr_digest(version.checksums)
    if sha256 is not None:
        return [("repr-digest", sha256)]
    crc = values.hex_of(version.checksums, "CRC64NVME")
    return [] if crc is None else [("x-crc64nvme", crc)]
