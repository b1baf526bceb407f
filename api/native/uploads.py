"""Handlers of uploads in parts: begin, put parts, show, complete, abort.

Parts are verified and kept as objects are, and nothing is visible before the upload is complete. Every part but the
last has `part_bytes_min` at least. An upload is completed by naming its parts with their ETags, or without a body, and
then with all there are.
"""

import msgspec

from api.conditions import parse_conditions
from api.messages import Response
from api.native.answers import json_response, written_response
from api.native.bodies import read_json, refuse_body
from api.native.cursors import Cursors
from api.native.exchange import Exchange
from api.native.fields import (
    COPY_SOURCE,
    body_size,
    copied,
    description,
    known_parameters,
    page_limit,
    part_number,
    requested_digests,
)
from api.native.upload_values import part_stored, upload_entry, upload_metadata
from api.operations.uploads import Uploads
from api.operations.values import NamedPart, PartStored
from api.operations.versions import parse_upload_id
from api.ranges import Span, parse_range
from cluster.errors import Refused
from cluster.limits import LIST_LIMIT_MAX, Limits

_COPY_RANGE = "x-copy-source-range"


class CompletedPart(msgspec.Struct, forbid_unknown_fields=True):
    """A part as the body of a POST names it."""

    number: int
    etag: str


class Completion(msgspec.Struct, forbid_unknown_fields=True):
    """The optional JSON body of a completing POST."""

    parts: list[CompletedPart]


class UploadHandlers:
    """Requests on one upload."""

    def __init__(self, uploads: Uploads, cursors: Cursors, limits: Limits) -> None:
        self._uploads = uploads
        self._cursors = cursors
        self._limits = limits

    async def create(self, exchange: Exchange) -> Response:
        """Begin an upload of `key`, which has what the headers say: 201."""
        known_parameters(exchange.query, "key")
        _refuse_copy(exchange)
        refuse_body(exchange.request, "a request that begins an upload")
        described = description(exchange.headers, self._limits)
        upload = await self._uploads.create(exchange.bucket, exchange.key, described, None, exchange.call)
        return json_response(201, upload_entry(exchange.bucket, upload))

    async def put_part(self, exchange: Exchange) -> Response:
        """Store the body as a part, or copy it from X-Copy-Source; it replaces the one of that number."""
        known_parameters(exchange.query, "key")
        headers = exchange.headers
        if "content-range" in headers:
            raise Refused("InvalidArgument", "content-range is not possible with PUT: a part is written whole")
        upload, number = parse_upload_id(exchange.upload), part_number(exchange.part)
        if COPY_SOURCE in headers:
            stored = await self._copy(exchange, upload, number)
        else:
            stored = await self._uploads.put_part(
                exchange.bucket,
                exchange.key,
                upload,
                number,
                exchange.request.body,
                size=body_size(exchange.request.length, self._limits),
                expected=requested_digests(headers),
                call=exchange.call,
            )
        return json_response(200, part_stored(number, stored), ("etag", f'"{stored.etag}"'))

    async def _copy(self, exchange: Exchange, upload: bytes, number: int) -> PartStored:
        headers = exchange.headers
        refuse_body(exchange.request, f"a request with {COPY_SOURCE}")
        asked = headers.get(_COPY_RANGE)

        def span_of(size: int) -> Span:
            span = parse_range(asked, size)
            if span is None and asked is not None:
                raise Refused("InvalidArgument", f"{_COPY_RANGE} {asked[:80]!r} is not 'bytes=FIRST-LAST'")
            return span or Span(0, size)

        return await self._uploads.copy_part(
            copied(headers),
            span_of,
            (exchange.bucket, exchange.key, upload, number),
            source_condition=parse_conditions(headers, f"{COPY_SOURCE}-"),
            call=exchange.call,
        )

    async def get(self, exchange: Exchange) -> Response:
        """The upload with its parts, page by page in order of their numbers."""
        query = exchange.query
        known_parameters(query, "key", "limit", "cursor")
        limit = page_limit(query, LIST_LIMIT_MAX)
        upload = parse_upload_id(exchange.upload)
        scope = ("parts", exchange.bucket, exchange.key, exchange.upload)
        after = int(self._cursors.open(scope, query["cursor"])) if "cursor" in query else 0
        listed = await self._uploads.parts(exchange.bucket, exchange.key, upload, after, limit, exchange.call)
        cursor = self._cursors.seal(scope, str(listed.parts[-1].number)) if listed.more else None
        return json_response(200, upload_metadata(exchange.bucket, listed, cursor))

    async def complete(self, exchange: Exchange) -> Response:
        """Make the object of the parts. 201 when the key had none, else 200."""
        known_parameters(exchange.query, "key")
        _refuse_copy(exchange)
        condition = parse_conditions(exchange.headers)
        upload = parse_upload_id(exchange.upload)
        named = await read_json(
            exchange.request,
            Completion,
            self._limits.completion_bytes_max,
            what="parts, each with number and etag",
            limit="completion_bytes_max",
        )
        written = await self._uploads.complete(
            exchange.bucket,
            exchange.key,
            upload,
            None if named is None else [NamedPart(part.number, part.etag) for part in named.parts],
            condition=condition,
            call=exchange.call,
        )
        return written_response(written)

    async def abort(self, exchange: Exchange) -> Response:
        """End the upload and discard its parts: 204."""
        known_parameters(exchange.query, "key")
        upload = parse_upload_id(exchange.upload)
        await self._uploads.abort(exchange.bucket, exchange.key, upload, exchange.call)
        return Response(204)


def _refuse_copy(exchange: Exchange) -> None:
    if COPY_SOURCE in exchange.headers:
        raise Refused("InvalidArgument", f"{COPY_SOURCE} is possible with PUT of an object or of a part")
