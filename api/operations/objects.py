"""Objects: find, read, write, copy, delete.

A write reads its bucket, stores the bytes and then commits once; the commit alone decides conditions. What can
already be refused is refused before a byte of the body is read, except under a client's idempotency key: there the
log may hold the result of the first attempt.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from api.conditions import NO_CONDITION, write_must_fail
from api.digests import ExpectedDigests
from api.messages import Buffer, RequestBody, Stream
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.metadata import Metadata
from api.ranges import Span
from api.reader import Reader
from api.writer import Stored, Writer
from cluster.errors import Refused, Unavailable
from metaraft.commands import (
    Condition,
    CopyObject,
    DeleteObject,
    ObjectDone,
    PutObject,
)
from metaraft.model import Bucket, Checksum, ChecksumAlgorithm, DeleteMarker, Inline, Version
from metaraft.queries import (
    GetObject,
    ObjectFound,
)


@dataclass(frozen=True, slots=True)
class Description:
    """What an object carries besides its bytes; names are in lower case, user metadata without its prefix."""

    content_type: str
    headers: dict[str, str]
    user_metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """A version as it was made. `size` and `checksums` are empty where a copy's source could not be told apart."""

    bucket: str
    key: str
    etag: str
    revision: int
    created_ms: int
    existed: bool
    size: int | None
    checksums: dict[ChecksumAlgorithm, Checksum]


class Objects:
    """Operations on objects."""

    def __init__(
        self,
        meta: Metadata,
        buckets: Buckets,
        writer: Writer,
        reader: Reader,
        clock: Callable[[], float],
        commit_s: float,
    ) -> None:
        self._meta = meta
        self._buckets = buckets
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._commit_s = commit_s

    async def find(self, bucket: str, key: str, call: Call, *, with_holders: bool = False) -> ObjectFound:
        """The current version. Raises Refused (NoSuchBucket; NoSuchKey, also where it is a delete marker)."""
        found = await self._meta.read(
            GetObject(bucket=bucket, key=key, with_holders=with_holders), deadline=call.deadline, trace_id=call.trace_id
        )
        assert isinstance(found, ObjectFound)
        if isinstance(found.version.body, DeleteMarker):
            raise Refused("NoSuchKey", f"{key[:200]!r} was deleted from the bucket {bucket!r}")
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

    async def put(
        self,
        bucket: str,
        key: str,
        description: Description,
        body: RequestBody,
        *,
        size: int | None,
        expected: ExpectedDigests,
        condition: Condition,
        call: Call,
    ) -> Written:
        """Store a body and make it the key's current version.

        Raises Refused (NoSuchBucket, PreconditionFailed, BadDigest, IncompleteBody, EntityTooLarge), Unavailable or
        OutcomeUnknown; in each case but the last nothing is visible.
        """
        row = await self._admit(bucket, key, condition, call)
        async with self._writer.store(
            aiter(body), bucket=row, size=size, expected=expected, trace_id=call.trace_id
        ) as stored:
            done = await self._commit(row, key, description, stored, condition, call)
            stored.committed()
            return Written(
                bucket, key, done.etag, done.revision, done.created_ms, done.existed, stored.size, stored.checksums
            )

    async def _admit(self, bucket: str, key: str, condition: Condition, call: Call) -> Bucket:
        """The bucket's row, after the refusals that are certain before the body is read."""
        if condition is NO_CONDITION or call.idempotency is not None:
            return await self._buckets.for_writing(bucket, call)
        current: Version | None = None
        try:
            found = await self.find(bucket, key, call)
        except Refused as error:
            if error.code != "NoSuchKey":
                raise
            row = await self._buckets.for_writing(bucket, call)
        else:
            row, current = found.bucket, found.version
            self._buckets.keep(row)
        if write_must_fail(condition, None if current is None else (current.etag, current.created_ms)):
            raise precondition_failed(key)
        return row

    async def _commit(
        self, row: Bucket, key: str, description: Description, stored: Stored, condition: Condition, call: Call
    ) -> ObjectDone:
        deadline = max(call.deadline, self._clock() + self._commit_s)
        content = (stored.sha256, description.content_type, description.headers, description.user_metadata, condition)
        attempt = 0
        while True:
            command = PutObject(
                bucket=row.name,
                bucket_id=row.bucket_id,
                key=key,
                size=stored.size,
                etag=stored.etag,
                content_type=description.content_type,
                body=stored.body,
                chunks=stored.chunks(),
                headers=description.headers,
                user_metadata=description.user_metadata,
                checksums=stored.checksums,
                owner=call.principal.name,
                condition=condition,
            )
            try:
                done = await self._meta.commit(
                    command,
                    deadline=deadline,
                    key=call.commit_key("PutObject", row.name, key, content, attempt),
                    trace_id=call.trace_id,
                )
            except Unavailable as error:
                if error.code != "PutAgain" or self._clock() >= deadline:
                    raise
                await stored.put_again()
            except Refused as error:
                if error.code != "NoSuchBucket" or not self._buckets.forget(row.name):
                    raise
                row = await self._same_place(row, call)
            else:
                assert isinstance(done, ObjectDone)
                return done
            attempt += 1

    async def _same_place(self, row: Bucket, call: Call) -> Bucket:
        """The bucket that has this name now, if what was stored for the former one may serve it."""
        renewed = Call(call.principal, self._clock() + self._commit_s, call.trace_id)
        fresh = await self._buckets.for_writing(row.name, renewed)
        if (fresh.space, fresh.scheme) != (row.space, row.scheme):
            raise Unavailable("BucketReplaced", f"bucket {row.name!r} was made anew during the upload; try again")
        return fresh

    async def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        replace: Description | None,
        source_condition: Condition,
        condition: Condition,
        call: Call,
    ) -> Written:
        """Make a new version of `target` that references the bytes of `source` (each bucket, key).

        Raises Refused (NoSuchBucket, NoSuchKey, PreconditionFailed).
        """
        replaced = None if replace is None else (replace.content_type, replace.headers, replace.user_metadata)
        command = CopyObject(
            source_bucket=source[0],
            source_key=source[1],
            bucket=target[0],
            key=target[1],
            owner=call.principal.name,
            source_condition=source_condition,
            condition=condition,
            replace=replaced,
        )
        content = (source, replaced, source_condition, condition)
        done = await self._meta.commit(
            command,
            deadline=call.deadline,
            key=call.commit_key("CopyObject", *target, content),
            trace_id=call.trace_id,
        )
        assert isinstance(done, ObjectDone)
        size, checksums = await self._facts_of(target, done.revision, call)
        return Written(*target, done.etag, done.revision, done.created_ms, done.existed, size, checksums)

    async def _facts_of(
        self, name: tuple[str, str], revision: int, call: Call
    ) -> tuple[int | None, dict[ChecksumAlgorithm, Checksum]]:
        """Size and checksums of a version just made; nothing if another has taken its place since."""
        renewed = Call(call.principal, self._clock() + self._commit_s, call.trace_id)
        try:
            version = (await self.find(*name, renewed)).version
        except (Refused, Unavailable):  # gone again, or no quorum now: the copy itself is done
            return None, {}
        return (version.size, version.checksums) if version.revision == revision else (None, {})

    async def delete(self, bucket: str, key: str, condition: Condition, call: Call) -> ObjectDone:
        """Delete the current version; a missing key is no error. Raises Refused (NoSuchBucket, PreconditionFailed)."""
        done = await self._meta.commit(
            DeleteObject(bucket=bucket, key=key, condition=condition),
            deadline=call.deadline,
            key=call.commit_key("DeleteObject", bucket, key, condition),
            trace_id=call.trace_id,
        )
        assert isinstance(done, ObjectDone)
        return done


def precondition_failed(key: str) -> Refused:
    """The refusal of a condition that does not hold."""
    return Refused("PreconditionFailed", f"a condition of the request does not hold for {key[:200]!r} as it is now")
