"""A request's body as a whole: an XML document, read within its bound, with the digests that the request states."""

from api.digests import Digester
from api.s3 import xml
from api.s3.checksums import expected_digests, is_checked
from api.s3.exchange import Exchange
from cluster.errors import Refused


async def read_document(
    exchange: Exchange, root: str, *, checked: bool = False, of_object: bool = False, most: int = xml.BODY_BYTES_MAX
) -> xml.Node:
    """The document in a request's body. Raises Refused (MissingRequestBodyError, MalformedXML, `read_body`'s)."""
    body = await read_body(exchange, checked=checked, of_object=of_object, most=most)
    if not body:
        raise Refused("MissingRequestBodyError", "Request Body is empty")
    return xml.parse(body, root)


async def read_body(
    exchange: Exchange, *, checked: bool = False, of_object: bool = False, most: int = xml.BODY_BYTES_MAX
) -> bytes:
    """A body of at most `most` bytes. `checked`: the request must state a digest of it, besides its signature's.
    `of_object`: the checksum that it states is that of an object, and not of its body.

    Raises Refused (InvalidRequest, InvalidDigest, BadDigest, XAmzContentSHA256Mismatch, MaxMessageLengthExceeded).
    """
    headers, payload = exchange.headers, exchange.payload
    if checked and not is_checked(headers, payload):
        raise Refused("InvalidRequest", "Missing required header for this request: Content-MD5")
    own = {name: value for name, value in headers.items() if name == "content-md5"} if of_object else headers
    expected = expected_digests(own, payload, ())
    if payload.size is not None and payload.size > most:
        raise _too_large(most)
    body = bytearray()
    async for piece in payload.body(digested=True):
        body += piece
        if len(body) > most:
            raise _too_large(most)
    digester = Digester(expected.needed())
    digester.update(body)
    digests = digester.digests()
    digests.check(expected)
    if expected.late is not None:
        digests.check(expected.late())
    return bytes(body)


def _too_large(most: int) -> Refused:
    return Refused(
        "MaxMessageLengthExceeded",
        f"Your request was too large; its body may have {most} bytes",
        limit={"body_bytes_max": most},
        detail={"MaxMessageLengthBytes": str(most)},
    )
