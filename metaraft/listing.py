"""One page of a bucket's current versions, in byte order of the keys. Pure reads.

Entries are keys and common prefixes, merged: a common prefix sorts as itself, stands for all keys under it, and is
passed by one seek however many they are. A page holds the entries greater than `after`; since a common prefix is less
than every other key under it, a page that begins within such a group begins behind it.
"""

from typing import NamedTuple

import msgspec

from cluster.limits import KEY_BYTES_MAX, LIST_LIMIT_MAX
from metaraft.model import Bucket, Checksum, ChecksumAlgorithm
from metaraft.queries import (
    ListedObject,
    ListObjects,
    ObjectsFound,
)
from metaraft.rows import VERSION_HEAD_BYTES, VERSION_TAIL_BYTES, Kind, Reader, bucket_key, successor

DELETE_MARKER = b"\x91\xaddelete_marker"
"""An encoded `DeleteMarker`."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """A `Version` as it is stored, its body left undecoded."""

    revision: int
    created_ms: int
    size: int
    etag: str
    content_type: str
    body: msgspec.Raw
    headers: msgspec.Raw
    user_metadata: msgspec.Raw
    checksums: dict[ChecksumAlgorithm, Checksum]
    owner: str


decode_head = msgspec.msgpack.Decoder(Head).decode


class _Place(NamedTuple):
    """Where in the rows a page begins and must end."""

    start: bytes
    stop: bytes


def _place(base: bytes, prefix: bytes, delimiter: bytes, after: bytes) -> _Place | None:
    """None: no key can be on the page."""
    if len(prefix) > KEY_BYTES_MAX or b"\x00" in prefix:
        return None
    start = base + prefix
    stop = successor(start)
    # No key has a NUL or is longer than KEY_BYTES_MAX: those greater than `after` are those greater than this.
    after = after.partition(b"\x00")[0][:KEY_BYTES_MAX]
    if after:
        group = _group(after, prefix, delimiter) if after.startswith(prefix) else None
        behind = base + after + b"\x01" if group is None else successor(base + group)
        start = max(start, behind)
    return _Place(start, stop) if start < stop else None


def _group(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that a key goes under, or None."""
    if not delimiter:
        return None
    found = key.find(delimiter, len(prefix))
    return None if found < 0 else key[: found + len(delimiter)]


def list_objects(rows: Reader, bucket: Bucket, query: ListObjects, rows_max: int) -> ObjectsFound:
    """The page that `query` asks for, looking at `rows_max` rows at most."""
    base = bucket_key(bucket.space, bucket.bucket_id, Kind.VERSION)
    prefix, delimiter = query.prefix.encode(), query.delimiter.encode()
    place = _place(base, prefix, delimiter, query.after.encode())
    if place is None or query.limit < 1:
        return ObjectsFound((), (), None)
    limit = min(query.limit, LIST_LIMIT_MAX)
    position, stop = place
    objects: list[ListedObject] = []
    prefixes: list[str] = []
    last = b""  # the last entry of the page, or the last key looked at
    looked = 0
    more = True
    while more:
        more = False
        for row_key, value in rows.scan(position, stop):
            key = row_key[VERSION_HEAD_BYTES:-VERSION_TAIL_BYTES]
            if looked == rows_max:
                return ObjectsFound(tuple(objects), tuple(prefixes), last.decode())
            looked += 1
            if key == last:
                continue  # an older version
            head = decode_head(value)
            if bytes(head.body) == DELETE_MARKER:
                last = key
                continue
            if len(objects) + len(prefixes) == limit:
                return ObjectsFound(tuple(objects), tuple(prefixes), last.decode())
            group = _group(key, prefix, delimiter)
            if group is not None:
                prefixes.append(group.decode())
                last = group
                position = successor(base + group)
                more = True
                break
            objects.append(_listed(key.decode(), head))
            last = key
    return ObjectsFound(tuple(objects), tuple(prefixes), None)


def _listed(key: str, head: Head) -> ListedObject:
    sha256 = head.checksums.get("SHA256")
    return ListedObject(
        key=key,
        revision=head.revision,
        created_ms=head.created_ms,
        size=head.size,
        etag=head.etag,
        content_type=head.content_type,
        owner=head.owner,
        sha256=None if sha256 is None else sha256.value,
    )
