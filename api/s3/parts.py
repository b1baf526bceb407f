"""One part of an upload: UploadPart, UploadPartCopy. A copied part is read to know its digests, which may take long."""

from api.access.gate import Gate
from api.conditions import parse_conditions
from api.messages import Response
from api.operations.buckets import Buckets
from api.operations.uploads import Uploads
from api.operations.values import Source
from api.operations.versions import parse_upload_id
from api.ranges import Span
from api.s3 import xml
from api.s3.answers import answer, done
from api.s3.checksums import elements_of, expected_digests, headers_of
from api.s3.copies import source_headers
from api.s3.copy_source import CONDITIONS, RANGE, allowed_source, copied_span
from api.s3.downloads import part_number
from api.s3.exchange import Exchange
from api.s3.objects import body_size
from api.s3.waiting import LongAnswers
from api.times import iso_time
from cluster.limits import Limits


class PartHandlers:
    """Requests that make one part."""

    def __init__(self, uploads: Uploads, buckets: Buckets, gate: Gate, limits: Limits, answers: LongAnswers) -> None:
        self._uploads = uploads
        self._buckets = buckets
        self._gate = gate
        self._limits = limits
        self._answers = answers

    async def put(self, exchange: Exchange) -> Response:
        """UploadPart."""
        number, upload = part_number(exchange.query["partNumber"]), parse_upload_id(exchange.query["uploadId"])
        stored = await self._uploads.put_part(
            exchange.bucket,
            exchange.key,
            upload,
            number,
            exchange.payload.body(digested=True),
            size=body_size(exchange.payload, self._limits),
            expected=expected_digests(exchange.headers, exchange.payload, ()),
            call=exchange.call,
        )
        return done(("etag", f'"{stored.etag}"'), *headers_of(stored.checksums, with_type=False))

    async def copy(self, exchange: Exchange) -> Response:
        """UploadPartCopy."""
        number, upload = part_number(exchange.query["partNumber"]), parse_upload_id(exchange.query["uploadId"])
        source = await allowed_source(exchange, self._gate, self._buckets)
        return await self._answers.answer(exchange, lambda: self._copy(exchange, source, upload, number))

    async def _copy(self, exchange: Exchange, source: Source, upload: bytes, number: int) -> Response:
        def span_of(size: int) -> Span:
            return copied_span(exchange.headers.get(RANGE), size, most=self._limits.put_bytes_max)

        stored = await self._uploads.copy_part(
            source,
            span_of,
            (exchange.bucket, exchange.key, upload, number),
            source_condition=parse_conditions(exchange.headers, CONDITIONS),
            call=exchange.call,
        )
        document = xml.document(
            "CopyPartResult",
            [
                xml.element("LastModified", iso_time(stored.created_ms)),
                xml.element("ETag", f'"{stored.etag}"'),
                elements_of(stored.checksums, with_type=False),
            ],
        )
        return answer(document, *source_headers(stored.source_version_id))
