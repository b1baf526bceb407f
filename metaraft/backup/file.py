"""A snapshot file: the metadata of a cluster at one place of its log, in one file that can be verified by itself.

    the database, as LMDB copied it | foot of 4,096 bytes

    foot = "TRILSNAP" | format u32 | length u32 | that many bytes of JSON (`Manifest`) | zeros | BLAKE3 of all this

All numbers are big-endian. What is in it is told at the end, so that the database lies where LMDB expects it: it is
opened and walked in place, without room for a second copy.

Rules: a file counts only when every byte of it was read again: the foot against its own BLAKE3, the database against
the foot's, and each row against its checksum and all together against the set hash. Nothing of a file that fails is
used.
"""

import os
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
from blake3 import blake3

from cluster.errors import UNDECODABLE, Corrupt, Refused
from cluster.limits import MIB
from metaraft.lmdb_rows import LmdbReader, checked_rows
from metaraft.model import DEFAULT_SPACE, AccessKey, Disk
from metaraft.rows import (
    LEVEL,
    SCHEMA,
    SET_HASH_MODULUS,
    STATE_KEY,
    Kind,
    Reader,
    Space,
    State,
    prefix,
    row_hash,
    space_key,
    successor,
)
from metaraft.snapshot_copy import Copied, opened
from metaraft.store import read_stored

FORMAT = 1
"""Version of everything on this page; a file of another one is refused."""

FOOT_BYTES = 4096

_MAGIC = b"TRILSNAP"
_HEAD = struct.Struct(">8sII")
_HASH_BYTES = 32
_TEXT_BYTES_MAX = FOOT_BYTES - _HEAD.size - _HASH_BYTES
_PIECE_BYTES = 4 * MIB

type OnBytes = Callable[[int], object]
"""Is told how many more bytes were read."""

_decode_state = msgspec.msgpack.Decoder(State).decode
_decode_space = msgspec.msgpack.Decoder(Space).decode
_decode_disk = msgspec.msgpack.Decoder(Disk).decode
_decode_key = msgspec.msgpack.Decoder(AccessKey).decode


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file holds: the rows of cluster `cluster_id` when entry `index` of its log, of `term`, was applied.

    `revision` is the default space's newest, `size` and `blake3` (hex) are of the database, `rows` and `set_hash` (hex)
    of all rows that are replicated. `version` is of the program that wrote it.
    """

    cluster_id: str
    index: int
    term: int
    revision: int
    state_time_ms: int
    level: int
    schema: int
    set_hash: str
    rows: int
    size: int
    blake3: str
    version: str


class Contents(msgspec.Struct, frozen=True):
    """What a walk over all rows found: how many of each kind, the disks, and the users' access keys."""

    kinds: dict[str, int]
    disks: tuple[Disk, ...]
    access_keys: tuple[AccessKey, ...]


def encode_foot(manifest: Manifest) -> bytes:
    """The last bytes of the file."""
    text = msgspec.json.encode(manifest)
    assert len(text) <= _TEXT_BYTES_MAX, "a manifest has a dozen short values"
    body = (_HEAD.pack(_MAGIC, FORMAT, len(text)) + text).ljust(FOOT_BYTES - _HASH_BYTES, b"\0")
    return body + blake3(body).digest()


def decode_foot(foot: bytes, name: object) -> Manifest:
    """What `encode_foot` was given. Raises Refused (NotASnapshot, SnapshotFormat), Corrupt (SnapshotDamaged)."""
    if len(foot) != FOOT_BYTES or not foot.startswith(_MAGIC):
        raise Refused("NotASnapshot", f"{name} is no snapshot of a cluster's metadata, or its end is missing")
    _, version, length = _HEAD.unpack_from(foot)
    if version != FORMAT:
        raise Refused("SnapshotFormat", f"{name} has format {version}; this program reads {FORMAT}")
    body, found = foot[:-_HASH_BYTES], foot[-_HASH_BYTES:]
    if blake3(body).digest() != found or length > _TEXT_BYTES_MAX:
        raise _damaged(name, "its last page is not what was written")
    try:
        return msgspec.json.decode(body[_HEAD.size : _HEAD.size + length], type=Manifest)
    except UNDECODABLE as error:
        raise _damaged(name, f"what it says of itself cannot be read: {error}") from error


def read_manifest(file: Path) -> Manifest:
    """What a file says of itself; nothing but its foot is read. Raises as `decode_foot`; OSError."""
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        source.seek(max(0, size - FOOT_BYTES))
        manifest = decode_foot(source.read(), file)
    if size != manifest.size + FOOT_BYTES:
        raise _damaged(file, f"it has {size} bytes, not {manifest.size + FOOT_BYTES}")
    if manifest.schema != SCHEMA:
        raise Refused("SnapshotFormat", f"{file} has rows of schema {manifest.schema}; this program reads {SCHEMA}")
    if manifest.level > LEVEL:
        raise Refused("SnapshotFormat", f"{file} is of level {manifest.level}; this program knows up to {LEVEL}")
    return manifest


def check_bytes(file: Path, manifest: Manifest, on_bytes: OnBytes, sink: Callable[[memoryview], object]) -> None:
    """Read the database, hand it to `sink` piece by piece, and compare its BLAKE3. Blocking.

    Raises Corrupt (SnapshotDamaged), after the last piece; OSError.
    """
    hasher, left = blake3(), manifest.size
    buffer = memoryview(bytearray(_PIECE_BYTES))
    with file.open("rb", buffering=0) as source:
        while left:
            size = source.readinto(buffer[: min(left, _PIECE_BYTES)])
            if not size:
                raise _damaged(file, f"it ends {left} bytes early")
            piece = buffer[:size]
            hasher.update(piece)
            sink(piece)
            on_bytes(size)
            left -= size
    if hasher.hexdigest() != manifest.blake3:
        raise _damaged(file, f"its BLAKE3 is {hasher.hexdigest()}, not {manifest.blake3}")


def finish(file: Path, copied: Copied, version: str) -> Manifest:
    """Put the foot behind a copy that lies in `file`, and sync it; the bytes of the copy were hashed. Blocking.

    Raises as `verify`.
    """
    found, _ = describe(file, copied.size, version)
    if (found.cluster_id, found.index, found.term) != (copied.cluster_id, copied.index, copied.term):
        raise _damaged(file, f"it is of entry {found.index} of term {found.term}, not of {copied.index}")
    manifest = msgspec.structs.replace(found, blake3=copied.blake3)
    with file.open("r+b", buffering=0) as target:
        target.seek(copied.size)
        target.write(encode_foot(manifest))
        os.fsync(target.fileno())
        os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # who reads next sees what the disk has
    return manifest


def describe(file: Path, size: int, version: str) -> tuple[Manifest, Contents]:
    """Walk the database that lies in the first `size` bytes of a file. The manifest has no BLAKE3 yet. Blocking.

    Raises Corrupt (RowRot, StoreRot, SetHashWrong), Refused (WrongStore).
    """
    with opened(file) as txn:
        rows = LmdbReader(txn)
        stored = read_stored(rows, file)
        contents, set_hash = _walk(txn)
        if set_hash != stored.set_hash:
            message = f"{file}: the rows at index {stored.index} have the set hash {set_hash.hex()}"
            raise Corrupt("SetHashWrong", f"{message}, not {stored.set_hash.hex()}")
        state = _decode_state(_get(rows, STATE_KEY))
        space = _decode_space(_get(rows, space_key(DEFAULT_SPACE)))
    manifest = Manifest(
        cluster_id=stored.cluster_id,
        index=stored.index,
        term=stored.term,
        revision=space.revision,
        state_time_ms=state.state_time_ms,
        level=state.level,
        schema=SCHEMA,
        set_hash=set_hash.hex(),
        rows=sum(contents.kinds.values()),
        size=size,
        blake3="",
        version=version,
    )
    return manifest, contents


def verify(file: Path, on_bytes: OnBytes = lambda _count: None) -> tuple[Manifest, Contents]:
    """Read every byte of a file and every row in it. Blocking.

    Raises Refused (NotASnapshot, SnapshotFormat), Corrupt (SnapshotDamaged, RowRot, StoreRot, SetHashWrong), OSError.
    """
    manifest = read_manifest(file)
    check_bytes(file, manifest, on_bytes, lambda _piece: None)
    found, contents = describe(file, manifest.size, manifest.version)
    if msgspec.structs.replace(found, blake3=manifest.blake3) != manifest:
        raise _damaged(file, "its rows are not those that it says it has")
    return manifest, contents


def disks_of(rows: Reader) -> tuple[Disk, ...]:
    """The disks that the rows know."""
    start = prefix(Kind.DISK)
    return tuple(_decode_disk(value) for _, value in rows.scan(start, successor(start)))


def _walk(txn: "lmdb.Transaction[bytes]") -> tuple[Contents, bytes]:
    """All rows in order, each found again by its key; what is in them, and their set hash."""
    kinds: Counter[int] = Counter()
    access_keys: list[AccessKey] = []
    total = 0
    for key, stored, value in checked_rows(txn):
        if key[0] == Kind.LOCAL:
            continue
        kinds[key[0]] += 1
        total += row_hash(key, stored)
        if key[0] == Kind.ACCESS_KEY:
            access_keys.append(_decode_key(value))
    names = {Kind(kind).name.lower(): count for kind, count in sorted(kinds.items())}
    contents = Contents(names, disks_of(LmdbReader(txn)), tuple(access_keys))
    return contents, (total % SET_HASH_MODULUS).to_bytes(16, "big")


def _get(rows: Reader, key: bytes) -> bytes:
    row = rows.get(key)
    if row is None:
        raise Corrupt("StoreRot", f"the row {key.hex()}, which every cluster has, is not there")
    return row


def _damaged(name: object, what: str) -> Corrupt:
    return Corrupt("SnapshotDamaged", f"{name} is damaged: {what}; it cannot be used")
