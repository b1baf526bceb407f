"""Cursors of listings: where the next page begins, sealed so that only what was given out comes back.

A cursor is the marker with a keyed BLAKE3 over it and over what was listed; it fits no other listing. All API
processes of a cluster share the key, which is derived from the root key.
"""

import base64
import binascii
import hmac

import msgspec
from blake3 import blake3

from cluster.errors import Refused

_CONTEXT = "trilith 2026 listing cursor v1"
_MAC_BYTES = 16
_CURSOR_CHARS_MAX = 4096


class Cursors:
    """Seals and opens cursors."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake3(secret, derive_key_context=_CONTEXT).digest(32)

    def seal(self, scope: tuple[str, ...], marker: str) -> str:
        """An opaque cursor. `scope` is all that makes one listing another."""
        raw = self._mac(scope, marker) + marker.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def open(self, scope: tuple[str, ...], cursor: str) -> str:
        """The marker. Raises Refused (InvalidCursor)."""
        try:
            if len(cursor) > _CURSOR_CHARS_MAX:
                raise ValueError("too long")
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            marker = raw[_MAC_BYTES:].decode()
        except (binascii.Error, ValueError):
            raise _refused() from None
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(scope, marker)):
            raise _refused()
        return marker

    def _mac(self, scope: tuple[str, ...], marker: str) -> bytes:
        return blake3(msgspec.msgpack.encode((scope, marker)), key=self._key).digest(_MAC_BYTES)


def _refused() -> Refused:
    return Refused(
        "InvalidCursor",
        "the cursor is not one that this listing gave (bucket, prefix and delimiter must be the same as there)",
    )
