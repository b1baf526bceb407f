"""The state machine against a plain model of objects, references and disks, in any order of commands.

The model has daemons too: a disk holds a chunk since the highest `seen` it was given, and deletes it only for a
horizon above that. Uploads wait between their acknowledgements and their commit for as long as they like, collection
runs between, and between a daemon's deletion and a steward's word of it anything may happen. Stewards replace each
other, and those that were replaced go on. What must hold throughout: the machine answers as the model does, counters
are exact, a chunk that is referenced is on every disk that its row names, and no disk is taken out of its row.
"""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, precondition, rule

from metaraft.commands import (
    Ack,
    AddHolders,
    Command,
    Condemn,
    Condition,
    CopyObject,
    CreateBucket,
    DeleteBucket,
    DeleteObject,
    Dereference,
    DropHolder,
    RegisterDisk,
    StoredChunk,
    TakeStewardship,
)
from metaraft.model import STEWARD_LEASE_MS, Chunk, Copies, Disk, Usage
from metaraft.queries import (
    GetUsage,
    ListObjects,
    ObjectsFound,
    UsageFound,
)
from metaraft.results import (
    BucketDone,
    Condemned,
    Dereferenced,
    Done,
    Failed,
    ObjectDone,
    Result,
    StewardDone,
)
from metaraft.rows import Kind
from tests.metaraft.metadata import COPIES, Metadata, chunk_id, disk_id, envelope, etag, put, put_chunks

BUCKETS = ("a", "b")
KEYS = ("k", "l")
CHUNKS = ("u", "v")
DISKS = (1, 2, 3, 4)
SCHEMES = {"a": COPIES, "b": Copies(2)}


@dataclass
class Object:
    """What a key stands for: bytes of its own, or chunks under a scheme."""

    etag: str
    size: int
    owner: str
    chunks: tuple[str, ...] = ()
    scheme: Copies = COPIES

    def references(self) -> Counter[tuple[Copies, str]]:
        return Counter((self.scheme, name) for name in self.chunks)


@dataclass
class ModelBucket:
    """A bucket of the model."""

    bucket_id: int
    objects: dict[str, Object] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """Chunks that are on disks, and not referenced yet."""

    bucket: str
    key: str
    names: tuple[str, ...]
    acks: tuple[Ack, ...]


class World(RuleBasedStateMachine):
    """Machine and model side by side."""

    uploads = Bundle("uploads")
    deletes = Bundle("deletes")
    words = Bundle("words")
    stewards = Bundle("stewards")

    def __init__(self) -> None:
        super().__init__()
        self.metadata = self.new_metadata()
        self.buckets: dict[str, ModelBucket] = {}
        self.made = 0
        self.trash: Counter[tuple[Copies, str]] = Counter()
        self.disks: dict[tuple[int, str], int] = {}  # (disk, chunk) -> highest seen
        self.horizon = 0
        self.steward = (0, "")  # the present epoch, and its holder
        self.renewed_ms = 0
        self.sent: list[tuple[bytes, Command, Result]] = []
        for number in DISKS[:3]:
            self.do(RegisterDisk(Disk(disk_id(number), "n", "z", 1)))
        for name in BUCKETS:
            self.create_bucket(name)

    def new_metadata(self) -> Metadata:
        return Metadata()

    def do(self, command: Command) -> Result:
        before = self.metadata.machine.revision()
        key = self.metadata.next_key()
        result = self.metadata.do(command, key=key)
        assert self.metadata.machine.revision() - before in (0, 1), "a mutation has one revision"
        if isinstance(result, Failed):
            assert self.metadata.machine.revision() == before, "a refusal is no mutation"
        if not (isinstance(result, Failed) and result.kind == "unavailable"):
            self.sent.append((key, command, result))
        return result

    # ---- rules

    def create_bucket(self, name: str) -> None:
        result = self.do(CreateBucket(name, "o", SCHEMES[name]))
        if name in self.buckets:
            assert isinstance(result, Failed)
        else:
            self.made += 1
            assert isinstance(result, BucketDone)
            assert result.bucket.bucket_id == self.made
            self.buckets[name] = ModelBucket(self.made)

    @rule(name=st.sampled_from(BUCKETS))
    def remake_bucket(self, name: str) -> None:
        self.create_bucket(name)
        result = self.do(DeleteBucket(name))
        if name in self.buckets and not self.buckets[name].objects:
            assert isinstance(result, Done)
            del self.buckets[name]
            self.create_bucket(name)
        else:
            assert isinstance(result, Failed)

    def finish(self, bucket: str, key: str, new: Object | None, result: Result) -> None:
        """Check a result and follow it; `new` None is a delete."""
        assert isinstance(result, ObjectDone), result
        objects = self.buckets[bucket].objects
        old = objects.pop(key, None)
        assert result.existed == (old is not None)
        if old is not None:
            self.trash += old.references()
        if new is not None:
            assert result.etag == new.etag
            objects[key] = new

    def allowed(self, bucket: str, key: str, condition: Condition) -> bool:
        present = self.buckets[bucket].objects.get(key)
        if condition.if_match is not None and (
            present is None or not {"*", present.etag}.intersection(condition.if_match)
        ):
            return False
        return condition.if_none_match is None or present is None

    conditions = st.sampled_from([Condition()] * 4 + [Condition(if_match=("*",)), Condition(if_none_match=("*",))])

    @rule(
        bucket=st.sampled_from(BUCKETS),
        key=st.sampled_from(KEYS),
        data=st.binary(max_size=3),
        owner=st.sampled_from(["", "me"]),
        condition=conditions,
    )
    def put_inline(self, bucket: str, key: str, data: bytes, owner: str, condition: Condition) -> None:
        bucket_id = self.buckets[bucket].bucket_id if bucket in self.buckets else 1
        result = self.do(put(key, data, bucket=bucket, bucket_id=bucket_id, owner=owner, condition=condition))
        if bucket not in self.buckets or not self.allowed(bucket, key, condition):
            assert isinstance(result, Failed)
        else:
            self.finish(bucket, key, Object(etag(data), len(data), owner), result)

    @rule(bucket=st.sampled_from(BUCKETS), key=st.sampled_from(KEYS), condition=conditions)
    def delete(self, bucket: str, key: str, condition: Condition) -> None:
        result = self.do(DeleteObject(bucket, key, condition))
        if bucket not in self.buckets or not self.allowed(bucket, key, condition):
            assert isinstance(result, Failed)
        else:
            self.finish(bucket, key, None, result)

    @rule(
        source=st.tuples(st.sampled_from(BUCKETS), st.sampled_from(KEYS)),
        into=st.tuples(st.sampled_from(BUCKETS), st.sampled_from(KEYS)),
        condition=conditions,
    )
    def copy(self, source: tuple[str, str], into: tuple[str, str], condition: Condition) -> None:
        result = self.do(CopyObject(*source, *into, owner="copier", condition=condition))
        there = source[0] in self.buckets and source[1] in self.buckets[source[0]].objects
        if not there or into[0] not in self.buckets or not self.allowed(*into, condition):
            assert isinstance(result, Failed)
            return
        found = self.buckets[source[0]].objects[source[1]]
        copied = Object(found.etag, found.size, "copier", found.chunks, found.scheme)
        self.finish(*into, copied, result)

    @rule(
        target=uploads,
        bucket=st.sampled_from(BUCKETS),
        key=st.sampled_from(KEYS),
        names=st.lists(st.sampled_from(CHUNKS), min_size=1, max_size=3),
        disks=st.lists(st.sampled_from(DISKS), max_size=4, unique=True),
    )
    def store(self, bucket: str, key: str, names: list[str], disks: list[int]) -> Upload:
        seen = self.metadata.machine.revision()
        for disk in disks:
            for name in names:
                self.disks[disk, name] = max(seen, self.disks.get((disk, name), 0))
        return Upload(bucket, key, tuple(names), tuple(Ack(disk_id(disk), seen) for disk in disks))

    @rule(upload=uploads)
    def commit(self, upload: Upload) -> None:
        bucket = self.buckets.get(upload.bucket)
        scheme = SCHEMES[upload.bucket]
        command = put_chunks(
            upload.key,
            upload.names,
            upload.acks,
            bucket=upload.bucket,
            bucket_id=bucket.bucket_id if bucket else 1,
            scheme=scheme,
        )
        result = self.do(command)
        counted = {ack.disk_id for ack in upload.acks} & {disk_id(disk) for disk in DISKS[:3]}
        fresh = all(ack.seen >= self.horizon for ack in upload.acks)
        if bucket is None:
            assert isinstance(result, Failed)
        elif len(counted) < scheme.write_quorum or not fresh:
            assert isinstance(result, Failed)
            assert result.code == "PutAgain"
        else:
            new = Object(command.etag, command.size, "", upload.names, scheme)
            self.finish(upload.bucket, upload.key, new, result)

    @rule(upload=uploads)
    def report_late_holders(self, upload: Upload) -> None:
        chunks = tuple(StoredChunk(chunk_id(name), 100, upload.acks) for name in upload.names)
        assert isinstance(self.do(AddHolders(SCHEMES[upload.bucket], chunks)), Done)

    @rule(target=stewards, holder=st.sampled_from(["s", "t"]), later_ms=st.sampled_from([1, 4_000, 10_000]))
    def take_stewardship(self, holder: str, later_ms: int) -> tuple[int, str] | MultipleResults[tuple[int, str]]:
        self.metadata.now_ms += later_ms
        result = self.do(TakeStewardship(holder, 0))
        if self.steward[0] and self.metadata.now_ms - self.renewed_ms < STEWARD_LEASE_MS:
            assert isinstance(result, Failed)
            return multiple()
        self.steward = (self.steward[0] + 1, holder)
        self.renewed_ms = self.metadata.now_ms
        assert result == StewardDone(self.steward[0])
        return self.steward

    @rule(steward=stewards)
    def renew(self, steward: tuple[int, str]) -> None:
        result = self.do(TakeStewardship(steward[1], steward[0]))
        if steward == self.steward:
            self.renewed_ms = self.metadata.now_ms
            assert result == StewardDone(steward[0])
        else:
            assert isinstance(result, Failed)

    @rule(steward=stewards, limit=st.integers(1, 4), back=st.integers(0, 3))
    def work_as(self, steward: tuple[int, str], limit: int, back: int) -> None:
        if steward == self.steward:
            self.dereference(limit, epoch=steward[0])
            return
        horizon = max(0, self.metadata.machine.revision() - back)
        for command in (Dereference(limit, steward[0]), Condemn(horizon, limit, epoch=steward[0])):
            result = self.do(command)
            assert isinstance(result, Failed)
            assert result.code == "StaleSteward"

    @rule(limit=st.integers(1, 4))
    def dereference(self, limit: int, epoch: int = 0) -> None:
        total = self.trash.total()
        result = self.do(Dereference(limit, epoch))
        assert result == Dereferenced(min(limit, total), more=total > limit)
        self.trash = self.trash_rows()
        assert self.trash.total() == total - min(limit, total)

    placed = st.sampled_from([[1, 2], [2, 3], [1, 3], [1, 2, 3], [1, 2, 4]])

    @rule(bucket=st.sampled_from(BUCKETS), key=st.sampled_from(KEYS), name=st.sampled_from(CHUNKS), disks=placed)
    def upload_at_once(self, bucket: str, key: str, name: str, disks: list[int]) -> None:
        self.commit(self.store(bucket, key, [name], disks))

    @rule(target=words, bucket=st.sampled_from(BUCKETS), back=st.integers(0, 2), report=st.booleans())
    def give_up(self, bucket: str, back: int, report: bool) -> MultipleResults[DropHolder]:
        """Delete all of a bucket and collect what nothing refers to: the short way to a collision."""
        for key in sorted(self.buckets[bucket].objects if bucket in self.buckets else ()):
            self.delete(bucket, key, Condition())
        if self.trash:
            self.dereference(1000)
        self.do(RegisterDisk(Disk(disk_id(1), "n", "z", self.metadata.machine.revision())))
        words = [word for delete in self.condemn(back, 1000).values for word in self.collect(delete).values]
        for word in words if report else ():
            self.tell(word)
        return multiple(*words)

    @rule(target=deletes, back=st.integers(0, 3), limit=st.integers(1, 3))
    def condemn(self, back: int, limit: int) -> MultipleResults[DropHolder]:
        horizon = max(0, self.metadata.machine.revision() - back)
        result = self.do(Condemn(horizon, limit))
        assert isinstance(result, Condemned)
        self.horizon = max(self.horizon, horizon)
        assert result.horizon == self.horizon
        found = [(chunk, disk) for chunk in result.chunks for disk in chunk.holders]
        return multiple(*[DropHolder(chunk.scheme, chunk.chunk_id, disk, self.horizon) for chunk, disk in found])

    @rule(target=words, delete=deletes)
    def collect(self, delete: DropHolder) -> MultipleResults[DropHolder]:
        """A daemon is told to delete; the steward has its word for it, and may die before it says so."""
        name = next(name for name in CHUNKS if chunk_id(name) == delete.chunk_id)
        assert delete.horizon is not None
        if self.disks.get((delete.disk_id[0], name), -1) >= delete.horizon:
            return multiple()
        self.disks.pop((delete.disk_id[0], name), None)
        return multiple(delete)

    @rule(word=words)
    def tell(self, word: DropHolder) -> None:
        """However late it comes, what is referenced, or may be again, loses no disk by it."""
        before = self.chunk_rows()
        assert isinstance(self.do(word), Done)
        after = self.chunk_rows()
        assert {place: row for place, row in before.items() if not row.condemned} == {
            place: row for place, row in after.items() if not row.condemned
        }

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key, command, result = data.draw(st.sampled_from(self.sent))
        limit = self.metadata.now_ms + 5000
        before = self.metadata.facts()
        assert self.metadata.enter([envelope(command, key, limit)]) == [result]
        assert self.metadata.facts() == before

    @rule()
    def restart(self) -> None:
        self.metadata.restart()

    # ---- what must hold

    def chunk_rows(self) -> dict[tuple[Copies, str], Chunk]:
        found = {}
        for key, value in self.metadata.rows.items():
            if key[0] == Kind.CHUNK:
                name = next(name for name in CHUNKS if chunk_id(name) == key[8:])
                found[Copies(key[6]), name] = msgspec.msgpack.decode(value, type=Chunk)
        return found

    def trash_rows(self) -> Counter[tuple[Copies, str]]:
        total: Counter[tuple[Copies, str]] = Counter()
        for key, value in self.metadata.rows.items():
            if key[0] == Kind.TRASH:
                for part in msgspec.msgpack.decode(value)[3]:
                    for ref in part[2]:
                        name = next(name for name in CHUNKS if chunk_id(name) == ref[0])
                        total[Copies(part[3][1]), name] += 1
        return total

    @invariant()
    def listings_and_usage_are_the_models(self) -> None:
        owners: Counter[str] = Counter()
        for name, bucket in self.buckets.items():
            listed = self.metadata.ask(ListObjects(name))
            assert isinstance(listed, ObjectsFound)
            shown = {one.key: (one.etag, one.size, one.owner) for one in listed.objects}
            assert shown == {key: (one.etag, one.size, one.owner) for key, one in bucket.objects.items()}
            total = sum(one.size for one in bucket.objects.values())
            assert self.metadata.ask(GetUsage(name)) == UsageFound(Usage(total, len(bucket.objects)))
            for one in bucket.objects.values():
                owners[one.owner] += one.size
        kept = {
            key[5:].decode(): msgspec.msgpack.decode(value, type=Usage).bytes
            for key, value in self.metadata.rows.items()
            if key[0] == Kind.OWNER_USAGE
        }
        assert +Counter(kept) == +owners

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.trash == self.trash_rows()
        expected = Counter(self.trash)
        for bucket in self.buckets.values():
            for one in bucket.objects.values():
                expected += one.references()
        rows = self.chunk_rows()
        assert {place: row.count for place, row in rows.items() if row.count} == dict(expected)
        zero = sorted(key[5:] for key, _ in self.metadata.rows.items() if key[0] == Kind.ZERO)
        assert len(zero) == sum(row.count == 0 for row in rows.values())
        for row in rows.values():
            assert (row.count == 0) == (row.zero_since is not None)
            assert not (row.condemned and row.count)

    @invariant()
    def a_referenced_chunk_is_on_every_disk_its_row_names(self) -> None:
        for (scheme, name), row in self.chunk_rows().items():
            assert len(set(row.holders)) == len(row.holders) >= 1
            if row.count:
                missing = [disk[0] for disk in row.holders if (disk[0], name) not in self.disks]
                assert not missing, f"{name} under {scheme} is referenced and not on {missing}"


World.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestWorld = World.TestCase
