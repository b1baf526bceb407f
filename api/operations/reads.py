"""Reads of objects: which version a request means, its bytes, and what a copy needs of its source."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager

import trio

from api.conditions import decide_read, precondition_failed
from api.digests import INLINE_BYTES, ContentDigests, Digester
from api.messages import Buffer, Stream
from api.operations.calls import Call
from api.operations.metadata import Metadata
from api.operations.values import Source
from api.operations.versions import version_id
from api.ranges import Span
from api.reader import Reader
from cluster.errors import Refused
from cluster.limits import LIST_LIMIT_MAX
from metaraft.commands import (
    Condition,
)
from metaraft.model import Assembled, ChecksumAlgorithm, DeleteMarker, Inline, PartHead, Which
from metaraft.queries import GetObject, GetParts, ObjectFound, PartsFound


class Reads:
    """Operations that read objects."""

    def __init__(self, meta: Metadata, reader: Reader) -> None:
        self._meta = meta
        self._reader = reader
        self._threads = trio.CapacityLimiter(max(2, os.cpu_count() or 2))

    async def find(
        self,
        bucket: str,
        key: str,
        call: Call,
        *,
        with_holders: bool = False,
        version: Which | None = None,
        offset: int = 0,
        part: int | None = None,
    ) -> ObjectFound:
        """The current version, or the one named.

        `offset`, from the end if it is negative, or `part` says where the bytes are that will be read, as far as it is
        known: of an object in many parts these come along. Raises Refused (NoSuchBucket, NoSuchKey, NoSuchVersion;
        MethodNotAllowed for a delete marker that was named), of a delete marker with its facts as detail.
        """
        query = GetObject(bucket=bucket, key=key, with_holders=with_holders, which=version, offset=offset, part=part)
        found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, ObjectFound)
        call.check(found.bucket)
        if isinstance(found.version.body, DeleteMarker):
            raise _is_deleted(key, found, named=version is not None)
        return found

    def content(self, found: ObjectFound, span: Span, call: Call) -> bytes | Stream:
        """The bytes of a span: at once where they lie in the metadata, else a stream that verifies each block."""
        body = found.version.body
        if isinstance(body, Inline):
            return body.data if span == (0, len(body.data)) else body.data[span.start : span.stop]
        if span.start == span.stop:
            return b""

        def stream() -> AbstractAsyncContextManager[AsyncIterator[Buffer]]:
            return self._reader.open(found, span.start, span.stop, trace_id=call.trace_id)

        return stream

    async def part_heads(
        self, found: ObjectFound, after: int, limit: int, call: Call
    ) -> tuple[tuple[PartHead, ...], bool]:
        """What is known of an object's parts with numbers above `after`, at most `limit`, and whether more follow.

        None of an object that was not completed from an upload. Raises Refused (NoSuchKey) if it is gone by now.
        """
        body = found.version.body
        if not isinstance(body, Assembled):
            return (), False
        numbers = [number for number, _ in body.parts if number > after]
        heads: list[PartHead] = []
        while len(heads) < min(limit, len(numbers)):
            some = tuple(numbers[len(heads) : min(limit, len(heads) + LIST_LIMIT_MAX)])
            query = GetParts(body.upload_id, some, with_holders=False)
            try:
                answer = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
            except Refused as error:
                if error.code != "NoSuchUpload":
                    raise
                raise Refused("NoSuchKey", "the object was deleted while its parts were read") from error
            assert isinstance(answer, PartsFound)
            assert answer.parts, "an answer has one part at least"
            heads += (part.head for part in answer.parts)
        return tuple(heads), len(numbers) > len(heads)

    async def source(self, source: Source, condition: Condition, call: Call, *, with_holders: bool) -> ObjectFound:
        """What a copy is made of, if the condition holds for it now; with holders, so that it can be read.

        Raises Refused: what `find` does, PreconditionFailed, InvalidRequest for a delete marker that was named.
        """
        try:
            found = await self.find(source.bucket, source.key, call, with_holders=with_holders, version=source.version)
        except Refused as error:
            if error.code != "MethodNotAllowed":
                raise
            raise Refused("InvalidRequest", "the source of a copy is a delete marker; it has no bytes") from error
        if decide_read(condition, found.version.etag, found.version.created_ms) != "go":
            raise precondition_failed(source.key)
        return found

    async def digest(
        self, found: ObjectFound, span: Span, algorithms: Iterable[ChecksumAlgorithm], call: Call
    ) -> ContentDigests:
        """Read and digest a span; no byte of it goes anywhere. Raises what the reader does."""
        digester = Digester(algorithms)
        content = self.content(found, span, call)
        if isinstance(content, bytes):
            digester.update(content)
            return digester.digests()
        async with content() as pieces:
            async for piece in pieces:
                if len(piece) <= INLINE_BYTES:
                    digester.update(piece)
                else:
                    await trio.to_thread.run_sync(digester.update, piece, limiter=self._threads)
        return digester.digests()


def _is_deleted(key: str, found: ObjectFound, *, named: bool) -> Refused:
    version = found.version
    detail = {"delete_marker": "true", "version_id": version_id(version.revision, version.null)}
    if not named:
        return Refused(
            "NoSuchKey", f"there is no {key[:200]!r} now: its newest version is a delete marker", detail=detail
        )
    detail["last_modified_ms"] = str(version.created_ms)
    return Refused("MethodNotAllowed", "this version is a delete marker; it can only be deleted", detail=detail)
