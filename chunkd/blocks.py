"""Chunk ids and the chunk file's header: pure functions of bytes.

A chunk is 1 byte to 8 MiB, cut in blocks of 64 KiB (the last may be shorter). Its id is BLAKE3, in a key
derivation context of our own, of its length (u64, little endian) and its blocks' BLAKE3s in order (32 bytes each:
the hash list). So the list can be checked against the id, and each block against the list: a range costs only its
blocks.

A chunk file is a header of `DATA_OFFSET` bytes, then the data. The header is `magic, format u16, zero u16,
block bytes u32, length u64` (little endian), the hash list, and the CRC32C of all before it; the rest up to the
data is zero. Source of the hash: the BLAKE3 paper, section 2.3 (derive_key) and 6.2.
"""

import struct
from collections.abc import Buffer

from awscrt.checksums import crc32c
from blake3 import blake3

from cluster.errors import Corrupt
from cluster.limits import BLOCK_BYTES, CHUNK_BYTES

CONTEXT = "trilith 2026 chunk v1"
"""Domain of chunk ids: another meaning of the id needs another context."""

HASH_BYTES = 32
ID_BYTES = 32

MAGIC = b"TRICHUNK"
FORMAT = 1

DATA_OFFSET = 8192
"""Where the data starts: room for the longest hash list (4 KiB), on a page boundary."""

_FIXED = struct.Struct("<8sHHIQ")
_CRC = struct.Struct("<I")


def block_count(length: int) -> int:
    """Blocks of a chunk of that many bytes."""
    return -(-length // BLOCK_BYTES)


def hash_block(data: Buffer) -> bytes:
    """BLAKE3 of one block."""
    return blake3(data).digest()


def hash_blocks(data: Buffer) -> bytes:
    """Hash list of a chunk's bytes, or of a run of whole blocks of it."""
    view = memoryview(data)
    return b"".join([blake3(view[start : start + BLOCK_BYTES]).digest() for start in range(0, len(view), BLOCK_BYTES)])


def chunk_id(length: int, hashes: bytes) -> bytes:
    """The id of a chunk of that length and hash list."""
    hasher = blake3(length.to_bytes(8, "little"), derive_key_context=CONTEXT)
    return hasher.update(hashes).digest()


def name_chunk(data: Buffer) -> tuple[bytes, bytes]:
    """Id and hash list of a chunk's bytes."""
    view = memoryview(data)
    hashes = hash_blocks(view)
    return chunk_id(len(view), hashes), hashes


def invalid(name: bytes, length: int, hashes: bytes) -> str | None:
    """Why these cannot be a chunk's id, length and hash list, or None."""
    if len(name) != ID_BYTES:
        return f"a chunk id has {ID_BYTES} bytes, this has {len(name)}"
    if not 1 <= length <= CHUNK_BYTES:
        return f"a chunk has 1 to {CHUNK_BYTES} bytes, this has {length}"
    if len(hashes) != block_count(length) * HASH_BYTES:
        return f"the hash list of {length} bytes has {block_count(length) * HASH_BYTES} bytes, this has {len(hashes)}"
    if chunk_id(length, hashes) != name:
        return f"length {length} and this hash list are not those of chunk {name.hex()}"
    return None


def first_wrong(data: Buffer, hashes: bytes, first_block: int) -> int | None:
    """Number of the first block that is not what the hash list says, or None.

    `data` are whole blocks from block `first_block` on (the chunk's last block may be short).
    """
    view = memoryview(data)
    if hashes.startswith(hash_blocks(view), first_block * HASH_BYTES):
        return None
    for start in range(0, len(view), BLOCK_BYTES):
        number = first_block + start // BLOCK_BYTES
        if hash_block(view[start : start + BLOCK_BYTES]) != hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]:
            return number
    raise AssertionError("the blocks hash to the list and yet do not")


def cover(offset: int, length: int, chunk_length: int) -> tuple[int, int]:
    """Start and stop of the whole blocks that cover a range of a chunk."""
    start = offset // BLOCK_BYTES * BLOCK_BYTES
    return start, min(block_count(offset + length) * BLOCK_BYTES, chunk_length)


def encode_header(length: int, hashes: bytes) -> bytes:
    """A chunk file's first `DATA_OFFSET` bytes."""
    head = _FIXED.pack(MAGIC, FORMAT, 0, BLOCK_BYTES, length) + hashes
    return (head + _CRC.pack(crc32c(head))).ljust(DATA_OFFSET, b"\0")


def decode_header(data: bytes) -> tuple[int, bytes]:
    """Length and hash list of a chunk file's first `DATA_OFFSET` bytes. Raises Corrupt (BadHeader).

    Whether they belong to a name is for `invalid` to say.
    """
    if len(data) != DATA_OFFSET:
        raise Corrupt("BadHeader", f"the header has {DATA_OFFSET} bytes, here are {len(data)}")
    magic, form, zero, block_bytes, length = _FIXED.unpack_from(data)
    if (magic, form, zero, block_bytes) != (MAGIC, FORMAT, 0, BLOCK_BYTES):
        raise Corrupt("BadHeader", f"magic {magic!r}, format {form}, block size {block_bytes} are not a chunk file's")
    if not 1 <= length <= CHUNK_BYTES:
        raise Corrupt("BadHeader", f"a chunk has 1 to {CHUNK_BYTES} bytes, the header says {length}")
    end = _FIXED.size + block_count(length) * HASH_BYTES
    if _CRC.unpack_from(data, end)[0] != crc32c(data[:end]):
        raise Corrupt("BadHeader", "the header's checksum is wrong")
    return length, data[_FIXED.size : end]
