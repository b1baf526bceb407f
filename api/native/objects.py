"""Handlers of objects: PUT (also a copy), GET, HEAD, DELETE."""

from api.conditions import (
    CONDITION_HEADERS,
    decide_read,
    http_date,
    parse_conditions,
    precondition_failed,
    range_applies,
)
from api.digests import ExpectedDigests
from api.messages import Request, Response, parse_query
from api.native import values
from api.native.fields import (
    METADATA_PREFIX,
    body_size,
    copy_source,
    description,
    expected_digests,
    known_parameters,
    replaces_metadata,
)
from api.operations.calls import Call
from api.operations.objects import Objects
from api.operations.values import Source
from api.ranges import Span, content_range, parse_range
from cluster.errors import Refused
from cluster.limits import Limits
from metaraft.model import Version

COPY_SOURCE = "x-copy-source"

_NO_DIGESTS = ExpectedDigests()
_DIGEST_HEADERS = ("content-md5", "digest", "repr-digest", "content-digest")
_JSON = ("content-type", "application/json")


class ObjectHandlers:
    """Requests on one object."""

    def __init__(self, objects: Objects, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits

    async def put(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """Store the body, or copy from X-Copy-Source. 201 when the key had no object, else 200."""
        known_parameters(parse_query(request.query))
        headers = request.headers
        condition = parse_conditions(headers)
        if COPY_SOURCE in headers:
            return await self._copy(request, bucket, key, call)
        expected = expected_digests(headers) if any(name in headers for name in _DIGEST_HEADERS) else _NO_DIGESTS
        if "content-range" in headers:
            raise Refused("InvalidArgument", "content-range is not possible with PUT: an object is written whole")
        written = await self._objects.put(
            bucket,
            key,
            description(headers, self._limits),
            request.body,
            size=body_size(request.length, self._limits),
            expected=expected,
            condition=condition,
            call=call,
        )
        return _stored(values.encode(values.stored(written)), written.etag, existed=written.existed)

    async def _copy(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        headers = request.headers
        if request.length != 0:
            raise Refused("InvalidArgument", "a request with x-copy-source must have no body")
        written = await self._objects.copy(
            Source(*copy_source(headers[COPY_SOURCE])),
            (bucket, key),
            replace=description(headers, self._limits) if replaces_metadata(headers) else None,
            replace_tags=None,
            source_condition=parse_conditions(headers, "x-copy-source-"),
            condition=parse_conditions(headers),
            call=call,
        )
        return _stored(values.encode(values.stored(written)), written.etag, existed=written.existed)

    async def get(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """The bytes, one range of them, or with `?metadata` the metadata as JSON. HEAD: the same without a body."""
        headers = request.headers
        head = request.method == "HEAD"
        as_json = False
        if request.query:
            query = parse_query(request.query)
            known_parameters(query, "metadata")
            as_json = "metadata" in query
        found = await self._objects.find(bucket, key, call, with_holders=not (head or as_json))
        version = found.version
        for name in CONDITION_HEADERS:
            if name in headers:
                match decide_read(parse_conditions(headers), version.etag, version.created_ms):
                    case "failed":
                        raise precondition_failed(key)
                    case "not_modified":
                        return Response(304, tuple(_validators(version)))
                    case "go":
                        break
        if as_json:
            body = values.encode(values.metadata(bucket, key, version))
            return Response(200, (_JSON, ("etag", f'"{version.etag}"')), body, length=len(body))
        span: Span | None = None
        if "range" in headers and range_applies(headers.get("if-range"), version.etag, version.created_ms):
            span = parse_range(headers["range"], version.size)
        answer = _representation(version)
        status = 200
        if span is not None:
            status = 206
            answer.append(("content-range", content_range(span, version.size)))
        whole = span or Span(0, version.size)
        length = whole.stop - whole.start
        if head:
            return Response(status, tuple(answer), length=length)
        content = self._objects.content(found, whole, call)
        if isinstance(content, bytes):
            return Response(status, tuple(answer), content, length=length)
        return Response(status, tuple(answer), stream=content, length=length)

    async def delete(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """204, whether there was one or not."""
        known_parameters(parse_query(request.query))
        await self._objects.delete(bucket, key, parse_conditions(request.headers), call)
        return Response(204)


def _stored(body: bytes, etag: str, *, existed: bool) -> Response:
    return Response(200 if existed else 201, (_JSON, ("etag", f'"{etag}"')), body, length=len(body))


def _validators(version: Version) -> list[tuple[str, str]]:
    validators = [("etag", f'"{version.etag}"'), ("last-modified", http_date(version.created_ms))]
    return validators + [
        (name, version.headers[name]) for name in ("cache-control", "expires") if name in version.headers
    ]


def _representation(version: Version) -> list[tuple[str, str]]:
    headers = [
        ("content-type", version.content_type),
        ("etag", f'"{version.etag}"'),
        ("last-modified", http_date(version.created_ms)),
        ("accept-ranges", "bytes"),
        ("x-revision", str(version.revision)),
        ("x-content-type-options", "nosniff"),
    ]
    digest = values.repr_digest(version.checksums)
    if digest is not None:
        headers.append(("repr-digest", digest))
    headers += version.headers.items()
    headers += [(METADATA_PREFIX + name, value) for name, value in version.user_metadata.items()]
    return headers
