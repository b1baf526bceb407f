"""What a request says of its body in x-amz-content-sha256: a closed set of forms (S3 API Reference, 'Authenticating
Requests: Using the Authorization Header').

The text itself is the last line of the canonical request, so the signature covers which form it is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.errors import Refused

HEADER = "x-amz-content-sha256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Any bytes."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Bytes with this SHA-256."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class Chunked:
    """Bytes in aws-chunked framing; `signed`: each chunk has a signature; `trailer`: headers may follow the last."""

    signed: bool
    trailer: bool


type Payload = Unsigned | Whole | Chunked

_CHUNKED: Mapping[str, Chunked] = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": Chunked(signed=True, trailer=False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": Chunked(signed=True, trailer=True),
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": Chunked(signed=False, trailer=True),
}


def parse_payload(text: str) -> Payload:
    """The form that a value of x-amz-content-sha256 names. Raises Refused (InvalidArgument)."""
    if text == UNSIGNED_PAYLOAD:
        return Unsigned()
    if _SHA256.fullmatch(text):
        return Whole(bytes.fromhex(text))
    if text in _CHUNKED:
        return _CHUNKED[text]
    raise Refused(
        "InvalidArgument",
        f"{HEADER} must be {UNSIGNED_PAYLOAD}, {', '.join(_CHUNKED)} or a valid sha256 value.",
        detail={"ArgumentName": HEADER, "ArgumentValue": text[:200]},
    )


def payload_of(headers: Mapping[str, str]) -> Payload:
    """The form of a body that no signature says anything of. Raises Refused (InvalidArgument)."""
    text = headers.get(HEADER)
    return Unsigned() if text is None else parse_payload(text)
