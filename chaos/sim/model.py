"""The metadata as plain dictionaries: what each command comes to. The judge's own opinion; `model_answers` queries it.

It knows what the workload uses: buckets without versions, objects that lie in their row, in chunks or in the parts of
an upload, conditions by ETag, reference counts and the horizon. Refusals are compared by their code alone.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from metaraft.commands import (
    AbortUpload,
    Ack,
    CompleteUpload,
    Condemn,
    Condition,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    Dereference,
    Envelope,
    PutObject,
    PutPart,
    RegisterDisk,
    StoredChunk,
    Touch,
)
from metaraft.model import (
    Assembled,
    Bucket,
    Chunk,
    Copies,
    Disk,
    PartHead,
    Parts,
    Upload,
    Version,
)
from metaraft.results import (
    BucketDone,
    Condemned,
    CondemnedChunk,
    Dereferenced,
    Done,
    Failed,
    ObjectDone,
    PartDone,
    Result,
    UploadDone,
)
from metaraft.rows import scheme_bytes

SCHEME = Copies(3)
"""The one scheme of all buckets."""

RESULT_KEPT_MS = MINUTE_MS = 60_000
"""How long past its `not_after` a result is kept, at least: what is kept of one entry goes together, in the minute
after that of the last, and at most `SWEPT_MAX` entries' results go with one entry."""

SWEPT_MAX = 4

CHUNK_BYTES = 100
"""Size of all chunks."""

ROWS_MAX = 12
"""Rows that a listing looks at: `limits.scan_rows_max` of the simulated members."""


type PartKept = tuple[PartHead, tuple[bytes, ...]]
"""What is known of a part, and its chunks."""


class _Begun(NamedTuple):
    """An upload and its parts, by number."""

    bucket: str
    upload: Upload
    parts: dict[int, PartKept]


class _Completed(NamedTuple):
    """An upload whose object is there: with which ETag, what was answered, and its parts in order."""

    etag: str
    done: ObjectDone
    parts: tuple[PartKept, ...]


def refused(code: str) -> Failed:
    """A refusal; what it says besides its code is not compared."""
    return Failed("refused", code, "")


def _again(code: str) -> Failed:
    return Failed("unavailable", code, "")


def same(one: object, other: object) -> bool:
    """Whether two results or answers say the same."""
    if isinstance(one, Failed) and isinstance(other, Failed):
        return (one.kind, one.code) == (other.kind, other.code)
    return one == other


class Model:
    """The metadata at one index."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.revision = 0
        self.horizon = 0
        self.bucket_ids = 0
        self.buckets: dict[str, Bucket] = {}
        self.objects: dict[tuple[str, str], Version] = {}
        self.uploads: dict[bytes, _Begun] = {}
        self.completed: dict[bytes, _Completed] = {}
        self.chunks: dict[bytes, Chunk] = {}
        self.disks: dict[bytes, Disk] = {}
        self.trash: tuple[bytes, ...] = ()
        self.known: dict[bytes, Result] = {}
        self._kept: list[tuple[int, int, list[bytes]]] = []
        self._entries = 0
        self._new: list[bytes] = []
        self._until_ms = 0

    def copy(self) -> "Model":
        """The same metadata, apart from this. What is known of commands goes on in the copy alone."""
        other = Model.__new__(Model)
        other.__dict__.update(self.__dict__)
        other.buckets = dict(self.buckets)
        other.objects = dict(self.objects)
        other.uploads = dict(self.uploads)
        other.completed = dict(self.completed)
        other.chunks = dict(self.chunks)
        other.disks = dict(self.disks)
        return other

    # ---- commands

    def begin(self, state_time_ms: int) -> None:
        """An entry begins."""
        self.time_ms = max(self.time_ms, state_time_ms)
        for _ in range(SWEPT_MAX):
            if self._kept and self._kept[0][0] <= self.time_ms // MINUTE_MS:
                for key in self._kept.pop(0)[2]:
                    del self.known[key]
        self._new, self._until_ms = [], 0

    def end(self) -> None:
        """An entry ends."""
        if self._new:
            self._entries += 1
            insort(self._kept, (-(-(self._until_ms + RESULT_KEPT_MS) // MINUTE_MS), self._entries, self._new))

    def obey(self, envelope: Envelope) -> Result:
        """What a command comes to; a second time it comes to the same, as long as its result is kept."""
        known = self.known.get(envelope.key)
        if known is not None:
            return known
        if self.time_ms > envelope.not_after_ms:
            return refused("TooLate")
        command = envelope.command
        result: Result = _OBEY[type(command)](self, command)
        if not (isinstance(result, Failed) and result.kind == "unavailable"):
            self.known[envelope.key] = result
            self._new.append(envelope.key)
            self._until_ms = max(self._until_ms, envelope.not_after_ms)
        return result

    def _revise(self) -> int:
        self.revision += 1
        return self.revision

    def touch(self, _command: Touch) -> Result:
        """Nothing changes."""
        return Done(self.revision)

    def register_disk(self, command: RegisterDisk) -> Result:
        """A disk, which stays as it was first."""
        if command.disk.disk_id in self.disks:
            return Done(self.revision)
        self.disks[command.disk.disk_id] = command.disk
        return Done(self._revise())

    def create_bucket(self, command: CreateBucket) -> Result:
        """A bucket with an id that no other one had."""
        if command.name in self.buckets:
            return refused("BucketAlreadyExists")
        self._revise()
        self.bucket_ids += 1
        bucket = Bucket(command.name, self.bucket_ids, 1, self.time_ms, command.owner, command.scheme)
        self.buckets[command.name] = bucket
        return BucketDone(bucket)

    def delete_bucket(self, command: DeleteBucket) -> Result:
        """An empty bucket goes."""
        name = command.name
        if name not in self.buckets:
            return refused("NoSuchBucket")
        if any(bucket == name for bucket, _ in self.objects) or any(up.bucket == name for up in self.uploads.values()):
            return refused("BucketNotEmpty")
        del self.buckets[name]
        return Done(self._revise())

    def put_object(self, command: PutObject) -> Result:
        """A new version in place of the one there was."""
        bucket = self.buckets.get(command.bucket)
        if bucket is None or bucket.bucket_id != command.bucket_id:
            return refused("NoSuchBucket")
        if self._unmet(command.bucket, command.key, command.condition):
            return refused("PreconditionFailed")
        if isinstance(command.body, Parts):
            names = [ref.chunk_id for part in command.body.parts for ref in part.chunks]
            if not self._refer(names, command.chunks):
                return _again("PutAgain")
        version = Version(
            revision=self._revise(),
            created_ms=self.time_ms,
            size=command.size,
            etag=command.etag,
            content_type=command.content_type,
            body=command.body,
            owner=command.owner,
        )
        return self._replace(command.bucket, command.key, version)

    def _replace(self, bucket: str, key: str, version: Version, unlisted: tuple[bytes, ...] = ()) -> ObjectDone:
        before = self.objects.get((bucket, key))
        self.trash += self._given_up(before) + unlisted
        self.objects[bucket, key] = version
        return ObjectDone(version.revision, version.created_ms, version.etag, before is not None, size=version.size)

    def _given_up(self, version: Version | None) -> tuple[bytes, ...]:
        """The references of a version that goes, in the order in which they are taken down."""
        match None if version is None else version.body:
            case Parts(parts):
                return tuple(ref.chunk_id for part in parts for ref in part.chunks)
            case Assembled(upload_id):
                return names_of(self.completed.pop(upload_id).parts)
            case _:
                return ()

    def _unmet(self, bucket: str, key: str, condition: Condition) -> bool:
        version = self.objects.get((bucket, key))
        if condition.if_match is not None and (version is None or version.etag not in condition.if_match):
            return True
        return condition.if_none_match is not None and version is not None

    def _refer(self, names: Iterable[bytes], stored: Iterable[StoredChunk]) -> bool:
        """Count references to chunks that this request has put on enough disks, or none of them."""
        fresh: dict[bytes, tuple[int, list[bytes]]] = {}
        for chunk in stored:
            disks = self._acknowledging(chunk.acks)
            if len(disks) < SCHEME.write_quorum:
                return False
            fresh[chunk.chunk_id] = chunk.size, disks
        for name in names:
            size, disks = fresh[name]
            before = self.chunks.get(name)
            kept = () if before is None or before.condemned else before.holders
            holders = kept + tuple(disk for disk in disks if disk not in kept)
            self.chunks[name] = Chunk(size, 1 if before is None else before.count + 1, None, holders)
        return True

    def _acknowledging(self, acks: Iterable[Ack]) -> list[bytes]:
        if any(ack.seen < self.horizon for ack in acks):
            return []
        return [ack.disk_id for ack in acks if ack.disk_id in self.disks]

    def delete_object(self, command: DeleteObject) -> Result:
        """A version goes; what is missing is no error."""
        if command.bucket not in self.buckets:
            return refused("NoSuchBucket")
        if self._unmet(command.bucket, command.key, command.condition):
            return refused("PreconditionFailed")
        before = self.objects.pop((command.bucket, command.key), None)
        if before is None:
            return ObjectDone(self.revision, self.time_ms, "", existed=False)
        self.trash += self._given_up(before)
        return ObjectDone(self._revise(), self.time_ms, "", existed=True)

    def create_upload(self, command: CreateUpload) -> Result:
        """An upload without parts."""
        if command.bucket not in self.buckets:
            return refused("NoSuchBucket")
        upload_id = self._revise().to_bytes(8, "big") + command.nonce
        upload = Upload(upload_id, command.key, self.time_ms, 0, command.owner, command.content_type)
        self.uploads[upload_id] = _Begun(command.bucket, upload, {})
        return UploadDone(upload)

    def begun(self, bucket: str, key: str, upload_id: bytes) -> _Begun | None:
        """An upload that is under way at that place."""
        begun = self.uploads.get(upload_id)
        return begun if begun is not None and (begun.bucket, begun.upload.key) == (bucket, key) else None

    def put_part(self, command: PutPart) -> Result:
        """A part, in place of the one of that number."""
        bucket = self.buckets.get(command.bucket)
        if bucket is None or bucket.bucket_id != command.bucket_id:
            return refused("NoSuchBucket")
        begun = self.begun(command.bucket, command.key, command.upload_id)
        if begun is None:
            return refused("NoSuchUpload")
        names = tuple(ref.chunk_id for ref in command.part.chunks)
        if not self._refer(names, command.chunks):
            return _again("PutAgain")
        self._revise()
        replaced = begun.parts.get(command.number)
        self.trash += () if replaced is None else replaced[1]
        part, number = command.part, command.number
        head = PartHead(number, self.time_ms, command.etag, part.size, part.md5, part.scheme, len(names))
        upload = msgspec.structs.replace(begun.upload, generation=begun.upload.generation + 1)
        self.uploads[command.upload_id] = _Begun(begun.bucket, upload, {**begun.parts, number: (head, names)})
        return PartDone(number, self.time_ms, command.etag)

    def complete_upload(self, command: CompleteUpload) -> Result:
        """The object of an upload, once."""
        if command.bucket not in self.buckets:
            return refused("NoSuchBucket")
        begun = self.begun(command.bucket, command.key, command.upload_id)
        if begun is None:
            completed = self.completed.get(command.upload_id)
            again = completed is not None and completed.etag == command.etag
            return completed.done if completed is not None and again else refused("NoSuchUpload")
        if command.generation != begun.upload.generation:
            return _again("UploadChanged")
        if any(number not in begun.parts for number in command.parts):
            return refused("InvalidPart")
        if self._unmet(command.bucket, command.key, command.condition):
            return refused("PreconditionFailed")
        sizes = tuple((number, begun.parts[number][0].size) for number in command.parts)
        version = Version(
            revision=self._revise(),
            created_ms=self.time_ms,
            size=sum(size for _, size in sizes),
            etag=command.etag,
            content_type=begun.upload.content_type,
            body=Assembled(command.upload_id, sizes),
            owner=begun.upload.owner,
        )
        del self.uploads[command.upload_id]
        unlisted = (begun.parts[number] for number in sorted(begun.parts) if number not in command.parts)
        done = self._replace(command.bucket, command.key, version, names_of(unlisted))
        parts = tuple(begun.parts[number] for number in command.parts)
        self.completed[command.upload_id] = _Completed(command.etag, done, parts)
        return done

    def abort_upload(self, command: AbortUpload) -> Result:
        """An upload goes with its parts."""
        if command.bucket not in self.buckets:
            return refused("NoSuchBucket")
        begun = self.begun(command.bucket, command.key, command.upload_id)
        if begun is None:
            return refused("NoSuchUpload")
        del self.uploads[command.upload_id]
        self.trash += names_of(begun.parts[number] for number in sorted(begun.parts))
        return Done(self._revise())

    def dereference(self, command: Dereference) -> Result:
        """References in the trash are taken down, the oldest first."""
        if not self.trash:
            return Dereferenced(0, more=False)
        revision = self._revise()
        down, self.trash = self.trash[: command.limit], self.trash[command.limit :]
        for name in down:
            before = self.chunks[name]
            zero_since = revision if before.count == 1 else None
            self.chunks[name] = msgspec.structs.replace(before, count=before.count - 1, zero_since=zero_since)
        return Dereferenced(len(down), more=bool(self.trash))

    def condemn(self, command: Condemn) -> Result:
        """Chunks that have had no reference since before the horizon are to be deleted."""
        if command.horizon > self.revision:
            return refused("HorizonTooNew")
        zero = [(chunk.zero_since, name) for name, chunk in self.chunks.items() if chunk.zero_since is not None]
        due = sorted(each for each in zero if each[0] < command.horizon)
        found = due[: command.limit]
        if found or command.horizon > self.horizon:
            self.horizon = max(self.horizon, command.horizon)
            self._revise()
        condemned = []
        for _, name in found:
            chunk = self.chunks[name]
            self.chunks[name] = msgspec.structs.replace(chunk, condemned=True)
            condemned.append(CondemnedChunk(SCHEME, name, chunk.holders))
        cursor = None
        if len(due) > command.limit:
            zero_since, name = found[-1]
            cursor = zero_since.to_bytes(8, "big") + scheme_bytes(SCHEME) + name
        return Condemned(self.horizon, tuple(condemned), cursor)


def names_of(parts: Iterable[PartKept]) -> tuple[bytes, ...]:
    """The chunks of parts, in order."""
    return tuple(name for _, names in parts for name in names)


_OBEY: dict[type[Any], Callable[[Model, Any], Result]] = {
    Touch: Model.touch,
    RegisterDisk: Model.register_disk,
    CreateBucket: Model.create_bucket,
    DeleteBucket: Model.delete_bucket,
    PutObject: Model.put_object,
    DeleteObject: Model.delete_object,
    CreateUpload: Model.create_upload,
    PutPart: Model.put_part,
    CompleteUpload: Model.complete_upload,
    AbortUpload: Model.abort_upload,
    Dereference: Model.dereference,
    Condemn: Model.condemn,
}
