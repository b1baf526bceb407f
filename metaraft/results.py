"""What commands answer: the closed set of results, as tagged msgspec unions. Encoded, they are kept under their
command's idempotency key, so a field is only ever added at the end, with a default.
"""

from typing import Literal

import msgspec

from metaraft.model import Bucket, Checksum, ChecksumAlgorithm, Scheme, Upload, Versioning


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The command had its effect (or none was needed)."""

    revision: int


class BucketDone(msgspec.Struct, frozen=True, tag="bucket_done"):
    """The bucket as made."""

    bucket: Bucket


class ObjectDone(msgspec.Struct, frozen=True, tag="object_done"):
    """What a put, copy or delete made: the new version's revision, time and ETag.

    `existed`: a version was current before. `null`: the version's id is `null`. `delete_marker`: what was made, or what
    was deleted by its id, is one. `size` and `checksums` are the version's.
    """

    revision: int
    created_ms: int
    etag: str
    existed: bool
    null: bool = True
    delete_marker: bool = False
    size: int = 0
    checksums: dict[ChecksumAlgorithm, Checksum] = {}
    versioning: Versioning = "off"


class UploadDone(msgspec.Struct, frozen=True, tag="upload_done"):
    """The upload as begun."""

    upload: Upload


class PartDone(msgspec.Struct, frozen=True, tag="part_done"):
    """The part as made, without its chunks."""

    number: int
    created_ms: int
    etag: str


class Dereferenced(msgspec.Struct, frozen=True, tag="dereferenced"):
    """How many references were taken down, and whether trash rows are left."""

    references: int
    more: bool


class CondemnedChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk that nothing refers to under its scheme, and the disks to delete it from."""

    scheme: Scheme
    chunk_id: bytes
    holders: tuple[bytes, ...]


class Condemned(msgspec.Struct, frozen=True, tag="condemned"):
    """Chunks condemned by this command or before, and the horizon they may be deleted under; `cursor` None when the
    walk is done."""

    horizon: int
    chunks: tuple[CondemnedChunk, ...]
    cursor: bytes | None


class StewardDone(msgspec.Struct, frozen=True, tag="steward_done"):
    """The epoch of the stewardship that was taken or renewed."""

    epoch: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A deterministic refusal by the state machine: a code and message of `cluster.errors`.

    Kinds: `refused`, or `unavailable` for PutAgain, SourceChanged, UploadChanged, LogFull and NoSpace. Besides what a
    command names: TooLate, BadCommand, NoSuchSpace, UnknownLevel. A `refused` result is kept under its idempotency key
    like any other, an `unavailable` one is not: the same key may be tried again.
    """

    kind: Literal["refused", "unavailable"]
    code: str
    message: str


type Result = Done | BucketDone | ObjectDone | UploadDone | PartDone | Dereferenced | Condemned | StewardDone | Failed
