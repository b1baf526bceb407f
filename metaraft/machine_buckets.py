"""Commands on buckets and disks. Pure: see `metaraft.machine`."""

import msgspec

from cluster.limits import KIB
from metaraft.commands import (
    CreateBucket,
    DeleteBucket,
    RegisterDisk,
    SetBucketSetting,
    SetVersioning,
)
from metaraft.conditions import refused
from metaraft.machine_books import OWNER_BYTES_MAX, Books, no_such_bucket
from metaraft.model import Bucket, Copies, Scheme
from metaraft.results import (
    BucketDone,
    Done,
    Result,
)
from metaraft.rows import DISK_ID_BYTES, Kind, bucket_key, setting_key, successor

BUCKET_NAME_BYTES_MAX = 63
"""S3's 'Bucket naming rules'; what else a name must keep is checked before the log."""

BUCKETS_MAX = 10_000
"""Buckets of a cluster. Fixed here, because apply may know no setting."""

SETTINGS_MAX = 64
"""Settings of one bucket: there are far fewer kinds of them (chosen)."""

SETTING_NAME_BYTES_MAX = 64
SETTING_BYTES_MAX = 64 * KIB
"""S3's largest are a bucket policy of 20 KB and a CORS configuration of 64 KB."""

DISKS_MAX = 1024
"""Registered disks: a `SpaceFound` carries all of them."""

COPIES_MAX = 15
"""Copies of a chunk: more are not asked for by anybody (chosen)."""

NODE_NAME_BYTES_MAX = 255

_CONTENTS = ((Kind.VERSION, "versions or delete markers"), (Kind.UPLOAD, "uploads under way"))


def create_bucket(books: Books, space: int, command: CreateBucket) -> Result:
    """Make a bucket under a new id."""
    size = len(command.name.encode())
    if not 0 < size <= BUCKET_NAME_BYTES_MAX or "\x00" in command.name:
        message = f"a bucket name has 1 to {BUCKET_NAME_BYTES_MAX} bytes without NUL, {command.name!r} has {size}"
        return refused("InvalidBucketName", message)
    if len(command.owner.encode()) > OWNER_BYTES_MAX:
        return refused("InvalidOwner", f"an owner has at most {OWNER_BYTES_MAX} bytes")
    reason = _invalid_scheme(command.scheme)
    if reason is not None:
        return refused("InvalidScheme", reason)
    if books.bucket(command.name) is not None:
        return refused("BucketAlreadyExists", f"there is a bucket {command.name!r} already")
    state = books.state
    if state.buckets >= BUCKETS_MAX:
        return refused("TooManyBuckets", f"there are {state.buckets} buckets; at most {BUCKETS_MAX} are possible")
    books.revise(space)
    bucket = Bucket(
        name=command.name,
        bucket_id=state.next_bucket_id,
        space=space,
        created_ms=state.state_time_ms,
        owner=command.owner,
        scheme=command.scheme,
    )
    books.add_bucket(bucket)
    return BucketDone(bucket)


def _invalid_scheme(scheme: Scheme) -> str | None:
    if not isinstance(scheme, Copies):
        return "only whole copies can be stored by this version"
    if not 0 < scheme.n <= COPIES_MAX:
        return f"a bucket keeps 1 to {COPIES_MAX} copies, not {scheme.n}"
    return None


def delete_bucket(books: Books, space: int, command: DeleteBucket) -> Result:
    """Remove a bucket that holds nothing, and its settings with it."""
    bucket = books.bucket(command.name)
    if bucket is None or bucket.space != space:
        return no_such_bucket(command.name)
    for kind, what in _CONTENTS:
        start = bucket_key(bucket.space, bucket.bucket_id, kind)
        if books.rows.first(start, successor(start)) is not None:
            return refused("BucketNotEmpty", f"the bucket {command.name!r} has {what} in it")
    for row_key in _settings(books, bucket):
        books.rows.delete(row_key)
    books.drop_bucket(bucket)
    return Done(books.revise(space))


def set_versioning(books: Books, space: int, command: SetVersioning) -> Result:
    """Enable or suspend; the command's type has no way back to `off`."""
    bucket = books.bucket(command.bucket)
    if bucket is None or bucket.space != space:
        return no_such_bucket(command.bucket)
    if bucket.versioning == command.versioning:
        return Done(books.revision(space))
    books.put_bucket(msgspec.structs.replace(bucket, versioning=command.versioning))
    return Done(books.revise(space))


def set_bucket_setting(books: Books, space: int, command: SetBucketSetting) -> Result:
    """Write or remove a setting; to remove what is not there is no error."""
    bucket = books.bucket(command.bucket)
    if bucket is None or bucket.space != space:
        return no_such_bucket(command.bucket)
    reason = _invalid_setting(command.name, command.value)
    if reason is not None:
        return refused("BadSetting", reason)
    row_key = setting_key(bucket.space, bucket.bucket_id, command.name)
    before = books.rows.get(row_key)
    if before == command.value:
        return Done(books.revision(space))
    if command.value is None:
        books.rows.delete(row_key)
    elif before is not None:
        books.rows.put(row_key, command.value)
    else:
        count = len(_settings(books, bucket))
        if count >= SETTINGS_MAX:
            message = f"the bucket {bucket.name!r} has {count} settings; at most {SETTINGS_MAX} are possible"
            return refused("BadSetting", message)
        books.rows.insert(row_key, command.value)
    return Done(books.revise(space))


def _invalid_setting(name: str, value: bytes | None) -> str | None:
    size = len(name.encode())
    if not 0 < size <= SETTING_NAME_BYTES_MAX or "\x00" in name:
        return f"a setting's name has 1 to {SETTING_NAME_BYTES_MAX} bytes without NUL, {name[:100]!r} has {size}"
    if value is not None and len(value) > SETTING_BYTES_MAX:
        return f"a setting has at most {SETTING_BYTES_MAX} bytes, not {len(value)}"
    return None


def _settings(books: Books, bucket: Bucket) -> list[bytes]:
    start = bucket_key(bucket.space, bucket.bucket_id, Kind.SETTING)
    return [key for key, _ in books.rows.scan(start, successor(start))]


def register_disk(books: Books, space: int, command: RegisterDisk) -> Result:
    """Add a disk, or renew where it is and its weight; its state is not the caller's to change."""
    disk = command.disk
    if len(disk.disk_id) != DISK_ID_BYTES:
        return refused("InvalidDisk", f"a disk id has {DISK_ID_BYTES} bytes, not {len(disk.disk_id)}")
    for name in (disk.node, disk.zone):
        if not 0 < len(name.encode()) <= NODE_NAME_BYTES_MAX:
            return refused("InvalidDisk", f"node and zone have 1 to {NODE_NAME_BYTES_MAX} bytes, not {name!r}")
    if disk.weight < 0:
        return refused("InvalidDisk", f"a disk's weight is not negative, not {disk.weight}")
    known = books.disks.get(disk.disk_id)
    if known is None and len(books.disks) >= DISKS_MAX:
        return refused("TooManyDisks", f"there are {len(books.disks)} disks; at most {DISKS_MAX} are possible")
    renewed = msgspec.structs.replace(disk, state="active" if known is None else known.state)
    if renewed == known:
        return Done(books.revision(space))
    books.put_disk(renewed)
    return Done(books.revise(space))
