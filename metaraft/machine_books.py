"""What the state machine keeps at hand while it applies: counters, disks and buckets, each the image of a row.

Rules: a counter that changes with every command (revision, usage) is written once per transaction, by `flush`, so
rows are whole only after it; what is cached is what the rows say, and only the state machine writes rows.
"""

import msgspec

from metaraft.conditions import refused
from metaraft.model import Bucket, Disk, Usage
from metaraft.results import (
    Failed,
)
from metaraft.rows import (
    DISK_ID_BYTES,
    STATE_KEY,
    Kind,
    Name,
    Rows,
    Space,
    State,
    bucket_key,
    disk_key,
    name_key,
    owner_key,
    prefix,
    space_key,
    successor,
)

OWNER_BYTES_MAX = 255
"""Bytes of UTF-8 of an owner's name, which is part of a row's key (chosen)."""

_BUCKETS_CACHED_MAX = 4096

encode = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(State).decode
_decode_space = msgspec.msgpack.Decoder(Space).decode
_decode_name = msgspec.msgpack.Decoder(Name).decode
_decode_bucket = msgspec.msgpack.Decoder(Bucket).decode
_decode_disk = msgspec.msgpack.Decoder(Disk).decode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode
_NO_USAGE = Usage()


def no_such_bucket(name: str) -> Failed:
    """There is no such bucket (any more)."""
    return refused("NoSuchBucket", f"there is no bucket {name!r}")


class Books:
    """Counters and small tables over the rows."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        state = rows.get(STATE_KEY)
        self.state = State() if state is None else _decode_state(state)
        self.spaces = {
            int.from_bytes(key[1:], "big"): _decode_space(value) for key, value in _rows_of(rows, Kind.SPACE)
        }
        self.disks = {key[1:]: _decode_disk(value) for key, value in _rows_of(rows, Kind.DISK)}
        self._changed_spaces: set[int] = set()
        self._usage: dict[tuple[int, int, str], list[int]] = {}
        self._buckets: dict[str, Bucket | None] = {}

    def revise(self, space: int) -> int:
        """The revision of a new mutation."""
        row = self.spaces[space]
        row.revision += 1
        self._changed_spaces.add(space)
        return row.revision

    def revision(self, space: int) -> int:
        """The newest revision."""
        return self.spaces[space].revision

    def horizon(self, space: int) -> int:
        """Acknowledgements with a `seen` below this are void."""
        return self.spaces[space].horizon

    def raise_horizon(self, space: int, horizon: int) -> None:
        """Move the horizon up to `horizon`; it never falls."""
        row = self.spaces[space]
        row.horizon = max(row.horizon, horizon)
        self._changed_spaces.add(space)

    def bucket(self, name: str) -> Bucket | None:
        """The bucket of that name."""
        try:
            return self._buckets[name]
        except KeyError:
            pass
        found = self._read_bucket(name)
        if len(self._buckets) >= _BUCKETS_CACHED_MAX:
            self._buckets.clear()
        self._buckets[name] = found
        return found

    def _read_bucket(self, name: str) -> Bucket | None:
        if not 0 < len(name) <= 255:  # far above what a name may have, far below what a key may
            return None
        place = self.rows.get(name_key(name))
        if place is None:
            return None
        where = _decode_name(place)
        row = self.rows.get(bucket_key(where.space, where.bucket_id))
        assert row is not None, "a name leads to a bucket"
        return _decode_bucket(row)

    def add_bucket(self, bucket: Bucket) -> None:
        """Write a bucket and its name."""
        self.rows.insert(name_key(bucket.name), encode(Name(bucket.space, bucket.bucket_id)))
        self.rows.insert(bucket_key(bucket.space, bucket.bucket_id), encode(bucket))
        self.state.next_bucket_id += 1
        self.state.buckets += 1
        self._buckets.pop(bucket.name, None)

    def put_bucket(self, bucket: Bucket) -> None:
        """Write a bucket that is there and was changed."""
        self.rows.put(bucket_key(bucket.space, bucket.bucket_id), encode(bucket))
        self._buckets.pop(bucket.name, None)

    def drop_bucket(self, bucket: Bucket) -> None:
        """Remove a bucket and its name."""
        self.rows.delete(name_key(bucket.name))
        self.rows.delete(bucket_key(bucket.space, bucket.bucket_id))
        self.state.buckets -= 1
        self._buckets.pop(bucket.name, None)

    def put_disk(self, disk: Disk) -> None:
        """Write a disk."""
        assert len(disk.disk_id) == DISK_ID_BYTES, "checked by the command"
        self.rows.put(disk_key(disk.disk_id), encode(disk))
        self.disks[disk.disk_id] = disk

    def registered(self, disk_id: bytes) -> bool:
        """Whether a disk's word counts."""
        disk = self.disks.get(disk_id)
        return disk is not None and disk.state != "removed"

    def use(self, bucket: Bucket, owner: str, size: int, objects: int) -> None:
        """Count bytes and objects of a bucket and of an owner up or down."""
        counted = self._usage.setdefault((bucket.space, bucket.bucket_id, owner), [0, 0])
        counted[0] += size
        counted[1] += objects

    def flush(self) -> None:
        """Write what changed since the last flush."""
        rows = self.rows
        for space in sorted(self._changed_spaces):
            rows.put(space_key(space), encode(self.spaces[space]))
        self._changed_spaces.clear()
        for (space, bucket_id, owner), (size, objects) in self._usage.items():
            self._count(bucket_key(space, bucket_id, Kind.BUCKET_USAGE), size, objects)
            self._count(owner_key(space, owner), size, objects)
        self._usage.clear()
        rows.put(STATE_KEY, encode(self.state))

    def _count(self, key: bytes, size: int, objects: int) -> None:
        row = self.rows.get(key)
        before = _NO_USAGE if row is None else _decode_usage(row)
        after = Usage(before.bytes + size, before.objects + objects)
        assert min(after.bytes, after.objects) >= 0, "what is taken out was put in"
        if after != _NO_USAGE:
            self.rows.put(key, encode(after))
        elif row is not None:
            self.rows.delete(key)


def _rows_of(rows: Rows, kind: Kind) -> list[tuple[bytes, bytes]]:
    start = prefix(kind)
    return list(rows.scan(start, successor(start)))
