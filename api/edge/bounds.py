"""What bounds a connection, whichever server carries it: caps, times, and sends that must make progress."""

import ssl
from collections import Counter
from typing import Protocol

import msgspec
import trio

from cluster.errors import Refused
from cluster.limits import KIB, Limits
from cluster.log import get_logger

_log = get_logger("http")

READ_BYTES = 256 * KIB
"""One read from a socket; bodies come in pieces of up to this."""

HEAD_S = 5.5
"""A head must be complete this long after its first byte."""

KEEP_ALIVE_S = 75.0
"""An idle connection is closed after this; longer than the 60 s of common proxies and client pools."""

HANDSHAKE_S = 10.0

LINGER_S = 2.0
"""How long what still comes of an unread body is dropped before the connection closes, so that the answer arrives."""

_WATCH_S = 0.5
"""How often overdue connections are looked for."""

HAS_BODY_BYTES = "trilith.has_body_bytes"
"""ASGI extension: a function that says whether the next piece of a body is here without waiting."""

_TLS_PIECE_BYTES = 64 * KIB
"""Under TLS progress is seen in pieces of this."""

type Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
type Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


class ClientGone(OSError):
    """The client has closed the connection, or reads nothing any more."""


class Closable(Protocol):
    """An open connection. `overdue_at` is when it is to be ended (trio's clock, infinity while a request runs)."""

    overdue_at: float

    def close_if_idle(self) -> None:
        """End it if it waits for a request."""

    def close_overdue(self) -> None:
        """End it: it has been idle too long, or its head is too slow."""


class Connections:
    """Who is connected: the caps, and the idle ones to close on shutdown."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: set[Closable] = set()
        self._addresses: Counter[str] = Counter()

    def refusal(self, address: str) -> tuple[str, int] | None:
        """The name and value of the limit that a further connection would break, or None."""
        limits = self.limits
        if len(self.open) >= limits.connections_max:
            return "connections_max", limits.connections_max
        if self._addresses[address] >= limits.connections_per_address_max:
            return "connections_per_address_max", limits.connections_per_address_max
        return None

    def add(self, connection: Closable, address: str) -> None:
        """Count a connection."""
        self.open.add(connection)
        self._addresses[address] += 1

    def discard(self, connection: Closable, address: str) -> None:
        """Count it no more."""
        self.open.discard(connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def close_idle(self) -> None:
        """End connections that wait for a request."""
        for connection in self.open:
            connection.close_if_idle()

    async def watch(self) -> None:
        """End what is overdue, for ever. One timer for all: one per request would cost more than parsing it."""
        while True:
            await trio.sleep(_WATCH_S)
            now = trio.current_time()
            for connection in self.open:
                if connection.overdue_at < now:
                    connection.close_overdue()


async def send_all(stream: Stream, data: bytes | memoryview, idle_s: float) -> None:
    """Send, as long as there is progress within each `idle_s`. Raises ClientGone."""
    try:
        if isinstance(stream, trio.SSLStream):
            view = memoryview(data)
            for start in range(0, len(view), _TLS_PIECE_BYTES):
                with trio.fail_after(idle_s):
                    await stream.send_all(view[start : start + _TLS_PIECE_BYTES])
            return
        socket = stream.socket
        with trio.fail_after(idle_s):
            sent = await socket.send(data)
        while sent < len(data):
            with memoryview(data) as view, trio.fail_after(idle_s):
                sent += await socket.send(view[sent:])
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError) as error:
        raise ClientGone(f"the client is gone or does not read: {str(error) or type(error).__name__}") from error


async def linger(stream: Stream) -> None:
    """Say that no more comes, and drop what the client still sends, for a short while."""
    with trio.move_on_after(LINGER_S):
        try:
            if isinstance(stream, trio.SocketStream):
                await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it did not wait


async def turn_away(stream: Stream, request_id: str, limit: str, value: int) -> None:
    """Refuse a connection over a cap: 503 in clear; with TLS the handshake would cost more than the refusal saves. No
    request is read; the id is the refusal's own, and in the log."""
    _log.info("connection_refused", request_id=request_id, code="SlowDown", limit=limit, value=value)
    if isinstance(stream, trio.SocketStream):
        message = f"{limit} is {value}; try again"
        facts = {"code": "SlowDown", "message": message, "request_id": request_id, "limit": {limit: value}}
        body = msgspec.json.encode(facts)
        head = (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            b"connection: close\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n" % (request_id.encode(), len(body))
        )
        try:
            await send_all(stream, head + body, LINGER_S)
        except ClientGone:
            return
        await linger(stream)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS for clients: 1.2 and newer, HTTP/1.1 only. Raises Refused (BadKeys)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key or None, password="")  # an encrypted key asks nobody
    except (OSError, ssl.SSLError) as error:
        raise Refused("BadKeys", f"tls_cert {certificate} and tls_key {key} cannot be used: {error}") from error
    return context
