"""Queries after real commands, in any order of them, against a plain model of versions and uploads."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metaraft.commands import (
    AbortUpload,
    CompleteUpload,
    CreateUpload,
    DeleteObject,
    PutPart,
    SetVersioning,
    StoredChunk,
)
from metaraft.model import Assembled, ChunkRef, Part, Upload, Versioning, Which
from metaraft.queries import (
    GetObject,
    GetParts,
    GetUpload,
    ListObjects,
    ListParts,
    ListStaleUploads,
    ListUploads,
    ListVersions,
    ObjectFound,
    ObjectsFound,
    PartsFound,
    PartsListed,
    StaleUploadsFound,
    UploadFound,
    UploadsFound,
    VersionsFound,
)
from metaraft.results import (
    Done,
    Failed,
    ObjectDone,
    PartDone,
    UploadDone,
)
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id, put, with_bucket

KEYS = ("a/k", "a/l", "b")
keys = st.sampled_from(KEYS)


@dataclass(frozen=True)
class Made:
    """A version of the model; `parts` are the numbers of what was completed."""

    revision: int
    null: bool
    deleted: bool = False
    parts: tuple[int, ...] = ()


@dataclass
class Begun:
    """An upload of the model."""

    upload: Upload
    parts: set[int] = field(default_factory=set)
    generation: int = 0


class World(RuleBasedStateMachine):
    """Metadata and model side by side. Of each key the newest version comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = with_bucket(self.new_metadata(), disks=3)
        self.versioning: Versioning = "off"
        self.versions: dict[str, list[Made]] = {key: [] for key in KEYS}
        self.uploads: list[Begun] = []

    def new_metadata(self) -> Metadata:
        return Metadata()

    @rule(wanted=st.sampled_from(["enabled", "suspended"]))
    def set_versioning(self, wanted: Versioning) -> None:
        assert wanted != "off"
        assert isinstance(self.metadata.do(SetVersioning("b", wanted)), Done)
        self.versioning = wanted

    def add(self, key: str, revision: int, *, deleted: bool = False, parts: tuple[int, ...] = ()) -> None:
        null = self.versioning != "enabled"
        kept = [one for one in self.versions[key] if not (null and one.null)]
        self.versions[key] = [Made(revision, null, deleted, parts), *kept]

    @rule(key=keys)
    def put(self, key: str) -> None:
        done = self.metadata.do(put(key))
        assert isinstance(done, ObjectDone)
        self.add(key, done.revision)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        done = self.metadata.do(DeleteObject("b", key))
        assert isinstance(done, ObjectDone)
        if self.versioning == "off":
            self.versions[key] = []
        else:
            self.add(key, done.revision, deleted=True)

    @rule(key=keys, data=st.data())
    def delete_for_good(self, key: str, data: st.DataObject) -> None:
        if self.versions[key]:
            gone = data.draw(st.sampled_from(self.versions[key]))
            which = Which() if gone.null else Which(gone.revision)
            assert isinstance(self.metadata.do(DeleteObject("b", key, which=which)), ObjectDone)
            self.versions[key].remove(gone)

    @rule(key=keys)
    def begin(self, key: str) -> None:
        done = self.metadata.do(CreateUpload("b", key, b"nonce!!!", "text/plain"))
        assert isinstance(done, UploadDone)
        self.uploads.append(Begun(done.upload))

    @rule(data=st.data(), number=st.integers(1, 3))
    def put_part(self, data: st.DataObject, number: int) -> None:
        if self.uploads:
            begun = data.draw(st.sampled_from(self.uploads))
            part = Part(100, b"m" * 16, (ChunkRef(chunk_id(number), 0, 100, 100),), COPIES)
            chunks = (StoredChunk(chunk_id(number), 100, acks(1, 2)),)
            upload = begun.upload
            done = self.metadata.do(PutPart("b", 1, upload.key, upload.upload_id, number, f"e{number}", part, chunks))
            assert isinstance(done, PartDone)
            begun.parts.add(number)
            begun.generation += 1

    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        if self.uploads:
            begun = data.draw(st.sampled_from(self.uploads))
            key, upload_id = begun.upload.key, begun.upload.upload_id
            if whole and begun.parts:
                numbers = tuple(sorted(begun.parts))
                done = self.metadata.do(CompleteUpload("b", key, upload_id, begun.generation, numbers, "whole"))
                assert isinstance(done, ObjectDone), done
                self.add(key, done.revision, parts=numbers)
            else:
                assert isinstance(self.metadata.do(AbortUpload("b", key, upload_id)), Done)
            self.uploads.remove(begun)

    # ---- what must hold

    @invariant()
    def listings_are_the_models(self) -> None:
        listed: list[tuple[str, Made, bool]] = []
        query = ListVersions("b", limit=2)
        while True:
            page = self.metadata.ask(query)
            assert isinstance(page, VersionsFound)
            listed += [(one.key, Made(one.revision, one.null, one.delete_marker), one.latest) for one in page.versions]
            if page.next_after is None:
                break
            query = ListVersions("b", "", "", *page.next_after, limit=2)
        expected = [
            (key, Made(one.revision, one.null, one.deleted), place == 0)
            for key in KEYS
            for place, one in enumerate(self.versions[key])
        ]
        assert listed == expected
        objects = self.metadata.ask(ListObjects("b"))
        assert isinstance(objects, ObjectsFound)
        assert [(one.key, one.revision) for one in objects.objects] == [
            (key, one.revision) for key, one, latest in expected if latest and not one.deleted
        ]

    @invariant()
    def every_version_is_found_by_its_name(self) -> None:
        for key, versions in self.versions.items():
            if not any(one.null for one in versions):
                assert isinstance(self.metadata.ask(GetObject("b", key, which=Which())), Failed)
            for place, one in enumerate(versions):
                which = Which() if one.null else Which(one.revision)
                found = self.metadata.ask(GetObject("b", key, which=which))
                assert isinstance(found, ObjectFound)
                assert found.version.revision == one.revision
                assert (found.version.null, found.current) == (one.null, place == 0)
                assert tuple(part.head.number for part in found.parts) == one.parts
                if isinstance(found.version.body, Assembled):
                    parts = self.metadata.ask(GetParts(found.version.body.upload_id, one.parts))
                    assert parts == PartsFound(found.parts, found.holders)

    @invariant()
    def uploads_are_the_models(self) -> None:
        expected = sorted(self.uploads, key=lambda one: (one.upload.key, one.upload.upload_id))
        found = self.metadata.ask(ListUploads("b"))
        assert isinstance(found, UploadsFound)
        assert [one.upload_id for one in found.uploads] == [one.upload.upload_id for one in expected]
        names = tuple(("b", one.upload.key, one.upload.upload_id) for one in expected)
        assert self.metadata.ask(ListStaleUploads(self.metadata.now_ms + 1)) == StaleUploadsFound(names, None)
        for begun in expected:
            upload = begun.upload
            one = self.metadata.ask(GetUpload("b", upload.key, upload.upload_id))
            assert isinstance(one, UploadFound)
            assert one.upload.generation == begun.generation
            parts = self.metadata.ask(ListParts("b", upload.key, upload.upload_id))
            assert isinstance(parts, PartsListed)
            assert [part.number for part in parts.parts] == sorted(begun.parts)
            assert isinstance(self.metadata.ask(GetParts(upload.upload_id, tuple(begun.parts) or (1,))), Failed)


World.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestWorld = World.TestCase
