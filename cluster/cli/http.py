"""A small blocking client of the native dialect for the commands: one connection, streams both ways.

Rules: bodies are never held whole; every answer's error becomes one of the four kinds. What did not happen, or may
have, is tried again where the call can be repeated: reads always, writes under one Idempotency-Key. Once an attempt of
a write may have happened, only its own result or 'outcome unknown' is told, whatever later attempts say.
"""

import contextlib
import hashlib
import http.client
import secrets
import select
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cluster.cli.access import Access
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable

PIECE_BYTES = 1024 * 1024
ATTEMPTS = 4
_TIMEOUT_S = 90.0  # no byte for this long; the server's own limits are shorter
_WAIT_S_MAX = 10.0  # between attempts, whatever the server asks for
_ERROR_BYTES_MAX = 64 * 1024  # of an error's text


class Source(Protocol):
    """What an upload reads from: a binary file."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, empty at the end."""
        ...


class ErrorBody(msgspec.Struct):
    """The JSON of a refused request."""

    code: str
    message: str = ""
    request_id: str = ""


class Answer:
    """Status, headers and the open body of a response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces. Raises Unavailable (BrokenBody) if it ends early."""
        while True:
            try:
                piece = self._response.read(PIECE_BYTES)
            except (http.client.HTTPException, OSError) as error:
                raise Unavailable("BrokenBody", f"the download broke off: {error}") from error
            if not piece:
                break
            yield piece
        left = self._response.length  # what Content-Length promised and did not come
        if left:
            raise Unavailable("BrokenBody", f"the download broke off {left} bytes before its end")

    def body(self) -> bytes:
        """The whole body (JSON answers)."""
        return b"".join(self.pieces())

    def beginning(self, bytes_max: int) -> bytes:
        """The first bytes of the body, or as many as there were."""
        try:
            return self._response.read(bytes_max)
        except (http.client.HTTPException, OSError):
            return b""


class Client:
    """Calls on one endpoint. Not for several threads at once, but for `interrupt`."""

    def __init__(
        self,
        access: Access,
        *,
        timeout_s: float = _TIMEOUT_S,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = urlsplit(access.endpoint)
        self._access = access
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._pause = pause
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

    def interrupt(self) -> None:
        """Break the connection off, from another thread: who waits for it does so no longer."""
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TLS, too: its own ends what the other thread uses

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
        """One request; tried again while it can be. `body` opens the source anew for each attempt; `size` None sends
        it chunked. Raises one of the four kinds."""
        sent = dict(headers or {})
        _refuse_bad_headers(sent)
        writes = method not in ("GET", "HEAD")
        if writes:
            sent.setdefault("Idempotency-Key", secrets.token_hex(16))
        target = path + ("?" + urlencode(query, quote_via=quote) if query else "")
        unknown: OutcomeUnknown | None = None
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(method, target, sent, body, size)
            except (Unavailable, OutcomeUnknown) as error:
                self.close()
                if isinstance(error, OutcomeUnknown):
                    unknown = error
                if attempt == self._attempts or not repeatable or _status(error) == "507":
                    raise unknown or error from None
                self.pause(attempt, error.retry_after_s)
            except Refused as error:
                self.close()
                if unknown is not None and _status(error) in ("404", "409", "412"):  # perhaps by our own doing
                    raise OutcomeUnknown(
                        error.code,
                        f"{error.message}; but an earlier attempt may have happened ({unknown.message})",
                        detail=error.detail,
                    ) from error
                raise
            except BaseException:
                self.close()
                raise
        raise AssertionError("the last attempt returns or raises")

    def pause(self, attempt: int, asked_s: float | None = None) -> None:
        """Wait before the next attempt."""
        self._pause(min(_WAIT_S_MAX, 0.25 * 2**attempt if asked_s is None else asked_s))

    def _once(
        self, method: str, target: str, headers: dict[str, str], body: Callable[[], Source] | None, size: int | None
    ) -> Answer:
        try:
            connection = self._connected()
            connection.putrequest(method, target, skip_accept_encoding=True)
            connection.putheader("Authorization", f"Bearer {self._access.access_key}:{self._access.secret_key}")
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None and size is None:
                connection.putheader("Transfer-Encoding", "chunked")
            elif body is not None or method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(size or 0))
            connection.endheaders()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("CannotConnect", f"{self._url.geturl()} cannot be reached: {error}") from error
        lost: OSError | None = None
        whole = True
        if body is not None:
            try:
                whole = _send(connection, body(), size)
            except _Lost as error:
                whole, lost = False, error.cause
        # A server may refuse before it has read the body, and close: its answer is still to be read then.
        try:
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            message = f"the connection was lost before an answer came: {lost or error!r}"
            if method in ("GET", "HEAD") or not whole:  # a body that is not whole is never stored
                raise Unavailable("ConnectionLost", message) from error
            raise OutcomeUnknown("ConnectionLost", message) from error
        answer = Answer(response)
        if answer.status >= 300:
            raise _error(method, target, answer)
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            return self._connection
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            secure = http.client.HTTPSConnection(
                host, port or 443, timeout=self._timeout_s, context=_context(self._access)
            )
            secure.connect()
            shown = secure.sock.getpeercert(True) if isinstance(secure.sock, ssl.SSLSocket) else None
            if self._access.certificate is not None and shown != self._access.certificate:
                secure.close()
                raise Refused("WrongCertificate", f"{self._url.geturl()} shows another certificate than the cluster's")
            self._connection = secure
        else:
            self._connection = http.client.HTTPConnection(host, port or 80, timeout=self._timeout_s)
            self._connection.connect()
        self._connection.auto_open = 0  # never past the check above
        return self._connection


class _Lost(Exception):
    """The connection broke while a body was sent; a source that cannot be read is another matter."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _send(connection: http.client.HTTPConnection, source: Source, size: int | None) -> bool:
    """Send a body; False if the server answered before it was whole. Raises _Lost, Refused."""
    left = size
    while left is None or left > 0:
        try:
            piece = source.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        except OSError as error:
            raise Refused("CannotRead", f"the source cannot be read: {error}") from error
        if not piece:
            break
        if _has_answered(connection):
            return False
        _send_piece(connection, b"%x\r\n%b\r\n" % (len(piece), piece) if left is None else piece)
        left = None if left is None else left - len(piece)
    if left is None:
        _send_piece(connection, b"0\r\n\r\n")
    elif left:
        raise Refused("FileChanged", f"the file became {left} bytes shorter while it was read")
    return True


def _send_piece(connection: http.client.HTTPConnection, piece: bytes) -> None:
    try:
        connection.send(piece)
    except OSError as error:
        raise _Lost(error) from error


def _has_answered(connection: http.client.HTTPConnection) -> bool:
    """Something can be read already. Not told for TLS, where it may be a session ticket."""
    if connection.sock is None or isinstance(connection.sock, ssl.SSLSocket):
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _context(access: Access) -> ssl.SSLContext:
    if access.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the very certificate is compared instead
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=access.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Refused("BadAuthorities", f"AWS_CA_BUNDLE {access.ca_file!r} cannot be used: {error}") from error


def decode[T](answer: Answer, shape: type[T]) -> T:
    """A JSON answer as a typed value. Raises Corrupt (BadAnswer)."""
    try:
        return msgspec.json.decode(answer.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt("BadAnswer", f"the server's answer is not understood: {error}") from error


def digest_header(sha256: Any) -> str:
    """`Repr-Digest` of RFC 9530 for a finished hash."""
    return f"sha-256=:{b64encode(sha256.digest()).decode()}:"


def new_sha256() -> Any:
    """A running SHA-256."""
    return hashlib.sha256()


def _refuse_bad_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise Refused("InvalidHeader", f"{name} {value!r} has characters that no header can carry")


def _status(error: TrilithError) -> str:
    return (error.detail or {}).get("status", "")


def _error(method: str, target: str, answer: Answer) -> TrilithError:
    """The error that an answer stands for. What is not our JSON came from somebody in between, or is no Trilith."""
    raw = answer.beginning(_ERROR_BYTES_MAX)
    try:
        told = msgspec.json.decode(raw, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    status = answer.status
    path = target.partition("?")[0]
    detail = {"status": str(status)}
    after = answer.headers.get("Retry-After", "")
    wait = float(after) if after.isascii() and after.isdigit() else None
    if told is None:
        text = raw[:200].decode("utf-8", "replace").strip()
        message = f"{method} {path} was answered with {status}{': ' + text if text else ''}"
        return _by_status(method, status)(_STATUS_CODES.get(status, f"Http{status}"), message, detail=detail)
    if told.request_id:
        detail["request_id"] = told.request_id
    kind: type[TrilithError] = Refused
    if status == 503 and told.code == "OutcomeUnknown":
        kind = OutcomeUnknown
    elif status in (503, 507):
        kind = Unavailable
    elif status >= 500:
        kind = _by_status(method, status) if told.code == "InternalError" else Corrupt
    message = told.message or f"{method} {path} was answered with {status}"
    return kind(told.code, message, detail=detail, retry_after_s=wait)


_STATUS_CODES = {401: "Unauthorized", 403: "AccessDenied", 404: "NotFound"}


def _by_status(method: str, status: int) -> type[TrilithError]:
    """The kind of an answer that says no more than its status."""
    if status < 500:
        return Refused
    return Unavailable if method in ("GET", "HEAD") else OutcomeUnknown
