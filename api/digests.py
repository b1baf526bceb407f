"""Digests of an object's whole content: MD5 (the ETag), SHA-256, BLAKE3 (as b3sum prints it) and CRC64NVME.

Rules: bytes go in once, in order, in pieces; a piece of more than INLINE_BYTES is digested in a thread, because the
hash functions release the interpreter's lock, and a smaller one at once, because a hop to a thread costs 35-70 us.
What the client expects is compared before anything of the object is visible.
"""

import hashlib
from collections.abc import Buffer
from dataclasses import dataclass

from awscrt.checksums import crc64nvme
from blake3 import blake3

from cluster.errors import Refused
from cluster.limits import KIB
from metaraft.model import Checksum, ChecksumAlgorithm

INLINE_BYTES = 32 * KIB
"""Digesting this takes about 65 us, as long as a hop to a thread."""


@dataclass(frozen=True, slots=True)
class ExpectedDigests:
    """What the client says its content's digests are, as raw bytes; None: it says nothing."""

    md5: bytes | None = None
    sha256: bytes | None = None
    crc64nvme: bytes | None = None


@dataclass(frozen=True, slots=True)
class ContentDigests:
    """The digests of a whole content, as raw bytes (CRC64NVME: 8 bytes, big endian)."""

    md5: bytes
    sha256: bytes
    blake3: bytes
    crc64nvme: bytes

    def checksums(self) -> dict[ChecksumAlgorithm, Checksum]:
        """All but MD5, which the ETag is, as a version keeps them."""
        return {
            "SHA256": Checksum(self.sha256),
            "BLAKE3": Checksum(self.blake3),
            "CRC64NVME": Checksum(self.crc64nvme),
        }

    def check(self, expected: ExpectedDigests) -> None:
        """Raises Refused (BadDigest) naming the first that is not as expected."""
        for name, said, found in (
            ("MD5", expected.md5, self.md5),
            ("SHA-256", expected.sha256, self.sha256),
            ("CRC64NVME", expected.crc64nvme, self.crc64nvme),
        ):
            if said is not None and said != found:
                raise Refused("BadDigest", f"the content's {name} is {found.hex()}, the request says {said.hex()}")


class Digester:
    """Running digests. `update` may be called from any thread, one call at a time."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3()
        self._crc64nvme = 0

    def update(self, piece: Buffer) -> None:
        """Take the next bytes."""
        self._md5.update(piece)
        self._sha256.update(piece)
        self._blake3.update(piece)
        self._crc64nvme = crc64nvme(piece, self._crc64nvme)

    def digests(self) -> ContentDigests:
        """The digests of all bytes so far."""
        return ContentDigests(
            self._md5.digest(),
            self._sha256.digest(),
            self._blake3.digest(),
            self._crc64nvme.to_bytes(8, "big"),
        )
