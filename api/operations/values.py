"""What the operations are given and give back, besides what the metadata has words for."""

from dataclasses import dataclass, field

from api.operations.versions import done_version
from metaraft.model import Checksum, ChecksumAlgorithm, Which
from metaraft.results import (
    ObjectDone,
)


@dataclass(frozen=True, slots=True)
class Description:
    """What an object carries besides its bytes; names are in lower case, user metadata without its prefix."""

    content_type: str
    headers: dict[str, str]
    user_metadata: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied: the current version, or the one named."""

    bucket: str
    key: str
    version: Which | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A version as it was made. An id of a version is None where its bucket's versioning is off."""

    bucket: str
    key: str
    etag: str
    revision: int
    created_ms: int
    existed: bool
    size: int
    checksums: dict[ChecksumAlgorithm, Checksum]
    version_id: str | None = None
    source_version_id: str | None = None

    @classmethod
    def of(cls, name: tuple[str, str], done: ObjectDone, source_version_id: str | None = None) -> "Written":
        """What a command says that it made of (bucket, key)."""
        return cls(
            *name,
            done.etag,
            done.revision,
            done.created_ms,
            done.existed,
            done.size,
            done.checksums,
            done_version(done),
            source_version_id,
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did: which version went for good, or which delete marker hides the others now.

    `existed`: there was a current version, or the one named. `delete_marker`: one was made, or was what went.
    """

    version_id: str | None
    delete_marker: bool
    existed: bool


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as the client names it to complete an upload; the ETag may have quotes."""

    number: int
    etag: str
    checksums: dict[ChecksumAlgorithm, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartStored:
    """A part as it was made; the first of its checksums is what the client asked for."""

    etag: str
    size: int
    created_ms: int
    checksums: dict[ChecksumAlgorithm, Checksum]
    source_version_id: str | None = None
