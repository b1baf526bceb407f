"""A small HTTP/1.1 client on trio for load and figures: one connection, little CPU, streams both ways.

It is not the product's client: it measures and records, so it never retries and never hides how a request ended.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import httptools
import trio

from chaos.signing import Signer
from cluster.cli.access import Access

_READ_BYTES = 256 * 1024


class Broken(Exception):
    """The connection ended, or stood still, before the whole answer was there."""


class Unreached(Broken):
    """There was no connection: nothing was sent."""


@dataclass
class Answer:
    """Status, lower-case headers and (unless it went to a sink) the body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0


class _Parse:
    """Callbacks of httptools for one answer."""

    def __init__(self, sink: Callable[[bytes], None] | None) -> None:
        self.answer = Answer()
        self.done = False
        self.close = False
        self._pieces: list[bytes] = []
        self._sink = sink or self._pieces.append
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answer.size += len(body)
        self._sink(body)

    def on_message_complete(self) -> None:
        if self.answer.status == 100:
            return
        self.answer.body = b"".join(self._pieces)
        self.close = not self.parser.should_keep_alive()
        self.done = True


class Connection:
    """Requests one after the other on one connection, which is opened anew after any error.

    In the native dialect, or (`s3`) in S3's: then each is signed, and a body that comes in pieces is not hashed.
    """

    def __init__(self, access: Access, *, timeout_s: float = 60.0, s3: bool = False) -> None:
        url = urlsplit(access.endpoint)
        self._host, self._port = url.hostname or "", url.port or 80
        host = f"{self._host}:{self._port}"
        self._signer = Signer(access.access_key, access.secret_key, host) if s3 else None
        self._head = f"Host: {host}\r\n"
        if not s3:
            self._head += f"Authorization: Bearer {access.access_key}:{access.secret_key}\r\n"
        self._timeout_s = timeout_s
        self._stream: trio.SocketStream | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] = b"",
        size: int | None = None,
        headers: str = "",
        sink: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """One exchange. `path` is already encoded; `headers` are whole lines. Raises Broken, Unreached."""
        length = len(body) if isinstance(body, bytes) else size
        if self._signer is not None:
            headers += self._signer.headers(method, path, body if isinstance(body, bytes) else None)
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {length}\r\n{headers}\r\n".encode()
        whole = False
        try:
            with trio.fail_after(self._timeout_s):
                stream = await self._connected()
                if isinstance(body, bytes):
                    await stream.send_all(head + body)
                else:
                    await stream.send_all(head)
                    for piece in body:
                        await stream.send_all(piece)
                answer = await self._receive(stream, sink)
                whole = True
                return answer
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, httptools.HttpParserError) as error:
            raise Broken(f"{method} {path}: {error!r}") from error
        finally:
            if not whole:
                self.close_nowait()

    async def _connected(self) -> trio.SocketStream:
        if self._stream is None:
            try:
                self._stream = await trio.open_tcp_stream(self._host, self._port)
            except OSError as error:
                raise Unreached(f"no connection to {self._host}:{self._port}: {error!r}") from error
        return self._stream

    async def _receive(self, stream: trio.SocketStream, sink: Callable[[bytes], None] | None) -> Answer:
        parse = _Parse(sink)
        while not parse.done:
            data = await stream.receive_some(_READ_BYTES)
            if not data:
                raise Broken("the connection ended before the answer did")
            parse.parser.feed_data(data)
        if parse.close:
            self.close_nowait()
        return parse.answer

    def close_nowait(self) -> None:
        """Drop the connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None


def s3_path(bucket: str, key: str) -> str:
    """S3's path of an object."""
    return f"/{bucket}/{quote(key, safe='/~')}"


def object_path(bucket: str, key: str) -> str:
    """The native dialect's path of an object."""
    return f"/buckets/{bucket}/objects/{quote(key, safe='')}"
