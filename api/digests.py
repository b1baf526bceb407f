"""Digests of an object's whole content: MD5 (the ETag), BLAKE3 (as b3sum prints it), and the checksums asked for.

Rules: bytes go in once, in order, in pieces; a piece of more than INLINE_BYTES is digested in a thread, because the
hash functions release the interpreter's lock, and a smaller one at once, because a hop to a thread costs 35-70 us.
Only what is needed is computed. What the client expects is compared before anything of the object is visible.

CRCs are kept as S3 shows them, big endian. The checksum of an object made of parts is either FULL_OBJECT, a CRC of all
its bytes made of its parts' CRCs without reading them, or COMPOSITE, the checksum of its parts' checksums (S3: Checking
object integrity).
"""

import hashlib
import zlib
from collections.abc import Buffer, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from awscrt.checksums import combine_crc32, combine_crc32c, combine_crc64nvme, crc32c, crc64nvme
from blake3 import blake3

from cluster.errors import Refused
from cluster.limits import KIB
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType

INLINE_BYTES = 32 * KIB
"""Digesting this takes about 65 us, as long as a hop to a thread."""

NATIVE: tuple[ChecksumAlgorithm, ...] = ("CRC64NVME", "SHA256", "BLAKE3")
"""What is kept of an object when nobody asks for anything else; the first is what S3 shows."""

DIGEST_BYTES: dict[ChecksumAlgorithm, int] = {
    "MD5": 16,
    "BLAKE3": 32,
    "SHA256": 32,
    "SHA1": 20,
    "CRC64NVME": 8,
    "CRC32": 4,
    "CRC32C": 4,
}

CHECKSUM_TYPES: dict[ChecksumAlgorithm, tuple[ChecksumType, ...]] = {
    "CRC64NVME": ("FULL_OBJECT",),
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}
"""What an upload's object may have; the first is meant when the client does not say."""

_ALWAYS: tuple[ChecksumAlgorithm, ...] = ("MD5", "BLAKE3")


@dataclass(frozen=True, slots=True)
class ExpectedDigests:
    """What the client says its content's digests are, as raw bytes (None: it says nothing), and which it wants kept.

    `algorithms` are computed and kept in this order. `late` is asked when the whole content was read, for what came
    behind it: what it expects must be among `algorithms`, or expected here too. `sha256_code` is the code of a refusal
    by SHA-256: S3 has one of its own where the signature names it.
    """

    md5: bytes | None = None
    sha256: bytes | None = None
    crc64nvme: bytes | None = None
    crc32: bytes | None = None
    crc32c: bytes | None = None
    sha1: bytes | None = None
    algorithms: tuple[ChecksumAlgorithm, ...] = NATIVE
    late: Callable[[], "ExpectedDigests"] | None = None
    sha256_code: str = "BadDigest"

    def values(self) -> dict[ChecksumAlgorithm, bytes]:
        """What is expected, by algorithm."""
        said: dict[ChecksumAlgorithm, bytes | None] = {
            "MD5": self.md5,
            "SHA256": self.sha256,
            "CRC64NVME": self.crc64nvme,
            "CRC32": self.crc32,
            "CRC32C": self.crc32c,
            "SHA1": self.sha1,
        }
        return {algorithm: value for algorithm, value in said.items() if value is not None}

    def needed(self) -> tuple[ChecksumAlgorithm, ...]:
        """What must be computed besides what always is."""
        return tuple(dict.fromkeys((*self.algorithms, *self.values())))


@dataclass(frozen=True, slots=True)
class ContentDigests:
    """The digests of a whole content by algorithm, as raw bytes. MD5 and BLAKE3 are always among them."""

    values: dict[ChecksumAlgorithm, bytes]

    @property
    def md5(self) -> bytes:
        """MD5 of the content: the ETag."""
        return self.values["MD5"]

    @property
    def blake3(self) -> bytes:
        """BLAKE3 of the content, as b3sum prints it."""
        return self.values["BLAKE3"]

    def checksums(self, algorithms: Iterable[ChecksumAlgorithm]) -> dict[ChecksumAlgorithm, Checksum]:
        """These in their order, and BLAKE3, as a version keeps them."""
        return {algorithm: Checksum(self.values[algorithm]) for algorithm in dict.fromkeys((*algorithms, "BLAKE3"))}

    def check(self, expected: ExpectedDigests) -> None:
        """Raises Refused (BadDigest, or the code for SHA-256) naming the first that is not as expected."""
        for algorithm, said in expected.values().items():
            found = self.values[algorithm]
            if said != found:
                code = expected.sha256_code if algorithm == "SHA256" else "BadDigest"
                raise Refused(code, f"the content's {algorithm} is {found.hex()}, the request says {said.hex()}")


class Digester:
    """Running digests: MD5, BLAKE3 and those of `algorithms`. `update` may be called from any thread, one call at a
    time."""

    def __init__(self, algorithms: Iterable[ChecksumAlgorithm] = NATIVE) -> None:
        self._running = {algorithm: _BEGIN[algorithm]() for algorithm in dict.fromkeys((*_ALWAYS, *algorithms))}

    def update(self, piece: Buffer) -> None:
        """Take the next bytes."""
        for running in self._running.values():
            running.update(piece)

    def digests(self) -> ContentDigests:
        """The digests of all bytes so far."""
        return ContentDigests({algorithm: running.digest() for algorithm, running in self._running.items()})


def whole_crc(algorithm: ChecksumAlgorithm, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The FULL_OBJECT checksum of a content from the CRC and size of each of its parts in order."""
    combine, size = _COMBINE[algorithm], DIGEST_BYTES[algorithm]
    total = 0
    for value, part_bytes in parts:
        total = combine(total, int.from_bytes(value, "big"), part_bytes)
    return total.to_bytes(size, "big")


def composite(algorithm: ChecksumAlgorithm, values: Sequence[bytes]) -> bytes:
    """The COMPOSITE checksum of an object from its parts' checksums; S3 writes `-N` behind it."""
    running = _BEGIN[algorithm]()
    running.update(b"".join(values))
    return running.digest()


class _Running(Protocol):
    """A hash as hashlib makes it."""

    def update(self, piece: Buffer, /) -> object:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Of all so far."""


class _Crc:
    """A CRC as a hash."""

    def __init__(self, function: Callable[[Buffer, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, piece: Buffer, /) -> None:
        self._value = self._function(piece, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_BEGIN: dict[ChecksumAlgorithm, Callable[[], _Running]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "BLAKE3": blake3,
    "SHA256": hashlib.sha256,
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "CRC64NVME": lambda: _Crc(crc64nvme, 8),
    "CRC32": lambda: _Crc(zlib.crc32, 4),  # releases the interpreter's lock, and is no slower (3.7 GB/s)
    "CRC32C": lambda: _Crc(crc32c, 4),
}

_COMBINE: dict[ChecksumAlgorithm, Callable[[int, int, int], int]] = {
    "CRC64NVME": combine_crc64nvme,
    "CRC32": combine_crc32,
    "CRC32C": combine_crc32c,
}
