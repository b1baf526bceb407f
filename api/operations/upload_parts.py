"""Parts of uploads: put, and copied from other objects.

A part is stored as a body is, always in chunks, and committed by itself, so an upload goes on after a crash of whoever
from what is listed. A copied part references bytes where they are: they are read to know their digests, and not moved.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace

from api.digests import ExpectedDigests
from api.messages import RequestBody
from api.operations.calls import Call
from api.operations.commits import Commits
from api.operations.completion import check_number, part_algorithms
from api.operations.metadata import Metadata
from api.operations.reads import Reads
from api.operations.upload_reads import UploadReads
from api.operations.values import PartStored, Source
from api.operations.versions import shown_version
from api.ranges import Span
from api.upload import Packet, check_size
from api.writer import Writer
from cluster.errors import Refused, Unavailable
from cluster.limits import Limits
from metaraft.commands import (
    Condition,
    CopyPart,
    PutPart,
)
from metaraft.queries import ObjectFound, UploadFound
from metaraft.results import (
    PartDone,
)


class UploadParts(UploadReads):
    """Operations on parts."""

    def __init__(
        self,
        meta: Metadata,
        reads: Reads,
        writer: Writer,
        commits: Commits,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(meta, clock)
        self._reads = reads
        self._writer = writer
        self._commits = commits
        self._limits = limits

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: bytes,
        number: int,
        body: RequestBody,
        *,
        size: int | None,
        expected: ExpectedDigests,
        call: Call,
    ) -> PartStored:
        """Store a body as a part, instead of the one of that number if there is one.

        `expected.algorithms` are those of the request; what the upload needs is added. Raises Refused (NoSuchBucket,
        NoSuchUpload, BadPartNumber, InvalidRequest for a checksum of another kind than the upload's, and what
        `Objects.put` refuses a body for).
        """
        check_number(number)
        found = await self.upload(bucket, key, upload_id, call)
        algorithms = part_algorithms(found.upload, expected.algorithms)
        return await self._put(found, number, body, size, replace(expected, algorithms=algorithms), call)

    async def _put(
        self,
        found: UploadFound,
        number: int,
        body: AsyncIterable[Packet],
        size: int | None,
        expected: ExpectedDigests,
        call: Call,
    ) -> PartStored:
        upload, row = found.upload, found.bucket
        async with self._writer.store(
            aiter(body), bucket=row, size=size, expected=expected, trace_id=call.trace_id, inline=False
        ) as stored:

            def command() -> PutPart:
                return PutPart(
                    bucket=row.name,
                    bucket_id=row.bucket_id,
                    key=upload.key,
                    upload_id=upload.upload_id,
                    number=number,
                    etag=stored.etag,
                    part=stored.part,
                    chunks=stored.chunks(),
                )

            content = (upload.upload_id, number, stored.digests.blake3)
            commit_key = call.commit_key("PutPart", row.name, upload.key, content)
            done = await self._commits.commit_stored(stored, command, self._commits.renewed(call), commit_key)
            assert isinstance(done, PartDone)
            return PartStored(done.etag, stored.size, done.created_ms, stored.checksums)

    async def copy_part(
        self,
        source: Source,
        span_of: Callable[[int], Span],
        target: tuple[str, str, bytes, int],
        *,
        source_condition: Condition,
        call: Call,
    ) -> PartStored:
        """Make a part (bucket, key, upload id, number) of a span of another object; `span_of` its size says which.

        The bytes are read and digested, and referenced where they are. Raises Refused (what `put_part` and
        `Reads.source` do, what `span_of` does, EntityTooLarge), Unavailable (SourceChanged when it does so all the
        time).
        """
        bucket, key, upload_id, number = target
        check_number(number)
        upload = await self.upload(bucket, key, upload_id, call)
        while True:
            renewed = self._commits.renewed(call)
            found = await self._reads.source(source, source_condition, renewed, with_holders=True)
            span = span_of(found.version.size)
            check_size(self._limits, span.stop - span.start)
            try:
                stored = await self._copy(upload, number, source, found, span, renewed)
            except Unavailable as error:
                if error.code != "SourceChanged" or self._commits.is_over(call):
                    raise
            else:
                return replace(stored, source_version_id=shown_version(found.bucket, found.version))

    async def _copy(
        self, target: UploadFound, number: int, source: Source, found: ObjectFound, span: Span, call: Call
    ) -> PartStored:
        """Reference the span. What is not in chunks is stored as bytes, and so is what no one part may reference."""
        algorithms = part_algorithms(target.upload, ())
        expected = ExpectedDigests(algorithms=algorithms)
        content = self._reads.content(found, span, call)
        if isinstance(content, bytes):
            return await self._put(target, number, _one(content), len(content), expected, call)
        digests = await self._reads.digest(found, span, algorithms, call)
        command = CopyPart(
            bucket=target.bucket.name,
            key=target.upload.key,
            upload_id=target.upload.upload_id,
            number=number,
            etag=digests.md5.hex(),
            md5=digests.md5,
            checksums=digests.checksums(algorithms),
            source_bucket=source.bucket,
            source_key=source.key,
            source_revision=found.version.revision,
            start=span.start,
            stop=span.stop,
            source_which=source.version,
        )
        about = (target.upload.upload_id, number, source, span, digests.blake3)
        commit_key = call.commit_key("CopyPart", target.bucket.name, target.upload.key, about)
        try:
            done = await self._commits.commit(command, self._commits.renewed(call), commit_key)
        except Refused as error:
            if error.code != "BadBody":
                raise
            async with content() as pieces:
                return await self._put(target, number, pieces, span.stop - span.start, expected, call)
        assert isinstance(done, PartDone)
        return PartStored(done.etag, span.stop - span.start, done.created_ms, command.checksums)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
