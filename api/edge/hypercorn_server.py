"""Hypercorn's trio worker with bounds: connections, slow heads, idle connections, clients that do not read.

Against Hypercorn 0.18: connections are capped in total and per address; a head must be complete in time; a send without
progress ends the connection (Hypercorn sends under a shield, without end); an answer that leaves a body unread is
followed by a short drain, so that the client can read it before the connection is reset; keep-alive has no last
request; idle connections close at once on shutdown.
"""

import math
from collections.abc import Awaitable, Callable, Iterator

import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from api.edge.bounds import (
    HANDSHAKE_S,
    HEAD_S,
    KEEP_ALIVE_S,
    READ_BYTES,
    ClientGone,
    Connections,
    Stream,
    linger,
    send_all,
    turn_away,
)
from api.edge.hypercorn_protocol import EdgeProtocol, EdgeTaskGroup
from cluster.log import get_logger

_log = get_logger("edge")


class EdgeServer(TCPServer):
    """One connection."""

    def __init__(
        self,
        app: AppWrapper,
        config: ServerConfig,
        context: WorkerContext,
        stream: Stream,
        connections: Connections,
        ids: Iterator[str],
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type]  # it takes plain streams as well
        self._connections = connections
        self._ids = ids
        self._send_idle_s = connections.limits.send_idle_s
        self._idle = True
        self._head_deadline: float | None = None
        self._read_scope = trio.CancelScope()
        self._ending = False
        self.overdue_at = math.inf  # its own timers see to it

    async def run(self) -> None:
        """Serve the connection to its end."""
        stream: Stream = self.stream
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        try:
            client = parse_socket_addr(transport.socket.family, transport.socket.getpeername())
        except OSError:  # gone before it was served
            await trio.aclose_forcefully(stream)
            return
        address = client[0] if client else ""
        broken = self._connections.refusal(address)
        if broken is not None:
            await turn_away(stream, next(self._ids), *broken)
            await trio.aclose_forcefully(stream)
            return
        self._connections.add(self, address)
        try:
            if isinstance(stream, trio.SSLStream):
                with trio.fail_after(HANDSHAKE_S):
                    await stream.do_handshake()
            await self._serve(client, parse_socket_addr(transport.socket.family, transport.socket.getsockname()))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return  # the client's doing; nothing of ours is left half-done
        except Exception:  # noqa: BLE001 - one connection's failure ends there
            _log.exception("connection failed")
        finally:
            self._connections.discard(self, address)
            await trio.aclose_forcefully(stream)

    async def _serve(self, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
        async with EdgeTaskGroup() as task_group:
            assert isinstance(task_group, EdgeTaskGroup)
            self._protocol = EdgeProtocol(  # in the place of Hypercorn's wrapper, which chooses HTTP/2
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState({}),
                isinstance(self.stream, trio.SSLStream),
                client,
                server,
                self.protocol_send,
                limits=self._connections.limits,
                ids=self._ids,
            )
            try:
                await self._read_data()
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._protocol.handle(Closed())  # the client is gone: what still runs for it is told

    async def _read_data(self) -> None:
        while not self._ending:
            if self._idle and self.context.terminated.is_set():
                break
            if self._idle and self._head_deadline is None:
                deadline = trio.current_time() + KEEP_ALIVE_S
            else:
                deadline = self._head_deadline or math.inf
            with trio.CancelScope(deadline=deadline) as self._read_scope:
                data = await self.stream.receive_some(READ_BYTES)
            if self._read_scope.cancelled_caught:
                break
            await self._protocol.handle(RawData(bytes(data)))
            if not data:
                break
            if self._idle and self._head_deadline is None and self._protocol.head_has_begun:
                self._head_deadline = trio.current_time() + HEAD_S
        if self._ending:
            await linger(self.stream)
        else:
            await self._protocol.handle(Closed())

    def close_if_idle(self) -> None:
        """End the connection if it waits for a request."""
        if self._idle:
            self._read_scope.cancel()

    def close_overdue(self) -> None:
        """End it now."""
        self._read_scope.cancel()

    async def protocol_send(self, event: Event) -> None:
        """What the protocol wants sent or done. Raises ClientGone."""
        match event:
            case RawData():
                async with self.send_lock:
                    await self._send(event.data)
            case Closed():
                if not self._ending:
                    self._ending = True
                    self._read_scope.cancel()
                    await self._protocol.handle(Closed())
            case Updated():
                self._idle = event.idle
                self._head_deadline = None
                self._read_scope.deadline = trio.current_time() + KEEP_ALIVE_S if event.idle else math.inf
            case _:
                raise NotImplementedError(f"{type(event).__name__} is not known")

    async def _send(self, data: bytes) -> None:
        try:
            await send_all(self.stream, data, self._send_idle_s)
        except ClientGone:
            self._ending = True
            self._read_scope.cancel()
            raise


def hypercorn_handler(
    app: ASGIFramework, connections: Connections, ids: Iterator[str], context: WorkerContext
) -> Callable[[Stream], Awaitable[None]]:
    """What serves one connection by Hypercorn."""
    config = server_config()
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")

    async def handle(stream: Stream) -> None:
        await EdgeServer(wrapped, config, context, stream, connections, ids).run()

    return handle


def server_config() -> ServerConfig:
    """Hypercorn's configuration for this edge."""
    config = ServerConfig()
    config.accesslog = None
    config.include_server_header = False
    config.max_app_queue_size = 4
    config.keep_alive_max_requests = 1 << 62
    return config
