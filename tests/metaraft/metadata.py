"""A state machine over rows in memory with the shortest way to speak to it, for tests of commands and queries."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from metaraft import answering
from metaraft.commands import (
    Ack,
    Batch,
    Command,
    Condition,
    CreateBucket,
    Envelope,
    PutObject,
    RegisterDisk,
    StoredChunk,
)
from metaraft.machine import Machine, found
from metaraft.memory_rows import MemoryRows
from metaraft.model import DEFAULT_SPACE, ChunkRef, Copies, Disk, Inline, Part, Parts
from metaraft.queries import (
    Answer,
    Ask,
    Query,
)
from metaraft.results import (
    Failed,
    Result,
)
from metaraft.rows import Reader

START_MS = 1_700_000_000_000
COPIES = Copies(3)

encode = msgspec.msgpack.encode


class LogEntry(msgspec.Struct, frozen=True):
    """An entry as the store wants it."""

    index: int
    data: bytes
    term: int = 1


def key_of(number: int) -> bytes:
    """An idempotency key."""
    return number.to_bytes(16, "big")


def disk_id(number: int) -> bytes:
    """A disk's id."""
    return bytes([number]) * 16


def chunk_id(name: object) -> bytes:
    """A chunk's id."""
    return hashlib.sha256(repr(name).encode()).digest()


def envelope(
    command: Command,
    key: bytes,
    not_after_ms: int,
    *,
    version: int = 1,
    space: int = DEFAULT_SPACE,
    buckets: Mapping[str, int] | None = None,
) -> msgspec.Raw:
    """A command as it lies in a batch."""
    return msgspec.Raw(encode(Envelope(version, space, key, not_after_ms, command, tuple((buckets or {}).items()))))


def batch(state_time_ms: int, envelopes: Sequence[msgspec.Raw]) -> bytes:
    """An entry of the log."""
    return encode(Batch(state_time_ms, tuple(envelopes)))


def results(encoded: Sequence[bytes]) -> list[Result]:
    """What apply answered, decoded."""
    return [msgspec.msgpack.decode(one, type=Result) for one in encoded]


def ask(rows: Reader, query: Query, *, space: int = DEFAULT_SPACE, rows_max: int = 10_000) -> Answer:
    """The answer to a query."""
    answer: Answer = msgspec.msgpack.decode(answering.answer(rows, encode(Ask(space, query)), rows_max), type=Answer)
    return answer


def put(
    key: str, data: bytes = b"data", *, bucket: str = "b", bucket_id: int = 1, owner: str = "", condition: object = None
) -> PutObject:
    """A small object."""
    return PutObject(
        bucket=bucket,
        bucket_id=bucket_id,
        key=key,
        size=len(data),
        etag=etag(data),
        content_type="text/plain",
        body=Inline(data),
        owner=owner,
        condition=condition if isinstance(condition, Condition) else Condition(),
    )


def etag(data: bytes) -> str:
    """The ETag of an object that `put` makes."""
    return hashlib.sha256(data).hexdigest()[:32]


def acks(*disks: int, seen: int = 0) -> tuple[Ack, ...]:
    """Acknowledgements of disks by number."""
    return tuple(Ack(disk_id(disk), seen) for disk in disks)


def put_chunks(
    key: str,
    names: Sequence[object],
    acknowledged: tuple[Ack, ...],
    *,
    bucket: str = "b",
    bucket_id: int = 1,
    scheme: Copies = COPIES,
) -> PutObject:
    """An object of one part with a chunk of 100 bytes for each name."""
    ids = [chunk_id(name) for name in names]
    part = Part(100 * len(ids), b"m" * 16, tuple(ChunkRef(one, 0, 100, 100) for one in ids), scheme)
    return PutObject(
        bucket=bucket,
        bucket_id=bucket_id,
        key=key,
        size=part.size,
        etag=f"chunks-{'-'.join(map(repr, names))}",
        content_type="text/plain",
        body=Parts((part,)),
        chunks=tuple(StoredChunk(one, 100, acknowledged) for one in dict.fromkeys(ids)),
    )


class Metadata:
    """Rows in memory, the machine over them, and a clock that the test moves."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        found(self.rows)
        self.machine = Machine(self.rows)
        self.now_ms = START_MS
        self._number = 0

    def next_key(self) -> bytes:
        """An idempotency key that was not used."""
        self._number += 1
        return key_of(self._number)

    def do(
        self,
        command: Command,
        *,
        key: bytes | None = None,
        not_after_ms: int | None = None,
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        """One command in an entry of its own."""
        limit = self.now_ms + 5_000 if not_after_ms is None else not_after_ms
        return self.enter([envelope(command, key or self.next_key(), limit, buckets=buckets)])[0]

    def enter(self, envelopes: Sequence[msgspec.Raw]) -> list[Result]:
        """One entry, one transaction."""
        applied = self.machine.apply(batch(self.now_ms, envelopes))
        self.machine.flush()
        return results(applied)

    def ask(self, query: Query, *, rows_max: int = 10_000) -> Answer:
        """The answer to a query."""
        return ask(self.rows, query, rows_max=rows_max)

    def restart(self) -> None:
        """A new machine over the same rows."""
        self.machine = Machine(self.rows)

    def code(self, command: Command) -> str:
        """The code with which a command fails; rows must be as before, but for time and kept results."""
        before = self.facts()
        result = self.do(command)
        assert isinstance(result, Failed), result
        assert self.facts() == before, "what is refused changes nothing"
        return result.code

    def facts(self) -> list[tuple[bytes, bytes]]:
        """All rows but state time and kept results."""
        return [(key, value) for key, value in self.rows.items() if key[0] not in (0x01, 0x06)]


def with_bucket(metadata: Metadata | None = None, *, disks: int = 0) -> Metadata:
    """Metadata with the bucket `b` (id 1, three copies) and disks 1, 2, ... registered."""
    metadata = metadata or Metadata()
    metadata.do(CreateBucket("b", "owner", COPIES))
    for number in range(1, disks + 1):
        metadata.do(RegisterDisk(Disk(disk_id(number), f"node{number}", f"zone{number}", 100)))
    return metadata
