"""Versions and uploads against a plain model, in any order of commands.

The model keeps each key's history as a list, each part as the bytes that it stands for, and counts by going through
all of it. What must hold throughout: the machine answers as the model does; versions, null versions, usage and uploads
are what the model has; references and shared parts are counted exactly; no row of a part is left behind; and a chunk
that is referred to is never condemned.
"""

from collections import Counter
from dataclasses import replace

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from metaraft.commands import (
    AbortUpload,
    Command,
    Condemn,
    Condition,
    CopyObject,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    Dereference,
    DropHolder,
    RegisterDisk,
    SetTags,
    SetVersioning,
)
from metaraft.model import (
    Assembled,
    Copies,
    DeleteMarker,
    Disk,
    Upload,
    Usage,
    Versioning,
    Which,
)
from metaraft.results import (
    Condemned,
    Dereferenced,
    Done,
    Failed,
    ObjectDone,
    PartDone,
    Result,
    UploadDone,
)
from metaraft.rows import Assembly, Kind, scheme_bytes
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id, disk_id, envelope, etag, put, put_chunks
from tests.metaraft.versions import (
    NONCE,
    chunk_rows,
    complete_command,
    copy_command,
    decode,
    given_up,
    null_row,
    part_command,
    part_rows,
    trash_rows,
    trashed,
    upload_row,
    usage,
    versions,
)
from tests.metaraft.versions_model import Counts, Made, Run, Shared, UnderWay, cut, whole_chunks

BUCKETS = {"a": 1, "b": 2}
SCHEMES = {"a": COPIES, "b": Copies(2)}
KEYS = ("k", "l")
NAMES = {chunk_id(name): name for name in ("u", "v", "w")}

type Place = tuple[str, str]

places = st.tuples(st.sampled_from(list(BUCKETS)), st.sampled_from(KEYS))
names = st.lists(st.sampled_from(list(NAMES.values())), max_size=3)
conditions = st.sampled_from([Condition()] * 4 + [Condition(if_match=("*",)), Condition(if_none_match=("*",))])
numbers = st.integers(1, 3)
rarely = st.integers(0, 5).map(lambda drawn: drawn == 5)


class World(RuleBasedStateMachine):
    """Machine and model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = self.new_metadata()
        self.versioning: dict[str, Versioning] = dict.fromkeys(BUCKETS, "off")
        self.history: dict[Place, list[Made]] = {(bucket, key): [] for bucket in BUCKETS for key in KEYS}
        self.begun: list[tuple[str, Upload]] = []
        self.under_way: dict[bytes, UnderWay] = {}
        self.shared: dict[bytes, Shared] = {}
        self.trash: Counts = Counter()
        self.sent: list[tuple[bytes, Command, Result]] = []
        for number in (1, 2, 3):
            self.do(RegisterDisk(Disk(disk_id(number), "n", "z", 1)))
        for name in BUCKETS:
            self.do(CreateBucket(name, "o", SCHEMES[name]))

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

    # ---- the model

    def current(self, place: Place) -> Made | None:
        history = self.history[place]
        return None if not history or history[0].marker else history[0]

    def allowed(self, place: Place, condition: Condition) -> bool:
        there = self.current(place) is not None
        return there if condition.if_match else not (condition.if_none_match and there)

    def draw_source(self, data: st.DataObject) -> tuple[Place, Made | None, Which | None]:
        """A key, the version meant and its name; None if there is none with bytes."""
        there = [(place, made) for place, history in self.history.items() for made in history]
        if not there and not data.draw(rarely):
            self.send_at_once(data.draw(places), {1: ["u", "v"], 2: ["w"]}, {1, 2})
            return self.draw_source(data)
        if not there or data.draw(rarely):
            place = data.draw(places)
            return place, self.current(place), None
        place, made = data.draw(st.sampled_from(there))
        if data.draw(rarely):
            return place, None, Which(1)
        return place, None if made.marker else made, Which(None if made.null else made.revision)

    def draw_upload(self, data: st.DataObject) -> tuple[str, Upload]:
        """A bucket and an upload in it, in most cases one that is under way."""
        live = [one for one in self.begun if one[1].upload_id in self.under_way]
        if not self.begun or (not live and not data.draw(rarely)):
            self.begin(data.draw(places))
            return self.begun[-1]
        return data.draw(st.sampled_from(self.begun if not live or data.draw(rarely) else live))

    def runs(self, made: Made) -> list[Run]:
        if made.upload_id is not None:
            return list(self.shared[made.upload_id].parts.values())
        return [] if made.run is None else [made.run]

    def parts_of(self, upload_id: bytes) -> dict[int, Run]:
        return (self.under_way.get(upload_id) or self.shared[upload_id]).parts

    def gone(self, made: Made) -> None:
        if made.run is not None:
            self.trash += made.run.counts()
        if made.upload_id is not None:
            self.shared[made.upload_id].count -= 1
            if not self.shared[made.upload_id].count:
                for run in self.shared.pop(made.upload_id).parts.values():
                    self.trash += run.counts()

    def added(self, place: Place, new: Made, result: Result) -> ObjectDone:
        """Check a result and follow it."""
        assert isinstance(result, ObjectDone), result
        versioning = self.versioning[place[0]]
        null = versioning != "enabled"
        assert result.existed == (self.current(place) is not None)
        assert (result.etag, result.size, result.null, result.versioning) == (new.etag, new.size, null, versioning)
        assert result.delete_marker == new.marker
        history = self.history[place]
        if null:
            for made in [made for made in history if made.null]:
                history.remove(made)
                self.gone(made)
        history.insert(0, replace(new, revision=result.revision, null=null))
        return result

    # ---- rules on objects

    @rule(bucket=st.sampled_from(list(BUCKETS)), versioning=st.sampled_from(["enabled", "enabled", "suspended"]))
    def set_versioning(self, bucket: str, versioning: Versioning) -> None:
        assert versioning != "off"
        assert isinstance(self.do(SetVersioning(bucket, versioning)), Done)
        self.versioning[bucket] = versioning

    @rule(place=places, names=names, owner=st.sampled_from(["", "me"]), condition=conditions)
    def put(self, place: Place, names: list[str], owner: str, condition: Condition) -> None:
        bucket, key = place
        seen = self.metadata.machine.revision()
        command = put(key, b"inline", bucket=bucket, bucket_id=BUCKETS[bucket])
        if names:
            acknowledged = acks(1, 2, 3, seen=seen)
            command = put_chunks(
                key, names, acknowledged, bucket=bucket, bucket_id=BUCKETS[bucket], scheme=SCHEMES[bucket]
            )
        result = self.do(msgspec.structs.replace(command, owner=owner, condition=condition, tags={"put": "1"}))
        if not self.allowed(place, condition):
            assert isinstance(result, Failed)
            return
        run = whole_chunks(SCHEMES[bucket], names) if names else None
        size = 100 * len(names) or len(b"inline")
        tag = command.etag if names else etag(b"inline")
        self.added(place, Made(0, False, tag, size, owner, {"put": "1"}, run), result)

    @rule(place=places, condition=conditions)
    def delete(self, place: Place, condition: Condition) -> None:
        result = self.do(DeleteObject(*place, condition, owner="deleter"))
        if not self.allowed(place, condition):
            assert isinstance(result, Failed)
        elif self.versioning[place[0]] != "off":
            self.added(place, Made(0, False, owner="deleter", marker=True), result)
        else:
            assert isinstance(result, ObjectDone)
            assert (result.existed, result.delete_marker) == (bool(self.history[place]), False)
            for made in self.history[place]:
                self.gone(made)
            self.history[place] = []

    @rule(place=places, which=st.integers(0, 3))
    def delete_version(self, place: Place, which: int) -> None:
        history = self.history[place]
        found = history[which] if which < len(history) else None
        name = Which(1) if found is None else Which(None if found.null else found.revision)
        result = self.do(DeleteObject(*place, which=name))
        assert isinstance(result, ObjectDone)
        if found is None:
            assert (result.existed, result.revision) == (False, self.metadata.machine.revision())
            return
        assert (result.existed, result.null, result.delete_marker) == (True, found.null, found.marker)
        history.remove(found)
        self.gone(found)

    @rule(data=st.data(), into=places, condition=conditions, stale=rarely, tags=st.booleans())
    def copy(self, data: st.DataObject, into: Place, condition: Condition, stale: bool, tags: bool) -> None:
        source, found, name = self.draw_source(data)
        command = CopyObject(
            *source,
            *into,
            owner="copier",
            condition=condition,
            source_which=name,
            source_revision=(found.revision if found else 0) + 1 if stale else None,
            replace_tags={"copied": "1"} if tags else None,
        )
        result = self.do(command)
        if found is None or stale or not self.allowed(into, condition):
            assert isinstance(result, Failed)
            return
        if found.upload_id is not None:
            self.shared[found.upload_id].count += 1
        copied = replace(found, owner="copier", tags={"copied": "1"} if tags else found.tags)
        self.added(into, copied, result)

    @rule(data=st.data(), text=st.sampled_from("xy"))
    def set_tags(self, data: st.DataObject, text: str) -> None:
        place, found, name = self.draw_source(data)
        result = self.do(SetTags(*place, {"set": text}, name))
        if found is None:
            assert isinstance(result, Failed)
            return
        assert isinstance(result, ObjectDone)
        assert (result.revision, result.null) == (found.revision, found.null)
        history = self.history[place]
        history[history.index(found)] = replace(found, tags={"set": text})

    # ---- rules on uploads

    @rule(place=places)
    def begin(self, place: Place) -> None:
        result = self.do(CreateUpload(*place, NONCE, "", tags={"sent": "1"}, owner="sender"))
        assert isinstance(result, UploadDone)
        self.under_way[result.upload.upload_id] = UnderWay(result.upload)
        self.begun.append((place[0], result.upload))

    def stored(self, upload: Upload, number: int, run: Run | None, result: Result) -> None:
        under_way = self.under_way.get(upload.upload_id)
        if under_way is None or run is None:
            assert isinstance(result, Failed)
            return
        assert isinstance(result, PartDone), result
        if number in under_way.parts:
            self.trash += under_way.parts[number].counts()
        under_way.parts[number] = run
        under_way.generation += 1

    @rule(data=st.data(), number=numbers, names=names)
    def put_part(self, data: st.DataObject, number: int, names: list[str]) -> None:
        self.put_part_of(*self.draw_upload(data), number, names)

    def put_part_of(self, bucket: str, upload: Upload, number: int, names: list[str]) -> None:
        seen, scheme = self.metadata.machine.revision(), SCHEMES[bucket]
        command = part_command(
            upload, number, names, bucket=bucket, bucket_id=BUCKETS[bucket], scheme=scheme, seen=seen
        )
        self.stored(upload, number, whole_chunks(scheme, names), self.do(command))

    @rule(data=st.data(), number=numbers, ends=st.tuples(st.integers(0, 100), st.integers(0, 100)))
    def copy_part(self, data: st.DataObject, number: int, ends: tuple[int, int]) -> None:
        bucket, upload = self.draw_upload(data)
        source, found, name = self.draw_source(data)
        size = 0 if found is None else found.size
        start, stop = sorted(end * size // 100 for end in ends)
        revision = 1 if found is None else found.revision
        command = copy_command(upload, number, (*source, revision), start, stop, bucket)
        result = self.do(msgspec.structs.replace(command, source_which=name))
        inline = found is not None and found.run is None and found.upload_id is None
        run = None if found is None or inline else cut(self.runs(found), start, stop)
        if run is not None and not run.refs:
            run = Run(SCHEMES[bucket], ())
        self.stored(upload, number, run, result)

    @rule(data=st.data(), condition=conditions)
    def complete(self, data: st.DataObject, condition: Condition) -> None:
        bucket, upload = self.draw_upload(data)
        under_way = self.under_way.get(upload.upload_id)
        some = set() if under_way is None else set(under_way.parts)
        if data.draw(rarely):
            some ^= data.draw(st.sets(numbers))
        self.complete_of(bucket, upload, some, condition, data.draw(rarely))

    @rule(place=places, parts=st.dictionaries(numbers, names, min_size=1), some=st.sets(numbers, min_size=1))
    def send_at_once(self, place: Place, parts: dict[int, list[str]], some: set[int]) -> None:
        self.begin(place)
        bucket, upload = self.begun[-1]
        for number, names in parts.items():
            self.put_part_of(bucket, upload, number, names)
        self.complete_of(bucket, upload, some & set(parts), Condition(), stale=False)

    def complete_of(self, bucket: str, upload: Upload, some: set[int], condition: Condition, stale: bool) -> None:
        place = bucket, upload.key
        under_way = self.under_way.get(upload.upload_id)
        generation = 0 if under_way is None else under_way.generation + stale
        command = complete_command(upload, sorted(some), generation, f"made-{upload.upload_id.hex()}", bucket)
        result = self.do(msgspec.structs.replace(command, condition=condition))
        if under_way is None:
            self.completed_again(place, upload, result)
            return
        there = under_way.parts
        if not some or stale or not some <= set(there) or not self.allowed(place, condition):
            assert isinstance(result, Failed)
            return
        listed = {number: there[number] for number in sorted(some)}
        size = sum(run.size for run in listed.values())
        new = Made(0, False, command.etag, size, "sender", {"sent": "1"}, upload_id=upload.upload_id)
        self.shared[upload.upload_id] = Shared(listed, self.added(place, new, result))
        for number in set(there) - some:
            self.trash += there[number].counts()
        del self.under_way[upload.upload_id]

    def completed_again(self, place: Place, upload: Upload, result: Result) -> None:
        shared = self.shared.get(upload.upload_id)
        if shared is not None and shared.answer.revision in [made.revision for made in self.history[place]]:
            assert result == shared.answer
        else:
            assert isinstance(result, Failed)
            assert result.code == "NoSuchUpload"

    @rule(data=st.data(), after=st.sampled_from([None, 0, 1]))
    def abort(self, data: st.DataObject, after: int | None) -> None:
        bucket, upload = self.draw_upload(data)
        before_ms = None if after is None else upload.created_ms + after
        result = self.do(AbortUpload(bucket, upload.key, upload.upload_id, before_ms))
        under_way = self.under_way.get(upload.upload_id)
        if under_way is None or after == 0:
            assert isinstance(result, Failed)
            return
        assert isinstance(result, Done)
        for run in under_way.parts.values():
            self.trash += run.counts()
        del self.under_way[upload.upload_id]

    # ---- collection, and what must not change anything

    @rule(limit=st.sampled_from([1, 2, 3, 5, 1000]))
    def dereference(self, limit: int) -> None:
        total, parts = self.trash.total(), self.rows_of(Kind.PART)
        result = self.do(Dereference(limit))
        assert isinstance(result, Dereferenced)
        self.trash = trashed(self.metadata)
        assert total - self.trash.total() == result.references <= limit
        assert result.more == bool(trash_rows(self.metadata))
        assert result.references or not result.more or self.rows_of(Kind.PART) < parts, "it goes on"

    @rule(back=st.integers(0, 3))
    def condemn(self, back: int) -> None:
        result = self.do(Condemn(max(0, self.metadata.machine.revision() - back), 1000))
        assert isinstance(result, Condemned)
        for chunk in result.chunks:
            assert chunk_rows(self.metadata)[scheme_bytes(chunk.scheme), chunk.chunk_id].condemned
            for disk in chunk.holders:
                drop = DropHolder(chunk.scheme, chunk.chunk_id, disk, horizon=result.horizon)
                assert isinstance(self.do(drop), Done)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key, command, result = data.draw(st.sampled_from(self.sent))
        before = self.metadata.facts()
        assert self.metadata.enter([envelope(command, key, self.metadata.now_ms + 5000)]) == [result]
        assert self.metadata.facts() == before

    @rule()
    def restart(self) -> None:
        self.metadata.restart()

    # ---- what must hold

    def rows_of(self, kind: Kind) -> int:
        return sum(key[0] == kind for key, _ in self.metadata.rows.items())

    @invariant()
    def histories_are_the_models(self) -> None:
        for (bucket, key), history in self.history.items():
            found = versions(self.metadata, key, BUCKETS[bucket])
            for version, made in zip(found, history, strict=True):
                assert (version.revision, version.null, version.etag) == (made.revision, made.null, made.etag)
                assert (version.size, version.owner, version.tags) == (made.size, made.owner, made.tags)
                assert isinstance(version.body, DeleteMarker) == made.marker
                if made.upload_id is not None:
                    sizes = {number: run.size for number, run in self.shared[made.upload_id].parts.items()}
                    assert version.body == Assembled(made.upload_id, tuple(sizes.items()))

    @invariant()
    def the_null_version_is_the_newest_or_has_a_row(self) -> None:
        named = 0
        for (bucket, key), history in self.history.items():
            older = [made.revision for made in history[1:] if made.null]
            assert sum(made.null for made in history) <= 1
            assert null_row(self.metadata, key, BUCKETS[bucket]) == (older[0] if older else None)
            named += len(older)
        assert self.rows_of(Kind.NULL) == named

    @invariant()
    def usage_is_exact(self) -> None:
        owners: Counter[str] = Counter()
        objects: Counter[str] = Counter()
        for bucket, bucket_id in BUCKETS.items():
            kept = [made for place, history in self.history.items() if place[0] == bucket for made in history]
            kept = [made for made in kept if not made.marker]
            assert usage(self.metadata, bucket_id) == Usage(sum(made.size for made in kept), len(kept))
            for made in kept:
                owners[made.owner] += made.size
                objects[made.owner] += 1
        rows = [(key, row) for key, row in self.metadata.rows.items() if key[0] == Kind.OWNER_USAGE]
        found = {key[5:].decode(): decode(row, type=Usage) for key, row in rows}
        assert found == {owner: Usage(owners[owner], count) for owner, count in objects.items()}

    @invariant()
    def uploads_are_the_models(self) -> None:
        assert self.rows_of(Kind.UPLOAD) == len(self.under_way)
        for one in self.under_way.values():
            rows = [upload_row(self.metadata, one.upload, bucket_id) for bucket_id in BUCKETS.values()]
            assert msgspec.structs.replace(one.upload, generation=one.generation) in rows

    @invariant()
    def parts_are_the_models_or_on_their_way_out(self) -> None:
        holders = self.under_way | self.shared
        expected = {
            (upload_id, number): run for upload_id in holders for number, run in self.parts_of(upload_id).items()
        }
        ids = {key[5:21] for key, _ in self.metadata.rows.items() if key[0] in (Kind.PART, Kind.PART_CHUNKS)}
        found = {(one, number): part for one in ids for number, part in part_rows(self.metadata, one).items()}
        assert self.rows_of(Kind.PART) == self.rows_of(Kind.PART_CHUNKS) == len(found)
        for place, run in expected.items():
            head, chunks = found[place].head, found[place].chunks
            assert (head.scheme, head.size, head.references) == (run.scheme, run.size, len(run.refs))
            assert chunks == run.refs
        given = set(given_up(self.metadata))
        assert set(found) == set(expected) | given
        assert not set(expected) & given

    @invariant()
    def shared_parts_are_counted_exactly(self) -> None:
        rows = [(key[5:], row) for key, row in self.metadata.rows.items() if key[0] == Kind.ASSEMBLY]
        found = {upload_id: decode(row, type=Assembly).count for upload_id, row in rows}
        held = Counter(made.upload_id for history in self.history.values() for made in history if made.upload_id)
        assert found == held == {upload_id: one.count for upload_id, one in self.shared.items()}

    @invariant()
    def references_are_counted_exactly(self) -> None:
        assert self.trash == trashed(self.metadata)
        expected = Counter(self.trash)
        runs = [made.run for history in self.history.values() for made in history if made.run is not None]
        for upload_id in self.under_way | self.shared:
            runs.extend(self.parts_of(upload_id).values())
        for run in runs:
            expected += run.counts()
        rows = chunk_rows(self.metadata)
        assert {place: row.count for place, row in rows.items() if row.count} == dict(expected)
        assert not any(row.condemned and row.count for row in rows.values())
        assert self.rows_of(Kind.ZERO) == sum(row.count == 0 for row in rows.values())


World.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestWorld = World.TestCase
