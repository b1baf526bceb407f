"""A small blocking client of the native dialect for the commands: one connection, streams both ways.

Bodies are never held whole. Every answer's error becomes one of the four kinds. A refused connection, a 503 and
a lost answer are retried where the call can be repeated: reads always, writes under one Idempotency-Key.
"""

import base64
import hashlib
import http.client
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cluster.cli.access import Access
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable

PIECE_BYTES = 1024 * 1024
_ATTEMPTS = 4
_TIMEOUT_S = 90.0  # no byte for this long; the server's own limits are shorter


class Source(Protocol):
    """What an upload reads from: a binary file."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, empty at the end."""
        ...


class ErrorBody(msgspec.Struct):
    """The JSON of a refused request."""

    code: str = "Unknown"
    message: str = ""
    request_id: str = ""


class ErrorEnvelope(msgspec.Struct):
    """`{"error": {...}}` or the error itself."""

    error: ErrorBody | None = None
    code: str = ""
    message: str = ""


class Answer:
    """Status, headers and the open body of a response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces. Raises Corrupt (BrokenBody) if it ends early."""
        while True:
            try:
                piece = self._response.read(PIECE_BYTES)
            except (http.client.IncompleteRead, OSError) as error:
                raise Corrupt("BrokenBody", f"the server broke the download off: {error}") from error
            if not piece:
                break
            yield piece
        left = getattr(self._response, "length", 0)
        if left:
            raise Corrupt("BrokenBody", f"the server broke the download off {left} bytes before its end")

    def body(self) -> bytes:
        """The whole body (JSON answers)."""
        return b"".join(self.pieces())


class Client:
    """Calls on one endpoint. Not for several threads at once."""

    def __init__(self, access: Access) -> None:
        self._url = urlsplit(access.endpoint)
        self._authorization = f"Bearer {access.access_key}:{access.secret_key}"
        self._ca_file = access.ca_file
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: Callable[[], Source] | None = None,
        size: int | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """One request; retried while it can be. `body` opens the source anew for each attempt; `size` None sends it
        chunked. Raises one of the four kinds."""
        sent = dict(headers or {})
        if method in ("PUT", "DELETE", "POST"):
            sent.setdefault("Idempotency-Key", secrets.token_hex(16))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._once(method, path, query, sent, body, size)
            except (Unavailable, OutcomeUnknown) as error:
                self.close()
                if attempt == _ATTEMPTS or not repeatable:
                    raise
                time.sleep(error.retry_after_s or 0.25 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        headers: dict[str, str],
        body: Callable[[], Source] | None,
        size: int | None,
    ) -> Answer:
        target = path + ("?" + urlencode(query, quote_via=quote) if query else "")
        try:
            connection = self._connected()
            connection.putrequest(method, target, skip_accept_encoding=True)
            connection.putheader("Authorization", self._authorization)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader(
                    *(("Transfer-Encoding", "chunked") if size is None else ("Content-Length", str(size)))
                )
            elif method in ("PUT", "POST"):
                connection.putheader("Content-Length", "0")
            connection.endheaders()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable("CannotConnect", f"{self._url.geturl()} cannot be reached: {error}") from error
        try:
            if body is not None:
                self._send(connection, body(), size)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            response = self._early_answer(connection, error)
        answer = Answer(response)
        if answer.status >= 400:
            error_found = _error(method, path, answer)
            self.close()
            raise error_found
        return answer

    def _early_answer(self, connection: http.client.HTTPConnection, error: Exception) -> http.client.HTTPResponse:
        """A server may refuse before it has read the body and close: its answer is then still to be read."""
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.close()
            raise OutcomeUnknown("ConnectionLost", f"the connection was lost before an answer came: {error}") from error

    @staticmethod
    def _send(connection: http.client.HTTPConnection, source: Source, size: int | None) -> None:
        left = size
        while left is None or left > 0:
            piece = source.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
            if not piece:
                break
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if left is None else piece)
            left = None if left is None else left - len(piece)
        if left is None:
            connection.send(b"0\r\n\r\n")
        elif left:
            raise Refused("FileChanged", f"the file became {left} bytes shorter while it was read")

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._url.scheme == "https":
                context = ssl.create_default_context(cafile=self._ca_file)
                self._connection = http.client.HTTPSConnection(host, port or 443, timeout=_TIMEOUT_S, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, port or 80, timeout=_TIMEOUT_S)
            self._connection.connect()
        return self._connection


def object_path(bucket: str, key: str) -> str:
    """The URL path of an object; every byte of the key survives."""
    return f"/buckets/{quote(bucket, safe='')}/objects/{quote(key, safe='/')}"


def bucket_path(bucket: str) -> str:
    """The URL path of a bucket."""
    return f"/buckets/{quote(bucket, safe='')}"


def decode[T](answer: Answer, shape: type[T]) -> T:
    """A JSON answer as a typed value. Raises Corrupt (BadAnswer)."""
    try:
        return msgspec.json.decode(answer.body(), type=shape)
    except msgspec.DecodeError as error:
        raise Corrupt("BadAnswer", f"the server's answer is not understood: {error}") from error


def digest_header(sha256: Any) -> str:
    """`Repr-Digest` of RFC 9530 for a finished hash."""
    return f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"


def new_sha256() -> Any:
    """A running SHA-256."""
    return hashlib.sha256()


def _error(method: str, path: str, answer: Answer) -> TrilithError:
    raw = b"" if method == "HEAD" else answer.body()
    try:
        envelope = msgspec.json.decode(raw, type=ErrorEnvelope) if raw else ErrorEnvelope()
    except msgspec.DecodeError:
        envelope = ErrorEnvelope(message=raw[:200].decode("utf-8", "replace"))
    inner = envelope.error
    code = (inner.code if inner else envelope.code) or {404: "NotFound", 401: "Unauthorized"}.get(
        answer.status, f"Http{answer.status}"
    )
    text = (inner.message if inner else envelope.message) or f"{method} {path} was answered with {answer.status}"
    detail = {"status": str(answer.status)}
    after = answer.headers.get("Retry-After", "")
    wait = float(after) if after.isdigit() else None
    if answer.status == 503 and code == "OutcomeUnknown":
        return OutcomeUnknown(code, text, detail=detail, retry_after_s=wait)
    if answer.status in (502, 503, 504):
        return Unavailable(code, text, detail=detail, retry_after_s=wait)
    if answer.status >= 500 and answer.status != 507:
        return Corrupt(code, text, detail=detail)
    return Refused(code, text, detail=detail)
