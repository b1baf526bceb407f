"""What clients ask for: what the API asks of the metadata, on few names, so that clients meet.

Each client remembers what it was told (ETags, uploads, the revision), and acts on it though it may be old by then.
"""

from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import NamedTuple, TypeIs

from chaos.sim.model import CHUNK_BYTES, SCHEME
from cluster.errors import OutcomeUnknown
from metaraft.commands import (
    AbortUpload,
    Ack,
    Command,
    CompleteUpload,
    Condemn,
    Condition,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    Dereference,
    PutObject,
    PutPart,
    RegisterDisk,
    StoredChunk,
    Touch,
)
from metaraft.model import ChunkRef, Disk, Inline, Part, Parts
from metaraft.queries import (
    BucketFound,
    BucketsFound,
    GetBucket,
    GetHolders,
    GetObject,
    GetSpace,
    ListBuckets,
    ListObjects,
    ListParts,
    ObjectFound,
    ObjectsFound,
    PartsListed,
    Query,
    SpaceFound,
)
from metaraft.results import BucketDone, UploadDone

BUCKETS = ("bucket-a", "bucket-b")
KEYS = tuple(f"{folder}{name}" for folder in ("", "d/", "e/") for name in ("a", "b", "c", "d", "e"))
COUNTERS = ("counter-1", "counter-2")
DISKS = tuple(bytes([number]) * 16 for number in range(1, 5))
CHUNKS = tuple(sha256(bytes([number])).digest() for number in range(10))

SECONDS = (0.3, 1.0, 3.0, 3.0, 8.0)
"""How long a client gives a call."""


class Asked(NamedTuple):
    """One call of a client: a command with its key, or a query."""

    seconds: float
    command: Command | None = None
    key: bytes = b""
    query: Query | None = None


class Workload:
    """What one client asks for next."""

    def __init__(self, random: Random, number: int, pause_s: float, *, reads: bool = False) -> None:
        """`reads`: it only does so, and mostly asks for what changes with every command."""
        self.pause_s = pause_s
        self._random = random
        self._number = number
        self._kinds, self._weights = (_READ_KINDS, _READ_WEIGHTS) if reads else (_KINDS, _WEIGHTS)
        self._made = 0
        self._revision = 0
        self._bucket_ids: dict[str, int] = {}
        self._etags: dict[tuple[str, str], str | None] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._uploads: list[tuple[str, str, bytes]] = []
        self._listed: dict[bytes, PartsListed] = {}
        self._after: dict[str, str] = {}
        self._first: list[Command] = []
        if number == 1:
            self._first += [CreateBucket(name, "owner", SCHEME) for name in BUCKETS]
            self._first += [RegisterDisk(Disk(disk, "node", "zone", 1)) for disk in DISKS]

    # ---- what it asks

    def next(self) -> Asked:
        """The next call."""
        if self._first:
            return self._command(self._first.pop(0))
        _, make = self._random.choices(self._kinds, self._weights)[0]
        asked = make(self)
        return self._query(asked) if _is_query(asked) else self._command(asked)

    def touch(self) -> Asked:
        """A command that changes nothing."""
        return self._command(Touch())._replace(seconds=8.0)

    def _command(self, command: Command) -> Asked:
        self._made += 1
        key = self._number.to_bytes(8, "big") + self._made.to_bytes(8, "big")
        return Asked(self._random.choice(SECONDS), command, key)

    def _query(self, query: Query) -> Asked:
        return Asked(self._random.choice(SECONDS), query=query)

    def _place(self) -> tuple[str, str]:
        return self._random.choice(BUCKETS), self._random.choice(KEYS)

    def _value(self) -> bytes:
        self._made += 1
        return b"%d-%d-" % (self._number, self._made) + b"." * self._random.choice((0, 10, 200, 900))

    def _put(self) -> Command:
        bucket, key = self._place()
        return self._put_value(bucket, key, self._value(), Condition())

    def _put_value(self, bucket: str, key: str, data: bytes, condition: Condition) -> PutObject:
        etag = sha256(data).hexdigest()[:32]
        bucket_id = self._bucket_ids.get(bucket, 1)
        return PutObject(bucket, bucket_id, key, len(data), etag, "text/plain", Inline(data), condition=condition)

    def _put_if_absent(self) -> Command:
        bucket, key = self._place()
        return self._put_value(bucket, key, self._value(), Condition(if_none_match=("*",)))

    def _put_if_match(self) -> Command:
        bucket, key = self._place()
        etag = self._etags.get((bucket, key))
        condition = Condition(if_match=(etag,)) if etag else Condition(if_none_match=("*",))
        return self._put_value(bucket, key, self._value(), condition)

    def _count_up(self) -> Command | Query:
        """A counter: read it, write one more, if it is still what was read."""
        bucket, key = self._random.choice(BUCKETS), self._random.choice(COUNTERS)
        if (bucket, key) not in self._etags:
            return GetObject(bucket, key)
        etag = self._etags.pop((bucket, key))
        data = b"%d by %d" % (self._counts.get((bucket, key), 0) + 1, self._number)
        condition = Condition(if_match=(etag,)) if etag else Condition(if_none_match=("*",))
        return self._put_value(bucket, key, data, condition)

    def _stored(self, count: int) -> tuple[tuple[ChunkRef, ...], tuple[StoredChunk, ...]]:
        names = [self._random.choice(CHUNKS) for _ in range(count)]
        acks = tuple(Ack(disk, self._revision) for disk in self._random.sample(DISKS, 3))
        refs = tuple(ChunkRef(name, 0, CHUNK_BYTES, CHUNK_BYTES) for name in names)
        return refs, tuple(StoredChunk(name, CHUNK_BYTES, acks) for name in dict.fromkeys(names))

    def _put_chunks(self) -> Command:
        bucket, key = self._place()
        refs, stored = self._stored(self._random.randint(1, 3))
        size = CHUNK_BYTES * len(refs)
        self._made += 1
        etag = f"chunks-{self._number}-{self._made}"
        body = Parts((Part(size, b"m" * 16, refs, SCHEME),))
        return PutObject(bucket, self._bucket_ids.get(bucket, 1), key, size, etag, "text/plain", body, stored)

    def _delete(self) -> Command:
        bucket, key = self._place()
        etag = self._etags.get((bucket, key))
        condition = Condition(if_match=(etag,)) if etag and self._random.random() < 0.3 else Condition()
        return DeleteObject(bucket, key, condition)

    def _upload(self) -> Command | Query:
        """One step of an upload: begun, a part, its parts listed, completed or given up."""
        if not self._uploads or (len(self._uploads) < 3 and self._random.random() < 0.2):
            bucket, key = self._place()
            self._made += 1
            return CreateUpload(bucket, key, (self._number << 32 | self._made).to_bytes(8, "big"), "text/plain")
        bucket, key, upload_id = self._random.choice(self._uploads)
        listed = self._listed.get(upload_id)
        choice = self._random.random()
        if choice < 0.45:
            refs, stored = self._stored(self._random.randint(1, 2))
            part = Part(CHUNK_BYTES * len(refs), b"m" * 16, refs, SCHEME)
            self._made += 1
            etag = f"part-{self._number}-{self._made}"
            bucket_id = self._bucket_ids.get(bucket, 1)
            number = self._random.randint(1, 4)
            return PutPart(bucket, bucket_id, key, upload_id, number, etag, part, stored)
        if choice < 0.7 or listed is None or not listed.parts:
            return ListParts(bucket, key, upload_id, limit=self._random.choice((2, 10)))
        if choice < 0.92:
            numbers = tuple(head.number for head in listed.parts)
            self._made += 1
            generation = listed.upload.generation
            etag = f"upload-{self._number}-{self._made}"
            return CompleteUpload(bucket, key, upload_id, generation, numbers, etag)
        return AbortUpload(bucket, key, upload_id)

    def _dereference(self) -> Command:
        return Dereference(self._random.choice((1, 3, 100)))

    def _condemn(self) -> Command:
        return Condemn(max(0, self._revision - self._random.choice((0, 5, 50))), self._random.choice((1, 10)))

    def _bucket(self) -> Command:
        name = self._random.choice(BUCKETS)
        return DeleteBucket(name) if self._random.random() < 0.3 else CreateBucket(name, "owner", SCHEME)

    def _get(self) -> Query:
        return GetObject(*self._place(), with_holders=self._random.random() < 0.5)

    def _get_counter(self) -> Query:
        return GetObject(self._random.choice(BUCKETS), self._random.choice(COUNTERS))

    def _list(self) -> Query:
        bucket = self._random.choice(BUCKETS)
        prefix, delimiter = self._random.choice((("", ""), ("", "/"), ("d/", ""), ("d/", "/")))
        after = self._after.pop(bucket, "")
        return ListObjects(bucket, prefix, delimiter, after, limit=self._random.choice((2, 5, 1000)))

    def _get_bucket(self) -> Query:
        return GetBucket(self._random.choice(BUCKETS))

    def _get_holders(self) -> Query:
        return GetHolders(SCHEME, tuple(self._random.sample(CHUNKS, 3)))

    def _get_space(self) -> Query:
        return GetSpace()

    def _list_buckets(self) -> Query:
        return ListBuckets()

    # ---- what it learns

    def learn(self, asked: Asked, outcome: object) -> Asked | None:
        """The end of a call; what to ask again under the same key, if it may have happened."""
        if isinstance(outcome, OutcomeUnknown):
            if asked.command is not None and self._random.random() < 0.6:
                return asked
            return None
        match outcome:
            case BucketFound(bucket) | BucketDone(bucket):
                self._bucket_ids[bucket.name] = bucket.bucket_id
            case BucketsFound(buckets):
                self._bucket_ids.update({bucket.name: bucket.bucket_id for bucket in buckets})
            case ObjectFound(bucket, version):
                assert isinstance(asked.query, GetObject)
                place = bucket.name, asked.query.key
                self._etags[place] = version.etag
                if isinstance(version.body, Inline) and version.body.data[:1].isdigit():
                    self._counts[place] = int(version.body.data.partition(b" ")[0].partition(b"-")[0])
            case ObjectsFound(next_after=after, bucket=found) if found is not None and after is not None:
                self._after[found.name] = after
            case UploadDone(upload):
                assert isinstance(asked.command, CreateUpload)
                self._uploads.append((asked.command.bucket, asked.command.key, upload.upload_id))
            case PartsListed():
                self._listed[outcome.upload.upload_id] = outcome
            case SpaceFound(space):
                self._revision = space.revision
            case _:
                self._learn_less(asked)
        return None

    def _learn_less(self, asked: Asked) -> None:
        """Something is done, or not there."""
        match asked.query or asked.command:
            case GetObject(bucket, key):
                self._etags[bucket, key] = None
            case CompleteUpload(_, _, upload_id) | AbortUpload(_, _, upload_id) | ListParts(_, _, upload_id):
                if self._random.random() < 0.7:  # else it is done again
                    self._uploads = [upload for upload in self._uploads if upload[2] != upload_id]
            case _:
                pass


def _is_query(asked: Command | Query) -> TypeIs[Query]:
    return isinstance(asked, _QUERIES)


_QUERIES = (GetObject, ListParts, ListObjects, GetBucket, GetHolders, GetSpace, ListBuckets)

_KINDS: list[tuple[int, Callable[[Workload], Command | Query]]] = [
    (14, Workload._put),
    (5, Workload._put_if_absent),
    (5, Workload._put_if_match),
    (10, Workload._count_up),
    (9, Workload._put_chunks),
    (6, Workload._delete),
    (18, Workload._upload),
    (5, Workload._dereference),
    (2, Workload._condemn),
    (2, Workload._bucket),
    (14, Workload._get),
    (3, Workload._get_counter),
    (8, Workload._list),
    (3, Workload._get_bucket),
    (3, Workload._get_holders),
    (5, Workload._get_space),
    (1, Workload._list_buckets),
]
_WEIGHTS = [weight for weight, _ in _KINDS]

_READ_KINDS: list[tuple[int, Callable[[Workload], Command | Query]]] = [
    (5, Workload._get_space),
    (2, Workload._get),
    (2, Workload._get_counter),
    (2, Workload._list),
    (1, Workload._get_holders),
]
_READ_WEIGHTS = [weight for weight, _ in _READ_KINDS]
