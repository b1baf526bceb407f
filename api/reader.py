"""Reads: the bytes of an object's range, verified, in order, from whichever copies are good.

A task beside the request fetches pieces and the request's task takes them; while a chunk's last piece is being sent
on, the next chunk is already asked for, if the memory budget has room for its first piece. A taker that is slow does
not keep a daemon's connection: it is let go, and the copy is opened again at the exact offset. What was missing or bad
is reported to its daemon, whose own re-read decides. A long read looks every `timings.renew_s` whether its chunks are
still referenced, and is cut only if they are not. What it needs of the metadata comes page by page: see `api.pages`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from api.budget import PIECE_BYTES, SMALL_BYTES, Budget, Buffer
from api.copies import CopyReader, Fault, ReadHolders, Sink
from api.handoff import Handoff, handed
from api.layout import Segment
from api.nodes import Nodes
from api.pages import Page, Pages, gone
from api.peers import Metadata, Node
from cluster.config import Config
from cluster.errors import TrilithError, Unavailable
from cluster.limits import CHUNK_BYTES
from cluster.log import get_logger
from metaraft.model import Assembled, Inline, Parts, Scheme
from metaraft.queries import GetHolders, GetParts, HoldersFound, ObjectFound, PartsFound

_log = get_logger("reader")

_DIRECT_BYTES = SMALL_BYTES
"""A range up to this is fetched whole before it is sent on: no task, and no connection waits for the client."""

_LINGER_S = 1.0
"""A taker that asks for nothing for so long does not keep a connection (chosen, not measured)."""

_REPORTS_MAX = 32
"""Reports under way at once; more are only logged."""

_HOLDERS_MAX = 1000
"""Chunks in one question for holders."""


class Reader:
    """The reader of one API process. `run` must be running."""

    def __init__(self, nodes: Nodes, meta: Metadata, budget: Budget, config: Config) -> None:
        self._nodes = nodes
        self._meta = meta
        self._budget = budget
        self._timings = config.timings
        self._nursery: trio.Nursery | None = None
        self._reports = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The home of fetching tasks and reports."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @asynccontextmanager
    async def open(
        self, found: ObjectFound, start: int, stop: int, *, trace_id: str
    ) -> AsyncIterator[AsyncIterator[memoryview]]:
        """The bytes [start, stop) of a version, in pieces; a piece is valid until the next one is asked for.

        The first piece of a read from chunks is there, verified, before the context is entered, so an object that
        cannot be read at all fails here. Raises Corrupt (NoGoodCopy), Unavailable (NoCopyReached, SlowDown); so may the
        iterator, later: then the bytes so far are right, and no more come.
        """
        body = found.version.body
        if not isinstance(body, Parts | Assembled):
            data = body.data[start:stop] if isinstance(body, Inline) else b""
            yield handed(data)
            return
        if self._nursery is None:
            raise Unavailable("ShuttingDown", "this process is shutting down", retry_after_s=1.0)
        buffers = await self._borrow(stop - start)
        try:
            pages = Pages(found, start, stop, partial(self._parts, trace_id), trio.current_time)
            reading = _Reading(self, pages, found.bucket.space, trace_id, buffers)
            if stop - start <= _DIRECT_BYTES:
                shelf = _Shelf()
                await reading.run(shelf)
                yield handed(bytes(shelf.data))
                return
            desk = _Desk(self._nursery, reading, buffers)
            try:
                await desk.handoff.first()
                yield desk.handoff
            finally:
                desk.scope.cancel()
        finally:
            for buffer in buffers:
                buffer.release()

    async def _borrow(self, length: int) -> list[Buffer]:
        """One buffer or two for the pieces of a range, big ones while there is plenty. Raises SlowDown."""
        if length <= _DIRECT_BYTES:
            return [await self._budget.acquire(SMALL_BYTES)]
        size = PIECE_BYTES
        first = self._budget.maybe_acquire_nowait(size)
        if first is None:
            size = SMALL_BYTES
            first = await self._budget.acquire(size)
        second = self._budget.maybe_acquire_nowait(size) if length > CHUNK_BYTES else None
        return [first] if second is None else [first, second]

    def is_old(self, told_at: float) -> bool:
        """What was read then must be confirmed before it is relied on."""
        return trio.current_time() > told_at + self._timings.renew_s

    async def holders(self, scheme: Scheme, chunk_ids: tuple[bytes, ...], trace_id: str) -> HoldersFound:
        """What the metadata says now of these chunks."""
        deadline = trio.current_time() + self._timings.metadata_deadline_s
        found = await self._meta.read(GetHolders(scheme, chunk_ids), deadline=deadline, trace_id=trace_id)
        assert isinstance(found, HoldersFound)
        return found

    async def _parts(self, trace_id: str, query: GetParts) -> PartsFound:
        deadline = trio.current_time() + self._timings.metadata_deadline_s
        found = await self._meta.read(query, deadline=deadline, trace_id=trace_id)
        assert isinstance(found, PartsFound)
        return found

    def copy_reader(
        self,
        segment: Segment,
        holders: tuple[bytes, ...],
        buffer: memoryview,
        space: int,
        trace_id: str,
        again: ReadHolders,
    ) -> CopyReader:
        """A reader of one segment, its pieces in `buffer`."""
        return CopyReader(
            segment,
            holders,
            buffer,
            nodes=self._nodes,
            timings=self._timings,
            space=space,
            trace_id=trace_id,
            read_holders=again,
            found_bad=partial(self._found_bad, space, trace_id),
        )

    def _found_bad(self, space: int, trace_id: str, chunk_id: bytes, node: Node, fault: Fault, reason: str) -> None:
        """Log a copy that was passed over; hint at it, if it is not only slow."""
        _log.warning(
            "bad_copy" if fault in ("bad", "missing") else "copy_passed_over",
            chunk=chunk_id.hex(),
            disk=node.disk_id.hex(),
            node=node.name,
            fault=fault,
            reason=reason,
            trace_id=trace_id,
        )
        if fault in ("bad", "missing") and self._nursery is not None and self._reports < _REPORTS_MAX:
            self._reports += 1
            self._nursery.start_soon(self._report, space, trace_id, chunk_id, node)

    async def _report(self, space: int, trace_id: str, chunk_id: bytes, node: Node) -> None:
        deadline = trio.current_time() + self._timings.request_deadline_s
        try:
            verdict = await node.report(chunk_id, deadline=deadline, trace_id=trace_id, space=space)
        except TrilithError as error:
            _log.info("report_failed", node=node.name, code=error.code, reason=error.message)
        else:
            _log.warning("copy_judged", chunk=chunk_id.hex(), disk=node.disk_id.hex(), node=node.name, verdict=verdict)
        finally:
            self._reports -= 1


class _Reading:
    """One open range: its segments in order, into a sink, through one buffer or two by turns."""

    def __init__(self, reader: Reader, pages: Pages, space: int, trace_id: str, buffers: list[Buffer]) -> None:
        self._reader = reader
        self._pages = pages
        self._space = space
        self._trace_id = trace_id
        self._buffers = buffers

    async def run(self, sink: Sink) -> None:
        """Hand all bytes to the sink. Raises when no good copy is left."""
        turn = 0
        while (page := await self._pages.next()) is not None:
            for number, segment in enumerate(page.segments):
                if self._reader.is_old(page.told_at):
                    await self._confirm(page, number)
                if len(self._buffers) == 1:
                    await sink.done()
                # with two, the one that the segment before the last filled is free: the last's pieces were asked for
                buffer = self._buffers[turn % len(self._buffers)].view
                turn += 1
                holders = page.holders.get(segment.chunk_id, ())
                again = partial(self._read_holders, segment.scheme)
                reading = self._reader.copy_reader(segment, holders, buffer, self._space, self._trace_id, again)
                await reading.read(sink)

    async def _read_holders(self, scheme: Scheme, chunk_id: bytes) -> tuple[bytes, ...]:
        found = await self._reader.holders(scheme, (chunk_id,), self._trace_id)
        chunk = found.chunks.get(chunk_id)
        return () if chunk is None else chunk.holders

    async def _confirm(self, page: Page, number: int) -> None:
        """Read anew who holds what follows. Raises Unavailable (ObjectGone) if nobody references it any more."""
        following = page.segments[number : number + _HOLDERS_MAX]
        scheme = following[0].scheme
        same = tuple(dict.fromkeys(segment.chunk_id for segment in following if segment.scheme == scheme))
        began = trio.current_time()
        found = await self._reader.holders(scheme, same, self._trace_id)
        for chunk_id in same:
            chunk = found.chunks.get(chunk_id)
            if chunk is None or chunk.condemned:
                raise gone()
            page.holders[chunk_id] = chunk.holders
        page.told_at = began


class _Shelf:
    """Sink of a small range: everything, at once."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def ready(self) -> bool:
        return True

    async def done(self) -> None:
        return

    async def take_soon(self, piece: memoryview) -> bool:
        self.data += piece
        return True

    async def take(self, piece: memoryview) -> None:
        self.data += piece


class _Desk:
    """Sink of a long range: a task beside the request reads, the request takes, and may be slow."""

    def __init__(self, nursery: trio.Nursery, reading: _Reading, buffers: list[Buffer]) -> None:
        self.handoff = Handoff()
        self.scope = trio.CancelScope()
        nursery.start_soon(self._fetch, reading, [buffer.keep() for buffer in buffers])

    async def _fetch(self, reading: _Reading, buffers: list[Buffer]) -> None:
        """Read everything. Ends the handoff, without an error only when all bytes were given."""
        error: Exception | None = Unavailable("ShuttingDown", "this process is shutting down", retry_after_s=1.0)
        try:
            with self.scope:
                await reading.run(self)
                error = None
        except Exception as failure:  # noqa: BLE001 - carried to the request's task, which raises it
            error = failure
        finally:
            self.handoff.end(error)
            for buffer in buffers:
                buffer.release()

    async def ready(self) -> bool:
        if self.handoff.is_asked:
            return True
        with trio.move_on_after(_LINGER_S) as scope:
            await self.handoff.asked()
        return not scope.cancelled_caught

    async def done(self) -> None:
        await self.handoff.asked()

    async def take_soon(self, piece: memoryview) -> bool:
        if self.handoff.is_asked:
            await self.handoff.give(piece)
            return True
        with trio.move_on_after(_LINGER_S) as scope:
            await self.handoff.give(piece)
        return not scope.cancelled_caught

    async def take(self, piece: memoryview) -> None:
        await self.handoff.give(piece)
