"""The server side of node-to-node calls, and the door to the whole: `serve`, `Channel`, `TransferPool`.

One listener serves small multiplexed calls and bulk transfers; a connection's hello says which. Rules: what a
connection may have under way is bounded; a request over the bound is answered at once by an error; a peer that does
not read its answers is not read from, and in the end closed (see Outbox); a malformed byte closes its connection and
nothing else; a handler's failure is its caller's error, and a line in the log.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import trio

from cluster.channel import Channel
from cluster.config import Address
from cluster.errors import OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    FrameParser,
    Kind,
    deadline_at,
    encode,
    encode_error,
    trace_text,
)
from cluster.hello import welcome
from cluster.identity import NodeIdentity
from cluster.limits import Limits, Timings
from cluster.links import Link
from cluster.log import get_logger
from cluster.outbox import Outbox
from cluster.sockets import Listener, open_listener
from cluster.transfer import TransferPool, TransferStream

__all__ = [
    "Channel",
    "Peer",
    "Reply",
    "Request",
    "Service",
    "TransferPool",
    "TransferStream",
    "serve",
]

_ACCEPT_PAUSE_S = 0.1
"""After the process ran out of files: others may close some."""

_log = get_logger("rpc")


class Peer:
    """The other end of one connection. `name` is from its certificate; on a Unix socket, from its hello.

    One node may have several connections; each is a Peer of its own, compared by identity.
    """

    __slots__ = ("address", "name")

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = address

    def __repr__(self) -> str:
        return f"Peer({self.name})"


class Request:
    """A request as its handler sees it. `deadline` is of trio's clock."""

    __slots__ = ("_trace", "body", "deadline", "method", "peer", "space")

    def __init__(self, frame: Frame, deadline: float, peer: Peer) -> None:
        self.method = frame.method
        self.body = frame.body
        self.deadline = deadline
        self.space = frame.space
        self.peer = peer
        self._trace = frame.trace

    @property
    def trace_id(self) -> str:
        """16 hex digits, or nothing."""
        return trace_text(self._trace)


class Reply:
    """The answer of an inline handler, to be given once, now or later, in the same trio run; never waits.

    An answer that nobody waits for any more (cancelled, connection gone) is dropped: see `wanted`.
    """

    __slots__ = ("_given", "_line", "_request_id")

    def __init__(self, line: "_ServerLine", request_id: int) -> None:
        self._line = line
        self._request_id = request_id
        self._given = False

    @property
    def wanted(self) -> bool:
        """The peer still waits for this answer."""
        return self._line.replies.get(self._request_id) is self

    def ok(self, body: bytes) -> None:
        """Answer."""
        self._give(Kind.RESPONSE, body)

    def error(self, error: TrilithError) -> None:
        """Answer by an error."""
        self._give(Kind.ERROR, encode_error(error))

    def _give(self, kind: Kind, body: bytes) -> None:
        assert not self._given, "a request is answered once"
        self._given = True
        line, request_id = self._line, self._request_id
        if line.replies.get(request_id) is self:
            del line.replies[request_id]
            line.answer(kind, request_id, body)


@dataclass(frozen=True)
class Service:
    """What a listener serves, by method number.

    `handlers` run as a task per request, cancelled at its deadline, by the caller's cancel or with the connection.
    `inline` are called straight from the read loop and answer through a Reply: for hot paths; they never wait.
    `one_way` messages have no answer. `transfers` have a connection to themselves while they run.
    `on_peer` is told True and False as a multiplexed connection comes and goes.
    """

    name: str
    handlers: Mapping[int, Callable[[Request], Awaitable[bytes]]] = field(default_factory=dict)
    inline: Mapping[int, Callable[[Request, Reply], None]] = field(default_factory=dict)
    one_way: Mapping[int, Callable[[Request], None]] = field(default_factory=dict)
    transfers: Mapping[int, Callable[[Request, TransferStream], Awaitable[None]]] = field(default_factory=dict)
    on_peer: Callable[[Peer, bool], None] | None = None


async def serve(
    service: Service,
    listen: Address,
    me: NodeIdentity,
    limits: Limits,
    timings: Timings,
    *,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; started with the actual address. Raises Refused when it cannot listen."""
    async with open_listener(listen, me) as listener, trio.open_nursery() as nursery:
        task_status.started(listener.address)
        room = trio.Semaphore(limits.rpc_connections_max)
        host = _Host(service, listener, me, limits, timings, room)
        while True:
            try:
                sock = await listener.accept()
            except OSError as error:
                _log.error("accept_failed", address=str(listener.address), reason=str(error))
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            try:
                room.acquire_nowait()
            except trio.WouldBlock:
                _log.warning("connection_refused", reason="rpc_connections_max", limit=limits.rpc_connections_max)
                sock.close()
                continue
            nursery.start_soon(host.serve_socket, sock)
    raise AssertionError("the accept loop does not end")


@dataclass(frozen=True)
class _Host:
    """What all connections of a listener share."""

    service: Service
    listener: Listener
    me: NodeIdentity
    limits: Limits
    timings: Timings
    room: trio.Semaphore

    async def serve_socket(self, sock: socket.socket) -> None:
        """One connection, from hello to end; only our own bugs come out of here."""
        link: Link | None = None
        try:
            with trio.move_on_after(self.timings.connect_s) as scope:
                link = await self.listener.welcome(sock)
                hello = await welcome(link, self.service.name, self.me)
            if scope.cancelled_caught or link is None or hello is None:
                return
            peer = Peer(hello.name, self.listener.address)
            if hello.mode == "mux":
                await _ServerLine(self, link, peer).run()
            else:
                await self._serve_transfers(link, peer)
        except (trio.BrokenResourceError, FrameError, Refused, Unavailable) as error:
            _log.info("connection_ended", address=str(self.listener.address), reason=str(error))
        finally:
            if link is not None:
                link.close()
            self.room.release()

    async def _serve_transfers(self, link: Link, peer: Peer) -> None:
        stream = TransferStream(link, peer.name, self.limits, self.timings)
        try:
            while stream.whole:
                frame = await stream.receive_request()
                if frame is None:
                    return
                request = Request(frame, deadline_at(frame.remaining_ms, trio.current_time()), peer)
                stream.deadline = request.deadline
                await self._transfer(request, stream)
        except TrilithError as error:
            _log.info("connection_ended", peer=peer.name, reason=error.message)

    async def _transfer(self, request: Request, stream: TransferStream) -> None:
        """One exchange. An error goes to the peer as long as the stream is whole."""
        handler = self.service.transfers.get(request.method)
        failure: TrilithError | None = None
        with trio.CancelScope(deadline=request.deadline) as scope:
            if handler is None:
                failure = _no_such_method(self.service, request.method)
            else:
                try:
                    await handler(request, stream)
                except TrilithError as error:
                    failure = error
                except Exception as error:  # noqa: BLE001 - the edge: a failing request ends here, loudly
                    failure = _internal(self.service, request, error)
        if scope.cancelled_caught:
            failure = OutcomeUnknown("DeadlineExceeded", "the transfer's deadline has passed")
        elif failure is None and not stream.answered:
            failure = _internal(self.service, request, AssertionError("the handler gave no answer"))
        if failure is not None and not stream.whole:
            _log.info("transfer_failed", peer=request.peer.name, code=failure.code, reason=failure.message)
        elif failure is not None:
            stream.deadline = float("inf")
            await stream.send_error(failure)


class _ServerLine:
    """One multiplexed connection."""

    def __init__(self, host: _Host, link: Link, peer: Peer) -> None:
        self.replies: dict[int, Reply] = {}
        self._tasks: dict[int, trio.CancelScope] = {}
        self._host = host
        self._service = host.service
        self._in_flight_max = host.limits.rpc_requests_in_flight_max
        self._link = link
        self._peer = peer
        self._outbox = Outbox(link, host.limits.rpc_send_queue_bytes_max, host.timings.transfer_idle_s)
        self._reading = False

    async def run(self) -> None:
        """Until the connection ends. Raises BrokenResourceError or FrameError."""
        on_peer = self._service.on_peer
        failure: Exception | None = None
        try:
            if on_peer is not None:
                on_peer(self._peer, True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    await self._read(nursery)
                except (trio.BrokenResourceError, FrameError) as error:
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            self.replies.clear()
            if on_peer is not None:
                on_peer(self._peer, False)
        if failure is not None:
            raise failure

    def answer(self, kind: Kind, request_id: int, body: bytes) -> None:
        """Queue an answer; one that is too long, or finds no room in the queue, becomes an error in its place."""
        outbox = self._outbox
        failure = _unsendable(len(body), self._host.limits, full=outbox.full(HEADER_BYTES + len(body)))
        if failure is not None:
            kind, body = Kind.ERROR, encode_error(failure)
        outbox.put(encode(kind, 0, request_id, body))
        if not self._reading:
            outbox.wake()

    async def _write(self) -> None:
        try:
            await self._outbox.run()
        except trio.BrokenResourceError:
            self._link.close()  # the reader ends then, and says why

    async def _read(self, nursery: trio.Nursery) -> None:
        parser = FrameParser(self._host.limits.frame_bytes_max)
        outbox, link = self._outbox, self._link
        half = outbox.bytes_max // 2
        try:
            while data := memoryview(await link.receive()):
                now = trio.current_time()
                self._reading = True
                for frame in parser.feed(data):
                    self._receive(frame, now, nursery)
                    if outbox.bytes > half:  # answers in the middle of what was read: let the peer take some
                        await self._pause(half)
                self._reading = False
                outbox.flush()
        except trio.BrokenResourceError as error:
            raise outbox.broken or error from None

    async def _pause(self, size: int) -> None:
        self._reading = False
        self._outbox.flush()
        await self._outbox.wait_room(size)
        self._reading = True

    def _receive(self, frame: Frame, now: float, nursery: trio.Nursery) -> None:
        kind, method, request_id = frame.kind, frame.method, frame.request_id
        if kind == Kind.REQUEST:
            if request_id in self.replies or request_id in self._tasks:
                raise FrameError(f"request id {request_id} is in flight already")
            request = Request(frame, deadline_at(frame.remaining_ms, now), self._peer)
            refused = self._refusal(frame)
            if refused is not None:
                self.answer(Kind.ERROR, request_id, encode_error(refused))
            elif (inline := self._service.inline.get(method)) is not None:
                self._call_inline(inline, request, request_id)
            else:
                scope = trio.CancelScope(deadline=request.deadline)
                self._tasks[request_id] = scope
                nursery.start_soon(self._run_handler, request, request_id, scope)
        elif kind == Kind.ONE_WAY:
            self._receive_one_way(Request(frame, float("inf"), self._peer))
        elif kind == Kind.CANCEL:
            self.replies.pop(request_id, None)
            running = self._tasks.get(request_id)
            if running is not None:
                running.cancel()
        else:
            raise FrameError(f"a client sent a frame of kind {kind}")

    def _refusal(self, frame: Frame) -> TrilithError | None:
        if len(self.replies) + len(self._tasks) >= self._in_flight_max:
            return Unavailable(
                "Overloaded",
                "too many requests are in flight on this connection",
                retry_after_s=1.0,
                limit={"rpc_requests_in_flight_max": self._in_flight_max},
            )
        if frame.remaining_ms == 0:
            return Unavailable("DeadlineExceeded", "the deadline had passed when the request arrived")
        if frame.method not in self._service.inline and frame.method not in self._service.handlers:
            return _no_such_method(self._service, frame.method)
        return None

    def _call_inline(self, handler: Callable[[Request, Reply], None], request: Request, request_id: int) -> None:
        reply = Reply(self, request_id)
        self.replies[request_id] = reply
        try:
            handler(request, reply)
        except TrilithError as error:
            if reply.wanted:
                reply.error(error)
        except Exception as error:  # noqa: BLE001 - the edge: a failing request ends here, loudly
            failure = _internal(self._service, request, error)
            if reply.wanted:
                reply.error(failure)

    def _receive_one_way(self, request: Request) -> None:
        handler = self._service.one_way.get(request.method)
        if handler is None:
            raise FrameError(f"{self._service.name} has no message {request.method}")
        handler(request)

    async def _run_handler(self, request: Request, request_id: int, scope: trio.CancelScope) -> None:
        kind, body = Kind.ERROR, b""
        with scope:
            try:
                kind, body = Kind.RESPONSE, await self._service.handlers[request.method](request)
            except TrilithError as error:
                body = encode_error(error)
            except Exception as error:  # noqa: BLE001 - the edge: a failing request ends here, loudly
                body = encode_error(_internal(self._service, request, error))
            await self._outbox.wait_room(HEADER_BYTES + len(body))
        del self._tasks[request_id]
        if scope.cancelled_caught:
            kind = Kind.ERROR
            body = encode_error(OutcomeUnknown("DeadlineExceeded", "the request was cancelled or its deadline passed"))
        self.answer(kind, request_id, body)


def _no_such_method(service: Service, method: int) -> Refused:
    return Refused("NoSuchMethod", f"{service.name} has no method {method} of this kind")


def _unsendable(size: int, limits: Limits, *, full: bool) -> OutcomeUnknown | None:
    """Why an answer cannot go out; what it tells has happened all the same."""
    if size > limits.frame_bytes_max:
        _log.error("answer_too_large", size=size, limit=limits.frame_bytes_max)
        return OutcomeUnknown(
            "AnswerTooLarge",
            f"the answer has {size} bytes, more than frame_bytes_max",
            limit={"frame_bytes_max": limits.frame_bytes_max},
        )
    if full:
        return OutcomeUnknown(
            "AnswerDropped",
            "there was no room for the answer: earlier ones wait for their reader",
            retry_after_s=1.0,
            limit={"rpc_send_queue_bytes_max": limits.rpc_send_queue_bytes_max},
        )
    return None


def _internal(service: Service, request: Request, error: Exception) -> OutcomeUnknown:
    _log.error(
        "handler_failed",
        service=service.name,
        method=request.method,
        peer=request.peer.name,
        trace_id=request.trace_id,
        exc_info=error,
    )
    return OutcomeUnknown("InternalError", f"{service.name} failed at method {request.method}; see its log")
