"""Bodies that say who they are: from a body alone the checker knows key, value number and every byte it should have."""

import hashlib
import random
import struct

_POOL = random.Random(20260101).randbytes(16 * 1024 * 1024)  # the same in every run
_HEAD = struct.Struct(">16sQQ")  # digest of the key, value number, size
HEAD_BYTES = _HEAD.size


def make(key: str, value: int, size: int) -> bytes:
    """The body of a key's value; at least HEAD_BYTES long."""
    size = max(size, HEAD_BYTES)
    head = _HEAD.pack(_mark(key), value, size)
    offset = int.from_bytes(hashlib.blake2b(head, digest_size=4).digest()) % (len(_POOL) - 1)
    rest = size - HEAD_BYTES
    filler = _POOL[offset : offset + rest]
    while len(filler) < rest:
        filler += _POOL[: rest - len(filler)]
    return head + filler


def read(key: str, body: bytes) -> int | None:
    """The value number of a body if it is whole and belongs to `key`, else None."""
    if len(body) < HEAD_BYTES:
        return None
    mark, value, size = _HEAD.unpack_from(body)
    return int(value) if mark == _mark(key) and size == len(body) and make(key, value, size) == body else None


def _mark(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
