"""Requests and responses as values: what a handler gets and gives back, whatever server carries them.

A handler knows no framework: `async def handler(Request) -> Response`. A request's body is an async iterator of
bytes, pulled by the handler, so a slow handler slows the client. A response's body is bytes, or a stream that is
opened before the head is sent (an error at its first byte is still a proper answer) and pulled as the client reads.

Paths and queries are percent-decoded here and nowhere else, exactly once, as bytes: `a//b`, `../x` and `%2F` are
just bytes of a name, and nothing normalises them. A `%` that is not followed by two hex digits stands for itself.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from cluster.errors import Refused

type Buffer = bytes | bytearray | memoryview
type Stream = Callable[[], AbstractAsyncContextManager[AsyncIterator[Buffer]]]

SINGLE_HEADERS = frozenset(
    {
        "authorization",
        "content-disposition",
        "content-length",
        "content-md5",
        "content-type",
        "expect",
        "expires",
        "host",
        "idempotency-key",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "range",
        "x-copy-source",
    }
)
"""Headers that are no lists: given twice they are ambiguous, and refused (RFC 9110 5.3)."""

_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_BYTES = {b"%02x" % byte: bytes([byte]) for byte in range(256)}


class RequestBody(Protocol):
    """A body that is read once. `close_delimited` bodies do not exist for requests (RFC 9112 6.3)."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces in order; raises Refused (RequestTimeout, IncompleteBody)."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `path` and `query` are raw; header names are in lower case. `scheme` is how it came.

    `length` is Content-Length, None when the body is chunked (0 when there is none). `deadline` is trio's clock.
    """

    method: str
    path: bytes
    query: bytes
    headers: Mapping[str, str]
    body: RequestBody
    length: int | None
    client: str
    request_id: str
    deadline: float
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. With a `stream`, `length` says how many bytes it will give, None if that is not known before its end.

    A HEAD's `length` is what a GET has.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Stream | None = None
    length: int | None = None
    error_code: str = field(default="", compare=False)


def parse_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; a repeated list header is joined by commas.

    Raises Refused (InvalidHeader) when a value is not UTF-8 or a header that may come once comes twice.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        try:
            name, value = raw_name.decode("ascii"), raw_value.decode()
        except UnicodeDecodeError:
            shown = raw_name.decode("latin-1")
            raise Refused("InvalidHeader", f"the value of header {shown!r} is not UTF-8") from None
        if name in headers:
            if name in SINGLE_HEADERS:
                raise Refused("InvalidHeader", f"header {name!r} is given more than once; at most once is allowed")
            value = f"{headers[name]},{value}"  # as S3 joins and signs them
        headers[name] = value
    return headers


def percent_decode(raw: bytes) -> bytes:
    """Bytes with each `%XX` replaced, once."""
    if b"%" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: _BYTES[match[1].lower()], raw)


def parse_query(raw: bytes) -> dict[str, str]:
    """Parameters of a query string; `+` is a space, as forms have it, and a name alone has the value ''.

    Raises Refused (InvalidArgument) when one is given twice or is not UTF-8.
    """
    parameters: dict[str, str] = {}
    if not raw:
        return parameters
    for item in raw.split(b"&"):
        if not item:
            continue
        raw_name, _, raw_value = item.partition(b"=")
        try:
            name = percent_decode(raw_name.replace(b"+", b" ")).decode()
            value = percent_decode(raw_value.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            raise Refused("InvalidArgument", f"query parameter {item[:64]!r} is not UTF-8") from None
        if name in parameters:
            raise Refused("InvalidArgument", f"query parameter {name!r} is given more than once")
        parameters[name] = value
    return parameters
