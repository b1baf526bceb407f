"""Values that the metadata keeps and returns: buckets, versions, parts, chunks, disks.

All are frozen msgspec structs. They are what rows hold and what queries answer, so a field is only ever
added at the end, with a default. Times are state time, in milliseconds since the epoch (UTC).
"""

from typing import Literal

import msgspec

DEFAULT_SPACE = 1
"""The one space that exists so far."""

DEFAULT_BUCKET = "default"

STEWARD_LEASE_MS = 10_000
"""A steward that has not renewed for so long, in state time, may be replaced (chosen: a leader's change takes less)."""

type ChecksumType = Literal["FULL_OBJECT", "COMPOSITE"]
type ChecksumAlgorithm = Literal["MD5", "SHA256", "BLAKE3", "CRC64NVME", "CRC32", "CRC32C", "SHA1"]


class Copies(msgspec.Struct, frozen=True, array_like=True, tag="copies"):
    """Scheme of whole copies: n on distinct disks, W = n // 2 + 1 acknowledge a write."""

    n: int

    @property
    def write_quorum(self) -> int:
        """Disks that must have fsynced a chunk before it may be referenced."""
        return self.n // 2 + 1


class Coded(msgspec.Struct, frozen=True, array_like=True, tag="coded"):
    """Scheme of k data and m parity shards; k + 1 acknowledge a write."""

    k: int
    m: int

    @property
    def write_quorum(self) -> int:
        """Disks that must have fsynced their shard before the chunk may be referenced."""
        return self.k + 1


type Scheme = Copies | Coded


class Checksum(msgspec.Struct, frozen=True, array_like=True):
    """One checksum of a part or version: raw digest bytes and what they cover."""

    value: bytes
    type: ChecksumType = "FULL_OBJECT"


class ChunkRef(msgspec.Struct, frozen=True, array_like=True):
    """`length` bytes of a chunk from `offset` on. `chunk_bytes` is the whole chunk's length."""

    chunk_id: bytes
    offset: int
    length: int
    chunk_bytes: int


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A run of an object's bytes with its own digests."""

    size: int
    md5: bytes
    chunks: tuple[ChunkRef, ...]
    scheme: Scheme
    checksums: dict[ChecksumAlgorithm, Checksum] = {}


class Inline(msgspec.Struct, frozen=True, array_like=True, tag="inline"):
    """An object small enough to lie in its version row."""

    data: bytes


class Parts(msgspec.Struct, frozen=True, array_like=True, tag="parts"):
    """An object whose bytes are in chunks."""

    parts: tuple[Part, ...]


class DeleteMarker(msgspec.Struct, frozen=True, array_like=True, tag="delete_marker"):
    """A version that says: the key was deleted."""


class Assembled(msgspec.Struct, frozen=True, array_like=True, tag="assembled"):
    """An object completed from an upload. Its parts stay rows of their own, under the upload's id.

    `parts` has the number and size of each, in order: enough to find the part of an offset.
    """

    upload_id: bytes
    parts: tuple[tuple[int, int], ...]


type Body = Inline | Parts | DeleteMarker | Assembled


class Version(msgspec.Struct, frozen=True, array_like=True):
    """One version of an object. `revision` and `created_ms` are given by the state machine at the commit.

    `etag` is S3's, without quotes; `headers` are the standard ones stored with an object
    (Content-Encoding, Cache-Control, ...) in lower case; `user_metadata` has no `x-amz-meta-` prefix.
    `null`: made while its bucket's versioning was not enabled; its version id is `null`, else the revision encoded.
    """

    revision: int
    created_ms: int
    size: int
    etag: str
    content_type: str
    body: Body
    headers: dict[str, str] = {}
    user_metadata: dict[str, str] = {}
    checksums: dict[ChecksumAlgorithm, Checksum] = {}
    owner: str = ""
    null: bool = True
    tags: dict[str, str] = {}


class Which(msgspec.Struct, frozen=True, array_like=True):
    """One version of a key: by its revision, or (None) its null version."""

    revision: int | None = None


class Upload(msgspec.Struct, frozen=True, array_like=True):
    """A multipart upload that is under way: what its object will carry besides its bytes.

    `generation` rises with every change of its parts. `checksum` is what the client asked for: the algorithm, and what
    the object's one will cover.
    """

    upload_id: bytes
    key: str
    created_ms: int
    generation: int
    owner: str
    content_type: str
    headers: dict[str, str] = {}
    user_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    checksum: tuple[ChecksumAlgorithm, ChecksumType] | None = None


class PartHead(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a part of an upload, or of the object completed from it, but its chunks.

    `etag` has no quotes. `references` is how many chunk references it has.
    """

    number: int
    created_ms: int
    etag: str
    size: int
    md5: bytes
    scheme: Scheme
    references: int
    checksums: dict[ChecksumAlgorithm, Checksum] = {}


class UploadedPart(msgspec.Struct, frozen=True, array_like=True):
    """A part with its chunks."""

    head: PartHead
    chunks: tuple[ChunkRef, ...]


type Versioning = Literal["off", "enabled", "suspended"]


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """A bucket. Its id is never used again, even if the name is."""

    name: str
    bucket_id: int
    space: int
    created_ms: int
    owner: str
    scheme: Scheme
    versioning: Versioning = "off"


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Exact counters, kept in the transaction that changes them."""

    bytes: int = 0
    objects: int = 0


class Disk(msgspec.Struct, frozen=True, array_like=True):
    """A registered disk. `disk_id` is 16 random bytes made when the disk was prepared."""

    disk_id: bytes
    node: str
    zone: str
    weight: int
    state: Literal["active", "draining", "removed"] = "active"


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk row: who holds it and how many references it has (key: space, scheme, chunk id).

    `zero_since` is the revision at which the count fell to 0, else None. `condemned`: it is below the horizon and
    may be gone from the disks; only fresh acknowledgements bring it back.
    """

    size: int
    count: int
    zero_since: int | None
    holders: tuple[bytes, ...]
    condemned: bool = False


class User(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who may have keys and own buckets. `canonical_id` is what S3 shows as the owner's id, and what
    buckets and versions name as their owner; it is never used again for another user."""

    name: str
    canonical_id: str
    display_name: str
    email: str
    created_ms: int = 0


class AccessKey(msgspec.Struct, frozen=True, array_like=True):
    """One key of a user. `sealed_secret` is the secret key, encrypted under the cluster key."""

    access_key: str
    user: str
    sealed_secret: bytes
    created_ms: int = 0


class SpaceInfo(msgspec.Struct, frozen=True, array_like=True):
    """A space's present revision, horizon and disks: what a writer needs before it puts chunks."""

    space: int
    revision: int
    horizon: int
    disks: tuple[Disk, ...]
