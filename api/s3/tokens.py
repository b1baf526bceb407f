"""Continuation tokens: where a listing goes on, as a text that only makes sense to who gave it. Pure.

A token is the marker behind a version and a short digest of it, so that a text that was never given is refused and not
taken for a place. It is no secret: whoever may list may begin anywhere.
"""

import base64
import binascii

from blake3 import blake3

from cluster.errors import Refused

_VERSION = b"1"
_CONTEXT = "trilith 2026 S3 continuation token v1"
_DIGEST_BYTES = 4
_CHARACTERS_MAX = 2048
"""A key of 1,024 bytes makes a token of 1,376."""


def seal(marker: str) -> str:
    """The token of a marker."""
    raw = marker.encode()
    return base64.urlsafe_b64encode(_VERSION + _digest(raw) + raw).decode().rstrip("=")


def unseal(token: str) -> str:
    """The marker of a token. Raises Refused (InvalidArgument)."""
    try:
        if len(token) > _CHARACTERS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, digest, marker = raw[:1], raw[1 : 1 + _DIGEST_BYTES], raw[1 + _DIGEST_BYTES :]
        if version != _VERSION or digest != _digest(marker):
            raise ValueError("not one that was given")
        return marker.decode()
    except (binascii.Error, ValueError):
        raise Refused(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            detail={"ArgumentName": "continuation-token", "ArgumentValue": token[:200]},
        ) from None


def _digest(raw: bytes) -> bytes:
    return blake3(raw, derive_key_context=_CONTEXT).digest(_DIGEST_BYTES)
