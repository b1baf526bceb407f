"""The rows of the metadata: kinds, keys, and what guards each row. Pure; every format on disk starts here.

Kinds and their keys (big-endian integers, so byte order is the order of numbers; `0x00` is one NUL byte):

| kind | key | value |
|---|---|---|
| LOCAL | word | facts of this member's own file: format, applied index. Not replicated, not in the set hash |
| STATE | | `State`: state time, turn, level, next bucket id |
| SPACE | space | `Space`: revision, horizon |
| NAME | bucket name | `Name`: space and bucket id |
| BUCKET | space, bucket id | `Bucket` |
| DISK | disk id | `Disk` |
| RESULTS | expiry minute, turn | results of one entry by idempotency key |
| USER | name | `User` |
| USER_ID | canonical id | name of the user, empty once that was removed: no other one ever has the id |
| USER_EMAIL | email | name of the user |
| ACCESS_KEY | access key | `AccessKey` |
| USER_KEY | user's name, `0x00`, access key | empty: the keys of a user |
| SETTING | space, bucket id, name | a bucket's setting, as the API encodes it |
| STEWARDSHIP | | `Stewardship`: which process does the background work |
| MEMBERSHIP | | `core_membership.Membership`: whose the slots are. Not there in a store older than this row, until a
seat changes |
| BUCKET_USAGE | space, bucket id | `Usage` |
| OWNER_USAGE | space, owner | `Usage` |
| VERSION | space, bucket id, key, `0x00`, ~revision | `Version`; the newest of a key comes first |
| NULL | space, bucket id, key, `0x00` | revision of the key's null version, if it is not the newest of its versions |
| UPLOAD | space, bucket id, key, `0x00`, upload id | `Upload` |
| PART | space, upload id, number | `PartHead` of an upload or of what was completed from it |
| PART_CHUNKS | space, upload id, number | that part's `ChunkRef`s, which completing need not read |
| ASSEMBLY | space, upload id | `Assembly`: how many versions have these parts, and what the first one was |
| TRASH | space, revision | `Trash`: what a mutation took out and whose references still count |
| CHUNK | space, scheme, chunk id | `Chunk` |
| ZERO | space, zero_since, scheme, chunk id | empty: the chunks without references, oldest first |

Rules: an object key has 1 to 1,024 bytes of UTF-8 and no U+0000, so the NUL that ends it sorts before any longer
key; no row grows with the number of keys; a stored value ends in the CRC32C of key and value; the **set hash** is the
sum, modulo 2**128, of `row_hash` over all rows but LOCAL ones. A change of any of this is a new `SCHEMA`.
"""

import enum
import struct
from collections.abc import Iterator
from typing import Protocol

import blake3
import msgspec
from awscrt.checksums import crc32c

from cluster.errors import Corrupt
from cluster.limits import KEY_BYTES_MAX
from metaraft.model import Coded, Copies, Part, Scheme, Versioning

SCHEMA = 1
"""Version of the row formats. A store of another schema is not opened."""

LEVEL = 1
"""Highest level of command meaning that this code knows."""

SET_HASH_MODULUS = 1 << 128
REVISION_MAX = (1 << 64) - 1
DISK_ID_BYTES = 16
CHUNK_ID_BYTES = 32
UPLOAD_ID_BYTES = 16
SCHEME_BYTES = 3


class Kind(enum.IntEnum):
    """First byte of every row's key."""

    LOCAL = 0x00
    STATE = 0x01
    SPACE = 0x02
    NAME = 0x03
    BUCKET = 0x04
    DISK = 0x05
    RESULTS = 0x06
    USER = 0x07
    USER_ID = 0x08
    USER_EMAIL = 0x09
    ACCESS_KEY = 0x0A
    USER_KEY = 0x0B
    SETTING = 0x0C
    STEWARDSHIP = 0x0D
    MEMBERSHIP = 0x0E
    BUCKET_USAGE = 0x10
    OWNER_USAGE = 0x11
    VERSION = 0x20
    TRASH = 0x21
    NULL = 0x22
    UPLOAD = 0x23
    PART = 0x24
    PART_CHUNKS = 0x25
    ASSEMBLY = 0x26
    CHUNK = 0x30
    ZERO = 0x31


class State(msgspec.Struct, array_like=True):
    """What is one for the whole cluster. `turn` counts the entries that kept results."""

    state_time_ms: int = 0
    turn: int = 0
    level: int = 1
    next_bucket_id: int = 1
    buckets: int = 0
    users: int = 0


class Space(msgspec.Struct, array_like=True):
    """Newest revision and horizon of a space."""

    revision: int = 0
    horizon: int = 0


class Stewardship(msgspec.Struct, frozen=True, array_like=True):
    """Who does the background work, and when it was last heard of, in state time. Epoch 0: nobody ever has."""

    epoch: int = 0
    holder: str = ""
    renewed_ms: int = 0


class Name(msgspec.Struct, frozen=True, array_like=True):
    """Where a bucket name leads."""

    space: int
    bucket_id: int


class PartRows(msgspec.Struct, frozen=True, array_like=True):
    """Parts that are rows of their own, by their numbers, ascending; None: all that the upload has."""

    upload_id: bytes
    numbers: tuple[int, ...] | None = None


class Trash(msgspec.Struct, frozen=True, array_like=True):
    """What one mutation took out of a bucket, with the references that are still to be taken down.

    `revision` is the version's that is gone, or 0 if only parts of an upload are.
    """

    bucket_id: int
    key: str
    revision: int
    parts: tuple[Part, ...]
    rows: tuple[PartRows, ...] = ()


class Assembly(msgspec.Struct, frozen=True, array_like=True):
    """The parts of a completed upload: how many versions have them (never 0), and how the first of these was made."""

    count: int
    revision: int
    existed: bool
    versioning: Versioning


class Reader(Protocol):
    """What queries need of the rows. Every value was checked against its CRC: Corrupt (RowRot) otherwise."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """The first row of [start, stop), or None."""

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows of [start, stop) in order. Nothing may be written before the iterator is dropped."""


class Rows(Reader, Protocol):
    """What the state machine needs of the rows."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write, over what is there."""

    def insert(self, key: bytes, value: bytes) -> None:
        """Write a row that is known not to be there."""

    def delete(self, key: bytes) -> None:
        """Remove a row that is known to be there."""


# ---- keys

_SPACE = struct.Struct(">BI")
_BUCKET = struct.Struct(">BIQ")
_REVISION = struct.Struct(">Q")
_NUMBER = struct.Struct(">H")
_TWO = struct.Struct(">BQQ")
_ZERO = struct.Struct(">BIQ")

STATE_KEY = bytes([Kind.STATE])
STEWARDSHIP_KEY = bytes([Kind.STEWARDSHIP])
MEMBERSHIP_KEY = bytes([Kind.MEMBERSHIP])
VERSION_HEAD_BYTES = _BUCKET.size
VERSION_TAIL_BYTES = 1 + _REVISION.size


def prefix(kind: Kind) -> bytes:
    """What all keys of a kind begin with."""
    return bytes([kind])


def space_key(space: int, kind: Kind = Kind.SPACE) -> bytes:
    """Key of a space's row, or what all keys of a kind that belong to the space begin with."""
    return _SPACE.pack(kind, space)


def bucket_key(space: int, bucket_id: int, kind: Kind = Kind.BUCKET) -> bytes:
    """Key of a bucket's row or usage, or (VERSION, UPLOAD, ...) what the keys of its rows begin with."""
    return _BUCKET.pack(kind, space, bucket_id)


def name_key(name: str) -> bytes:
    """Key of a bucket name."""
    return b"\x03" + name.encode()


def disk_key(disk_id: bytes) -> bytes:
    """Key of a disk."""
    return b"\x05" + disk_id


def owner_key(space: int, owner: str) -> bytes:
    """Key of an owner's usage in a space."""
    return _SPACE.pack(Kind.OWNER_USAGE, space) + owner.encode()


def setting_key(space: int, bucket_id: int, name: str) -> bytes:
    """Key of a bucket's setting."""
    return _BUCKET.pack(Kind.SETTING, space, bucket_id) + name.encode()


def user_key(name: str) -> bytes:
    """Key of a user."""
    return b"\x07" + name.encode()


def user_id_key(canonical_id: str) -> bytes:
    """Key of the row that leads from a canonical id to its user's name."""
    return b"\x08" + canonical_id.encode()


def user_email_key(email: str) -> bytes:
    """Key of the row that leads from an email address to its user's name."""
    return b"\x09" + email.encode()


def access_key_key(access_key: str) -> bytes:
    """Key of an access key."""
    return b"\x0a" + access_key.encode()


def user_keys_key(name: str) -> bytes:
    """What the keys of the rows of a user's access keys begin with."""
    return b"\x0b" + name.encode() + b"\x00"


def versions_key(space: int, bucket_id: int, key: bytes) -> bytes:
    """What the keys of all versions of an object begin with."""
    return _BUCKET.pack(0x20, space, bucket_id) + key + b"\x00"


def version_key(versions: bytes, revision: int) -> bytes:
    """Key of one version; `versions` as `versions_key` gives it."""
    return versions + _REVISION.pack(REVISION_MAX - revision)


def versions_stop(versions: bytes) -> bytes:
    """The least key behind all versions of an object."""
    return versions[:-1] + b"\x01"


def null_key(space: int, bucket_id: int, key: bytes) -> bytes:
    """Key of the row that leads to an object's null version."""
    return _BUCKET.pack(Kind.NULL, space, bucket_id) + key + b"\x00"


def upload_key(space: int, bucket_id: int, key: bytes, upload_id: bytes) -> bytes:
    """Key of an upload under way."""
    return _BUCKET.pack(Kind.UPLOAD, space, bucket_id) + key + b"\x00" + upload_id


def part_key(space: int, upload_id: bytes, number: int, kind: Kind = Kind.PART) -> bytes:
    """Key of a part of an upload, or (PART_CHUNKS) of its chunks."""
    return _SPACE.pack(kind, space) + upload_id + _NUMBER.pack(number)


def assembly_key(space: int, upload_id: bytes) -> bytes:
    """Key of what is known of a completed upload."""
    return _SPACE.pack(Kind.ASSEMBLY, space) + upload_id


def parts_key(space: int, upload_id: bytes) -> bytes:
    """What the keys of all parts of an upload begin with."""
    return _SPACE.pack(Kind.PART, space) + upload_id


def part_number(row_key: bytes) -> int:
    """The number in a part's key."""
    number: int = _NUMBER.unpack(row_key[-_NUMBER.size :])[0]
    return number


def trash_key(space: int, revision: int) -> bytes:
    """Key of the trash row that the mutation of this revision made."""
    return _BUCKET.pack(Kind.TRASH, space, revision)


def scheme_bytes(scheme: Scheme) -> bytes:
    """A scheme in a key: `SCHEME_BYTES`."""
    match scheme:
        case Copies(n):
            return bytes([1, n, 0])
        case Coded(k, m):
            return bytes([2, k, m])


def parse_scheme(data: bytes) -> Scheme:
    """The scheme that `scheme_bytes` was given."""
    kind, first, second = data
    return Copies(first) if kind == 1 else Coded(first, second)


def chunk_key(space: int, scheme: bytes, chunk_id: bytes) -> bytes:
    """Key of a chunk; `scheme` as `scheme_bytes` gives it."""
    return _SPACE.pack(Kind.CHUNK, space) + scheme + chunk_id


def zero_key(space: int, zero_since: int, scheme: bytes, chunk_id: bytes) -> bytes:
    """Key of the row that says a chunk has had no reference since a revision."""
    return _ZERO.pack(Kind.ZERO, space, zero_since) + scheme + chunk_id


def results_key(expiry_minute: int, turn: int) -> bytes:
    """Key of the results of one entry."""
    return _TWO.pack(Kind.RESULTS, expiry_minute, turn)


def successor(start: bytes) -> bytes:
    """The least bytes above everything that begins with `start`."""
    stripped = start.rstrip(b"\xff")
    assert stripped, "keys begin with a kind, and no kind is 0xff"
    return stripped[:-1] + bytes([stripped[-1] + 1])


def invalid_key(key: str, encoded: bytes) -> str | None:
    """Why this is no object key, or None."""
    if not 0 < len(encoded) <= KEY_BYTES_MAX:
        return f"a key has 1 to {KEY_BYTES_MAX} bytes of UTF-8, this one {len(encoded)}"
    if "\x00" in key:
        return f"a key must not contain U+0000; this one does at {key.index(chr(0))}"
    return None


# ---- guards

_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<H")
_pack_crc = _CRC.pack
_pack_length = _LENGTH.pack
_blake3 = blake3.blake3

RESIDUE = 0x48674BC7
"""CRC32C of anything followed by its own little-endian CRC32C."""


def seal(key: bytes, value: bytes) -> bytes:
    """The value as it is stored."""
    return value + _pack_crc(crc32c(key + value))


def unseal(key: bytes, stored: bytes) -> bytes:
    """The value of a stored one. Raises Corrupt (RowRot)."""
    if crc32c(key + stored) != RESIDUE:
        raise Corrupt("RowRot", f"the row {key.hex()} is not what its checksum says")
    return stored[:-4]


def row_hash(key: bytes, stored: bytes) -> int:
    """A row's term in the set hash."""
    return int.from_bytes(_blake3(key + stored + _pack_length(len(key))).digest(16), "little")
