"""The closed set of what can be read of the metadata: queries (linearizable) and their answers. Tagged msgspec unions.

A query that finds nothing, or is wrong, is answered by `Failed`, whose codes each query names. Listings give at most
`limit` entries and look at a bounded number of rows, and say where they stopped.
"""

import msgspec

from metaraft.model import (
    AccessKey,
    Bucket,
    Checksum,
    ChecksumAlgorithm,
    Chunk,
    PartHead,
    Scheme,
    SpaceInfo,
    Upload,
    UploadedPart,
    Usage,
    User,
    Version,
    Which,
)
from metaraft.results import (
    Failed,
)

# ---- queries


class GetBucket(msgspec.Struct, frozen=True, tag="get_bucket"):
    """Answers `BucketFound`. Refused: NoSuchBucket."""

    name: str


class GetBucketSetting(msgspec.Struct, frozen=True, tag="get_bucket_setting"):
    """A bucket with one of its settings. Answers `BucketSettingFound`. Refused: NoSuchBucket."""

    bucket: str
    name: str


class ListBuckets(msgspec.Struct, frozen=True, tag="list_buckets"):
    """Answers `BucketsFound`: names after `after` that begin with `prefix`, in order, at most `limit`; `owner`: only
    those of that owner. A page may have fewer than `limit` and not be the last."""

    after: str = ""
    limit: int = 1000
    prefix: str = ""
    owner: str | None = None


class GetObject(msgspec.Struct, frozen=True, tag="get_object"):
    """The current version, or `which`, with, if `with_holders`, its chunks' holders.

    A version that is `Assembled` comes, if `with_holders`, with the first of its parts that a read from `offset` on
    needs (a negative one counts from the end), up to 32 chunks (and always one part, if the version goes on behind
    `offset`); or, in any case, with the part of the number `part`, if it has one. `GetParts` brings more.
    A delete marker is answered as a version whose body says so, also where it is the current one.
    Refused: NoSuchBucket; NoSuchKey, or NoSuchVersion for `which` (a null version has no other name than null).
    """

    bucket: str
    key: str
    with_holders: bool = True
    which: Which | None = None
    offset: int = 0
    part: int | None = None


class GetParts(msgspec.Struct, frozen=True, tag="get_parts"):
    """Parts of a completed object with their chunks' holders: the first of `numbers`, in their order, up to 256
    chunks (and always one part). Answers `PartsFound`. Refused: NoSuchUpload, if the object is gone or never had the
    first one."""

    upload_id: bytes
    numbers: tuple[int, ...]
    with_holders: bool = True


class GetUpload(msgspec.Struct, frozen=True, tag="get_upload"):
    """An upload under way. Answers `UploadFound`. Refused: NoSuchBucket, NoSuchUpload."""

    bucket: str
    key: str
    upload_id: bytes


class ListParts(msgspec.Struct, frozen=True, tag="list_parts"):
    """Parts of an upload with numbers above `after`, in order, at most `limit` (up to 1,000), without their chunks.
    Answers `PartsListed`. Refused: NoSuchBucket, NoSuchUpload."""

    bucket: str
    key: str
    upload_id: bytes
    after: int = 0
    limit: int = 1000


class ListUploads(msgspec.Struct, frozen=True, tag="list_uploads"):
    """One page of a bucket's uploads in order of their keys (bytes), then of their ids (which is that of their
    beginning), behind (`after_key`, `after_id`). An empty `after_id` means: behind all uploads of `after_key`.
    Common prefixes as in `ListObjects`. Answers `UploadsFound`. Refused: NoSuchBucket."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after_key: str = ""
    after_id: bytes = b""
    limit: int = 1000


class ListVersions(msgspec.Struct, frozen=True, tag="list_versions"):
    """One page of all versions in byte order of their keys, the newest of a key first, behind (`after_key`,
    `after_revision`); `after_revision` None: behind all versions of `after_key`; `after_null`: behind its null version,
    or before all of its versions if that is gone. Common prefixes as in `ListObjects`. Answers `VersionsFound`.
    Refused: NoSuchBucket."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after_key: str = ""
    after_revision: int | None = None
    after_null: bool = False
    limit: int = 1000


class ListStaleUploads(msgspec.Struct, frozen=True, tag="list_stale_uploads"):
    """Uploads of all buckets that were made before `made_before_ms`, in order of their rows behind `cursor`.
    Answers `StaleUploadsFound`. Refused: BadQuery, for a cursor that was not given."""

    made_before_ms: int
    cursor: bytes = b""
    limit: int = 1000


class GetAccessKey(msgspec.Struct, frozen=True, tag="get_access_key"):
    """A key and its user. Answers `AccessKeyFound`. Refused: NoSuchAccessKey."""

    access_key: str


class ListUsers(msgspec.Struct, frozen=True, tag="list_users"):
    """Users behind `after` by name, at most `limit`, with their access keys (no secrets). Answers `UsersFound`; a page
    may have fewer than `limit` and not be the last."""

    after: str = ""
    limit: int = 1000


class GetUser(msgspec.Struct, frozen=True, tag="get_user"):
    """A user by canonical id. Answers `UserFound`. Refused: NoSuchUser, also for a user that was removed."""

    canonical_id: str


class GetHolders(msgspec.Struct, frozen=True, tag="get_holders"):
    """Chunk rows by id. Answers `HoldersFound`; ids without a row are left out."""

    scheme: Scheme
    chunk_ids: tuple[bytes, ...]


class FindStrays(msgspec.Struct, frozen=True, tag="find_strays"):
    """Which of some chunks that a disk has nobody knows it to have: no row, under any scheme, names the disk.

    Answers `StraysFound`. Refused: TooManyChunks, NoSuchSpace.
    """

    disk_id: bytes
    chunk_ids: tuple[bytes, ...]


class ListChunks(msgspec.Struct, frozen=True, tag="list_chunks"):
    """Chunks that something refers to, in order of their rows behind `cursor`. Answers `ChunksFound`. Refused:
    BadQuery, for a cursor that was not given."""

    cursor: bytes = b""
    limit: int = 1000


class ListReferences(msgspec.Struct, frozen=True, tag="list_references"):
    """What refers to chunks: versions, then uploads under way, in order of their rows behind `cursor`, with about
    `limit` references. What has many comes in pieces. Answers `ReferencesFound`. Refused: BadQuery, for a cursor that
    was not given."""

    cursor: bytes = b""
    limit: int = 10_000


class ListObjects(msgspec.Struct, frozen=True, tag="list_objects"):
    """One page of current versions in byte order.

    Returns keys and common prefixes greater than `after` (as bytes of UTF-8; a common prefix sorts as itself, and a
    page that ended on a common prefix goes on behind all keys under it). An `after` with a U+0000, which no key has, is
    only a place among the keys: the common prefix that it lies in may follow. It looks at `limits.scan_rows_max` rows
    at most and says where it stopped. Refused: NoSuchBucket.
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


type Query = (
    GetBucket
    | GetBucketSetting
    | ListBuckets
    | GetObject
    | GetParts
    | GetHolders
    | FindStrays
    | ListChunks
    | ListReferences
    | ListObjects
    | ListVersions
    | GetUpload
    | ListParts
    | ListUploads
    | ListStaleUploads
    | GetAccessKey
    | GetUser
    | ListUsers
    | GetSpace
    | GetUsage
)


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A query on its way to a member."""

    space: int
    query: Query


# ---- answers


class BucketFound(msgspec.Struct, frozen=True, tag="bucket_found"):
    """Answer to the query of that name."""

    bucket: Bucket
    usage: Usage


class BucketsFound(msgspec.Struct, frozen=True, tag="buckets_found"):
    """`more`: names behind `next_after` (of the last bucket looked at) were not looked at."""

    buckets: tuple[Bucket, ...]
    more: bool
    next_after: str | None = None


class ObjectFound(msgspec.Struct, frozen=True, tag="object_found"):
    """`holders` maps chunk id to the disks that hold it. `parts`: those of an `Assembled` version that were asked for.

    `current`: no newer version of the key exists.
    """

    bucket: Bucket
    version: Version
    holders: dict[bytes, tuple[bytes, ...]] = {}
    parts: tuple[UploadedPart, ...] = ()
    current: bool = True


class BucketSettingFound(msgspec.Struct, frozen=True, tag="bucket_setting_found"):
    """`value` None: the bucket has no such setting."""

    bucket: Bucket
    value: bytes | None


class PartsFound(msgspec.Struct, frozen=True, tag="parts_found"):
    """The first of the parts asked for, and the holders of their chunks."""

    parts: tuple[UploadedPart, ...]
    holders: dict[bytes, tuple[bytes, ...]] = {}


class UploadFound(msgspec.Struct, frozen=True, tag="upload_found"):
    """Answer to the query of that name."""

    bucket: Bucket
    upload: Upload


class PartsListed(msgspec.Struct, frozen=True, tag="parts_listed"):
    """`more`: parts with higher numbers follow. All of one `upload`, as of its `generation`."""

    bucket: Bucket
    upload: Upload
    parts: tuple[PartHead, ...]
    more: bool


class UploadsFound(msgspec.Struct, frozen=True, tag="uploads_found"):
    """`next_after` is (key, upload id) where to go on (an empty id: behind the key, or the common prefix), None at the
    end."""

    bucket: Bucket
    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    next_after: tuple[str, bytes] | None


class ListedVersion(msgspec.Struct, frozen=True, array_like=True):
    """A version or delete marker as a listing shows it. `latest`: the newest of its key."""

    key: str
    revision: int
    null: bool
    latest: bool
    delete_marker: bool
    created_ms: int
    size: int
    etag: str
    owner: str
    checksums: dict[ChecksumAlgorithm, Checksum] = {}


class VersionsFound(msgspec.Struct, frozen=True, tag="versions_found"):
    """`next_after` is (key, revision) of the last entry or row looked at, (prefix, None) behind a common prefix, None
    at the end."""

    bucket: Bucket
    versions: tuple[ListedVersion, ...]
    prefixes: tuple[str, ...]
    next_after: tuple[str, int | None] | None


class StaleUploadsFound(msgspec.Struct, frozen=True, tag="stale_uploads_found"):
    """(bucket name, key, upload id) of each; `cursor` is where to go on, None at the end."""

    uploads: tuple[tuple[str, str, bytes], ...]
    cursor: bytes | None


class AccessKeyFound(msgspec.Struct, frozen=True, tag="access_key_found"):
    """Answer to the query of that name."""

    key: AccessKey
    user: User


class UserFound(msgspec.Struct, frozen=True, tag="user_found"):
    """Answer to the query of that name."""

    user: User


class UsersFound(msgspec.Struct, frozen=True, tag="users_found"):
    """Users in order of their names, each with its access keys. `more`: others follow the last of them."""

    users: tuple[tuple[User, tuple[str, ...]], ...]
    more: bool


class HoldersFound(msgspec.Struct, frozen=True, tag="holders_found"):
    """Answer to the query of that name."""

    chunks: dict[bytes, Chunk]


class StraysFound(msgspec.Struct, frozen=True, tag="strays_found"):
    """`horizon` is the space's at the same moment. Under it the disk may delete them: a row that names the disk later
    does so by an acknowledgement that is not below it."""

    chunk_ids: tuple[bytes, ...]
    horizon: int


class ListedChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk row: where the metadata believes copies to be."""

    scheme: Scheme
    chunk_id: bytes
    size: int
    holders: tuple[bytes, ...]


class ChunksFound(msgspec.Struct, frozen=True, tag="chunks_found"):
    """`cursor` is where to go on, None at the end."""

    chunks: tuple[ListedChunk, ...]
    cursor: bytes | None


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """Chunks of one scheme that one version, or (`upload_id`) one upload under way, refers to: some of them, or all."""

    bucket: str
    key: str
    revision: int
    null: bool
    upload_id: bytes
    scheme: Scheme
    chunk_ids: tuple[bytes, ...]


class ReferencesFound(msgspec.Struct, frozen=True, tag="references_found"):
    """`cursor` is where to go on, None at the end."""

    references: tuple[Reference, ...]
    cursor: bytes | None


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
    checksums: dict[ChecksumAlgorithm, Checksum] = {}


class ObjectsFound(msgspec.Struct, frozen=True, tag="objects_found"):
    """`next_after` is where to go on, None at the end. `limit` entries (objects and prefixes together) at most.

    It is the last entry or key looked at, with a U+0000 behind a key that lies under a common prefix not listed so far.
    """

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    next_after: str | None
    bucket: Bucket | None = None


class SpaceFound(msgspec.Struct, frozen=True, tag="space_found"):
    """Answer to the query of that name."""

    space: SpaceInfo


class UsageFound(msgspec.Struct, frozen=True, tag="usage_found"):
    """Answer to the query of that name."""

    usage: Usage


type Answer = (
    BucketFound
    | BucketSettingFound
    | BucketsFound
    | ObjectFound
    | PartsFound
    | HoldersFound
    | StraysFound
    | ChunksFound
    | ReferencesFound
    | ObjectsFound
    | VersionsFound
    | UploadFound
    | PartsListed
    | UploadsFound
    | StaleUploadsFound
    | AccessKeyFound
    | UserFound
    | UsersFound
    | SpaceFound
    | UsageFound
    | Failed
)
