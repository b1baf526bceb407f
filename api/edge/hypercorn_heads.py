"""What a request's head may look like, stricter than h11 alone.

h11 takes bare line feeds and folded lines, and checks its size limit only on heads that are not complete. Here a
head ends in CRLF CRLF, has no bare CR or LF and no folded line, and keeps its limits (RFC 9112 2.2, 5.2; RFC 9110
5.4). What two parsers may read differently is refused, because a proxy in front may be the other one. Bytes above
0x7f in the target are taken as if percent-encoded: clients send names as they are.
"""

import re

import h11
import msgspec
from h11._receivebuffer import ReceiveBuffer

from cluster.limits import Limits

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_HIGH = re.compile(rb"[\x80-\xff]")


class HeadRefused(h11.RemoteProtocolError):
    """A request that is answered by the edge itself, and whose connection is closed."""

    def __init__(self, status: int, code: str, message: str, limit: dict[str, int | float | str] | None = None) -> None:
        super().__init__(message, error_status_hint=status)
        self.status = status
        self.code = code
        self.message = message
        self.limit = limit


class StrictBuffer(ReceiveBuffer):
    """h11's receive buffer, where heads (and the trailers of chunked bodies) are cut out and checked."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._head_bytes_max = limits.request_head_bytes_max
        self._headers_max = limits.request_headers_max

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines up to the blank one, None if it has not come yet. Raises HeadRefused."""
        data = self._data
        if data[:2] == b"\r\n":
            self._extract(2)
            return []
        end = data.find(b"\r\n\r\n", max(0, self._multiple_lines_search - 3))
        if (end if end >= 0 else len(data)) + 4 > self._head_bytes_max + (0 if end >= 0 else 4):
            raise HeadRefused(
                431,
                "RequestHeadTooLarge",
                f"request line and headers are over {self._head_bytes_max} bytes",
                {"request_head_bytes_max": self._head_bytes_max},
            )
        if end < 0:
            if _BARE_LF.search(data):
                raise _line_ends()
            self._multiple_lines_search = len(data)
            return None
        lines = self._extract(end + 4)[:-4].split(b"\r\n")
        if any(_BARE.search(line) for line in lines):
            raise _line_ends()
        if any(line.startswith((b" ", b"\t")) for line in lines):
            raise HeadRefused(400, "BadRequest", "a header line begins with a space (folded lines are not allowed)")
        if len(lines) - 1 > self._headers_max:
            raise HeadRefused(
                431,
                "TooManyHeaders",
                f"there are {len(lines) - 1} headers; at most {self._headers_max} are allowed",
                {"request_headers_max": self._headers_max},
            )
        if not lines[0].isascii():
            lines[0] = bytearray(_HIGH.sub(lambda match: b"%%%02X" % match[0][0], bytes(lines[0])))
        return lines


def check_request(request: h11.Request) -> None:
    """What h11 lets pass and this server does not. Raises HeadRefused."""
    names = [name for name, _ in request.headers]
    if request.method == b"PRI" or request.http_version not in (b"1.1", b"1.0"):
        raise HeadRefused(400, "BadRequest", "only HTTP/1.1 (and 1.0) is spoken here")
    if b"upgrade" in names:
        raise HeadRefused(400, "BadRequest", "protocol upgrades (h2c, websocket) are not possible here")
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise HeadRefused(
            400,
            "BadRequest",
            "Transfer-Encoding excludes Content-Length and HTTP/1.0; the body's end would be ambiguous",
        )
    if not request.target.startswith(b"/"):
        raise HeadRefused(400, "BadRequest", "the request target must be a path that begins with /")


def refusal(error: h11.RemoteProtocolError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer to a request that broke the protocol."""
    if isinstance(error, HeadRefused):
        status, code, message, limit = error.status, error.code, error.message, error.limit
    else:  # h11's texts quote the input behind a colon, which may hold a key: it is left out
        what = str(error).partition(":")[0].partition(" b'")[0][:120]
        status, code, message, limit = error.error_status_hint, "BadRequest", f"not valid HTTP/1.1: {what}", None
    facts: dict[str, object] = {"code": code, "message": message, "request_id": request_id}
    if limit is not None:
        facts["limit"] = limit
    body = msgspec.json.encode(facts)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
    ]
    return status, headers, body


def _line_ends() -> HeadRefused:
    return HeadRefused(400, "BadRequest", "lines of a request's head must end in CRLF")
