"""One upload on its way in: packets into buffers, buffers into chunks, chunks to disks, all bytes into digests.

The request's own task copies packets; what takes longer goes on beside it, in tasks of the writer's nursery, and at
most `limits.upload_chunks_in_flight_max` chunks are in flight (the one being filled counts). The first failure of any
of them ends the request. A chunk starts in a small buffer and moves to a whole one when it outgrows it; an upload that
has kept a whole buffer for long while others wait stores what it has as a shorter chunk.
"""

from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import trio

from api.budget import SMALL_BYTES, Budget, Buffer
from api.digests import INLINE_BYTES, ContentDigests, Digester
from api.holding import Holding
from api.nodes import Nodes
from api.replication import NamedChunk, Replication
from api.space import METADATA_SHARE
from chunkd.blocks import name_chunk
from cluster.config import Config
from cluster.errors import Refused, Unavailable
from cluster.limits import CHUNK_BYTES, MIB, Limits
from metaraft.model import ChecksumAlgorithm, ChunkRef, Copies

_DIGEST_BYTES = MIB
"""Digested in one go in a thread: about 3 ms, so that a hop does not matter."""

_HELD_S = 2.0
"""For how long an upload may fill one whole buffer while others wait for one (chosen, not measured)."""

_SHORT_CHUNKS_MAX = 4000
"""From so many chunks on only whole ones follow: a command has about 165 bytes per chunk and at most 1 MiB."""


type Packet = bytes | bytearray | memoryview
"""A piece of a body; it is done with when the next one is asked for."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What all uploads of a process share. `changed`: a chunk was stored, or its last copy has ended."""

    nodes: Nodes
    budget: Budget
    config: Config
    threads: trio.CapacityLimiter
    nursery: trio.Nursery
    changed: Callable[[Replication], None]


@dataclass(frozen=True, slots=True)
class Received:
    """A whole body: its size, digests, and where its bytes are: themselves, or (None) in chunks."""

    size: int
    digests: ContentDigests
    inline: bytes | None
    chunks: tuple[ChunkRef, ...]


class Upload:
    """One body being received. `receive` is called once; then `close`, whatever happened.

    A body of more than `inline_max` bytes goes to chunks; -1: any.
    """

    def __init__(
        self,
        resources: Resources,
        holding: Holding,
        scheme: Copies,
        space: int,
        trace_id: str,
        *,
        inline_max: int,
        algorithms: Iterable[ChecksumAlgorithm],
    ) -> None:
        self._on = resources
        self._limits = resources.config.limits
        self._holding = holding
        self._scheme = scheme
        self._space = space
        self._trace_id = trace_id
        self._inline_max = inline_max
        self._size = 0
        self._digester = Digester(algorithms)
        self._to_digest: deque[tuple[Buffer, int, int]] = deque()
        self._digesting = False
        self._digested = 0
        self._progress = trio.lowlevel.ParkingLot()
        self._slots = trio.Semaphore(max(1, self._limits.upload_chunks_in_flight_max))
        self._refs: list[ChunkRef | None] = []
        self._storing = 0
        self._buffer: Buffer | None = None
        self._filled = 0
        self._submitted = 0
        self._digest_until = 0
        self._held_since = 0.0
        self._scope = trio.CancelScope()
        self._tasks: set[trio.CancelScope] = set()
        self._failure: Exception | None = None
        self._closed = False

    async def receive(self, body: AsyncIterable[Packet], size: int | None) -> Received:
        """Take the whole body of `size` bytes (None: until it ends). What it raises is `Writer.store`'s."""
        if size is not None and size <= self._inline_max:
            return await self._receive(body, size)
        with self._scope:
            if size is not None or self._inline_max < 0:
                await self._check_disks()
            return await self._receive(body, size)
        assert self._failure is not None, "only a failure cancels an upload from inside"
        raise self._failure

    def close(self) -> None:
        """End what goes on beside the request, but for copies that are on their way."""
        self._closed = True
        for scope in self._tasks:
            scope.cancel()
        if self._buffer is not None:
            self._buffer.release()
            self._buffer = None

    def maybe_cut_nowait(self) -> bool:
        """Give up a whole buffer that has been held for long: its bytes become a shorter chunk."""
        buffer = self._buffer
        if buffer is None or buffer.size < CHUNK_BYTES or len(self._refs) >= _SHORT_CHUNKS_MAX:
            return False
        if trio.current_time() < self._held_since + _HELD_S:
            return False
        self._cut_nowait()
        return True

    # ---- in the request's task

    async def _receive(self, body: AsyncIterable[Packet], size: int | None) -> Received:
        inline = await self._fill(body, size)
        if inline is None:
            self._cut_nowait()
            await self._all_stored()
        else:
            self._digester.update(inline)
        chunks = tuple(ref for ref in self._refs if ref is not None)
        assert inline is not None or sum(ref.length for ref in chunks) == self._size, "chunks do not add up to the body"
        return Received(self._size, self._digester.digests(), inline, chunks)

    async def _check_disks(self) -> None:
        """Raises Unavailable (NoSpace, TooFewDisks) if too few disks can take a chunk."""
        quorum = self._scheme.write_quorum
        now = trio.current_time()
        deadline = now + METADATA_SHARE * self._on.config.timings.metadata_deadline_s
        info = await self._holding.read_space(deadline=deadline)
        if self._on.nodes.too_few(info, quorum) is not None:
            info = await self._holding.read_space(since=now, deadline=deadline)
        trouble = self._on.nodes.too_few(info, quorum)
        if trouble is not None:
            raise trouble
        self._spawn(self._holding.renew_forever)

    async def _fill(self, body: AsyncIterable[Packet], size: int | None) -> bytes | None:
        """Take all packets; the bytes themselves if they are few enough to be kept inline."""
        head = bytearray()
        inline = self._inline_max >= 0 if size is None else size <= self._inline_max
        async for packet in body:
            self._size += len(packet)
            self._check_size(size)
            if not inline:
                await self._take(memoryview(packet))
                continue
            head += packet
            if len(head) > self._inline_max:
                inline = False
                await self._check_disks()
                await self._take(memoryview(head))
                head = bytearray()
        if size is not None and self._size < size:
            raise Refused("IncompleteBody", f"the body ended after {self._size} of {size} bytes")
        return bytes(head) if inline else None

    def _check_size(self, size: int | None) -> None:
        if size is not None and self._size > size:
            raise Refused("IncompleteBody", f"the body is longer than the {size} bytes that were announced")
        check_size(self._limits, self._size)

    async def _take(self, data: memoryview) -> None:
        while data:
            buffer = self._buffer
            if buffer is None:
                buffer = await self._begin()
            elif self._filled == buffer.size:
                buffer = await self._grow(buffer)
            part = data[: buffer.size - self._filled]
            data = data[len(part) :]
            buffer.view[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            if self._filled - self._submitted >= _DIGEST_BYTES:
                self._submit()
            if self._filled == CHUNK_BYTES:
                self._cut_nowait()
            elif self._on.budget.waiting:
                self.maybe_cut_nowait()

    async def _begin(self) -> Buffer:
        """Begin a chunk, when there is a place for it."""
        await self._slots.acquire()
        laggards = self._holding.laggards()
        for laggard in laggards[: max(0, len(laggards) - self._limits.upload_laggards_max)]:
            laggard.drop()
        self._buffer = await self._on.budget.acquire(SMALL_BYTES)
        return self._buffer

    async def _grow(self, small: Buffer) -> Buffer:
        """Move what there is of the chunk to a buffer for a whole one."""
        assert not self._submitted, "a small buffer is not digested before it is cut"
        large = await self._on.budget.acquire(CHUNK_BYTES)
        large.view[: self._filled] = small.view[: self._filled]
        self._buffer = large
        self._held_since = trio.current_time()
        small.release()
        return large

    async def _all_stored(self) -> None:
        while self._storing:
            await self._progress.park()
        if self._failure is not None:  # it came with the wake-up, which a cancel does not overtake
            raise self._failure

    # ---- beside it

    def _cut_nowait(self) -> None:
        """The chunk ends here: store it."""
        buffer = self._buffer
        if buffer is None:
            return
        self._submit()
        length, self._buffer, self._filled, self._submitted = self._filled, None, 0, 0
        self._refs.append(None)
        self._storing += 1
        self._spawn(partial(self._store, buffer, length, len(self._refs) - 1, self._digest_until))

    def _submit(self) -> None:
        """Have the bytes digested that have come since the last time."""
        buffer, start, stop = self._buffer, self._submitted, self._filled
        assert buffer is not None
        self._submitted = stop
        self._digest_until += stop - start
        if stop - start <= INLINE_BYTES and not self._to_digest and not self._digesting:
            self._digester.update(buffer.view[start:stop])
            self._digested += stop - start
            return
        self._to_digest.append((buffer.keep(), start, stop))
        if not self._digesting:
            self._digesting = True
            self._spawn(self._digest)

    async def _digest(self) -> None:
        try:
            while self._to_digest:
                buffer, start, stop = self._to_digest[0]
                await self._in_thread(self._digester.update, buffer.view[start:stop])
                self._to_digest.popleft()
                buffer.release()
                self._digested += stop - start
                self._progress.unpark_all()
        finally:
            self._digesting = False
            for buffer, _, _ in self._to_digest:
                buffer.release()
            self._to_digest.clear()

    async def _store(self, buffer: Buffer, length: int, number: int, digest_until: int) -> None:
        """Store one chunk and see it digested; then its place is free for the next."""
        try:
            view = buffer.view[:length]
            if length <= INLINE_BYTES:
                chunk_id, hashes = name_chunk(view)
            else:
                chunk_id, hashes = await self._in_thread(name_chunk, view)
            self._refs[number] = ChunkRef(chunk_id=chunk_id, offset=0, length=length, chunk_bytes=length)
            replication = self._holding.find(chunk_id)
            if replication is None:
                replication = self._replicate(NamedChunk(chunk_id, hashes, buffer, length))
            await replication.stored()
            while self._digested < digest_until:
                await self._progress.park()
        finally:
            buffer.release()
            self._storing -= 1
            self._slots.release()
            self._progress.unpark_all()

    def _replicate(self, chunk: NamedChunk) -> Replication:
        info = self._holding.info
        assert info is not None, "the space is read before the first chunk"
        nodes = self._on.nodes
        replication = Replication(
            chunk,
            self._scheme,
            nodes.for_put(chunk.chunk_id, info),
            nodes=nodes,
            nursery=self._on.nursery,
            seen=info.revision,
            space=self._space,
            deadline=trio.current_time() + self._on.config.timings.request_deadline_s,
            trace_id=self._trace_id,
            changed=self._on.changed,
        )
        self._holding.add(replication)
        replication.start()
        return replication

    async def _in_thread[T](self, work: Callable[[memoryview], T], view: memoryview) -> T:
        return await trio.to_thread.run_sync(work, view, limiter=self._on.threads)

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Go on with this beside the request, until it ends or the upload is closed."""
        scope = trio.CancelScope()
        self._tasks.add(scope)
        self._on.nursery.start_soon(self._run, work, scope)

    async def _run(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        if self._closed:
            scope.cancel()
        ended = False
        try:
            with scope:
                await work()
            ended = True
        except Exception as error:  # noqa: BLE001 - carried to the request's task, which raises it
            self._fail(error)
            ended = True
        finally:
            self._tasks.discard(scope)
            if not ended:
                self._fail(Unavailable("ShuttingDown", "this process is shutting down", retry_after_s=1.0))

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._scope.cancel()


def check_size(limits: Limits, size: int) -> None:
    """Raises Refused (EntityTooLarge) for a body that no single request may have."""
    if size > limits.put_bytes_max:
        text = f"a body has at most {limits.put_bytes_max} bytes, this one has {size} or more"
        raise Refused("EntityTooLarge", text, limit={"put_bytes_max": limits.put_bytes_max})
