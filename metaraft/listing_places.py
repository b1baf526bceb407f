"""Where in the rows a page of a bucket's listing begins and must end. Pure.

Rows that are listed have keys of a bucket's prefix, an object's key, a NUL, and what tells rows of one object apart;
so rows are in byte order of the objects' keys. Entries of a page are those rows and **common prefixes**, merged: a
common prefix sorts as itself, stands for all keys under it, and is passed by one seek however many they are. Since it
is less than every other key under it, a page that begins within such a group begins behind it.
"""

from typing import NamedTuple

from cluster.limits import KEY_BYTES_MAX, MIB
from metaraft.rows import successor

PAGE_BYTES_MAX = 4 * MIB
"""A page that would be longer ends earlier: it goes in one frame (8 MiB)."""


class Span(NamedTuple):
    """The rows of [start, stop)."""

    start: bytes
    stop: bytes


def group_of(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that a key goes under, or None."""
    if not delimiter:
        return None
    found = key.find(delimiter, len(prefix))
    return None if found < 0 else key[: found + len(delimiter)]


def span_of(base: bytes, prefix: bytes) -> Span | None:
    """The rows of all keys with a prefix, under what a bucket's rows begin with. None: there can be none."""
    if len(prefix) > KEY_BYTES_MAX or b"\x00" in prefix:
        return None
    start = base + prefix
    return Span(start, successor(start))


def key_before(after: bytes) -> bytes:
    """The greatest text that could be a key and is not above `after`: the keys above both are the same, because no
    key has a NUL or more than `KEY_BYTES_MAX` bytes."""
    return after.partition(b"\x00")[0][:KEY_BYTES_MAX]


def behind(base: bytes, key: bytes) -> bytes:
    """The least row key behind all rows of an object."""
    return base + key + b"\x01"


def behind_group(base: bytes, after: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The least row key behind the common prefix that a marker lies in or names, None if it lies in none."""
    group = group_of(after, prefix, delimiter) if after.startswith(prefix) else None
    return None if group is None else successor(base + group)
