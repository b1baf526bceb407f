"""Objects: find, read, write, copy, delete, tag; the current version of a key, or one that is named.

A write reads its bucket, stores the bytes and then commits once; the commit alone decides conditions. What can
already be refused is refused before a byte of the body is read, except under a client's idempotency key: there the
log may hold the result of the first attempt.
"""

from functools import partial

from api.conditions import NO_CONDITION, precondition_failed, write_must_fail
from api.digests import ExpectedDigests
from api.messages import RequestBody
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.commits import Commits
from api.operations.metadata import Metadata
from api.operations.reads import Reads
from api.operations.values import Deleted, Description, Source, Written
from api.operations.versions import done_version, shown_version, which_id
from api.ranges import Span
from api.reader import Reader
from api.writer import Stored, Writer
from cluster.errors import Refused, Unavailable
from metaraft.commands import (
    Condition,
    CopyObject,
    DeleteObject,
    PutObject,
    SetTags,
)
from metaraft.model import Bucket, Checksum, ChecksumAlgorithm, Version, Which
from metaraft.queries import ObjectFound
from metaraft.results import (
    ObjectDone,
)

UNREAD = 0
"""A revision that no version has: a copy of what was not there is refused, whatever is there by then."""


class Objects(Reads):
    """Operations on objects."""

    def __init__(self, meta: Metadata, buckets: Buckets, writer: Writer, reader: Reader, commits: Commits) -> None:
        super().__init__(meta, reader)
        self._buckets = buckets
        self._writer = writer
        self._commits = commits

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
            done = await self._commit(row, key, description, stored, condition, self._commits.renewed(call))
            return Written.of((bucket, key), done)

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
        while True:
            content = (row.bucket_id, stored.digests.blake3, description, condition)
            build = partial(_put_command, row, key, description, stored, condition, call)
            commit_key = call.commit_key("PutObject", row.name, key, content)
            try:
                done = await self._commits.commit_stored(stored, build, call, commit_key)
            except Refused as error:
                if error.code != "NoSuchBucket" or not self._buckets.forget(row.name):
                    raise
                row = await self._same_place(row, call)
            else:
                assert isinstance(done, ObjectDone)
                return done

    async def _same_place(self, row: Bucket, call: Call) -> Bucket:
        """The bucket that has this name now, if it is the same owner's and what was stored may serve it."""
        fresh = (await self._buckets.now(row.name, call)).bucket
        if (fresh.space, fresh.scheme, fresh.owner) != (row.space, row.scheme, row.owner):
            raise Unavailable("BucketReplaced", f"bucket {row.name!r} was made anew during the upload; try again")
        if row.name in call.admitted:
            call.admit(fresh)  # the same owner's, so the decision is the same
        self._buckets.keep(fresh)
        return fresh

    async def copy(
        self,
        source: Source,
        target: tuple[str, str],
        *,
        replace: Description | None,
        replace_tags: dict[str, str] | None,
        source_condition: Condition,
        condition: Condition,
        call: Call,
        algorithm: ChecksumAlgorithm | None = None,
        own_headers: dict[str, str | None] | None = None,
    ) -> Written:
        """Make a new version of `target` (bucket, key) that references the bytes of `source`.

        What is not replaced is the source's, but for `own_headers`: what the copy has of these (None: it has none).
        `algorithm`: the checksum of all its bytes that the copy shows; they are read if the source has none. Raises
        Refused (NoSuchBucket, NoSuchKey, NoSuchVersion, PreconditionFailed), Unavailable (SourceChanged when it does so
        all the time).
        """
        own = own_headers or {}
        asked = None if replace is None else (replace.content_type, replace.headers, replace.user_metadata)
        content = (source, asked, replace_tags, source_condition, condition, algorithm, own)
        commit_key = call.commit_key("CopyObject", *target, content)
        while True:
            renewed = self._commits.renewed(call)
            found = await self._source_of_copy(source, source_condition, renewed, with_holders=algorithm is not None)
            checksums = {} if found is None else await self._checksums(found, algorithm, renewed)
            command = CopyObject(
                source_bucket=source.bucket,
                source_key=source.key,
                bucket=target[0],
                key=target[1],
                owner=call.principal.name,
                source_condition=source_condition,
                condition=condition,
                replace=asked if found is None else _replaced(found.version, asked, own),
                source_which=source.version,
                source_revision=UNREAD if found is None else found.version.revision,
                replace_tags=replace_tags,
                checksums=checksums,
            )
            try:
                done = await self._commits.commit(command, self._commits.renewed(renewed), commit_key)
            except Unavailable as error:
                if error.code != "SourceChanged" or self._commits.is_over(call):
                    raise
            else:
                assert isinstance(done, ObjectDone)
                source_id = None if found is None else shown_version(found.bucket, found.version)
                return Written.of(target, done, source_id)

    async def _source_of_copy(
        self, source: Source, condition: Condition, call: Call, *, with_holders: bool
    ) -> ObjectFound | None:
        """The source as it is. None: it is refused now, but the log may hold the result of the first attempt."""
        try:
            return await self.source(source, condition, call, with_holders=with_holders)
        except Refused:
            if call.idempotency is None:
                raise
            return None

    async def _checksums(
        self, found: ObjectFound, algorithm: ChecksumAlgorithm | None, call: Call
    ) -> dict[ChecksumAlgorithm, Checksum]:
        """What a copy shows first, if it is not what its source does."""
        if algorithm is None:
            return {}
        known = found.version.checksums.get(algorithm)
        if known is not None and known.type == "FULL_OBJECT":
            return {algorithm: known}
        digests = await self.digest(found, Span(0, found.version.size), (algorithm,), call)
        return {algorithm: Checksum(digests.values[algorithm])}

    async def delete(
        self, bucket: str, key: str, condition: Condition, call: Call, *, version: Which | None = None
    ) -> Deleted:
        """Delete the current version, or the one named for good; what is not there is no error.

        Raises Refused (NoSuchBucket, PreconditionFailed).
        """
        done = await self._commits.commit(
            DeleteObject(bucket=bucket, key=key, condition=condition, which=version, owner=call.principal.name),
            call,
            call.commit_key("DeleteObject", bucket, key, (condition, version)),
        )
        assert isinstance(done, ObjectDone)
        shown = done_version(done) if version is None else which_id(version)
        return Deleted(shown, done.delete_marker, done.existed)

    async def set_tags(
        self, bucket: str, key: str, tags: dict[str, str], call: Call, *, version: Which | None = None
    ) -> str | None:
        """Replace the tags of the current version, or of the one named; the version's id, if its bucket has such.

        Raises Refused (NoSuchBucket, NoSuchKey, NoSuchVersion; MethodNotAllowed for a delete marker).
        """
        command = SetTags(bucket=bucket, key=key, tags=tags, which=version)
        try:
            done = await self._commits.commit(command, call, call.commit_key("SetTags", bucket, key, (tags, version)))
        except Refused as error:
            if error.code != "VersionIsDeleteMarker":
                raise
            detail = {"delete_marker": "true"} | ({} if version is None else {"version_id": which_id(version)})
            raise Refused("MethodNotAllowed", "a delete marker has no tags", detail=detail) from error
        assert isinstance(done, ObjectDone)
        return done_version(done)


type _Replaced = tuple[str, dict[str, str], dict[str, str]] | None


def _replaced(source: Version, asked: _Replaced, own: dict[str, str | None]) -> _Replaced:
    """Content type, headers and user metadata of a copy, None if they are its source's."""
    content_type, headers, user_metadata = asked or (source.content_type, source.headers, source.user_metadata)
    kept = {name: value for name, value in (headers | own).items() if value is not None}
    return asked if kept == headers else (content_type, kept, user_metadata)


def _put_command(
    row: Bucket, key: str, description: Description, stored: Stored, condition: Condition, call: Call
) -> PutObject:
    return PutObject(
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
        tags=description.tags,
    )
