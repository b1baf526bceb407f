"""Uploads of an object in parts: begin, put and copy parts, look, complete, abort.

A part is stored as a body is, always in chunks, and committed by itself, so an upload goes on after a crash of whoever
from what is listed. Completing reads what the parts are, checks it, and commits against the generation that was read:
parts that change meanwhile are read again. The commit names numbers only, so it is small for any object.
"""

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import replace

from api.digests import ExpectedDigests
from api.messages import RequestBody
from api.operations.calls import Call
from api.operations.commits import Commits
from api.operations.completion import (
    WholeExpected,
    check_checksum,
    check_number,
    check_order,
    object_checksums,
    object_etag,
    part_algorithms,
)
from api.operations.metadata import Metadata
from api.operations.reads import Reads
from api.operations.upload_reads import UploadReads
from api.operations.values import Description, NamedPart, PartStored, Source, Written
from api.operations.versions import shown_version
from api.ranges import Span
from api.upload import check_size
from api.writer import Writer
from cluster.errors import Refused, Unavailable
from cluster.limits import LIST_LIMIT_MAX, Limits
from metaraft.commands import (
    AbortUpload,
    CompleteUpload,
    Condition,
    CopyPart,
    CreateUpload,
    ObjectDone,
    PartDone,
    PutPart,
    UploadDone,
)
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, PartHead, Upload
from metaraft.queries import ObjectFound, UploadFound

NO_GENERATION = 0
"""Of an upload that is not there: a complete that names it can only be one more of one that was done."""


class Uploads(UploadReads):
    """Operations on uploads."""

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

    async def create(
        self,
        bucket: str,
        key: str,
        description: Description,
        checksum: tuple[ChecksumAlgorithm, ChecksumType] | None,
        call: Call,
    ) -> Upload:
        """Begin an upload. Raises Refused (NoSuchBucket, InvalidRequest for a checksum that no upload has)."""
        check_checksum(checksum)
        command = CreateUpload(
            bucket=bucket,
            key=key,
            nonce=os.urandom(8),
            content_type=description.content_type,
            headers=description.headers,
            user_metadata=description.user_metadata,
            tags=description.tags,
            checksum=checksum,
            owner=call.principal.name,
        )
        commit_key = call.commit_key("CreateUpload", bucket, key, (description, checksum))
        done = await self._commits.commit(command, call, commit_key)
        assert isinstance(done, UploadDone)
        return done.upload

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
        body: AsyncIterable[bytes],
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
            return PartStored(done.etag, done.created_ms, stored.checksums)

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
            found = await self._reads.source(source, source_condition, renewed)
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
        algorithms = part_algorithms(target.upload, ())
        content = self._reads.content(found, span, call)
        if isinstance(content, bytes):
            expected = ExpectedDigests(algorithms=algorithms)
            return await self._put(target, number, _one(content), len(content), expected, call)
        digests = await self._reads.digest(found, span, algorithms, call)
        checksums = digests.checksums(algorithms)
        command = CopyPart(
            bucket=target.bucket.name,
            key=target.upload.key,
            upload_id=target.upload.upload_id,
            number=number,
            etag=digests.md5.hex(),
            md5=digests.md5,
            checksums=checksums,
            source_bucket=source.bucket,
            source_key=source.key,
            source_revision=found.version.revision,
            start=span.start,
            stop=span.stop,
            source_which=source.version,
        )
        about = (target.upload.upload_id, number, source, span, digests.blake3)
        commit_key = call.commit_key("CopyPart", target.bucket.name, target.upload.key, about)
        done = await self._commits.commit(command, self._commits.renewed(call), commit_key)
        assert isinstance(done, PartDone)
        return PartStored(done.etag, done.created_ms, checksums)

    async def complete(
        self,
        bucket: str,
        key: str,
        upload_id: bytes,
        parts: Sequence[NamedPart],
        *,
        size: int | None = None,
        checksum: tuple[ChecksumAlgorithm, bytes] | None = None,
        checksum_type: ChecksumType | None = None,
        condition: Condition,
        call: Call,
    ) -> Written:
        """Make the object of these parts, in ascending order of their numbers; others are discarded.

        `size`, `checksum` (a composite one without its `-N`) and `checksum_type` are what the client says of the
        whole. Completing again with the same parts answers the same. Raises Refused (NoSuchBucket, NoSuchUpload,
        BadPartNumber, InvalidPartOrder, InvalidPart, EntityTooSmall, InvalidRequest, BadDigest, PreconditionFailed),
        Unavailable (UploadChanged when it does so all the time); in each case the upload stays as it is.
        """
        check_order(parts)
        etag = object_etag(parts)
        expected = WholeExpected(size, checksum, checksum_type)
        content = (upload_id, tuple(parts), expected, condition)
        commit_key = call.commit_key("CompleteUpload", bucket, key, content)
        while True:
            try:
                generation, checksums = await self._whole(bucket, key, upload_id, parts, expected, call)
                command = CompleteUpload(
                    bucket=bucket,
                    key=key,
                    upload_id=upload_id,
                    generation=generation,
                    parts=tuple(part.number for part in parts),
                    etag=etag,
                    checksums=checksums,
                    condition=condition,
                )
                done = await self._commits.commit(command, self._commits.renewed(call), commit_key)
            except Unavailable as error:
                if error.code != "UploadChanged" or self._commits.is_over(call):
                    raise
            else:
                assert isinstance(done, ObjectDone)
                return Written.of((bucket, key), done)

    async def _whole(
        self, bucket: str, key: str, upload_id: bytes, parts: Sequence[NamedPart], expected: WholeExpected, call: Call
    ) -> tuple[int, dict[ChecksumAlgorithm, Checksum]]:
        """The generation that was looked at, and the object's checksums, if all is as it should be.

        An upload that is not there may have been completed by the same request before: the log knows.
        """
        heads: dict[int, PartHead] = {}
        generation: int | None = None
        last = parts[-1].number
        after = 0
        while True:
            try:
                page = await self.parts(bucket, key, upload_id, after, LIST_LIMIT_MAX, call)
            except Refused as error:
                if error.code != "NoSuchUpload":
                    raise
                return NO_GENERATION, {}
            if generation not in (None, page.upload.generation):
                raise Unavailable("UploadChanged", "parts of the upload changed while they were read; try again")
            generation = page.upload.generation
            heads |= {head.number: head for head in page.parts}
            after = page.parts[-1].number if page.parts else last
            if not page.more or after >= last:
                least = self._limits.part_bytes_min
                return generation, object_checksums(page.upload, heads, parts, expected, part_bytes_min=least)

    async def abort(self, bucket: str, key: str, upload_id: bytes, call: Call) -> None:
        """End an upload and discard its parts. Raises Refused (NoSuchBucket, NoSuchUpload)."""
        command = AbortUpload(bucket=bucket, key=key, upload_id=upload_id)
        await self._commits.commit(command, call, call.commit_key("AbortUpload", bucket, key, upload_id))


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
