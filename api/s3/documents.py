"""A request's body as a whole: an XML document, read within its bound, with the digests that the request states.

A document is in memory as it comes. Most are small; what the others have in memory is bounded for all together, and
counted as it comes, so that one who sends slowly keeps little from others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from api.digests import Digester
from api.s3 import xml
from api.s3.checksums import expected_digests, is_checked
from api.s3.exchange import Exchange
from cluster.errors import Refused, Unavailable
from cluster.limits import KIB, MIB

DOCUMENT_BYTES_MAX = 256 * KIB
"""Where nothing else is said; 50 tags in references have 192 KiB."""

DOCUMENTS_BYTES_MAX = 64 * MIB
"""Of all documents that are being read by a process (chosen: 8 of the largest)."""


class Held:
    """Bytes of documents in memory, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0

    @contextmanager
    def body(self) -> Iterator["HeldBody"]:
        """A body to be filled; its bytes are counted until the end."""
        found = HeldBody(self)
        try:
            yield found
        finally:
            self._bytes -= len(found.data)

    def take(self, count: int) -> None:
        """Count bytes more. Raises Unavailable (SlowDown)."""
        if self._bytes + count > self._most:
            raise Unavailable(
                "SlowDown",
                f"documents that are being read have {self._bytes} bytes; try again",
                limit={"documents_bytes_max": self._most},
                retry_after_s=1,
            )
        self._bytes += count


class HeldBody:
    """The bytes of one document so far."""

    def __init__(self, held: Held) -> None:
        self.data = bytearray()
        self._held = held

    def add(self, piece: bytes) -> None:
        """Take bytes. Raises Unavailable (SlowDown)."""
        self._held.take(len(piece))
        self.data += piece


_held = Held(DOCUMENTS_BYTES_MAX)


async def read_document(
    exchange: Exchange, root: str, *, checked: bool = False, of_object: bool = False, most: int = DOCUMENT_BYTES_MAX
) -> xml.Node:
    """The document in a request's body. Raises Refused (MissingRequestBodyError, MalformedXML, `read_body`'s)."""
    body = await read_body(exchange, checked=checked, of_object=of_object, most=most)
    if not body:
        raise Refused("MissingRequestBodyError", "Request Body is empty")
    return xml.parse(body, root)


async def read_body(
    exchange: Exchange, *, checked: bool = False, of_object: bool = False, most: int = DOCUMENT_BYTES_MAX
) -> bytes:
    """A body of at most `most` bytes. `checked`: the request must state a digest of it, besides its signature's.
    `of_object`: the checksum that it states is that of an object, and not of its body.

    Raises Refused (InvalidRequest, InvalidDigest, BadDigest, XAmzContentSHA256Mismatch, MaxMessageLengthExceeded),
    Unavailable (SlowDown).
    """
    headers, payload = exchange.headers, exchange.payload
    if checked and not is_checked(headers, payload):
        raise Refused("InvalidRequest", "Missing required header for this request: Content-MD5")
    own = {name: value for name, value in headers.items() if name == "content-md5"} if of_object else headers
    expected = expected_digests(own, payload, ())
    if payload.size is not None and payload.size > most:
        raise _too_large(most)
    with _held.body() as body:
        async for piece in payload.body(digested=True):
            body.add(piece)
            if len(body.data) > most:
                raise _too_large(most)
        digester = Digester(expected.needed())
        digester.update(body.data)
        digests = digester.digests()
        digests.check(expected)
        if expected.late is not None:
            digests.check(expected.late())
        return bytes(body.data)


def _too_large(most: int) -> Refused:
    return Refused(
        "MaxMessageLengthExceeded",
        f"Your request was too large; its body may have {most} bytes",
        limit={"body_bytes_max": most},
        detail={"MaxMessageLengthBytes": str(most)},
    )
