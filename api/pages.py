"""What a read needs of the metadata, a page at a time: the segments of a range, and who holds their chunks.

The chunks of an object that was completed from an upload are in its parts' rows: the first of them come with the
version, others are asked for as the read goes on, so that no more than a page of an object of whatever size is in
memory. If they are gone by then, so is the object.
"""

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from api.layout import PartRange, Segment, part_ranges, part_segments, segments
from cluster.errors import Refused, Unavailable
from metaraft.model import Assembled, Parts, UploadedPart
from metaraft.queries import GetParts, ObjectFound, PartsFound

_PARTS_MAX = 256
"""Parts in one question: an answer has no more than so many."""

type ReadParts = Callable[[GetParts], Awaitable[PartsFound]]


class Page:
    """Segments that follow each other, the holders of their chunks by id, and when that was so (trio's clock)."""

    def __init__(self, found: Iterable[Segment], holders: dict[bytes, tuple[bytes, ...]], told_at: float) -> None:
        self.segments = list(found)
        self.holders = dict(holders)
        self.told_at = told_at


class Pages:
    """The pages of one range."""

    def __init__(
        self, found: ObjectFound, start: int, stop: int, read_parts: ReadParts, clock: Callable[[], float]
    ) -> None:
        self._body = found.version.body
        self._read_parts = read_parts
        self._clock = clock
        self._todo: list[PartRange] = []
        self._first: Page | None = None
        match self._body:
            case Parts():
                self._first = Page(segments(self._body, start, stop), found.holders, clock())
            case Assembled():
                self._todo = part_ranges(self._body, start, stop)
                self._first = self._page(found.parts, found.holders, clock())

    async def next(self) -> Page | None:
        """The next page, None at the end. Raises Unavailable (ObjectGone, or what the metadata says)."""
        page, self._first = self._first, None
        if page is not None:
            return page
        if not self._todo:
            return None
        assert isinstance(self._body, Assembled)
        numbers = tuple(part.number for part in islice(self._todo, _PARTS_MAX))
        began = self._clock()
        try:
            found = await self._read_parts(GetParts(self._body.upload_id, numbers))
        except Refused as error:
            if error.code != "NoSuchUpload":
                raise
            raise gone() from error
        page = self._page(found.parts, found.holders, began)
        if page is None:
            raise gone()
        return page

    def _page(
        self, parts: Iterable[UploadedPart], holders: dict[bytes, tuple[bytes, ...]], told_at: float
    ) -> Page | None:
        """A page of those parts that come next, None if they are not among these."""
        by_number = {part.head.number: part for part in parts}
        found: list[Segment] = []
        count = 0
        for todo in self._todo:
            part = by_number.get(todo.number)
            if part is None:
                break
            assert part.head.size == todo.size, "a part of a completed object has changed"
            found += part_segments(part.chunks, part.head.scheme, todo.start, todo.stop)
            count += 1
        del self._todo[:count]
        return Page(found, holders, told_at) if count else None


def gone() -> Unavailable:
    """The object is no more: what was read of it so far is right, and nothing follows."""
    return Unavailable("ObjectGone", "the object was deleted while it was read")
