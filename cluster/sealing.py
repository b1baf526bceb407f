"""Users' secrets at rest: AES-256-GCM under the cluster key (NIST SP 800-38D), one random 96-bit nonce each.

SigV4 needs the secret itself, so it cannot be kept as a hash. A sealed secret opens only under the cluster key that
sealed it and only for its own access key, which is the associated data: rows that are swapped do not open. It is

    version (1 byte) | id of the cluster key (4) | nonce (12) | ciphertext and tag (16)

The id tells a secret of another cluster key from a damaged one. It is a hash of the key, and helps nobody to find it.
Nothing here shows a secret or a key in its repr or in an error.
"""

import os

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cluster.errors import Corrupt

VERSION = b"\x01"
NONCE_BYTES = 12
_ID_BYTES = 4
_TAG_BYTES = 16
_NONCE_AT = len(VERSION) + _ID_BYTES
_TEXT_AT = _NONCE_AT + NONCE_BYTES
_ID_CONTEXT = "trilith 2026 cluster key id v1"
_MARK_CONTEXT = "trilith 2026 secret mark v1"


class Sealer:
    """Seals and unseals under one cluster key."""

    def __init__(self, cluster_key: bytes) -> None:
        self._cipher = AESGCM(cluster_key)
        self._head = VERSION + blake3(cluster_key, derive_key_context=_ID_CONTEXT).digest(_ID_BYTES)
        self._mark_key = blake3(cluster_key, derive_key_context=_MARK_CONTEXT).digest(32)

    def seal(self, secret: str, access_key: str) -> bytes:
        """The sealed secret of an access key; another one at each call."""
        nonce = os.urandom(NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, secret.encode(), access_key.encode())

    def unseal(self, sealed: bytes, access_key: str) -> str:
        """The secret of an access key. Raises Corrupt (BadSeal)."""
        if len(sealed) < _TEXT_AT + _TAG_BYTES or not sealed.startswith(VERSION):
            raise _bad(access_key, "is not in a form that is known here")
        if not sealed.startswith(self._head):
            raise _bad(access_key, "was sealed under another cluster key; this process has not the one it needs")
        try:
            secret = self._cipher.decrypt(sealed[_NONCE_AT:_TEXT_AT], sealed[_TEXT_AT:], access_key.encode())
        except InvalidTag:
            raise _bad(access_key, "is damaged, or belongs to another access key") from None
        return secret.decode()

    def mark(self, secret: str) -> bytes:
        """The same bytes for the same secret; without the cluster key they help nobody to guess it."""
        return blake3(secret.encode(), key=self._mark_key).digest(16)


def _bad(access_key: str, why: str) -> Corrupt:
    return Corrupt("BadSeal", f"the secret of access key {access_key[:128]!r} cannot be used: it {why}")
