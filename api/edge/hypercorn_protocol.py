"""Hypercorn's HTTP/1.1 protocol and stream, made strict and cheaper.

Against Hypercorn 0.18: no HTTP/2 and no websockets by any way in; `100 Continue` goes out when the application first
asks for the body, so after authentication and conditions; an answer before the body was read closes the connection;
errors of the protocol are answered with a body; head and first bytes of an answer leave in one send; and an
application that sends to a client that is gone is told so, instead of being read to its end.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import h11
import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response as ResponseEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope
from hypercorn.utils import suppress_body

from api.edge.bounds import ClientGone
from api.edge.hypercorn_heads import StrictBuffer, check_request, refusal
from cluster.limits import Limits
from cluster.log import get_logger

_JOIN_BYTES_MAX = 64 * 1024
"""Head and body up to this are copied together: one send costs more than the copy."""

_log = get_logger("edge")


class EdgeStream(HTTPStream):
    """One request and its answer. A body's bytes go through without being copied."""

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """A message of the application."""
        if message is None or message["type"] != "http.response.body" or self.state is not ASGIHTTPState.RESPONSE:
            await super().app_send(message)
            return
        data = message.get("body", b"")
        if data and not suppress_body(self.scope["method"], int(self.response["status"])):
            await self.send(Body(stream_id=self.stream_id, data=data))
        if not message.get("more_body", False):
            await self._send_closed()


class EdgeProtocol(H11Protocol):
    """HTTP/1.1 on one connection."""

    connection: h11.Connection

    def __init__(
        self,
        app: AppWrapper,
        config: ServerConfig,
        context: WorkerContext,
        task_group: "EdgeTaskGroup",
        connection_state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
        *,
        limits: Limits,
        ids: Iterator[str],
    ) -> None:
        super().__init__(app, config, context, task_group, connection_state, ssl, client, server, send)
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * limits.request_head_bytes_max)
        self.connection._receive_buffer = StrictBuffer(limits)
        self._ids = ids
        self._head = b""  # of the answer, until its first bytes follow or it ends
        task_group.before_receive = self._continue

    @property
    def head_has_begun(self) -> bool:
        """Bytes of a head have come that is not complete yet."""
        return self.connection.their_state is h11.IDLE and bool(self.connection.trailing_data[0])

    async def _continue(self) -> None:
        if self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def stream_send(self, event: StreamEvent) -> None:
        """An event of the application's answer."""
        match event:
            case ResponseEvent():
                headers = [*event.headers, *self.config.response_headers("h11")]
                unread = self.connection.their_state is h11.SEND_BODY
                if unread or self.context.terminated.is_set():
                    headers.append((b"connection", b"close"))
                self._head = self._encoded(h11.Response(headers=headers, status_code=event.status_code))
            case Body():
                await self._flush(self._encoded_parts(h11.Data(data=event.data)))
            case EndBody():
                await self._flush(self._encoded_parts(h11.EndOfMessage()))
            case StreamClosed():
                await self._maybe_recycle()
            case _:
                raise NotImplementedError(f"{type(event).__name__} is not part of HTTP/1.1 here")

    def _encoded(self, event: h11.Response) -> bytes:
        return b"".join(self._encoded_parts(event))

    def _encoded_parts(self, event: h11.Event) -> list[bytes]:
        try:
            return self.connection.send_with_data_passthrough(event) or []
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return []  # the edge has answered already, because the rest of the request was broken

    async def _flush(self, parts: list[bytes]) -> None:
        head, self._head = self._head, b""
        pieces = [piece for piece in (head, *parts) if len(piece)]
        if sum(map(len, pieces)) <= _JOIN_BYTES_MAX:
            pieces = [b"".join(pieces)] if pieces else []
        for piece in pieces:
            await self.send(RawData(data=piece))

    async def _handle_events(self) -> None:
        while True:
            try:
                event = self.connection.next_event()
                if isinstance(event, h11.Request):
                    check_request(event)
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                break
            if isinstance(event, h11.Request):
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed) or self.stream is None:
                break
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        self.connection._process_error(h11.CLIENT)  # also where our own check refused what h11 took
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = next(self._ids)
            status, headers, body = refusal(error, request_id)
            _log.info("refused", request_id=request_id, status=status, client=self.client[0] if self.client else "")
            head = self._encoded(
                h11.Response(status_code=status, headers=[*headers, *self.config.response_headers("h11")])
            )
            end = self._encoded_parts(h11.Data(data=body)) + self._encoded_parts(h11.EndOfMessage())
            await self.send(RawData(data=b"".join([head, *end])))
        await self.send(Closed())

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = EdgeStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )


class EdgeTaskGroup(TaskGroup):
    """The applications of one connection, one at a time. `before_receive` runs before each of their reads."""

    before_receive: Callable[[], Awaitable[None]]

    async def spawn_app(
        self,
        app: AppWrapper,
        config: ServerConfig,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start an application for one request; returns how events of the request are put to it."""
        send_channel, receive_channel = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)
        assert self._nursery is not None

        async def receive() -> ASGIReceiveEvent:
            try:
                return receive_channel.receive_nowait()
            except trio.WouldBlock:
                await self.before_receive()
                return await receive_channel.receive()

        async def run() -> None:
            with receive_channel:
                await _run(app, scope, receive, send)

        async def put(event: ASGIReceiveEvent) -> None:
            try:
                await send_channel.send(event)
            except trio.BrokenResourceError:
                return  # the application has ended: what still comes of the body is dropped

        self._nursery.start_soon(run)
        return put


async def _run(
    app: AppWrapper, scope: Scope, receive: Any, send: Callable[[ASGISendEvent | None], Awaitable[None]]
) -> None:
    try:
        await app(scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
    except Exception as error:  # noqa: BLE001 - a failing request ends here, in the log; the process goes on
        if not _is_gone(error):
            _log.error("application failed", exc_info=error)
    try:
        await send(None)
    except ClientGone:
        return


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return error.split(ClientGone)[1] is None
    return isinstance(error, ClientGone)
