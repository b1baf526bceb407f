"""Reads of uploads under way: one of them, its parts, all of a bucket."""

from collections.abc import Callable

from api.operations.calls import Call
from api.operations.listing import LISTING_S
from api.operations.metadata import Metadata
from metaraft.model import Upload
from metaraft.queries import GetUpload, ListParts, ListUploads, PartsListed, UploadFound, UploadsFound


class UploadReads:
    """Operations that read uploads."""

    def __init__(self, meta: Metadata, clock: Callable[[], float]) -> None:
        self._meta = meta
        self._clock = clock

    async def upload(self, bucket: str, key: str, upload_id: bytes, call: Call) -> UploadFound:
        """An upload under way. Raises Refused (NoSuchBucket, NoSuchUpload)."""
        query = GetUpload(bucket=bucket, key=key, upload_id=upload_id)
        found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, UploadFound)
        call.check(found.bucket)
        return found

    async def parts(self, bucket: str, key: str, upload_id: bytes, after: int, limit: int, call: Call) -> PartsListed:
        """Parts with numbers above `after`, at most `limit` (up to 1,000).

        Raises Refused (NoSuchBucket, NoSuchUpload).
        """
        query = ListParts(bucket=bucket, key=key, upload_id=upload_id, after=after, limit=limit)
        found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, PartsListed)
        call.check(found.bucket)
        return found

    async def list(
        self, bucket: str, prefix: str, delimiter: str, after_key: str, after_id: bytes, limit: int, call: Call
    ) -> UploadsFound:
        """At most `limit` uploads and common prefixes behind the upload `after_id` of `after_key` (empty: behind all of
        that key), in order of keys, then of their beginning. Raises Refused (NoSuchBucket)."""
        until = min(self._clock() + LISTING_S, call.deadline)
        uploads: list[Upload] = []
        prefixes: list[str] = []
        while True:
            query = ListUploads(
                bucket=bucket,
                prefix=prefix,
                delimiter=delimiter,
                after_key=after_key,
                after_id=after_id,
                limit=limit - len(uploads) - len(prefixes),
            )
            found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
            assert isinstance(found, UploadsFound)
            call.check(found.bucket)
            uploads += found.uploads
            prefixes += found.prefixes
            full = len(uploads) + len(prefixes) >= limit
            if found.next_after is None or full or self._clock() >= until:
                return UploadsFound(found.bucket, tuple(uploads), tuple(prefixes), found.next_after)
            after_key, after_id = found.next_after
