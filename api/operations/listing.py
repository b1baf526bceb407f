"""Listing a bucket's objects or all their versions, page by page, in byte order of their keys.

One question to the metadata looks at a bounded number of rows; a page goes on until it is full or LISTING_S have
passed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from api.operations.calls import Call
from api.operations.metadata import Metadata
from metaraft.model import Which
from metaraft.queries import ListedObject, ListedVersion, ListObjects, ListVersions, ObjectsFound, VersionsFound

LISTING_S = 5.0
"""A page that is not full after this is given back short, with its marker (sparse listings read many rows)."""


@dataclass(frozen=True, slots=True)
class Page:
    """Objects and common prefixes; `next_after` is where the next page begins, None at the end."""

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    next_after: str | None


class Listing:
    """The operations that list."""

    def __init__(self, meta: Metadata, clock: Callable[[], float]) -> None:
        self._meta = meta
        self._clock = clock

    async def page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int, call: Call) -> Page:
        """At most `limit` entries behind `after`. Raises Refused (NoSuchBucket)."""
        until = min(self._clock() + LISTING_S, call.deadline)
        objects: list[ListedObject] = []
        prefixes: list[str] = []
        marker: str | None = after
        while marker is not None and len(objects) + len(prefixes) < limit:
            query = ListObjects(
                bucket=bucket,
                prefix=prefix,
                delimiter=delimiter,
                after=marker,
                limit=limit - len(objects) - len(prefixes),
            )
            found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
            assert isinstance(found, ObjectsFound)
            if found.bucket is not None:
                call.check(found.bucket)
            objects += found.objects
            prefixes += found.prefixes
            marker = found.next_after
            if self._clock() >= until:
                break
        return Page(tuple(objects), tuple(prefixes), marker)

    async def versions(
        self, bucket: str, prefix: str, delimiter: str, after_key: str, after: Which | None, limit: int, call: Call
    ) -> VersionsFound:
        """At most `limit` versions and common prefixes behind the version `after` of `after_key` (None: behind all of
        them), the newest of a key first. Raises Refused (NoSuchBucket)."""
        until = min(self._clock() + LISTING_S, call.deadline)
        versions: list[ListedVersion] = []
        prefixes: list[str] = []
        revision = None if after is None else after.revision
        behind_null = after is not None and after.revision is None
        while True:
            query = ListVersions(
                bucket=bucket,
                prefix=prefix,
                delimiter=delimiter,
                after_key=after_key,
                after_revision=revision,
                after_null=behind_null,
                limit=limit - len(versions) - len(prefixes),
            )
            found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
            assert isinstance(found, VersionsFound)
            call.check(found.bucket)
            versions += found.versions
            prefixes += found.prefixes
            full = len(versions) + len(prefixes) >= limit
            if found.next_after is None or full or self._clock() >= until:
                return VersionsFound(found.bucket, tuple(versions), tuple(prefixes), found.next_after)
            after_key, revision = found.next_after
            behind_null = False
