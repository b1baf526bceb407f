"""What travels between a chunk client and a chunk daemon: method numbers and the bodies of their frames.

PUT and GET are transfers, on a connection of their own:

* PUT: `PutAsk`, answered by `PutGo`. If it says `needed`, `length` raw bytes follow, and an empty response when the
  chunk is durable. If not, the daemon had a good copy, and it is durable already. The bytes of a chunk of up to
  `EAGER_BYTES_MAX` follow their `PutAsk` at once, and there is one, empty, response.
* GET: `GetAsk`, answered by `GetGo`, then the raw bytes of the whole blocks that cover the range.

The rest are small calls. The frame carries the space. Every field is checked where it arrives.
"""

from enum import IntEnum
from typing import Annotated, Literal

import msgspec

from cluster.limits import KIB

EAGER_BYTES_MAX = 256 * KIB
"""Chunks up to this are sent without asking first: the round trip costs more than the bytes."""

IDS_MAX = 10_000
"""Ids in one call: 320 KiB."""

type ChunkId = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
type ChunkIds = Annotated[tuple[ChunkId, ...], msgspec.Meta(max_length=IDS_MAX)]
type Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type DiskState = Literal["ok", "full", "failed", "read_only"]
type Verdict = Literal["good", "bad", "missing"]


class Method(IntEnum):
    """Methods of service `chunkd`."""

    PUT = 1
    GET = 2
    HAVE = 3
    STAT = 4
    RENEW = 5
    DELETE = 6
    LIST = 7
    COPY_FROM = 8
    REPORT = 9
    STATUS = 10
    PRESENT = 11


class PutAsk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk to be stored: its hash list comes first, so that it is checked before a byte is written."""

    chunk_id: ChunkId
    length: Count
    hashes: bytes
    seen: Revision


class PutGo(msgspec.Struct, frozen=True, array_like=True):
    """Whether the chunk's bytes shall follow."""

    needed: bool


class GetAsk(msgspec.Struct, frozen=True, array_like=True):
    """A range of a chunk. `length` None: to its end. `with_hashes`: the reader has no verified hash list."""

    chunk_id: ChunkId
    offset: Count
    length: Count | None
    with_hashes: bool


class GetGo(msgspec.Struct, frozen=True, array_like=True):
    """The chunk's whole length and, if asked for, its hash list; nothing of it is verified yet."""

    length: Count
    hashes: bytes


class Ids(msgspec.Struct, frozen=True, array_like=True):
    """Body of HAVE."""

    ids: ChunkIds


class RenewAsk(msgspec.Struct, frozen=True, array_like=True):
    """Body of RENEW."""

    ids: ChunkIds
    seen: Revision


class DeleteAsk(msgspec.Struct, frozen=True, array_like=True):
    """Body of DELETE. `disk_id`: of the disk that is meant; another one does not obey."""

    ids: ChunkIds
    horizon: Revision
    disk_id: bytes


class Answers(msgspec.Struct, frozen=True, array_like=True):
    """One answer per id, in order."""

    answers: tuple[bool, ...]


class OneId(msgspec.Struct, frozen=True, array_like=True):
    """Body of STAT and REPORT."""

    chunk_id: ChunkId


class ChunkStat(msgspec.Struct, frozen=True, array_like=True):
    """A chunk as its header describes it. `hashes` is checked against the id by the client."""

    length: Count
    hashes: bytes


class ListAsk(msgspec.Struct, frozen=True, array_like=True):
    """Ids greater than `after`, in order, at most `limit`."""

    after: Annotated[bytes, msgspec.Meta(max_length=32)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=IDS_MAX)]


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """A page of ids, and whether there are more."""

    ids: tuple[ChunkId, ...]
    more: bool


class CopyAsk(msgspec.Struct, frozen=True, array_like=True):
    """Fetch a chunk from the node of that name (of the configuration)."""

    chunk_id: ChunkId
    source: str
    seen: Revision


class Reported(msgspec.Struct, frozen=True, array_like=True):
    """What the daemon's own re-read of a copy found."""

    verdict: Verdict


class PresentAsk(msgspec.Struct, frozen=True, array_like=True):
    """The space's present revision, read after this boot id was given in a status."""

    boot: bytes
    revision: Revision


class Nothing(msgspec.Struct, frozen=True, array_like=True):
    """Body of STATUS."""


class BadCopy(msgspec.Struct, frozen=True, array_like=True):
    """A copy that lies in quarantine."""

    space: int
    chunk_id: ChunkId


class NodeStatus(msgspec.Struct, frozen=True, array_like=True):
    """A daemon and its disk. `boot` is new at each start; `bad` are the first 1,000 of
    `bad_count` copies in quarantine."""

    name: str
    disk_id: bytes
    boot: bytes
    state: DiskState
    reason: str
    bytes_total: int
    bytes_free: int
    chunks: int
    transfers: int
    bad: tuple[BadCopy, ...] = ()
    bad_count: int = 0
