"""The hello that opens every connection: who speaks, to whom, in which mode, in which protocol versions.

The client says hello; the server answers with its own hello or with an error frame that says what did not fit, and
closes. Nothing else is read before that, and nothing longer than HELLO_BYTES_MAX.
"""

from typing import Literal

import msgspec
import trio

from cluster.errors import UNDECODABLE, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.frames import (
    HEADER_BYTES,
    HELLO_BYTES_MAX,
    PROTOCOL_VERSION,
    Frame,
    FrameError,
    Kind,
    decode_error,
    decode_header,
    encode,
    encode_error,
)
from cluster.identity import NodeIdentity
from cluster.links import Link

type Mode = Literal["mux", "transfer"]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=False):
    """Body of a HELLO frame, both ways. `expects` is the name the sender thinks the other has."""

    cluster_id: str
    service: str
    mode: Mode
    name: str
    expects: str
    protocol_min: int = PROTOCOL_VERSION
    protocol_max: int = PROTOCOL_VERSION


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Hello)


def refusal(hello: Hello, service: str, me: NodeIdentity, certified: str | None) -> Refused | None:
    """Why a server turns this client away, or None. `certified` is the name in the client's certificate."""
    if not hello.protocol_min <= PROTOCOL_VERSION <= hello.protocol_max:
        return Refused(
            "WrongProtocol",
            f"{hello.name} speaks protocol {hello.protocol_min} to {hello.protocol_max}; "
            f"{me.name} speaks {PROTOCOL_VERSION}",
        )
    if hello.cluster_id != me.cluster_id:
        return Refused("WrongCluster", f"this is cluster {me.cluster_id}, not {hello.cluster_id}")
    if hello.service != service:
        return Refused("WrongService", f"{me.name} serves {service}, not {hello.service}")
    if hello.expects != me.name:
        return Refused("WrongName", f"this is node {me.name}, not {hello.expects}")
    if certified is not None and hello.name != certified:
        return Refused("WrongName", f"the peer says it is {hello.name}, its certificate says {certified}")
    if not hello.name:
        return Refused("WrongName", "the peer has no name")
    return None


async def greet(link: Link, service: str, mode: Mode, peer: str, me: NodeIdentity) -> None:
    """The client's half. Raises the server's refusal, or Unavailable (NotConnected)."""
    mine = Hello(me.cluster_id, service, mode, me.name, peer)
    try:
        await link.send_all(encode(Kind.HELLO, body=_encoder.encode(mine)))
        frame = await receive_frame(link, HELLO_BYTES_MAX)
        if frame is None:
            raise Unavailable("NotConnected", f"{peer} closed the connection at once")
        if frame.kind == Kind.ERROR:
            raise decode_error(frame.body)
        theirs = _decode(frame)
    except (trio.BrokenResourceError, FrameError) as error:
        raise Unavailable("NotConnected", f"{peer} did not answer the hello: {error}") from error
    if theirs.name != peer or theirs.cluster_id != me.cluster_id:
        raise Refused("WrongName", f"dialled {peer} of {me.cluster_id}, reached {theirs.name} of {theirs.cluster_id}")


async def welcome(link: Link, service: str, me: NodeIdentity) -> Hello | None:
    """The server's half: the client's hello, its name certified where there is TLS.

    None: it went away, or was refused and told so. Raises FrameError, after telling.
    """
    try:
        frame = await receive_frame(link, HELLO_BYTES_MAX)
        if frame is None:
            return None
        hello = _decode(frame)
    except FrameError as error:
        await refuse(link, Refused("BadHello", f"{me.name} speaks protocol {PROTOCOL_VERSION}: {error}"))
        raise
    refused = refusal(hello, service, me, link.peer_name)
    if refused is not None:
        await refuse(link, refused)
        return None
    mine = Hello(me.cluster_id, service, hello.mode, me.name, hello.name)
    await link.send_all(encode(Kind.HELLO, body=_encoder.encode(mine)))
    return hello


async def refuse(link: Link, error: TrilithError) -> None:
    """Tell the client why the connection ends."""
    await link.send_all(encode(Kind.ERROR, body=encode_error(error)))


def _decode(frame: Frame) -> Hello:
    if frame.kind != Kind.HELLO:
        raise FrameError(f"a connection begins with a hello, not with kind {frame.kind}")
    try:
        return _decoder.decode(frame.body)
    except UNDECODABLE as error:
        raise FrameError(f"hello cannot be read: {error}") from error


async def receive_exactly(link: Link, view: memoryview) -> None:
    """Fill `view`. Raises BrokenResourceError if the stream ends first."""
    while view:
        size = await link.receive_into(view)
        if size == 0:
            raise trio.BrokenResourceError("the peer closed the connection")
        view = view[size:]


async def receive_frame(link: Link, body_bytes_max: int) -> Frame | None:
    """One frame and not a byte more; None at the end of the stream. Raises FrameError."""
    head = memoryview(bytearray(HEADER_BYTES))
    size = await link.receive_into(head)
    if size == 0:
        return None
    await receive_exactly(link, head[size:])
    header = decode_header(head, body_bytes_max)
    if header.kind == Kind.DATA:
        raise FrameError("raw data where a frame belongs")
    body = bytearray(header.body_bytes)
    await receive_exactly(link, memoryview(body))
    return Frame(*header[:6], bytes(body))


def lost(peer: str, *, sent: bool, reason: str = "") -> TrilithError:
    """The error for a request whose connection was lost: unknown if it was sent, unavailable if not."""
    because = f": {reason}" if reason else ""
    if sent:
        return OutcomeUnknown("ConnectionLost", f"the connection to {peer} was lost before its answer{because}")
    return Unavailable("NotConnected", f"there is no connection to {peer}{because}")
