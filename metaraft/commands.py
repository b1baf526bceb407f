"""The closed sets of what can be asked of the metadata: commands (change it, through the log) and queries
(linearizable reads). Both are tagged msgspec unions; nothing else is decoded and nothing is unpickled.

A command is proposed inside an `Envelope`, which makes it exactly-once: `key` names the attempt, and apply refuses
it after `not_after_ms` of state time and keeps its result until a minute past that. `version` of the envelope is
the version of the command's meaning, gated by the replicated level.
"""

from typing import Literal

import msgspec

from metaraft.model import (
    Body,
    Bucket,
    Checksum,
    ChecksumAlgorithm,
    Chunk,
    Disk,
    Scheme,
    SpaceInfo,
    Usage,
    Version,
)

# ---- commands


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """A daemon's word that it has fsynced a chunk: which disk, and the `seen` revision it was given."""

    disk_id: bytes
    seen: int


class StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk that a command references, with the acknowledgements of this very request."""

    chunk_id: bytes
    size: int
    acks: tuple[Ack, ...]


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """Preconditions decided at the commit. None: not asked. `if_match` `("*",)`: any existing version.

    Dates are in milliseconds; they compare with whole seconds, as HTTP dates do.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since_ms: int | None = None
    if_unmodified_since_ms: int | None = None


class CreateBucket(msgspec.Struct, frozen=True, tag="create_bucket"):
    """Make a bucket.

    Refused: BucketAlreadyExists, InvalidBucketName, InvalidOwner, InvalidScheme, TooManyBuckets. Answers `BucketDone`.
    """

    name: str
    owner: str
    scheme: Scheme


class DeleteBucket(msgspec.Struct, frozen=True, tag="delete_bucket"):
    """Remove an empty bucket. Refused: NoSuchBucket, BucketNotEmpty. Answers `Done`."""

    name: str


class PutObject(msgspec.Struct, frozen=True, tag="put_object"):
    """Make a new current version of a key.

    Refused: NoSuchBucket (also when `bucket_id` is no longer the named bucket's), PreconditionFailed,
    InvalidKey, InvalidOwner, BadBody (sizes or acknowledgements that do not fit the references). Unavailable: PutAgain
    (an acknowledgement below the horizon, or fewer than W registered disks). Answers `ObjectDone`.
    """

    bucket: str
    bucket_id: int
    key: str
    size: int
    etag: str
    content_type: str
    body: Body
    chunks: tuple[StoredChunk, ...] = ()
    headers: dict[str, str] = {}
    user_metadata: dict[str, str] = {}
    checksums: dict[ChecksumAlgorithm, Checksum] = {}
    owner: str = ""
    condition: Condition = Condition()


class CopyObject(msgspec.Struct, frozen=True, tag="copy_object"):
    """Make a new version of a key that references another version's chunks, as it is at this place in the log.

    `source_condition` is decided on the source, `condition` on the target. `replace` None keeps the source's
    content type, headers and user metadata. Refused: NoSuchBucket, NoSuchKey, PreconditionFailed, InvalidKey,
    InvalidOwner. Answers `ObjectDone`.
    """

    source_bucket: str
    source_key: str
    bucket: str
    key: str
    owner: str = ""
    source_condition: Condition = Condition()
    condition: Condition = Condition()
    replace: tuple[str, dict[str, str], dict[str, str]] | None = None


class DeleteObject(msgspec.Struct, frozen=True, tag="delete_object"):
    """Delete a key's current version. A missing key is no error. Refused: NoSuchBucket, PreconditionFailed.

    Answers `ObjectDone` with an empty ETag; for a missing key with the newest revision there is.
    """

    bucket: str
    key: str
    condition: Condition = Condition()


class RegisterDisk(msgspec.Struct, frozen=True, tag="register_disk"):
    """Add a disk, or renew its node, zone and weight; a known disk keeps its state, a new one is active.

    Refused: InvalidDisk, TooManyDisks. Answers `Done`.
    """

    disk: Disk


class AddHolders(msgspec.Struct, frozen=True, tag="add_holders"):
    """Late acknowledgements: more holders for referenced chunks. Those below the horizon or of chunks that are
    not there are passed over. Answers `Done`."""

    scheme: Scheme
    chunks: tuple[StoredChunk, ...]


class DropHolder(msgspec.Struct, frozen=True, tag="drop_holder"):
    """A disk no longer holds a chunk. The last holder stays in the row, but takes a condemned row with it.

    Answers `Done`.
    """

    scheme: Scheme
    chunk_id: bytes
    disk_id: bytes


class Dereference(msgspec.Struct, frozen=True, tag="dereference"):
    """Take up to `limit` (at most 1,000) references of trash rows down. Answers `Dereferenced`."""

    limit: int


class Condemn(msgspec.Struct, frozen=True, tag="condemn"):
    """Raise the horizon to `horizon` and condemn up to `limit` chunks whose count has been 0 since before it.

    Those condemned before are told again until their last holder was dropped. `after` is the cursor of the answer
    before. Refused: HorizonTooNew if it is above the newest revision. Answers `Condemned`.
    """

    horizon: int
    limit: int
    after: bytes = b""


class RaiseLevel(msgspec.Struct, frozen=True, tag="raise_level"):
    """Raise the replicated level of command meaning, by one at a time. Answers `Done`.

    Refused: UnknownLevel, by the leader too if any member does not know the level: one that applies it stops.
    """

    level: int


class Touch(msgspec.Struct, frozen=True, tag="touch"):
    """Change nothing, through the log: advances state time and proves that a majority commits. Answers `Done`."""

    padding: bytes = b""


type Command = (
    CreateBucket
    | DeleteBucket
    | PutObject
    | CopyObject
    | DeleteObject
    | RegisterDisk
    | AddHolders
    | DropHolder
    | Dereference
    | Condemn
    | RaiseLevel
    | Touch
)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """One command on its way through the log. `key` is 16 bytes, unique per attempt."""

    version: int
    space: int
    key: bytes
    not_after_ms: int
    command: Command


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """One Raft entry: commands in order, at one state time stamped by the leader that proposed it."""

    state_time_ms: int
    envelopes: tuple[msgspec.Raw, ...]


# ---- answers to commands


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The command had its effect (or none was needed)."""

    revision: int


class BucketDone(msgspec.Struct, frozen=True, tag="bucket_done"):
    """The bucket as made."""

    bucket: Bucket


class ObjectDone(msgspec.Struct, frozen=True, tag="object_done"):
    """What a put, copy or delete made: the new version's revision, time and ETag.

    `existed`: a version was current before.
    """

    revision: int
    created_ms: int
    etag: str
    existed: bool


class Dereferenced(msgspec.Struct, frozen=True, tag="dereferenced"):
    """How many references were taken down, and whether trash rows are left."""

    references: int
    more: bool


class Condemned(msgspec.Struct, frozen=True, tag="condemned"):
    """Chunks condemned by this command with the disks to delete from; `cursor` None when the walk is done."""

    horizon: int
    chunks: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    cursor: bytes | None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A deterministic refusal by the state machine: a code and message of `cluster.errors`.

    Kinds: `refused`, or `unavailable` for PutAgain, LogFull and NoSpace. Besides what a command names: TooLate,
    BadCommand, NoSuchSpace, UnknownLevel. A `refused` result is kept under its idempotency key like any other, an
    `unavailable` one is not: the same key may be tried again.
    """

    kind: Literal["refused", "unavailable"]
    code: str
    message: str


type Result = Done | BucketDone | ObjectDone | Dereferenced | Condemned | Failed

# ---- queries


class GetBucket(msgspec.Struct, frozen=True, tag="get_bucket"):
    """Answers `BucketFound`. Refused: NoSuchBucket."""

    name: str


class ListBuckets(msgspec.Struct, frozen=True, tag="list_buckets"):
    """Answers `BucketsFound`: names after `after`, in order, at most `limit`."""

    after: str = ""
    limit: int = 1000


class GetObject(msgspec.Struct, frozen=True, tag="get_object"):
    """The current version with, if `with_holders`, its chunks' holders. Refused: NoSuchBucket, NoSuchKey."""

    bucket: str
    key: str
    with_holders: bool = True


class GetHolders(msgspec.Struct, frozen=True, tag="get_holders"):
    """Chunk rows by id. Answers `HoldersFound`; ids without a row are left out."""

    scheme: Scheme
    chunk_ids: tuple[bytes, ...]


class ListObjects(msgspec.Struct, frozen=True, tag="list_objects"):
    """One page of current versions in byte order.

    Returns keys and common prefixes greater than `after` (as bytes of UTF-8; a common prefix sorts as itself, and a
    page that ended on a common prefix goes on behind all keys under it). It looks at `limits.scan_rows_max` rows at
    most and says where it stopped. Refused: NoSuchBucket.
    """

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    limit: int = 1000


class GetSpace(msgspec.Struct, frozen=True, tag="get_space"):
    """Answers `SpaceFound`."""


class GetUsage(msgspec.Struct, frozen=True, tag="get_usage"):
    """Answers `UsageFound`. Refused: NoSuchBucket."""

    bucket: str


type Query = GetBucket | ListBuckets | GetObject | GetHolders | ListObjects | GetSpace | GetUsage


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A query on its way to a member."""

    space: int
    query: Query


class BucketFound(msgspec.Struct, frozen=True, tag="bucket_found"):
    """Answer to the query of that name."""

    bucket: Bucket
    usage: Usage


class BucketsFound(msgspec.Struct, frozen=True, tag="buckets_found"):
    """Answer to the query of that name."""

    buckets: tuple[Bucket, ...]
    more: bool


class ObjectFound(msgspec.Struct, frozen=True, tag="object_found"):
    """`holders` maps chunk id to the disks that hold it."""

    bucket: Bucket
    version: Version
    holders: dict[bytes, tuple[bytes, ...]] = {}


class HoldersFound(msgspec.Struct, frozen=True, tag="holders_found"):
    """Answer to the query of that name."""

    chunks: dict[bytes, Chunk]


class ListedObject(msgspec.Struct, frozen=True, array_like=True):
    """A version as a listing shows it: no body."""

    key: str
    revision: int
    created_ms: int
    size: int
    etag: str
    content_type: str
    owner: str
    sha256: bytes | None


class ObjectsFound(msgspec.Struct, frozen=True, tag="objects_found"):
    """`next_after` is where to go on, None at the end. `limit` entries (objects and prefixes together) at most."""

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    next_after: str | None


class SpaceFound(msgspec.Struct, frozen=True, tag="space_found"):
    """Answer to the query of that name."""

    space: SpaceInfo


class UsageFound(msgspec.Struct, frozen=True, tag="usage_found"):
    """Answer to the query of that name."""

    usage: Usage


type Answer = BucketFound | BucketsFound | ObjectFound | HoldersFound | ObjectsFound | SpaceFound | UsageFound | Failed
