"""The chunk daemon's service: the store's calls over the wire, in threads, bounded.

Two sets of threads per disk, so that writers waiting for an fsync never keep readers out. At most
`limits.transfers_max` bodies are in flight; the next is refused at once. A put is cut into pieces: while one is hashed
and written in a thread, the next is received. A request that is cancelled leaves no file behind.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import trio

from chunkd import wire
from chunkd.blocks import cover
from chunkd.client import ChunkClient
from chunkd.folder import SPACE_MAX
from chunkd.reading import PIECE_BYTES, OpenChunk
from chunkd.seen import Name
from chunkd.store import Store
from chunkd.upload import Upload
from chunkd.wire import Method
from cluster.config import Address, ChunkdConfig, Config, address
from cluster.errors import UNDECODABLE, Refused, TrilithError, Unavailable
from cluster.identity import NodeIdentity
from cluster.log import get_logger
from cluster.rpc import Request, Service, TransferStream, serve

READ_THREADS = 8
"""Chosen: enough to keep a disk's queue busy."""

WRITE_THREADS = 24
"""Chosen: most of these wait in fsync, which the file system groups."""

UPKEEP_S = 600.0
"""How often the trash is looked through."""

DRAIN_SHARE = 0.3
"""Of the time after which the supervisor kills."""

BAD_SHOWN_MAX = 1000

_log = get_logger("chunkd")
_encode = msgspec.msgpack.Encoder().encode


class ChunkServer:
    """One daemon on one store."""

    def __init__(self, store: Store, node: ChunkdConfig, config: Config, me: NodeIdentity) -> None:
        self._store = store
        self._node = node
        self._config = config
        self._me = me
        self._limits = config.limits
        self._reads = trio.CapacityLimiter(READ_THREADS)
        self._writes = trio.CapacityLimiter(WRITE_THREADS)
        self._transfers = 0
        self._transfer_ended = trio.Event()
        self._ending = False
        self._buffers: list[memoryview] = []
        self._sources: dict[str, ChunkClient] = {}

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the address."""
        listen = address(self._node.listen, self._config.base)
        service = Service(
            "chunkd",
            handlers={
                Method.HAVE: self._have,
                Method.STAT: self._stat,
                Method.RENEW: self._renew,
                Method.DELETE: self._delete,
                Method.LIST: self._list,
                Method.COPY_FROM: self._copy_from,
                Method.REPORT: self._report,
                Method.STATUS: self._status,
                Method.PRESENT: self._present,
            },
            transfers={Method.PUT: self._put, Method.GET: self._get},
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._upkeep)
                await serve(service, listen, self._me, self._limits, self._config.timings, task_status=task_status)
        finally:
            for source in self._sources.values():
                source.close()

    async def drain(self) -> None:
        """Take no more bodies, and wait a while for those in flight."""
        self._ending = True
        with trio.move_on_after(self._config.timings.shutdown_s * DRAIN_SHARE):
            while self._transfers:
                await self._transfer_ended.wait()

    # ---- transfers

    async def _put(self, request: Request, stream: TransferStream) -> None:
        ask = _decode(request, wire.PutAsk)
        name = _name(request, ask.chunk_id)
        with self._transfer():
            if ask.length <= wire.EAGER_BYTES_MAX:
                await self._put_small(stream, name, ask)
                return
            upload = await self._write(self._store.begin, name, ask.length, ask.hashes, ask.seen)
            if upload is None:
                await stream.send_response(_encode(wire.PutGo(needed=False)))
                return
            try:
                await stream.send_response(_encode(wire.PutGo(needed=True)))
                await self._receive(stream, upload, ask.seen)
            finally:
                await self._discard(upload)
            await stream.send_response(b"")

    async def _put_small(self, stream: TransferStream, name: Name, ask: wire.PutAsk) -> None:
        with self._buffer() as buffer:
            piece = buffer[: ask.length]
            await stream.receive_raw_into(piece)
            await self._write(self._store.put, name, piece, ask.hashes, ask.seen)
        await stream.send_response(b"")

    async def _receive(self, stream: TransferStream, upload: Upload, seen: int) -> None:
        """Receive one piece while the one before is hashed and written; the last one's thread also finishes."""
        with self._buffer() as first, self._buffer() as second:
            piece = first[: min(PIECE_BYTES, upload.length)]
            left = upload.length - len(piece)
            await stream.receive_raw_into(piece)
            while left:
                other = second if piece.obj is first.obj else first
                coming = other[: min(PIECE_BYTES, left)]
                failures: list[TrilithError] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_piece, upload, piece, failures)
                    try:
                        await stream.receive_raw_into(coming)
                    except TrilithError as error:
                        failures.append(error)
                if failures:
                    raise failures[0]
                left -= len(coming)
                piece = coming
            await self._write(self._end, upload, piece, seen)

    async def _write_piece(self, upload: Upload, piece: memoryview, failures: list[TrilithError]) -> None:
        try:
            await self._write(upload.write, piece)
        except TrilithError as error:
            failures.append(error)

    def _end(self, upload: Upload, piece: memoryview, seen: int) -> None:
        upload.write(piece)
        self._store.finish(upload, seen)

    async def _discard(self, upload: Upload) -> None:
        """What a thread began is awaited even in a cancelled task; removing one file is bounded by the disk."""
        if not upload.open:
            self._store.discard(upload)
            return
        with trio.CancelScope(shield=True):
            await self._write(self._store.discard, upload)

    async def _get(self, request: Request, stream: TransferStream) -> None:
        ask = _decode(request, wire.GetAsk)
        name = _name(request, ask.chunk_id)
        with self._transfer():
            chunk = self._store.open_nowait(name)
            if chunk is None:
                chunk = await self._read(self._store.open_chunk, name)
            try:
                length = chunk.length - ask.offset if ask.length is None else ask.length
                if length < 1 or ask.offset + length > chunk.length:
                    raise Refused(
                        "BadRange", f"{length} bytes from {ask.offset} are not within a chunk of {chunk.length} bytes"
                    )
                start, stop = cover(ask.offset, length, chunk.length)
                hashes = chunk.hashes if ask.with_hashes else b""
                await stream.send_response(_encode(wire.GetGo(chunk.length, hashes)))
                await self._send(stream, chunk, start, stop)
            finally:
                chunk.close()

    async def _send(self, stream: TransferStream, chunk: OpenChunk, start: int, stop: int) -> None:
        """What the page cache has is read here and now; the rest in a thread, the kernel reading ahead."""
        expected = False
        with self._buffer() as buffer:
            for offset in range(start, stop, PIECE_BYTES):
                view = buffer[: min(PIECE_BYTES, stop - offset)]
                if not chunk.read_nowait(view, offset):
                    if not expected:
                        chunk.expect(offset, stop - offset)
                        expected = True
                    await self._read(chunk.read_into, view, offset)
                await stream.send_raw(view)

    # ---- calls

    async def _have(self, request: Request) -> bytes:
        names = _names(request, _decode(request, wire.Ids).ids)
        return _answers(await self._read(self._store.have, names))

    async def _stat(self, request: Request) -> bytes:
        name = _name(request, _decode(request, wire.OneId).chunk_id)

        def stat() -> wire.ChunkStat:
            chunk = self._store.open_chunk(name)
            chunk.close()
            return wire.ChunkStat(chunk.length, chunk.hashes)

        return _encode(await self._read(stat))

    async def _renew(self, request: Request) -> bytes:
        ask = _decode(request, wire.RenewAsk)
        return _answers(await self._write(self._store.renew, _names(request, ask.ids), ask.seen))

    async def _delete(self, request: Request) -> bytes:
        ask = _decode(request, wire.DeleteAsk)
        if ask.disk_id != bytes.fromhex(self._node.disk_id):  # who asks has an old configuration
            raise Refused("WrongDisk", f"{self._node.name} is on disk {self._node.disk_id}, not {ask.disk_id.hex()}")
        return _answers(await self._write(self._store.delete, _names(request, ask.ids), ask.horizon))

    async def _list(self, request: Request) -> bytes:
        ask = _decode(request, wire.ListAsk)
        ids, more = await self._read(self._store.page, _space(request), ask.after, ask.limit)
        return _encode(wire.Listed(tuple(ids), more))

    async def _report(self, request: Request) -> bytes:
        name = _name(request, _decode(request, wire.OneId).chunk_id)
        verdict = await self._write(self._store.report, name)
        if verdict != "good":
            _log.warning("copy_reported", chunk=name[1].hex(), space=name[0], verdict=verdict, peer=request.peer.name)
        return _encode(wire.Reported(verdict))

    async def _present(self, request: Request) -> bytes:
        ask = _decode(request, wire.PresentAsk)
        self._store.seen.present(_space(request), ask.boot, ask.revision)
        return b""

    async def _status(self, request: Request) -> bytes:
        _decode(request, wire.Nothing)
        state, reason, total, free = await self._read(self._store.state)
        bad = self._store.bad()
        return _encode(
            wire.NodeStatus(
                name=self._node.name,
                disk_id=bytes.fromhex(self._node.disk_id),
                boot=self._store.seen.boot,
                state=state,
                reason=reason,
                bytes_total=total,
                bytes_free=free,
                chunks=self._store.count,
                transfers=self._transfers,
                bad=tuple(wire.BadCopy(*name) for name in bad[:BAD_SHOWN_MAX]),
                bad_count=len(bad),
            )
        )

    async def _copy_from(self, request: Request) -> bytes:
        ask = _decode(request, wire.CopyAsk)
        name = _name(request, ask.chunk_id)
        source = self._source(ask.source)
        with self._transfer():
            async with source.fetch(
                ask.chunk_id, deadline=request.deadline, trace_id=request.trace_id, space=request.space
            ) as found:
                upload = await self._write(self._store.begin, name, found.length, found.hashes, ask.seen)
                if upload is None:
                    return b""
                try:
                    async for piece in found.pieces:
                        await self._write(upload.write, piece)
                    await self._write(self._store.finish, upload, ask.seen)
                finally:
                    await self._discard(upload)
        return b""

    def _source(self, node: str) -> ChunkClient:
        """Raises Refused (UnknownNode): only nodes of the configuration are dialled, never an address off the wire."""
        if node not in self._sources:
            found = self._config.role(node)
            if not isinstance(found, ChunkdConfig) or node == self._node.name:
                raise Refused("UnknownNode", f"{node} is not another chunk daemon")
            self._sources[node] = ChunkClient(found, self._config, self._me)
        return self._sources[node]

    # ---- upkeep

    async def _upkeep(self) -> None:
        while True:
            try:
                count = await self._write(self._store.empty_trash)
                if count:
                    _log.info("trash_emptied", files=count)
            except Unavailable as error:
                _log.error("trash_not_emptied", reason=error.message)
            await trio.sleep(UPKEEP_S)

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        """Count a body in flight. Raises Unavailable (Overloaded, ShuttingDown)."""
        if self._ending:
            raise Unavailable("ShuttingDown", "the daemon is ending")
        if self._transfers >= self._limits.transfers_max:
            raise Unavailable(
                "Overloaded",
                f"{self._transfers} chunk bodies are in flight",
                retry_after_s=1.0,
                limit={"transfers_max": self._limits.transfers_max},
            )
        self._transfers += 1
        try:
            yield
        finally:
            self._transfers -= 1
            self._transfer_ended.set()
            self._transfer_ended = trio.Event()

    @contextmanager
    def _buffer(self) -> Iterator[memoryview]:
        """A piece's buffer, reused: at most two per transfer exist."""
        buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(PIECE_BYTES))
        try:
            yield buffer
        finally:
            self._buffers.append(buffer)

    async def _read[*A, T](self, call: Callable[[*A], T], *arguments: *A) -> T:
        return await self._in_thread(self._reads, call, *arguments)

    async def _write[*A, T](self, call: Callable[[*A], T], *arguments: *A) -> T:
        return await self._in_thread(self._writes, call, *arguments)

    async def _in_thread[*A, T](self, limiter: trio.CapacityLimiter, call: Callable[[*A], T], *arguments: *A) -> T:
        """A call that has begun is always awaited to its end: what it returns (an open file) is never lost."""
        try:
            return await trio.to_thread.run_sync(call, *arguments, limiter=limiter)
        except OSError as error:
            raise Unavailable("DiskError", f"the disk answered: {error.strerror or error}") from error


def _decode[T](request: Request, kind: type[T]) -> T:
    """A request's body. Raises Refused (BadRequest)."""
    try:
        return msgspec.msgpack.decode(request.body, type=kind)
    except UNDECODABLE as error:
        raise Refused("BadRequest", f"the body of method {request.method} cannot be read: {error}") from error


def _space(request: Request) -> int:
    if request.space > SPACE_MAX:
        raise Refused("BadSpace", f"space {request.space} is not one of 0 to {SPACE_MAX}")
    return request.space


def _name(request: Request, chunk_id: bytes) -> Name:
    return _space(request), chunk_id


def _names(request: Request, ids: tuple[bytes, ...]) -> list[Name]:
    space = _space(request)
    return [(space, chunk_id) for chunk_id in ids]


def _answers(answers: list[bool]) -> bytes:
    return _encode(wire.Answers(tuple(answers)))
