"""The aws-chunked framing of a body, as a state machine: bytes in, payload out (S3 API Reference, 'Signature
Calculations: Transferring Payload in Multiple Chunks' and '... Including Trailing Headers').

    10000;chunk-signature=HEX CRLF <65,536 bytes> CRLF    any number; unsigned framing has no extension
    0;chunk-signature=HEX CRLF                            the last, over no bytes
    x-amz-checksum-crc32c:VALUE CRLF                      with a trailer: what x-amz-trailer announced
    x-amz-trailer-signature:HEX CRLF                      with a trailer, signed
    CRLF                                                  may be missing at the end of the body, as with S3

Rules: each signature covers the one before it, so chunks cannot be left out, put in another order or taken from another
request. Payload is given out before its chunk's signature has come; nothing may be made of it before `end` has
returned. The whole is exactly as long as x-amz-decoded-content-length said. Lines and trailers are bounded; chunks
need no bound, for none is kept, but small ones are: each costs time.
"""

import hashlib
import re
from collections.abc import Sequence
from enum import Enum, auto

from api.s3.payload import Chunked
from api.s3.sigv4 import EMPTY_SHA256, ChunkKey, does_not_match, same, signature
from cluster.errors import Refused
from cluster.limits import KIB

LINE_BYTES_MAX = 4 * KIB
"""A chunk's header; a real one has about 90 bytes."""

TRAILER_BYTES_MAX = 16 * KIB
TRAILERS_MAX = 16

SMALL_CHUNKS_MAX = 1024
CHUNK_BYTES_MEAN_MIN = KIB
"""After SMALL_CHUNKS_MAX chunks they must have this many bytes each on the average. S3 wants 8 KiB of each but the
last, and some clients send less."""

PADDING_BYTES_MAX = 16
"""Line ends after the end: some clients send one more than there should be."""

TRAILER_SIGNATURE = "x-amz-trailer-signature"

_HEADER = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;[ \t]*chunk-signature[ \t]*=[ \t]*([!-:<-~]{1,256})[ \t]*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\x20-\x7e\t]*")


class _State(Enum):
    HEADER = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    DONE = auto()


class ChunkedDecoder:
    """Takes the framing of one body off and proves it. `trailers` are complete once `end` has returned.

    `size` is what x-amz-decoded-content-length says, `announced` the names in x-amz-trailer. Both methods raise
    Refused: IncompleteBody, SignatureDoesNotMatch, MalformedTrailerError, InvalidChunkSizeError. After that it is
    of no use.
    """

    def __init__(self, form: Chunked, size: int, announced: Sequence[str], key: ChunkKey | None) -> None:
        assert form.signed == (key is not None), "signed chunks need a key, others have none"
        self.trailers: dict[str, str] = {}
        self._form = form
        self._size = size
        self._announced = frozenset(announced)
        self._key = key
        self._previous = "" if key is None else key.seed
        self._state = _State.HEADER
        self._line = bytearray()
        self._received = 0
        self._chunks = 0
        self._left = 0
        self._said = ""
        self._sha256 = hashlib.sha256()
        self._trailer_bytes = 0
        self._trailer_signature: str | None = None
        self._signed_trailers = ""
        self._padding = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The payload in the next bytes of the body."""
        pieces: list[bytes] = []
        position, stop = 0, len(data)
        while position < stop:
            if self._state is _State.DATA:
                taken = min(self._left, stop - position)
                piece = data[position : position + taken]  # no copy where it is the whole
                self._take(piece)
                pieces.append(piece)
                position += taken
            elif self._state is _State.DONE:
                self._pad(data[position:])
                break
            else:
                position = self._read_line(data, position)
        return pieces

    def end(self) -> None:
        """The body has ended."""
        if self._state is _State.TRAILER and not self._line:
            self._finish()
        if self._state is not _State.DONE:
            raise _incomplete("The request body terminated unexpectedly")

    # ---- chunks

    def _take(self, piece: bytes) -> None:
        self._received += len(piece)
        self._left -= len(piece)
        if self._form.signed:
            self._sha256.update(piece)
        if not self._left:
            self._check_chunk(self._sha256.hexdigest())
            self._state = _State.DATA_END

    def _begin(self, line: bytes) -> None:
        match = _HEADER.fullmatch(line)
        if match is None or (match[2] is not None) != self._form.signed:
            raise _incomplete("The request body terminated unexpectedly: a chunk does not begin as it should")
        size = int(match[1], 16)
        self._said = "" if match[2] is None else match[2].decode()
        if size > self._size - self._received or (not size and self._received < self._size):
            raise _incomplete(
                "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header",
                {"NumberBytesExpected": str(self._size), "NumberBytesProvided": str(self._received + size)},
            )
        if not size:
            self._check_chunk(EMPTY_SHA256)
            self._state = _State.TRAILER
            return
        self._check_mean()
        self._left = size
        self._sha256 = hashlib.sha256()
        self._state = _State.DATA

    def _check_mean(self) -> None:
        self._chunks += 1
        if self._chunks - SMALL_CHUNKS_MAX > self._received // CHUNK_BYTES_MEAN_MIN:
            raise Refused(
                "InvalidChunkSizeError",
                f"{self._chunks} chunks have {self._received} bytes together; "
                "only the last chunk is allowed to have a size less than 8192 bytes",
                limit={"chunk_bytes_mean_min": CHUNK_BYTES_MEAN_MIN},
            )

    def _check_chunk(self, sha256: str) -> None:
        key = self._key
        if key is None:
            return
        to_sign = "\n".join(
            ("AWS4-HMAC-SHA256-PAYLOAD", key.timestamp, key.scope, self._previous, EMPTY_SHA256, sha256)
        )
        self._check_signature(key, self._said, to_sign)
        self._previous = self._said

    @staticmethod
    def _check_signature(key: ChunkKey, said: str, to_sign: str) -> None:
        if not same(said, signature(key.key, to_sign)):
            raise does_not_match(key.access_key, said, to_sign)

    # ---- lines

    def _read_line(self, data: bytes, position: int) -> int:
        """Take bytes up to the next line feed; where to go on."""
        found = data.find(b"\n", position)
        stop = len(data) if found < 0 else found + 1
        self._line += data[position:stop]
        if self._state is _State.TRAILER:
            self._trailer_bytes += stop - position
            if self._trailer_bytes > TRAILER_BYTES_MAX:
                raise _malformed_trailer(f"the trailers are over {TRAILER_BYTES_MAX} bytes")
        elif len(self._line) > (2 if self._state is _State.DATA_END else LINE_BYTES_MAX):
            raise _incomplete("The request body terminated unexpectedly: a chunk is longer than it says")
        if found >= 0:
            self._end_line()
        return stop

    def _end_line(self) -> None:
        if not self._line.endswith(b"\r\n"):
            if self._state is _State.TRAILER:
                return  # a bare line feed, which some clients put before the line's end
            raise _incomplete("The request body terminated unexpectedly: a line does not end as it should")
        line = bytes(self._line[:-2])
        self._line.clear()
        match self._state:
            case _State.HEADER:
                self._begin(line)
            case _State.DATA_END:
                self._state = _State.HEADER
            case _:
                self._end_trailer(line)

    def _end_trailer(self, line: bytes) -> None:
        if not line:
            self._finish()
            return
        for part in line.split(b"\n"):
            if part:
                self._add_trailer(part)

    def _add_trailer(self, line: bytes) -> None:
        raw_name, colon, raw_value = line.partition(b":")
        raw_name, raw_value = raw_name.strip(b" \t"), raw_value.strip(b" \t")
        if not colon or not _NAME.fullmatch(raw_name) or not _VALUE.fullmatch(raw_value):
            raise _malformed_trailer("a line is not NAME:VALUE")
        name, value = raw_name.decode().lower(), raw_value.decode()
        if not self._form.trailer or self._trailer_signature is not None:
            raise _malformed_trailer("there is one more than there may be")
        if self._form.signed and name == TRAILER_SIGNATURE:
            self._trailer_signature = value
            return
        if name in self.trailers or len(self.trailers) == TRAILERS_MAX:
            raise _malformed_trailer(f"{name[:80]} is given twice, or there are more than {TRAILERS_MAX}")
        self.trailers[name] = value
        self._signed_trailers += f"{name}:{value}\n"

    def _finish(self) -> None:
        if self.trailers.keys() != self._announced:
            raise _malformed_trailer("they are not those that x-amz-trailer announced")
        if self._key is not None and self._form.trailer:
            self._check_trailers(self._key)
        self._state = _State.DONE

    def _check_trailers(self, key: ChunkKey) -> None:
        if self._trailer_signature is None:
            raise _incomplete("The request body terminated unexpectedly: there is no x-amz-trailer-signature")
        digest = hashlib.sha256((self._signed_trailers or "\n").encode()).hexdigest()
        to_sign = "\n".join(("AWS4-HMAC-SHA256-TRAILER", key.timestamp, key.scope, self._previous, digest))
        self._check_signature(key, self._trailer_signature, to_sign)

    def _pad(self, data: bytes) -> None:
        self._padding += len(data)
        if data.strip(b"\r\n") or self._padding > PADDING_BYTES_MAX:
            raise _incomplete("There are bytes after the end of the request body")


def _incomplete(message: str, detail: dict[str, str] | None = None) -> Refused:
    return Refused("IncompleteBody", message, detail=detail)


def _malformed_trailer(why: str) -> Refused:
    return Refused(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema: "
        f"{why}.",
    )
