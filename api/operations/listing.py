"""Listing a bucket's objects, page by page, in byte order of their keys."""

from collections.abc import Callable
from dataclasses import dataclass

from api.operations.calls import Call
from api.operations.metadata import Metadata
from metaraft.queries import (
    ListedObject,
    ListObjects,
    ObjectsFound,
)

LISTING_S = 5.0
"""A page that is not full after this is given back short, with its marker (sparse listings read many rows)."""


@dataclass(frozen=True, slots=True)
class Page:
    """Objects and common prefixes; `next_after` is where the next page begins, None at the end."""

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    next_after: str | None


class Listing:
    """The operation that lists."""

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
            objects += found.objects
            prefixes += found.prefixes
            marker = found.next_after
            if self._clock() >= until:
                break
        return Page(tuple(objects), tuple(prefixes), marker)
