"""Hypercorn's trio worker with bounds: connections, slow heads, idle connections, clients that do not read.

Against Hypercorn 0.18: connections are capped in total and per address; a head must be complete in time; a send without
progress ends the connection (Hypercorn sends under a shield, without end); an answer that leaves a body unread is
followed by a short drain, so that the client can read it before the connection is reset; keep-alive has no last
request; idle connections close at once on shutdown.
"""

import math
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import msgspec
import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from api.edge.protocol import ClientGone, EdgeProtocol, EdgeTaskGroup
from cluster.limits import KIB, Limits
from cluster.log import get_logger

READ_BYTES = 256 * KIB
"""One read from a socket; bodies come in pieces of up to this."""

HEAD_S = 5.5
"""A head must be complete this long after its first byte."""

KEEP_ALIVE_S = 75.0
"""An idle connection is closed after this; longer than the 60 s of common proxies and client pools."""

HANDSHAKE_S = 10.0
LINGER_S = 2.0
"""How long what still comes of an unread body is dropped before the connection closes."""

_log = get_logger("edge")

_SEND_PIECE_BYTES = 64 * KIB
"""TLS: progress is seen in pieces of this."""

type Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
type Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


class Connections:
    """Who is connected: the caps, and the idle ones to close on shutdown."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: set[EdgeServer] = set()
        self._addresses: Counter[str] = Counter()

    def refusal(self, address: str) -> tuple[str, int] | None:
        """The name and value of the limit that a further connection would break, or None."""
        limits = self.limits
        if len(self.open) >= limits.connections_max:
            return "connections_max", limits.connections_max
        if self._addresses[address] >= limits.connections_per_address_max:
            return "connections_per_address_max", limits.connections_per_address_max
        return None

    def add(self, connection: "EdgeServer", address: str) -> None:
        """Count a connection."""
        self.open.add(connection)
        self._addresses[address] += 1

    def discard(self, connection: "EdgeServer", address: str) -> None:
        """Count it no more."""
        self.open.discard(connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def close_idle(self) -> None:
        """End connections that wait for a request."""
        for connection in self.open:
            connection.close_if_idle()


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
            await self._turn_away(*broken)
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

    async def _turn_away(self, limit: str, value: int) -> None:
        if isinstance(self.stream, trio.SocketStream):  # with TLS the handshake would cost more than the refusal saves
            facts = {"code": "SlowDown", "message": f"{limit} is {value}; try again", "limit": {limit: value}}
            body = msgspec.json.encode(facts)
            head = (
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            )
            with trio.move_on_after(LINGER_S):
                try:
                    await self.stream.send_all(head + body)
                    await self.stream.send_eof()
                    while await self.stream.receive_some(READ_BYTES):
                        pass
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # it did not wait for the answer
        await trio.aclose_forcefully(self.stream)

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
            await self._linger()
        else:
            await self._protocol.handle(Closed())

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_S):
            if isinstance(self.stream, trio.SocketStream):
                await self.stream.send_eof()
            while await self.stream.receive_some(READ_BYTES):
                pass

    def close_if_idle(self) -> None:
        """End the connection if it waits for a request."""
        if self._idle:
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
            if isinstance(self.stream, trio.SSLStream):
                view = memoryview(data)
                for start in range(0, len(view), _SEND_PIECE_BYTES):
                    with trio.fail_after(self._send_idle_s):
                        await self.stream.send_all(view[start : start + _SEND_PIECE_BYTES])
                return
            socket = self.stream.socket
            with trio.fail_after(self._send_idle_s):
                sent = await socket.send(data)
            while sent < len(data):
                with memoryview(data) as view, trio.fail_after(self._send_idle_s):
                    sent += await socket.send(view[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError) as error:
            self._ending = True
            self._read_scope.cancel()
            raise ClientGone(f"the client is gone or does not read: {str(error) or type(error).__name__}") from error


async def serve(
    app: ASGIFramework,
    listeners: Sequence[Listener],
    connections: Connections,
    ids: Iterator[str],
    *,
    stopping: trio.Event,
    graceful_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until `stopping`; requests under way then have `graceful_s` to end."""
    config = server_config()
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    context = WorkerContext(None)
    lifespan = Lifespan(wrapped, config, {})

    async def handle(stream: Stream) -> None:
        await EdgeServer(wrapped, config, context, stream, connections, ids).run()

    accept = partial(_accept, listeners, handle)
    async with trio.open_nursery() as around:
        await around.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as requests:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(accept, requests)
                task_status.started()
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.close_idle()
            requests.cancel_scope.deadline = trio.current_time() + graceful_s
        await lifespan.wait_for_shutdown()
        around.cancel_scope.cancel()


async def _accept(
    listeners: Sequence[Listener], handle: Callable[[Stream], Awaitable[None]], requests: trio.Nursery
) -> None:
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            # serve_listeners waits a moment when the process is out of file descriptors, instead of failing
            nursery.start_soon(partial(trio.serve_listeners, handle, [listener], handler_nursery=requests))


def server_config() -> ServerConfig:
    """Hypercorn's configuration for this edge."""
    config = ServerConfig()
    config.accesslog = None
    config.include_server_header = False
    config.max_app_queue_size = 4
    config.keep_alive_max_requests = 1 << 62
    return config


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """The object port's TLS: 1.2 and newer, HTTP/1.1 only."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context
