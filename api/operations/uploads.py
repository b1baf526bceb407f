"""Uploads of an object in parts: begin, complete, abort; parts come by `api.operations.upload_parts`.

Completing reads what the parts are, checks it, and commits against the generation that was read: parts that change
meanwhile are read again. The commit names numbers only, so it is small for any object.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from api.operations.calls import Call
from api.operations.completion import WholeExpected, check_checksum, check_order, object_checksums, object_etag
from api.operations.upload_parts import UploadParts
from api.operations.values import Description, NamedPart, Written
from cluster.errors import Refused, Unavailable
from cluster.limits import LIST_LIMIT_MAX, UPLOAD_PARTS_MAX
from metaraft.commands import (
    AbortUpload,
    CompleteUpload,
    Condition,
    CreateUpload,
)
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, PartHead, Upload
from metaraft.results import (
    ObjectDone,
    UploadDone,
)

NO_GENERATION = 0
"""Of an upload that is not there: a complete that names it can only be one more of one that was done."""


class _Whole(NamedTuple):
    """The object that parts make, as of a generation of their upload."""

    generation: int
    parts: Sequence[NamedPart]
    checksums: dict[ChecksumAlgorithm, Checksum]


class Uploads(UploadParts):
    """Operations on uploads."""

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

    async def complete(
        self,
        bucket: str,
        key: str,
        upload_id: bytes,
        parts: Sequence[NamedPart] | None,
        *,
        size: int | None = None,
        checksum: tuple[ChecksumAlgorithm, bytes] | None = None,
        checksum_type: ChecksumType | None = None,
        condition: Condition,
        call: Call,
    ) -> Written:
        """Make the object of these parts, in ascending order of their numbers; others are discarded. None: of all.

        `size`, `checksum` (a composite one without its `-N`) and `checksum_type` are what the client says of the
        whole. Completing again with the same parts, or under the same idempotency key, answers the same. Raises Refused
        (NoSuchBucket, NoSuchUpload, BadPartNumber, InvalidPartOrder, InvalidPart, EntityTooSmall, InvalidRequest,
        BadDigest, PreconditionFailed), Unavailable (UploadChanged when it does so all the time); in each case the
        upload stays as it is.
        """
        if parts is not None:
            check_order(parts)
            object_etag(parts)  # refused before anything is asked
        expected = WholeExpected(size, checksum, checksum_type)
        content = (upload_id, None if parts is None else tuple(parts), expected, condition)
        commit_key = call.commit_key("CompleteUpload", bucket, key, content)
        while True:
            try:
                whole = await self._whole(bucket, key, upload_id, parts, expected, call)
                command = CompleteUpload(
                    bucket=bucket,
                    key=key,
                    upload_id=upload_id,
                    generation=whole.generation,
                    parts=tuple(part.number for part in whole.parts),
                    etag=object_etag(whole.parts),
                    checksums=whole.checksums,
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
        self,
        bucket: str,
        key: str,
        upload_id: bytes,
        parts: Sequence[NamedPart] | None,
        expected: WholeExpected,
        call: Call,
    ) -> "_Whole":
        """What is to be made, if all is as it should be.

        An upload that is not there may have been completed by the same request before: the log knows.
        """
        heads: dict[int, PartHead] = {}
        generation: int | None = None
        last = UPLOAD_PARTS_MAX if parts is None else parts[-1].number
        after = 0
        while True:
            try:
                page = await self.parts(bucket, key, upload_id, after, LIST_LIMIT_MAX, call)
            except Refused as error:
                if error.code != "NoSuchUpload":
                    raise
                return _Whole(NO_GENERATION, parts or (), {})
            if generation not in (None, page.upload.generation):
                raise Unavailable("UploadChanged", "parts of the upload changed while they were read; try again")
            generation = page.upload.generation
            heads |= {head.number: head for head in page.parts}
            after = page.parts[-1].number if page.parts else last
            if not page.more or after >= last:
                break
        if parts is None:
            parts = [NamedPart(head.number, head.etag) for head in heads.values()]
            check_order(parts)
        least = self._limits.part_bytes_min
        checksums = object_checksums(page.upload, heads, parts, expected, part_bytes_min=least)
        return _Whole(generation, parts, checksums)

    async def abort(self, bucket: str, key: str, upload_id: bytes, call: Call) -> None:
        """End an upload and discard its parts. Raises Refused (NoSuchBucket, NoSuchUpload)."""
        command = AbortUpload(bucket=bucket, key=key, upload_id=upload_id)
        await self._commits.commit(command, call, call.commit_key("AbortUpload", bucket, key, upload_id))
