"""Bulk bytes: pooled connections that carry one transfer at a time, raw, without a decoder and without a copy.

An exchange is a REQUEST frame, DATA pieces of the client's, a RESPONSE frame and DATA pieces of the server's, as the
method has it; an ERROR frame may stand in place of the response or of any piece, and ends the exchange. A piece is a
header with its length, then raw bytes that go straight between the socket and the caller's buffer. So raw bytes can
never be taken for a frame, and after a clean error both ends still agree on where they are.

Rules: no read or write waits longer than `transfer_idle_s` without progress; a transfer that is cancelled, broken or
left in the middle closes its connection, any other goes back to the pool.
"""

from collections.abc import AsyncGenerator, Buffer
from contextlib import asynccontextmanager

import trio

from cluster.config import Address
from cluster.errors import OutcomeUnknown, TrilithError, Unavailable
from cluster.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    Header,
    Kind,
    decode_error,
    decode_header,
    encode,
    encode_error,
    encode_header,
    remaining_ms,
    trace_bytes,
)
from cluster.hello import greet, lost
from cluster.identity import NodeIdentity
from cluster.limits import KIB, Limits, Timings
from cluster.links import Link
from cluster.sockets import dial

_SCRATCH_BYTES = 256 * KIB
_REQUEST_IDS = 2**32


class TransferStream:
    """One end of a transfer connection. One task at a time may send, and one may receive.

    All methods raise OutcomeUnknown (ConnectionLost, TransferStalled, DeadlineExceeded) when the connection failed
    them, and Unavailable (NotConnected, ...) if no byte of the request had left; the connection is closed afterwards.
    """

    def __init__(self, link: Link, peer: str, limits: Limits, timings: Timings) -> None:
        self.peer = peer
        self.deadline = float("inf")
        """Of the present exchange, trio's clock; bounds each read and write too."""
        self.failure: TrilithError | None = None
        """What the peer's ERROR frame said in this exchange."""
        self._link = link
        self._limits = limits
        self._idle_s = timings.transfer_idle_s
        self._exchange = 0
        self._raw_left = 0
        self._inside = 0  # reads and writes that have begun and not ended
        self._requested = False
        self._answered = False

    @property
    def whole(self) -> bool:
        """No read or write was cut, and all of each piece was read: the next exchange can follow."""
        return self._inside == 0 and self._raw_left == 0 and not self._link.closed

    @property
    def answered(self) -> bool:
        """A response or an error ended or is about to end this exchange."""
        return self._answered

    def close(self) -> None:
        """Close the connection at once."""
        self._link.close()

    async def send_request(
        self, method: int, body: bytes, *, remaining_s: float, trace_id: str = "", space: int = 1
    ) -> None:
        """Client: begin an exchange, to be over in `remaining_s`."""
        self._exchange = (self._exchange + 1) % _REQUEST_IDS
        self._begin(trio.current_time() + remaining_s)
        frame = encode(
            Kind.REQUEST,
            method,
            self._exchange,
            body,
            remaining_ms=remaining_ms(remaining_s),
            trace=trace_bytes(trace_id),
            space=space,
        )
        await self._send(frame)

    async def send_raw(self, data: Buffer) -> None:
        """Send a piece of raw bytes; the receiver need not read it in the same pieces."""
        view = memoryview(data).cast("B")
        if view:
            await self._send(encode_header(Kind.DATA, 0, self._exchange, len(view)), view)

    async def receive_raw_into(self, view: memoryview) -> None:
        """Fill `view` exactly. Raises the peer's error if it sent one instead."""
        view = view.cast("B") if view.format != "B" else view
        while view:
            if self._raw_left == 0:
                header = await self._next_header()
                if header.kind != Kind.DATA:
                    await self._ended_by(header)
                    raise self._broken(FrameError(f"a frame of kind {header.kind} where raw data belongs"))
                self._raw_left = header.body_bytes
                continue
            part = view[: self._raw_left]
            await self._receive(part)
            self._raw_left -= len(part)
            view = view[len(part) :]

    async def send_response(self, body: bytes) -> None:
        """Server: answer; raw pieces may follow."""
        self._answered = True
        await self._send(encode(Kind.RESPONSE, 0, self._exchange, body))

    async def send_error(self, error: TrilithError) -> None:
        """Server: end the exchange by an error."""
        self._answered = True
        await self._send(encode(Kind.ERROR, 0, self._exchange, encode_error(error)))

    async def receive_response(self) -> bytes:
        """Client: the answer's body. Raises the peer's error."""
        header = await self._next_header()
        if header.kind != Kind.RESPONSE:
            await self._ended_by(header)
            raise self._broken(FrameError(f"a frame of kind {header.kind} where the response belongs"))
        body = await self._body(header)
        self._answered = True
        return body

    async def receive_request(self) -> Frame | None:
        """Server: wait, without limit, for the next exchange; None when the client is gone.

        What the client still sends of an exchange that was ended by an error is read and dropped.
        """
        self._begin(float("inf"))
        while True:
            header = await self._header(idle_s=float("inf"))
            if header is None:
                return None
            if header.kind == Kind.DATA:
                await self._drop(header.body_bytes)
                continue
            if header.kind != Kind.REQUEST:
                raise self._broken(FrameError(f"a frame of kind {header.kind} where a request belongs"))
            self._exchange = header.request_id
            return Frame(*header[:6], await self._body(header))

    def _begin(self, deadline: float) -> None:
        self.deadline = deadline
        self.failure = None
        self._answered = False
        self._requested = False

    async def _ended_by(self, header: Header) -> None:
        """Raise the peer's error if this header begins one."""
        if header.kind != Kind.ERROR:
            return
        body = await self._body(header)
        try:
            self.failure = decode_error(body)
        except FrameError as error:
            raise self._broken(error) from error
        self._answered = True
        raise self.failure

    async def _next_header(self) -> Header:
        """The next header of this exchange; pieces of an earlier one that was left early are dropped."""
        while True:
            header = await self._header(idle_s=self._idle_s)
            if header is None:
                raise self._broken(trio.BrokenResourceError(f"{self.peer} closed the connection"))
            if header.request_id == self._exchange:
                return header
            if header.kind == Kind.REQUEST:
                raise self._broken(FrameError("a request in the middle of another"))
            await self._drop(header.body_bytes)

    async def _header(self, *, idle_s: float) -> Header | None:
        head = memoryview(bytearray(HEADER_BYTES))
        size = await self._receive(head, idle_s=idle_s, may_end=True)
        if size == 0:
            return None
        try:
            return decode_header(head, self._limits.frame_bytes_max)
        except FrameError as error:
            raise self._broken(error) from error

    async def _body(self, header: Header) -> bytes:
        body = bytearray(header.body_bytes)
        await self._receive(memoryview(body))
        return bytes(body)

    async def _drop(self, size: int) -> None:
        scratch = memoryview(bytearray(min(size, _SCRATCH_BYTES)))
        while size:
            part = scratch[:size]
            await self._receive(part)
            size -= len(part)

    async def _receive(self, view: memoryview, *, idle_s: float | None = None, may_end: bool = False) -> int:
        """Fill `view`; 0 if the stream ended before its first byte and that is allowed."""
        idle_s = self._idle_s if idle_s is None else idle_s
        total = len(view)
        self._inside += 1
        try:
            with trio.CancelScope(deadline=min(self.deadline, trio.current_time() + idle_s)) as scope:
                while view:
                    size = await self._link.receive_into(view)
                    if size == 0:
                        if may_end and len(view) == total:
                            self._inside -= 1
                            return 0
                        raise trio.BrokenResourceError(f"{self.peer} closed the connection")
                    view = view[size:]
                    scope.deadline = min(self.deadline, trio.current_time() + self._idle_s)
            if scope.cancelled_caught:
                raise self._stalled()
        except trio.BrokenResourceError as error:
            raise self._broken(error) from error
        self._inside -= 1
        return total

    async def _send(self, head: bytes, raw: memoryview | None = None) -> None:
        self._inside += 1
        try:
            with trio.CancelScope(deadline=min(self.deadline, trio.current_time() + self._idle_s)) as scope:
                await self._send_parts(scope, head, raw)
            if scope.cancelled_caught:
                raise self._stalled()
        except trio.BrokenResourceError as error:
            raise self._broken(error) from error
        self._inside -= 1

    async def _send_parts(self, scope: trio.CancelScope, head: bytes, raw: memoryview | None) -> None:
        link = self._link
        await trio.lowlevel.checkpoint_if_cancelled()
        size = link.send_nowait(head, raw) if raw is not None else link.send_nowait(head)
        self._requested = self._requested or size > 0
        rest = memoryview(head)[size:]
        raw_rest = raw[max(0, size - len(head)) :] if raw is not None else rest[:0]
        if not rest and not raw_rest and not link.unsent:
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._requested = True
        while rest:
            rest = rest[await link.send_some(rest) :]
        while raw_rest:
            raw_rest = raw_rest[await link.send_some(raw_rest) :]
            scope.deadline = min(self.deadline, trio.current_time() + self._idle_s)
        if link.unsent:
            await link.drain()

    def _stalled(self) -> TrilithError:
        self._link.close()
        error = OutcomeUnknown if self._requested else Unavailable
        if trio.current_time() >= self.deadline:
            return error("DeadlineExceeded", f"the transfer with {self.peer} did not end before its deadline")
        return error("TransferStalled", f"the transfer with {self.peer} made no progress for {self._idle_s} s")

    def _broken(self, error: Exception) -> TrilithError:
        self._link.close()
        return lost(self.peer, sent=self._requested, reason=str(error))


class TransferPool:
    """Transfer connections to one peer, at most `limits.chunk_connections_max`; `close` when done with it."""

    def __init__(
        self, dial: Address, peer: str, service: str, me: NodeIdentity, limits: Limits, timings: Timings
    ) -> None:
        self._dial = dial
        self._peer = peer
        self._service = service
        self._me = me
        self._limits = limits
        self._timings = timings
        self._idle: list[TransferStream] = []
        self._room = trio.Semaphore(limits.chunk_connections_max)
        self._closed = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TransferStream]:
        """A connection for one transfer (or several, one after the other).

        Raises Unavailable (NotConnected, Overloaded) or the peer's refusal. Left without an error, or by the error
        that the peer sent, it goes back; left otherwise it is closed.
        """
        await self._enter()
        stream: TransferStream | None = None
        good = False
        try:
            stream = self._reuse() or await self._connect()
            yield stream
            good = stream.answered
        except TrilithError as error:
            good = stream is not None and error is stream.failure
            raise
        finally:
            if stream is not None:
                if good and stream.whole and not self._closed:
                    self._idle.append(stream)
                else:
                    stream.close()
            self._room.release()

    def close(self) -> None:
        """Close what is idle, and from now on what comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _enter(self) -> None:
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_after(self._timings.transfer_idle_s) as scope:
                await self._room.acquire()
            if scope.cancelled_caught:
                count = self._limits.chunk_connections_max
                raise Unavailable(
                    "Overloaded",
                    f"all transfer connections to {self._peer} are in use",
                    retry_after_s=1.0,
                    limit={"chunk_connections_max": count},
                ) from None

    def _reuse(self) -> TransferStream | None:
        while self._idle:
            stream = self._idle.pop()  # the last one used: the others may be closed by idleness
            if stream._link.idle():
                return stream
            stream.close()
        return None

    async def _connect(self) -> TransferStream:
        try:
            with trio.fail_after(self._timings.connect_s):
                link = await dial(self._dial, self._peer, self._me)
                try:
                    await greet(link, self._service, "transfer", self._peer, self._me)
                except BaseException:
                    link.close()
                    raise
        except trio.TooSlowError as error:
            raise Unavailable(
                "NotConnected", f"no connection to {self._peer} within {self._timings.connect_s} s"
            ) from error
        return TransferStream(link, self._peer, self._limits, self._timings)
