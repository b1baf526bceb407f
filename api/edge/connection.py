"""One HTTP/1.1 connection as an ASGI server: one task, request by request, straight between socket and application.

The application runs in the connection's own task, pulls the body from the socket and pushes the answer into it, so
there is nothing in between that could grow. `100 Continue` goes out when the application first asks for the body, so
after authentication and conditions. Where the body is empty it stands before the answer, for an old botocore (1.29 in
Debian 12) that gets none reads its next answer wrongly. An answer given before the body was read closes the connection.
"""

import math
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import trio
from hypercorn.typing import ASGIFramework

from api.conditions import http_date
from api.edge.bounds import (
    HANDSHAKE_S,
    HAS_BODY_BYTES,
    HEAD_S,
    KEEP_ALIVE_S,
    LINGER_S,
    READ_BYTES,
    ClientGone,
    Connections,
    Stream,
    linger,
    send_all,
    turn_away,
)
from api.edge.http1 import LAST_CHUNK, Chunked, Head, Refusal, chunk_line, find_head, parse_head, response_head
from cluster.errors import Refused
from cluster.log import get_logger

_JOIN_BYTES_MAX = 64 * 1024
"""Head and body up to this leave in one send: a system call costs more than the copy."""

_HEAD_READ_BYTES = 32 * 1024
"""One read while waiting for a head: it and a small body."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = frozenset({204, 304})

_log = get_logger("edge")


class Connection:
    """One client's connection. `stopping` is set when the server wants to end."""

    def __init__(
        self, stream: Stream, app: ASGIFramework, connections: Connections, ids: Iterator[str], stopping: trio.Event
    ) -> None:
        self._stream = stream
        self._app = app
        self._connections = connections
        self.limits = connections.limits
        self._ids = ids
        self.stopping = stopping
        self._buffer = bytearray()
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._scope = trio.CancelScope()
        self._idle = False
        self.overdue_at = math.inf
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None

    async def run(self) -> None:
        """Serve it to its end. Never raises what is the client's doing."""
        stream = self._stream
        tls = isinstance(stream, trio.SSLStream)
        socket = stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket
        try:
            self._client, self._server = socket.getpeername()[:2], socket.getsockname()[:2]
        except OSError:  # gone before it was served
            await trio.aclose_forcefully(stream)
            return
        address = self._client[0]
        broken = self._connections.refusal(address)
        if broken is not None:
            await turn_away(stream, next(self._ids), *broken)
            await trio.aclose_forcefully(stream)
            return
        self._connections.add(self, address)
        try:
            with self._scope:
                if isinstance(stream, trio.SSLStream):
                    with trio.fail_after(HANDSHAKE_S):
                        await stream.do_handshake()
                while await self._one_request("https" if tls else "http"):
                    pass
                if tls:  # says that the end is the end; the other ways out leave the client to see a cut
                    with trio.move_on_after(LINGER_S):
                        await stream.aclose()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return  # the client's doing; nothing of ours is left half-done
        except Exception:  # noqa: BLE001 - one connection's failure ends there
            _log.exception("connection failed")
        finally:
            self._connections.discard(self, address)
            await trio.aclose_forcefully(stream)

    def close_if_idle(self) -> None:
        """End it if it waits for a request."""
        if self._idle:
            self._scope.cancel()

    def close_overdue(self) -> None:
        """End it: it has been idle too long, or its head is too slow."""
        self._scope.cancel()

    async def _one_request(self, scheme: str) -> bool:
        """Whether the connection goes on after it."""
        try:
            head = await self._head()
        except Refusal as refusal:
            await self._refuse(refusal)
            return False
        if head is None:
            return False
        exchange = Exchange(self, head)
        path, _, query = head.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if head.minor else "1.0",
            "method": head.method,
            "scheme": scheme,
            "path": path.decode("latin-1"),  # lossy by ASGI's definition; raw_path is what counts
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
            "state": {},
            "extensions": {HAS_BODY_BYTES: self.has_bytes},
        }
        await self._app(scope, exchange.receive, exchange.send)  # type: ignore[arg-type]
        if not exchange.ended:
            return False  # the application broke off: the client sees an answer that is too short
        if not exchange.body_read:
            await linger(self._stream)
            return False
        return not exchange.close and not self.stopping.is_set()

    async def _head(self) -> Head | None:
        """The next request's head; None when the connection ends, is idle too long, or too slow. Raises Refusal."""
        buffer, searched = self._buffer, 0
        self.overdue_at = trio.current_time() + (HEAD_S if buffer else KEEP_ALIVE_S)
        while True:
            if buffer:
                end = find_head(buffer, searched, self.limits)
                if end >= 0:
                    self.overdue_at = math.inf
                    block = bytes(buffer[:end])
                    del buffer[: end + 4]
                    return parse_head(block, self.limits)
                searched = len(buffer)
            elif self.stopping.is_set():
                return None
            self._idle = not buffer
            data = await self.read_more(_HEAD_READ_BYTES)
            self._idle = False
            if not data:
                return None
            if not buffer:
                self.overdue_at = trio.current_time() + HEAD_S
            buffer += data

    async def _refuse(self, refusal: Refusal) -> None:
        request_id = next(self._ids)
        status, headers, body = refusal.answer(request_id)
        client = self._client[0] if self._client else ""
        _log.info("refused", request_id=request_id, status=status, reason=refusal.message, client=client)
        await self.send(response_head(status, headers, _date(int(time.time())), close=True) + body)
        await linger(self._stream)

    async def send(self, data: bytes | memoryview) -> None:
        """Send bytes. Raises ClientGone."""
        if self._socket is not None and len(data) <= _JOIN_BYTES_MAX:
            try:
                sent = os.write(self._socket.fileno(), data)  # mostly there is room, and no need to wait or to be timed
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise ClientGone(f"the client is gone: {error}") from error
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        await send_all(self._stream, data, self.limits.send_idle_s)

    async def read_on(self) -> bytes:
        """What comes next from the client, b"" at its end; what was read before comes first."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await self.read_more()

    async def read_more(self, most: int = READ_BYTES) -> bytes:
        """What comes next from the socket, b"" at its end."""
        if self._socket is not None:
            return await self._socket.recv(most)
        return bytes(await self._stream.receive_some(most))

    def has_bytes(self) -> bool:
        """What comes next is here already."""
        return bool(self._buffer)

    @property
    def buffer(self) -> bytearray:
        """What was read and not taken yet."""
        return self._buffer

    def put_back(self, data: bytes) -> None:
        """Bytes that were read and belong to the next request."""
        self._buffer[:0] = data


class Exchange:
    """One request and its answer, as ASGI's receive and send."""

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._head_only = head.method == "HEAD"
        self._minor = head.minor
        self._left = head.length or 0
        self._chunked = None if head.length is not None else Chunked(connection.limits)
        self._expects_continue = head.expects_continue
        self._before_answer = _CONTINUE if head.expects_continue and head.length == 0 else b""
        self._answer_head: bytes | None = None
        self._answer_left: int | None = None
        self._bodiless = False
        self._in_chunks = False
        self._told_end = False
        self.body_read = head.length == 0
        self.close = not head.keep_alive
        self.ended = False

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body; after it, waits until the client is gone."""
        if self.body_read:
            if self._told_end:
                await self._until_gone()
                return {"type": "http.disconnect"}
            self._told_end = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._expects_continue and not self._connection.buffer:
            self._expects_continue = False
            await self._connection.send(_CONTINUE)
        try:
            data = await (self._piece() if self._chunked is None else self._chunk(self._chunked))
        except Refusal as refusal:
            raise Refused(refusal.code, refusal.message, limit=refusal.limit) from refusal
        except trio.BrokenResourceError:
            data = None
        if data is None:
            self.close = True
            return {"type": "http.disconnect"}
        self._told_end = self.body_read
        return {"type": "http.request", "body": data, "more_body": not self.body_read}

    async def _piece(self) -> bytes | None:
        data = await self._connection.read_on()
        if not data:
            return None
        if len(data) > self._left:
            self._connection.put_back(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        self.body_read = not self._left
        return data

    async def _chunk(self, chunked: Chunked) -> bytes | None:
        buffer = self._connection.buffer
        while True:
            data = chunked.take(buffer)
            self.body_read = chunked.done
            if data or chunked.done:
                return data
            more = await self._connection.read_more()
            if not more:
                return None
            buffer += more

    async def _until_gone(self) -> None:
        """Wait until the client has closed; what it sends meanwhile is its next request."""
        try:
            while len(self._connection.buffer) < READ_BYTES:
                data = await self._connection.read_more()
                if not data:
                    return
                self._connection.buffer.extend(data)
            await trio.sleep_forever()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def send(self, message: Any) -> None:
        """A message of the application. Raises ClientGone."""
        if message["type"] == "http.response.start":
            self._start(message["status"], list(message["headers"]))
            return
        assert message["type"] == "http.response.body", message["type"]
        assert not self.ended, "an answer ends once"
        data = b"" if self._bodiless else message.get("body", b"")
        more = message.get("more_body", False)
        await self._body(data)
        if not more:
            if self._in_chunks:
                await self._connection.send(LAST_CHUNK)
            self.ended = True
            if self._answer_left:
                self.close = True
                raise ClientGone(f"the answer ended {self._answer_left} bytes before its Content-Length")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert self._answer_head is None, "an answer has one head"
        self._bodiless = self._head_only or status in _BODILESS
        for name, value in headers:
            if name.lower() == b"content-length":
                self._answer_left = int(value)
        if self._bodiless:
            self._answer_left = 0
        self.close = self.close or not self.body_read or self._connection.stopping.is_set()
        if self._answer_left is None:
            if self._minor:
                self._in_chunks = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:  # its end is told by the connection's
                self.close = True
        head = response_head(status, headers, _date(int(time.time())), close=self.close)
        self._answer_head = self._before_answer + head

    async def _body(self, data: bytes | memoryview) -> None:
        head, self._answer_head = self._answer_head, b""
        assert head is not None, "an answer begins with its head"
        if self._answer_left is not None:
            self._answer_left -= len(data)
            assert self._answer_left >= 0, "an answer has more bytes than its Content-Length"
        behind = b""
        if self._in_chunks and data:
            head, behind = head + chunk_line(len(data)), b"\r\n"
        if len(head) + len(data) <= _JOIN_BYTES_MAX:
            if head or data:
                await self._connection.send(b"".join((head, data, behind)))
            return
        for piece in (head, data, behind):
            if piece:
                await self._connection.send(piece)


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return http_date(second * 1000).encode()
