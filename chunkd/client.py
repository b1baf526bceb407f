"""The client of one chunk daemon: puts, and reads of which every byte was verified.

A hash list is checked against the chunk's id, each block against the hash list, and only then are bytes handed on.
Verified lists are kept (they belong to the id, whoever sent them), so the next range costs its blocks alone. Names are
content, so every call may be repeated: an outcome that is not known is reported as Unavailable.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Buffer, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass

import msgspec
import trio

from chunkd import wire
from chunkd.blocks import cover, first_wrong, invalid
from chunkd.reading import PIECE_BYTES
from chunkd.wire import ChunkStat, Method, NodeStatus, Verdict
from cluster.config import ChunkdConfig, Config, address
from cluster.errors import UNDECODABLE, Corrupt, OutcomeUnknown, Unavailable
from cluster.identity import NodeIdentity
from cluster.limits import BLOCK_BYTES, MIB
from cluster.rpc import Channel, TransferPool, TransferStream

__all__ = ["ChunkClient", "ChunkStat", "Fetched", "HashLists", "NodeStatus", "Pieces", "Verdict", "repeatable"]

HASH_LISTS_BYTES_MAX = 16 * MIB
"""Verified hash lists kept: those of 32 GiB of full chunks."""

type Bools = list[bool]

INLINE_BYTES_MAX = MIB
"""Up to here a piece is hashed on the spot, in 0.2 to 0.7 ms: a thread costs more on a busy machine (measured)."""

_encode = msgspec.msgpack.Encoder().encode


class HashLists:
    """Verified hash lists by chunk id, the least recently used dropped first. May be shared by all clients."""

    def __init__(self, bytes_max: int = HASH_LISTS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lists: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()

    def get(self, chunk_id: bytes) -> tuple[int, bytes] | None:
        """A chunk's length and hash list."""
        found = self._lists.get(chunk_id)
        if found is not None:
            self._lists.move_to_end(chunk_id)
        return found

    def add(self, chunk_id: bytes, length: int, hashes: bytes) -> None:
        """Keep a list that was verified against its id."""
        if chunk_id not in self._lists:
            self._lists[chunk_id] = length, hashes
            self._bytes += len(hashes)
            while self._bytes > self._bytes_max:
                _, (_, dropped) = self._lists.popitem(last=False)
                self._bytes -= len(dropped)


class Pieces:
    """A range's verified bytes, in order, in pieces of up to 1 MiB; a piece is valid until the next is asked for.

    Raises Corrupt (ChunkCorrupt, and what the daemon says), with everything before the bad block handed on already,
    or Unavailable. Nothing follows an error.
    """

    def __init__(
        self,
        stream: TransferStream,
        chunk_id: bytes,
        hashes: bytes,
        buffer: memoryview,
        wanted: tuple[int, int],
        end: int,
    ) -> None:
        self._stream = stream
        self._chunk_id = chunk_id
        self._hashes = hashes
        self._buffer = buffer
        self._from, self._until = wanted
        self._next = self._from // BLOCK_BYTES * BLOCK_BYTES
        self._end = end
        self._wrong: Corrupt | None = None

    @property
    def left(self) -> int:
        """Bytes that the daemon still sends."""
        return self._end - self._next

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return self

    async def __anext__(self) -> memoryview:
        if self._wrong is not None:
            raise self._wrong
        if self._next >= self._end:
            raise StopAsyncIteration
        start = self._next
        view = self._buffer[: min(len(self._buffer), self._end - start)]
        with repeatable():
            await self._stream.receive_raw_into(view)
        self._next = stop = start + len(view)
        first_block = start // BLOCK_BYTES
        if len(view) <= INLINE_BYTES_MAX:
            wrong = first_wrong(view, self._hashes, first_block)
        else:
            wrong = await trio.to_thread.run_sync(first_wrong, view, self._hashes, first_block)
        if wrong is not None:
            self._wrong = Corrupt(
                "ChunkCorrupt",
                f"block {wrong} from {self._stream.peer} is not that of chunk {self._chunk_id.hex()}",
                detail={"chunk": self._chunk_id.hex(), "block": str(wrong), "node": self._stream.peer},
            )
            stop = wrong * BLOCK_BYTES
            if stop <= max(start, self._from):
                raise self._wrong
        return view[max(start, self._from) - start : min(stop, self._until) - start]


@dataclass(frozen=True)
class Fetched:
    """A whole chunk on its way: its verified length and hash list, and its pieces."""

    length: int
    hashes: bytes
    pieces: Pieces


class ChunkClient:
    """One node as others see it. `run` keeps the connection for small calls; transfers connect when they need to.

    Deadlines are of trio's clock. All calls raise Unavailable (NotConnected, Overloaded, DeadlineExceeded,
    ConnectionLost, DiskFull, DiskFailed, DiskReadOnly, ...) when the daemon or its disk cannot; after a cancel the
    client is as before.
    """

    def __init__(
        self, node: ChunkdConfig, config: Config, me: NodeIdentity, hash_lists: HashLists | None = None
    ) -> None:
        self.name = node.name
        self.disk_id = bytes.fromhex(node.disk_id)
        self.zone = node.zone or node.host
        self.weight = node.weight
        self._hash_lists = HashLists() if hash_lists is None else hash_lists
        self._buffers: list[memoryview] = []
        self._buffers_max = config.limits.chunk_connections_max
        dial = address(node.dial or node.listen, config.base)
        self._channel = Channel(dial, node.name, "chunkd", me, config.limits, config.timings)
        self._pool = TransferPool(dial, node.name, "chunkd", me, config.limits, config.timings)

    @property
    def connected(self) -> bool:
        """The connection for small calls is up."""
        return self._channel.connected

    async def wait_connected(self) -> None:
        """Wait until it is up."""
        await self._channel.wait_connected()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the node connected until cancelled; started at once."""
        try:
            await self._channel.run(task_status=task_status)
        finally:
            self.close()

    def close(self) -> None:
        """Close the idle transfer connections, as the end of `run` does; the client can still be used."""
        self._pool.close()

    async def put(
        self,
        chunk_id: bytes,
        hashes: bytes,
        data: Buffer,
        *,
        seen: int,
        deadline: float,
        trace_id: str = "",
        space: int = 1,
    ) -> None:
        """Store a chunk; returns when file and folder are fsynced, or a copy that was there is verified and fsynced.

        The data must not change meanwhile. Raises Refused (ChunkMismatch) if id, hashes and data do not belong
        together, and Unavailable.
        """
        view = memoryview(data).cast("B")
        ask = wire.PutAsk(chunk_id, len(view), hashes, seen)
        with trio.move_on_at(deadline), repeatable():
            async with self._pool.open() as stream:
                await self._request(stream, Method.PUT, ask, deadline, trace_id, space)
                eager = len(view) <= wire.EAGER_BYTES_MAX
                if eager or (await self._response(stream, wire.PutGo)).needed:
                    for start in range(0, len(view), PIECE_BYTES):  # between pieces the daemon can refuse the rest
                        await stream.send_raw(view[start : start + PIECE_BYTES])
                    await stream.receive_response()
            self._hash_lists.add(chunk_id, len(view), hashes)
            return
        raise Unavailable("DeadlineExceeded", f"{self.name} did not store the chunk before the deadline")

    @asynccontextmanager
    async def get(
        self,
        chunk_id: bytes,
        offset: int,
        length: int,
        *,
        deadline: float,
        trace_id: str = "",
        space: int = 1,
        buffer: memoryview | None = None,
    ) -> AsyncGenerator[Pieces]:
        """Read a range: an async iterator of verified memoryviews (see Pieces: each valid until the next).

        With a `buffer` of at least one block, the pieces lie in it, and so the last one stays valid when this is left.
        Raises Refused (NoSuchChunk, BadRange), Corrupt (BadHeader, ChunkCorrupt, ChunkShort, ReadFailed), Unavailable.
        May be left at any point.
        """
        async with self._open(chunk_id, offset, length, deadline, trace_id, space, buffer) as fetched:
            yield fetched.pieces

    @asynccontextmanager
    async def fetch(
        self, chunk_id: bytes, *, deadline: float, trace_id: str = "", space: int = 1
    ) -> AsyncGenerator[Fetched]:
        """Read a whole chunk whose length is not known yet. Raises as `get`."""
        async with self._open(chunk_id, 0, None, deadline, trace_id, space) as fetched:
            yield fetched

    @asynccontextmanager
    async def _open(
        self,
        chunk_id: bytes,
        offset: int,
        length: int | None,
        deadline: float,
        trace_id: str,
        space: int,
        own: memoryview | None = None,
    ) -> AsyncGenerator[Fetched]:
        known = self._hash_lists.get(chunk_id)
        ask = wire.GetAsk(chunk_id, offset, length, known is None)
        async with self._transfer() as stream:
            with repeatable():
                await self._request(stream, Method.GET, ask, deadline, trace_id, space)
                go = await self._response(stream, wire.GetGo)
            if known is None:
                reason = invalid(chunk_id, go.length, go.hashes)
                if reason is not None:
                    raise Corrupt("BadHeader", f"{self.name}: {reason}")
                known = go.length, go.hashes
                self._hash_lists.add(chunk_id, *known)
            whole, hashes = known
            until = whole if length is None else offset + length
            if not 0 <= offset < until <= whole or go.length != whole:
                raise Corrupt(
                    "BadHeader", f"{self.name} has chunk {chunk_id.hex()} with {go.length} bytes, not {whole}"
                )
            start, end = cover(offset, until - offset, whole)
            with self._buffer(end - start) if own is None else nullcontext(_whole_blocks(own)) as buffer:
                pieces = Pieces(stream, chunk_id, hashes, buffer, (offset, until), end)
                try:
                    yield Fetched(whole, hashes, pieces)
                finally:
                    if pieces.left > PIECE_BYTES:
                        stream.close()  # a new connection is cheaper than reading on

    @asynccontextmanager
    async def _transfer(self) -> AsyncGenerator[TransferStream]:
        """As the pool's, with its own failures (not the body's) as Unavailable."""
        opened = self._pool.open()
        with repeatable():
            stream = await opened.__aenter__()
        try:
            yield stream
        except BaseException as error:
            if not await opened.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            await opened.__aexit__(None, None, None)

    async def have(self, ids: Sequence[bytes], *, deadline: float, trace_id: str = "", space: int = 1) -> Bools:
        """Which chunks are there, durably; their bytes are not looked at."""
        return await self._answers(Method.HAVE, wire.Ids(tuple(ids)), deadline, trace_id, space)

    async def stat(self, chunk_id: bytes, *, deadline: float, trace_id: str = "", space: int = 1) -> ChunkStat:
        """A chunk's verified length and hash list. Raises Refused (NoSuchChunk), Corrupt (BadHeader)."""
        stat = await self._call(Method.STAT, wire.OneId(chunk_id), ChunkStat, deadline, trace_id, space)
        reason = invalid(chunk_id, stat.length, stat.hashes)
        if reason is not None:
            raise Corrupt("BadHeader", f"{self.name}: {reason}")
        return stat

    async def renew(
        self, ids: Sequence[bytes], seen: int, *, deadline: float, trace_id: str = "", space: int = 1
    ) -> Bools:
        """Acknowledge again for `seen`, per chunk; False where it is not there any more."""
        return await self._answers(Method.RENEW, wire.RenewAsk(tuple(ids), seen), deadline, trace_id, space)

    async def delete(
        self, ids: Sequence[bytes], horizon: int, *, deadline: float, trace_id: str = "", space: int = 1
    ) -> Bools:
        """Delete the chunks whose every acknowledgement had `seen < horizon`; False for those put or renewed later.

        Raises Unavailable (RevisionUnknown) until `present` was called after the daemon's start, and Refused
        (WrongDisk) if the daemon is on another disk than it is thought to be.
        """
        ask = wire.DeleteAsk(tuple(ids), horizon, self.disk_id)
        return await self._answers(Method.DELETE, ask, deadline, trace_id, space)

    async def present(self, boot: bytes, revision: int, *, deadline: float, trace_id: str = "", space: int = 1) -> None:
        """Tell the space's present revision: first ask `status` for `boot`, then read the revision, then call this.

        It stands in for what the daemon forgot at its start. Raises Refused (StaleBoot) if it started again meanwhile.
        """
        await self._ask(Method.PRESENT, wire.PresentAsk(boot, revision), deadline, trace_id, space)

    async def list(
        self, after: bytes = b"", limit: int = 1000, *, deadline: float, trace_id: str = "", space: int = 1
    ) -> tuple[tuple[bytes, ...], bool]:
        """Ids greater than `after`, in order, and whether there are more."""
        page = await self._call(Method.LIST, wire.ListAsk(after, limit), wire.Listed, deadline, trace_id, space)
        return page.ids, page.more

    async def copy_from(
        self, chunk_id: bytes, source: str, seen: int, *, deadline: float, trace_id: str = "", space: int = 1
    ) -> None:
        """Let the daemon fetch a chunk from the node of that name; returns when it is durable there.

        Raises as `get` of the source and `put` of this daemon; Refused (UnknownNode).
        """
        await self._ask(Method.COPY_FROM, wire.CopyAsk(chunk_id, source, seen), deadline, trace_id, space)

    async def report(self, chunk_id: bytes, *, deadline: float, trace_id: str = "", space: int = 1) -> Verdict:
        """Hint that a copy is bad: the daemon re-reads it, and says `good`, `bad` (quarantined) or `missing`."""
        found = await self._call(Method.REPORT, wire.OneId(chunk_id), wire.Reported, deadline, trace_id, space)
        return found.verdict

    async def status(self, *, deadline: float, trace_id: str = "") -> NodeStatus:
        """The daemon and its disk."""
        return await self._call(Method.STATUS, wire.Nothing(), NodeStatus, deadline, trace_id, 1)

    # ---- frames

    async def _answers(
        self,
        method: Method,
        ask: "wire.Ids | wire.RenewAsk | wire.DeleteAsk",
        deadline: float,
        trace_id: str,
        space: int,
    ) -> Bools:
        found = (await self._call(method, ask, wire.Answers, deadline, trace_id, space)).answers
        if len(found) != len(ask.ids):
            raise Unavailable("BadAnswer", f"{self.name} gave {len(found)} answers for {len(ask.ids)} chunks")
        return [*found]

    async def _call[T](
        self, method: Method, ask: msgspec.Struct, kind: type[T], deadline: float, trace_id: str, space: int
    ) -> T:
        return self._decode(await self._ask(method, ask, deadline, trace_id, space), kind)

    async def _ask(self, method: Method, ask: msgspec.Struct, deadline: float, trace_id: str, space: int) -> bytes:
        with repeatable():
            return await self._channel.call(method, _encode(ask), deadline=deadline, trace_id=trace_id, space=space)

    async def _request(
        self, stream: TransferStream, method: Method, ask: msgspec.Struct, deadline: float, trace_id: str, space: int
    ) -> None:
        remaining_s = deadline - trio.current_time()
        await stream.send_request(method, _encode(ask), remaining_s=remaining_s, trace_id=trace_id, space=space)

    async def _response[T](self, stream: TransferStream, kind: type[T]) -> T:
        return self._decode(await stream.receive_response(), kind)

    def _decode[T](self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.msgpack.decode(body, type=kind)
        except UNDECODABLE as error:
            raise Unavailable("BadAnswer", f"{self.name} answered what cannot be read: {error}") from error

    @contextmanager
    def _buffer(self, size: int) -> Generator[memoryview]:
        """A buffer of a piece or, for less, of the size; whole ones are reused."""
        if size < PIECE_BYTES:
            yield memoryview(bytearray(size))
            return
        buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(PIECE_BYTES))
        try:
            yield buffer
        finally:
            if len(self._buffers) < self._buffers_max:
                self._buffers.append(buffer)


def _whole_blocks(buffer: memoryview) -> memoryview:
    assert len(buffer) >= BLOCK_BYTES, "a buffer for pieces holds at least one block"
    return buffer[: len(buffer) // BLOCK_BYTES * BLOCK_BYTES]


@contextmanager
def repeatable() -> Generator[None]:
    """An unknown outcome of a call that may be repeated is no more than: it did not work now."""
    try:
        yield
    except OutcomeUnknown as error:
        raise Unavailable(error.code, error.message, retry_after_s=error.retry_after_s, detail=error.detail) from error
