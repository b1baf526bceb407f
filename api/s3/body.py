"""A request's body as its signature frames it: the framing off, and all that the signature says of it proved.

Rules: pieces may be used as they come, but nothing may be made of them before the iteration has ended, because what
proves the last of them comes after it. Trailers are known then, and not before. What the body raises is S3's.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Protocol

from api.messages import Request, RequestBody
from api.s3.chunked import ChunkedDecoder
from api.s3.payload import Chunked, Payload, Unsigned, Whole
from api.s3.sigv4 import ChunkKey
from cluster.errors import Refused

CHECKSUM_TRAILERS = frozenset(
    f"x-amz-checksum-{algorithm}" for algorithm in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
)
"""What may follow a body (S3: x-amz-trailer)."""

_LENGTH = re.compile(r"[0-9]{1,15}")
_NONE: Mapping[str, str] = MappingProxyType({})


class Decoder(Protocol):
    """Bytes of a body in, payload out; `end` proves the whole."""

    trailers: dict[str, str]

    def feed(self, data: bytes) -> list[bytes]:
        """The payload in the next bytes."""

    def end(self) -> None:
        """The body has ended."""


class Plain:
    """No framing, and nothing to prove."""

    def __init__(self) -> None:
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> list[bytes]:
        """The bytes themselves."""
        return [data]

    def end(self) -> None:
        """Nothing is left to be said."""


class Hashed(Plain):
    """No framing; the whole has one SHA-256."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self._said = said
        self._sha256 = hashlib.sha256()

    def feed(self, data: bytes) -> list[bytes]:
        """The bytes themselves."""
        self._sha256.update(data)
        return [data]

    def end(self) -> None:
        """Raises Refused (XAmzContentSHA256Mismatch)."""
        computed = self._sha256.digest()
        if computed != self._said:
            raise _mismatch(self._said, computed)


class Body:
    """The payload of one request, read once.

    `length` is the payload's in bytes, None if unknown. `sha256` is what x-amz-content-sha256 says of it. `announced`
    are the names of trailers to come, in lower case.
    """

    def __init__(
        self,
        source: RequestBody,
        decoder: Decoder,
        length: int | None,
        sha256: bytes | None,
        announced: tuple[str, ...],
    ) -> None:
        self.length = length
        self.sha256 = sha256
        self.announced = announced
        self._source = source
        self._decoder = decoder
        self._pieces: list[bytes] = []
        self._packets: AsyncIterator[bytes] | None = None
        self._is_whole = False

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailers by lower-case name; none before the iteration has ended."""
        return MappingProxyType(self._decoder.trailers) if self._is_whole else _NONE

    def leave_hash(self) -> None:
        """The caller hashes the whole anyway, and compares it with `sha256` before anything is made of it."""
        assert self._packets is None, "the body is not being read yet"
        if self.sha256 is not None:
            self._decoder = Plain()

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises Refused: IncompleteBody, SignatureDoesNotMatch, MalformedTrailerError,
        InvalidChunkSizeError, XAmzContentSHA256Mismatch, and what the request's own body raises."""
        while not self._pieces:
            if self._is_whole:
                raise StopAsyncIteration
            await self._read()
        return self._pieces.pop()

    async def _read(self) -> None:
        packets = self._packets
        if packets is None:
            packets = self._packets = aiter(self._source)
        try:
            packet = await anext(packets)
        except StopAsyncIteration:
            self._decoder.end()
            self._is_whole = True
        else:
            self._pieces = self._decoder.feed(packet)
            self._pieces.reverse()


def open_body(request: Request, payload: Payload, chunk_key: ChunkKey | None) -> Body:
    """The body of a request.

    Raises Refused: MissingContentLength, InvalidArgument, InvalidRequest, MalformedTrailerError, and AccessDenied for
    signed chunks of a request that is not signed.
    """
    announced = _announced(request.headers, payload)
    match payload:
        case Unsigned():
            return Body(request.body, Plain(), request.length, None, announced)
        case Whole(sha256):
            return Body(request.body, Hashed(sha256), request.length, sha256, announced)
        case Chunked():
            if payload.signed and chunk_key is None:
                raise Refused("AccessDenied", "The chunks of the body are signed, but the request is not.")
            length = _decoded_length(request.headers)
            return Body(request.body, ChunkedDecoder(payload, length, announced, chunk_key), length, None, announced)


def _mismatch(said: bytes, computed: bytes) -> Refused:
    """XAmzContentSHA256Mismatch."""
    return Refused(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        detail={"ClientComputedContentSHA256": said.hex(), "S3ComputedContentSHA256": computed.hex()},
    )


def _decoded_length(headers: Mapping[str, str]) -> int:
    name = "x-amz-decoded-content-length"
    text = headers.get(name)
    if text is None:
        raise Refused("MissingContentLength", f"You must provide the {name} HTTP header.")
    if not _LENGTH.fullmatch(text):
        raise Refused(
            "InvalidArgument",
            f"{name} must be a number of bytes",
            detail={"ArgumentName": name, "ArgumentValue": text[:80]},
        )
    return int(text)


def _announced(headers: Mapping[str, str], payload: Payload) -> tuple[str, ...]:
    """The names in x-amz-trailer, which only a body with a trailer can keep."""
    text = headers.get("x-amz-trailer", "").rstrip(", ")
    if not text:
        return ()
    names = tuple(name.strip().lower() for name in text.split(","))
    if not CHECKSUM_TRAILERS.issuperset(names):
        raise Refused("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    if len(names) > 1:
        raise Refused(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    if not isinstance(payload, Chunked) or not payload.trailer:
        raise Refused(
            "MalformedTrailerError",
            "x-amz-trailer announces a trailer; a body with one has x-amz-content-sha256 with -TRAILER",
        )
    return names
