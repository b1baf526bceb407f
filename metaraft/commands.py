"""The closed set of commands: what changes the metadata, through the log. Tagged msgspec unions; nothing else is
decoded and nothing is unpickled. Their results are in `metaraft.results`; what is only read is in `metaraft.queries`.

A command is proposed inside an `Envelope`, which makes it exactly-once: `key` names the attempt, and apply refuses
it after `not_after_ms` of state time and keeps its result until a minute past that. `version` of the envelope is
the version of the command's meaning, gated by the replicated level.
"""

from typing import Literal

import msgspec

from metaraft.model import (
    AccessKey,
    Body,
    Checksum,
    ChecksumAlgorithm,
    ChecksumType,
    Disk,
    Part,
    Scheme,
    User,
    Which,
)


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

    Dates are in milliseconds; they compare with whole seconds, as HTTP dates do. `if_made_ms` and `if_size` must be
    equal to the version's (S3: DeleteObject, x-amz-if-match-last-modified-time and x-amz-if-match-size).
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since_ms: int | None = None
    if_unmodified_since_ms: int | None = None
    if_made_ms: int | None = None
    if_size: int | None = None


class CreateBucket(msgspec.Struct, frozen=True, tag="create_bucket"):
    """Make a bucket.

    Refused: BucketAlreadyExists, InvalidBucketName, InvalidOwner, InvalidScheme, TooManyBuckets. Answers `BucketDone`.
    """

    name: str
    owner: str
    scheme: Scheme


class DeleteBucket(msgspec.Struct, frozen=True, tag="delete_bucket"):
    """Remove an empty bucket with its settings. Refused: NoSuchBucket, BucketNotEmpty (versions, delete markers and
    uploads under way count). Answers `Done`."""

    name: str


class SetVersioning(msgspec.Struct, frozen=True, tag="set_versioning"):
    """Enable or suspend versioning of a bucket; it is never `off` again. Refused: NoSuchBucket. Answers `Done`."""

    bucket: str
    versioning: Literal["enabled", "suspended"]


class SetBucketSetting(msgspec.Struct, frozen=True, tag="set_bucket_setting"):
    """Write a bucket's setting of that name (what it means is the API's), or remove it (None).

    Refused: NoSuchBucket, BadSetting (a name of over 64 bytes, a value of over 64 KiB, more than 64 settings). Answers
    `Done`.
    """

    bucket: str
    name: str
    value: bytes | None


class PutObject(msgspec.Struct, frozen=True, tag="put_object"):
    """Make a new current version of a key.

    Refused: NoSuchBucket (also when `bucket_id` is no longer the named bucket's), PreconditionFailed,
    InvalidKey, InvalidOwner, BadBody (sizes or acknowledgements that do not fit the references). Unavailable: PutAgain
    (an acknowledgement below the horizon, or fewer than W registered disks). Answers `ObjectDone`.
    With versioning enabled it is one more version; else it takes the place of the key's null version.
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
    tags: dict[str, str] = {}


class CopyObject(msgspec.Struct, frozen=True, tag="copy_object"):
    """Make a new version of a key that references another version's chunks, as it is at this place in the log.

    `source_condition` is decided on the source, `condition` on the target. `replace` None keeps the source's
    content type, headers and user metadata, `replace_tags` None its tags. `source_which` None: the current version.
    `checksums` are added to the source's. `source_revision` is what the caller has read of the source: the copy is
    refused (SourceChanged, unavailable) if the source is another version by now. Refused: NoSuchBucket, NoSuchKey,
    NoSuchVersion, PreconditionFailed, InvalidKey, InvalidOwner, VersionIsDeleteMarker. Answers `ObjectDone`.
    """

    source_bucket: str
    source_key: str
    bucket: str
    key: str
    owner: str = ""
    source_condition: Condition = Condition()
    condition: Condition = Condition()
    replace: tuple[str, dict[str, str], dict[str, str]] | None = None
    source_which: Which | None = None
    source_revision: int | None = None
    replace_tags: dict[str, str] | None = None
    checksums: dict[ChecksumAlgorithm, Checksum] = {}


class DeleteObject(msgspec.Struct, frozen=True, tag="delete_object"):
    """Delete a key's current version, or (`which`) one version for good. What is missing is no error.

    Without `which`: if versioning is off the version is taken out; if it is enabled a delete marker becomes the newest
    version (also of a key that was not there); if it is suspended a null delete marker takes the null version's place.
    Refused: NoSuchBucket, InvalidOwner, PreconditionFailed. Answers `ObjectDone` with an empty ETag; where nothing
    changed, with the newest revision there is.
    """

    bucket: str
    key: str
    condition: Condition = Condition()
    which: Which | None = None
    owner: str = ""


class SetTags(msgspec.Struct, frozen=True, tag="set_tags"):
    """Replace the tags of the current version, or of `which`. Refused: NoSuchBucket, NoSuchKey, NoSuchVersion,
    VersionIsDeleteMarker. Answers `ObjectDone` of the version (its revision stays)."""

    bucket: str
    key: str
    tags: dict[str, str]
    which: Which | None = None


class CreateUpload(msgspec.Struct, frozen=True, tag="create_upload"):
    """Begin a multipart upload. `nonce`: 8 random bytes, the half of its id that nobody can guess.

    Refused: NoSuchBucket, InvalidKey, InvalidOwner, BadCommand. Answers `UploadDone`.
    """

    bucket: str
    key: str
    nonce: bytes
    content_type: str
    headers: dict[str, str] = {}
    user_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    checksum: tuple[ChecksumAlgorithm, ChecksumType] | None = None
    owner: str = ""


class PutPart(msgspec.Struct, frozen=True, tag="put_part"):
    """Make (or replace) a part of an upload, with bytes of its own: `chunks` are acknowledged as for PutObject.

    Refused: NoSuchBucket, NoSuchUpload, BadPartNumber (1 to 10,000), BadBody. Unavailable: PutAgain.
    Answers `PartDone`.
    """

    bucket: str
    bucket_id: int
    key: str
    upload_id: bytes
    number: int
    etag: str
    part: Part
    chunks: tuple[StoredChunk, ...] = ()


class CopyPart(msgspec.Struct, frozen=True, tag="copy_part"):
    """Make (or replace) a part that references bytes [start, stop) of a version: what the caller has read and
    digested (`etag`, `md5`, `checksums`).

    The source must still be the version of `source_revision`, else SourceChanged (unavailable). A source that lies in
    its row (Inline), or a range whose chunks are under two schemes, is not possible (BadBody): its bytes are sent as a
    part's own. Refused: NoSuchBucket, NoSuchKey, NoSuchVersion, VersionIsDeleteMarker, NoSuchUpload, BadPartNumber,
    BadBody. Answers `PartDone`.
    """

    bucket: str
    key: str
    upload_id: bytes
    number: int
    etag: str
    md5: bytes
    checksums: dict[ChecksumAlgorithm, Checksum]
    source_bucket: str
    source_key: str
    source_revision: int
    start: int
    stop: int
    source_which: Which | None = None


class CompleteUpload(msgspec.Struct, frozen=True, tag="complete_upload"):
    """Make the object of an upload from its parts, in the order given (ascending numbers), as of `generation`.

    What was checked by the caller (ETags, sizes, checksums) was checked on that generation; a later one is refused as
    UploadChanged (unavailable: read the parts again). Parts not named are discarded. Completing again answers as the
    first time, as long as the version made is there and `etag` is the same. Refused: NoSuchBucket, NoSuchUpload,
    InvalidPart, BadCommand, PreconditionFailed (the upload stays). Answers `ObjectDone`.
    """

    bucket: str
    key: str
    upload_id: bytes
    generation: int
    parts: tuple[int, ...]
    etag: str
    checksums: dict[ChecksumAlgorithm, Checksum] = {}
    condition: Condition = Condition()


class AbortUpload(msgspec.Struct, frozen=True, tag="abort_upload"):
    """End an upload and discard its parts. `made_before_ms`: only if it was made before that state time, else it is
    left (NotStale). Refused: NoSuchBucket, NoSuchUpload, NotStale; StaleSteward. Answers `Done`.

    `epoch`, here and below: of the steward whose command it is, which must be the present one (else StaleSteward);
    0: nobody's."""

    bucket: str
    key: str
    upload_id: bytes
    made_before_ms: int | None = None
    epoch: int = 0


class AddUser(msgspec.Struct, frozen=True, tag="add_user"):
    """Make a user with a first key; their `created_ms` are given by the state machine. An empty email address is none.

    Refused: UserExists (name, canonical id, also a removed user's, or email), KeyExists, BadUser, TooManyUsers.
    Answers `Done`.
    """

    user: User
    key: AccessKey


class RemoveUser(msgspec.Struct, frozen=True, tag="remove_user"):
    """Remove a user and all its keys; what it owns stays, and is root's to manage. Its name and email address are free
    again, its canonical id is not. Refused: NoSuchUser.

    Answers `Done`.
    """

    name: str


class AddAccessKey(msgspec.Struct, frozen=True, tag="add_access_key"):
    """Give a user one more key. Refused: NoSuchUser, KeyExists, BadUser, TooManyKeys. Answers `Done`."""

    key: AccessKey


class RemoveAccessKey(msgspec.Struct, frozen=True, tag="remove_access_key"):
    """Take a key away. Refused: NoSuchAccessKey. Answers `Done`."""

    access_key: str


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

    `horizon`: the disk has deleted it under that horizon, which says nothing of a row that was referenced since: only
    a row that is condemned, and has had no reference since before it, is changed. Refused: StaleSteward, BadCommand,
    InvalidScheme. Answers `Done`.
    """

    scheme: Scheme
    chunk_id: bytes
    disk_id: bytes
    horizon: int | None = None
    epoch: int = 0


class Dereference(msgspec.Struct, frozen=True, tag="dereference"):
    """Take up to `limit` (at most 1,000) references of trash rows down. Refused: StaleSteward. Answers
    `Dereferenced`."""

    limit: int
    epoch: int = 0


class Condemn(msgspec.Struct, frozen=True, tag="condemn"):
    """Raise the horizon to `horizon` and condemn up to `limit` chunks whose count has been 0 since before it.

    Those condemned before are told again until their last holder was dropped. `after` is the cursor of the answer
    before. Refused: StaleSteward; HorizonTooNew if it is above the newest revision. Answers `Condemned`.
    """

    horizon: int
    limit: int
    after: bytes = b""
    epoch: int = 0


class TakeStewardship(msgspec.Struct, frozen=True, tag="take_stewardship"):
    """Become the steward (`epoch` 0), if there is none or it has not renewed for `STEWARD_LEASE_MS`; or renew, with the
    epoch that was given.

    Refused: StewardshipHeld (to a holder that renews: another one has taken over), BadCommand. Answers `StewardDone`.
    """

    holder: str
    epoch: int


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
    | SetVersioning
    | SetBucketSetting
    | PutObject
    | CopyObject
    | DeleteObject
    | SetTags
    | CreateUpload
    | PutPart
    | CopyPart
    | CompleteUpload
    | AbortUpload
    | AddUser
    | RemoveUser
    | AddAccessKey
    | RemoveAccessKey
    | RegisterDisk
    | AddHolders
    | DropHolder
    | Dereference
    | Condemn
    | TakeStewardship
    | RaiseLevel
    | Touch
)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """One command on its way through the log. `key` is 16 bytes, unique per attempt.

    `buckets`: names and ids of those that a decision outside the log rests on; if a name has another bucket by now, or
    none, the command is refused (NoSuchBucket).
    """

    version: int
    space: int
    key: bytes
    not_after_ms: int
    command: Command
    buckets: tuple[tuple[str, int], ...] = ()


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """One Raft entry: commands in order, at one state time stamped by the leader that proposed it."""

    state_time_ms: int
    envelopes: tuple[msgspec.Raw, ...]
