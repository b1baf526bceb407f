"""HTTP/1.1 as a server reads and writes it. Pure, strict, small: bytes in, values out (RFC 9112).

What two parsers may read differently is refused, because a proxy in front may be the other one: bare line ends, folded
lines, spaces in the wrong place, two lengths, lengths beside codings, upgrades. Bytes above 0x7f in the target are
taken as if percent-encoded: clients send names as they are. Each refusal closes the connection.
"""

import http
import re
from typing import NamedTuple

import msgspec

from cluster.limits import Limits

CHUNK_LINE_BYTES_MAX = 256
"""A chunk's size line with its extensions (which are dropped)."""

_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n)|\n[ \t]")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HIGH = re.compile(rb"[\x80-\xff]")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"})
_LISTS = frozenset({b"connection", b"transfer-encoding"})
_NAMES_MAX = 4096

_names: dict[bytes, bytes] = {}


class Refusal(Exception):
    """A request that is answered by the edge itself, and whose connection is closed."""

    def __init__(self, status: int, code: str, message: str, limit: dict[str, int | float | str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.limit = limit

    def answer(self, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body to send."""
        facts: dict[str, object] = {"code": self.code, "message": self.message, "request_id": request_id}
        if self.limit is not None:
            facts["limit"] = self.limit
        body = msgspec.json.encode(facts)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-error-code", self.code.encode()),
            (b"x-request-id", request_id.encode()),
        ]
        return self.status, headers, body


class Head(NamedTuple):
    """A request's head. `length` is None when the body is chunked; names are in lower case."""

    method: str
    target: bytes
    minor: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    expects_continue: bool


def find_head(buffer: bytearray, searched: int, limits: Limits) -> int:
    """Where a head ends in a buffer (at its blank line), -1 if more must come. Raises Refusal.

    `searched` is how many bytes an earlier call has looked at.
    """
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3))
    if (end + 4 if end >= 0 else len(buffer)) > limits.request_head_bytes_max:
        raise Refusal(
            431,
            "RequestHeadTooLarge",
            f"request line and headers are over {limits.request_head_bytes_max} bytes",
            {"request_head_bytes_max": limits.request_head_bytes_max},
        )
    if end < 0 and buffer and (buffer[0] < 0x21 or _BARE_LF.search(buffer)):
        raise _bad("not valid HTTP/1.1: illegal request line")
    return end


def parse_head(block: bytes, limits: Limits) -> Head:
    """A head from its bytes, without its blank line. Raises Refusal."""
    if _FORBIDDEN.search(block) is not None:
        raise _bad("the head has a control character, a bare CR or LF, or a folded line")
    lines = block.split(b"\r\n")
    if len(lines) - 1 > limits.request_headers_max:
        raise Refusal(
            431,
            "TooManyHeaders",
            f"there are {len(lines) - 1} headers; at most {limits.request_headers_max} are allowed",
            {"request_headers_max": limits.request_headers_max},
        )
    method, target, minor = _request_line(lines[0])
    headers: list[tuple[bytes, bytes]] = []
    framing: dict[bytes, bytes] = {}
    for line in lines[1:]:
        raw, colon, value = line.partition(b":")
        name = _names.get(raw)
        if name is None:
            name = _name(raw)
        if not colon:
            raise _bad("a header line has no colon")
        value = value.strip(b" \t")
        if name in _FRAMING:
            if name in framing and name not in _LISTS:
                raise _bad(f"header {name.decode()!r} is given more than once")
            framing[name] = framing[name] + b"," + value if name in framing else value
        headers.append((name, value))
    if minor and b"host" not in framing:
        raise _bad("the Host header is missing")
    if b"upgrade" in framing:
        raise _bad("protocol upgrades (h2c, websocket) are not possible here")
    tokens = [token.strip() for token in framing.get(b"connection", b"").lower().split(b",")]
    expect = framing.get(b"expect", b"").lower()
    if expect and expect != b"100-continue":
        raise Refusal(417, "ExpectationFailed", "the only expectation that can be met is 100-continue")
    return Head(
        method,
        target,
        minor,
        headers,
        _length(framing, minor),
        minor == 1 and b"close" not in tokens,
        bool(expect) and minor == 1,
    )


def _request_line(line: bytes) -> tuple[str, bytes, int]:
    parts = line.split(b" ")
    if len(parts) != 3 or _TOKEN.fullmatch(parts[0]) is None:
        raise _bad("not valid HTTP/1.1: illegal request line")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise _bad("only HTTP 1.1 (and 1.0) is spoken here")
    if not target.startswith(b"/"):
        raise _bad("the request target must be a path that begins with /")
    if not target.isascii():
        target = _HIGH.sub(lambda match: b"%%%02X" % match[0][0], target)
    return method.decode(), target, version[7] - 48


def _name(raw: bytes) -> bytes:
    """A header's name in lower case; those seen before cost one look-up."""
    if _TOKEN.fullmatch(raw) is None:
        raise _bad("a header's name is empty, or has a space or another character that no name has")
    if len(_names) >= _NAMES_MAX:
        _names.clear()
    name = _names[raw] = raw.lower()
    return name


def _length(framing: dict[bytes, bytes], minor: int) -> int | None:
    coding = framing.get(b"transfer-encoding")
    length = framing.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise Refusal(501, "NotImplemented", "the only transfer coding that is understood is chunked")
        if length is not None or not minor:
            raise _bad("Transfer-Encoding excludes Content-Length and HTTP 1.0; the body's end would be ambiguous")
        return None
    if length is None:
        return 0
    if _DIGITS.fullmatch(length) is None:
        raise _bad("Content-Length is not a number of at most 18 digits")
    return int(length)


class Chunked:
    """Takes a chunked body out of a buffer, piece by piece."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = 0
        self._closing = False  # a chunk's data is done, its CRLF is still to come
        self._trailers = False
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """The next bytes of the body, b"" when more must come or the body is done. Raises Refusal."""
        while not self.done:
            if self._left:
                piece = bytes(buffer[: self._left])
                del buffer[: self._left]
                self._left -= len(piece)
                self._closing = not self._left
                return piece
            if self._trailers:
                self._take_trailers(buffer)
                return b""
            if self._closing:
                if len(buffer) < 2:
                    return b""
                if buffer[:2] != b"\r\n":
                    raise _bad("a chunk does not end in CRLF")
                del buffer[:2]
                self._closing = False
            end = buffer.find(b"\n", 0, CHUNK_LINE_BYTES_MAX)
            if end < 0:
                if len(buffer) >= CHUNK_LINE_BYTES_MAX:
                    raise _bad(f"a chunk's size line is over {CHUNK_LINE_BYTES_MAX} bytes")
                return b""
            match = _CHUNK_LINE.fullmatch(buffer, 0, max(0, end - 1))
            if match is None or buffer[end - 1] != 13:
                raise _bad("a chunk's size line is not hex digits and CRLF")
            self._left = int(match[1], 16)
            self._trailers = not self._left
            del match, buffer[: end + 1]
        return b""

    def _take_trailers(self, buffer: bytearray) -> None:
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self.done = True
            return
        if len(buffer) >= 2:
            end = find_head(buffer, 0, self._limits)
            if end >= 0:
                if _FORBIDDEN.search(buffer, 0, end) is not None:
                    raise _bad("the trailers have a control character, a bare CR or LF, or a folded line")
                del buffer[: end + 4]
                self.done = True


_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}


def response_head(status: int, headers: list[tuple[bytes, bytes]], date: bytes, *, close: bool) -> bytes:
    """The bytes of an answer's head. A line end in a header is a defect of ours, and asserted against."""
    lines = [b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b""))]
    lines += [b"%b: %b" % header for header in headers]
    lines.append(b"date: " + date)
    if close:
        lines.append(b"connection: close")
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise AssertionError("a header of an answer has a line end or NUL")
    return head + b"\r\n\r\n"


LAST_CHUNK = b"0\r\n\r\n"
"""The end of an answer in chunks, without trailers."""


def chunk_line(size: int) -> bytes:
    """What stands before `size` (not 0) bytes of an answer in chunks; behind them is CRLF."""
    return b"%x\r\n" % size


def _bad(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)
