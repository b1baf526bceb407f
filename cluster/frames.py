"""Frames of the node-to-node wire: a pure encoder and parser, no I/O.

A frame is a u32 length of what follows, a fixed header, and a body that is opaque here (msgpack of the method's
own structs). All integers are big-endian:

    length u32 | version u8 | kind u8 | method u16 | request id u32 | remaining ms u32
               | trace 8 bytes | space u32 | body

Rules: a length is checked before anything is kept for it; what breaks a rule ends the connection (`FrameError`),
because nothing after it can be trusted; a deadline travels as the milliseconds that remain, so clocks need not agree.
"""

import struct
from collections.abc import Buffer
from enum import IntEnum
from typing import NamedTuple

import msgspec

from cluster.errors import UNDECODABLE, TrilithError, WireError, from_wire

PROTOCOL_VERSION = 1
"""Version in every frame; a HELLO carries the range a node speaks."""

HELLO_BYTES_MAX = 4096
"""Body of a HELLO, and of a frame before it: nobody is known yet."""

REMAINING_MS_MAX = 0xFFFF_FFFF
"""Stands for 'no deadline'."""

_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">IBBHII8sI")
_AFTER_LENGTH = _HEADER.size - _LENGTH.size

HEADER_BYTES = _HEADER.size
"""Length and header together."""

NO_TRACE = bytes(8)


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    ONE_WAY = 2
    RESPONSE = 3
    ERROR = 4
    CANCEL = 5
    HELLO = 6
    DATA = 7
    """Raw bytes of a transfer; its body is never held by a parser, but read into its receiver's own buffer."""


_KINDS = tuple(Kind)


class FrameError(Exception):
    """The peer broke a rule of the wire: close the connection."""


class Frame(NamedTuple):
    """One frame. `trace` is 8 bytes, zeros for none."""

    kind: int
    method: int
    request_id: int
    remaining_ms: int
    trace: bytes
    space: int
    body: bytes


class Header(NamedTuple):
    """A frame without its body; `body_bytes` is that body's checked length."""

    kind: int
    method: int
    request_id: int
    remaining_ms: int
    trace: bytes
    space: int
    body_bytes: int


def encode(
    kind: int,
    method: int = 0,
    request_id: int = 0,
    body: bytes = b"",
    *,
    remaining_ms: int = 0,
    trace: bytes = NO_TRACE,
    space: int = 0,
) -> bytes:
    """A whole frame as bytes."""
    size = _AFTER_LENGTH + len(body)
    return _HEADER.pack(size, PROTOCOL_VERSION, kind, method, request_id, remaining_ms, trace, space) + body


def encode_header(kind: int, method: int, request_id: int, body_bytes: int) -> bytes:
    """A header whose body is sent by itself, without a copy."""
    size = _AFTER_LENGTH + body_bytes
    return _HEADER.pack(size, PROTOCOL_VERSION, kind, method, request_id, 0, NO_TRACE, 0)


def decode_header(data: Buffer, body_bytes_max: int) -> Header:
    """Read and check the first `HEADER_BYTES` of a frame. Raises FrameError.

    DATA may be as long as a length can say: nothing is allocated for it.
    """
    size, version, kind, method, request_id, remaining_ms, trace, space = _HEADER.unpack_from(data)
    if version != PROTOCOL_VERSION:
        raise FrameError(f"frame of protocol version {version}; this node speaks {PROTOCOL_VERSION}")
    if kind not in _KINDS:
        raise FrameError(f"frame of unknown kind {kind}")
    body_bytes = size - _AFTER_LENGTH
    if body_bytes < 0 or (body_bytes > body_bytes_max and kind != Kind.DATA):
        raise FrameError(f"frame of {size} bytes; allowed are {_AFTER_LENGTH} to {_AFTER_LENGTH + body_bytes_max}")
    return Header(kind, method, request_id, remaining_ms, trace, space, body_bytes)


class FrameParser:
    """Cuts a byte stream into frames. After a FrameError it must not be fed again."""

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self._held = bytearray()
        self._needed = 0

    def feed(self, data: Buffer) -> list[Frame]:
        """All frames that are complete now. `data` is not kept: what is incomplete is copied.

        Raises FrameError at the first bad frame; complete frames before it are dropped with it.
        """
        view = memoryview(data)
        if self._held:
            self._held += view
            if len(self._held) < self._needed:
                return []
            with memoryview(bytes(self._held)) as whole:
                self._held.clear()
                return self._parse(whole)
        return self._parse(view)

    def _parse(self, view: memoryview) -> list[Frame]:
        frames: list[Frame] = []
        start, end = 0, len(view)
        longest = self.body_bytes_max + _AFTER_LENGTH
        unpack, header_bytes = _HEADER.unpack_from, HEADER_BYTES
        while end - start >= header_bytes:
            size, version, kind, method, request_id, remaining_ms, trace, space = unpack(view, start)
            if version != PROTOCOL_VERSION or not 1 <= kind <= 6 or not _AFTER_LENGTH <= size <= longest:
                decode_header(view[start : start + header_bytes], self.body_bytes_max)  # says what is wrong
                raise FrameError("raw data on a connection for frames")
            stop = start + 4 + size
            if stop > end:
                break
            body = bytes(view[start + header_bytes : stop])
            frames.append(Frame(kind, method, request_id, remaining_ms, trace, space, body))
            start = stop
        if start < end:
            self._hold(view[start:])
        return frames

    def _hold(self, rest: memoryview) -> None:
        self._held += rest
        self._needed = HEADER_BYTES
        if len(rest) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest)
            if not _AFTER_LENGTH <= size <= self.body_bytes_max + _AFTER_LENGTH:
                raise FrameError(f"frame of {size} bytes; at most {self.body_bytes_max + _AFTER_LENGTH} are allowed")
            if len(rest) >= HEADER_BYTES:
                self._needed = size + _LENGTH.size


def trace_bytes(trace_id: str) -> bytes:
    """A trace id (16 hex digits, or nothing) as it travels. ValueError for anything else."""
    if not trace_id:
        return NO_TRACE
    trace = bytes.fromhex(trace_id)
    if len(trace) != len(NO_TRACE):
        raise ValueError(f"trace id {trace_id!r} is not 16 hex digits")
    return trace


def trace_text(trace: bytes) -> str:
    """The trace id of a frame: 16 hex digits, or nothing."""
    return trace.hex() if trace != NO_TRACE else ""


def remaining_ms(remaining_s: float) -> int:
    """A remaining time as it travels, rounded up; 0 only if nothing remains."""
    if remaining_s <= 0:
        return 0
    if remaining_s >= REMAINING_MS_MAX / 1000:
        return REMAINING_MS_MAX
    return int(remaining_s * 1000) + 1


def deadline_at(ms: int, now: float) -> float:
    """The deadline that a frame received `now` stands for."""
    return now + ms / 1000 if ms != REMAINING_MS_MAX else float("inf")


_error_encoder = msgspec.msgpack.Encoder()
_error_decoder = msgspec.msgpack.Decoder(WireError)


def encode_error(error: TrilithError) -> bytes:
    """Body of an ERROR frame."""
    return _error_encoder.encode(error.to_wire())


def decode_error(body: bytes) -> TrilithError:
    """The exception that an ERROR frame stands for. Raises FrameError if it is none."""
    try:
        return from_wire(_error_decoder.decode(body))
    except UNDECODABLE as error:
        raise FrameError(f"error frame is not an error: {error}") from error
