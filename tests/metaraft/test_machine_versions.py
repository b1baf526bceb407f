"""Versions: what a put, a delete and a copy leave of a key's history, and that its null version is always found."""

from collections.abc import Iterator

import msgspec
import pytest

from metaraft.commands import (
    Command,
    Condition,
    CopyObject,
    DeleteObject,
    Dereference,
    SetTags,
)
from metaraft.conditions import Present, unmet
from metaraft.memory_rows import MemoryRows
from metaraft.model import Checksum, ChecksumAlgorithm, DeleteMarker, Inline, Usage, Version, Versioning, Which
from metaraft.results import (
    Failed,
    ObjectDone,
)
from metaraft.rows import Kind, owner_key
from tests.metaraft.metadata import START_MS, Metadata, acks, etag, put, put_chunks, with_bucket
from tests.metaraft.versions import kinds, made, null_row, set_versioning, trash_rows, value, versions

NULL = Which()


def with_versions(versioning: Versioning) -> Metadata:
    metadata = with_bucket(disks=3)
    set_versioning(metadata, versioning)
    return metadata


def history(metadata: Metadata, key: str = "k") -> list[str]:
    """A key's versions as text, the newest first: what they hold, a cross for a marker, a dash behind null ones."""
    found = []
    for version in versions(metadata, key):
        text = version.body.data.decode() if isinstance(version.body, Inline) else "x"
        found.append(text + ("-" if version.null else ""))
    return found


def played(metadata: Metadata, story: str) -> None:
    """Letters are puts of themselves, `x` is a delete, `+` enables versioning and `-` suspends it."""
    for step in story:
        if step in "+-":
            set_versioning(metadata, "enabled" if step == "+" else "suspended")
        else:
            made(metadata, DeleteObject("b", "k") if step == "x" else put("k", step.encode()))


def check_null(metadata: Metadata, key: str = "k") -> None:
    """The null version is the newest of its key, or its NULL row names it."""
    there = versions(metadata, key)
    null = [version.revision for version in there if version.null]
    assert len(null) <= 1
    assert null_row(metadata, key) == (null[0] if null and not there[0].null else None)


# ---- what becomes of a key


@pytest.mark.parametrize(
    ("story", "left"),
    [
        ("ab", ["b-"]),
        ("abx", []),
        ("x", []),
        ("+ab", ["b", "a"]),
        ("a+bc", ["c", "b", "a-"]),
        ("a+bx", ["x", "b", "a-"]),
        ("+x", ["x"]),
        ("+xx", ["x", "x"]),
        ("a+b-c", ["c-", "b"]),
        ("a+b-cd", ["d-", "b"]),
        ("+ab-c", ["c-", "b", "a"]),
        ("+a-b+c-d", ["d-", "c", "a"]),
        ("a+b-x", ["x-", "b"]),
        ("a+b-xx", ["x-", "b"]),
        ("+a-x", ["x-", "a"]),
        ("-x", ["x-"]),
        ("-xa", ["a-"]),
        ("a+bx-c+d", ["d", "c-", "x", "b"]),
        ("a-b", ["b-"]),
        ("a-x+b", ["b", "x-"]),
    ],
)
def test_a_key_keeps_the_versions_that_its_buckets_versioning_says(story: str, left: list[str]) -> None:
    metadata = with_bucket()
    played(metadata, story)
    assert history(metadata) == left
    check_null(metadata)


@pytest.mark.parametrize("story", ["a+bc", "a+b-c+d", "+ab", "a", "a+x", "-x+a", "a+bcx", "+a-b+cd"])
def test_any_version_can_be_taken_out_and_the_null_one_is_still_found(story: str) -> None:
    first = with_bucket()
    played(first, story)
    for place, gone in enumerate(versions(first)):
        metadata = with_bucket()
        played(metadata, story)
        left = history(metadata)
        result = made(metadata, DeleteObject("b", "k", which=NULL if gone.null else Which(gone.revision)))
        assert (result.existed, result.null, result.etag) == (True, gone.null, "")
        assert result.delete_marker == isinstance(gone.body, DeleteMarker)
        del left[place]
        assert history(metadata) == left
        check_null(metadata)
        played(metadata, "-n")
        assert history(metadata) == ["n-"] + [one for one in left if not one.endswith("-")]
        check_null(metadata)


@pytest.mark.parametrize("story", ["a+bcx", "a+b-c+dx", "a+b", "-x+ab"])
def test_a_key_can_be_emptied_version_by_version_in_any_order(story: str) -> None:
    for backwards in (False, True):
        metadata = with_bucket()
        played(metadata, story)
        there = versions(metadata)
        for version in reversed(there) if backwards else there:
            made(metadata, DeleteObject("b", "k", which=NULL if version.null else Which(version.revision)))
            check_null(metadata)
        assert not {Kind.VERSION, Kind.NULL, Kind.BUCKET_USAGE, Kind.OWNER_USAGE} & set(kinds(metadata))


@pytest.mark.parametrize(
    ("versioning", "null", "marker"), [("off", True, False), ("enabled", False, True), ("suspended", True, True)]
)
def test_a_delete_says_what_it_made(versioning: Versioning, null: bool, marker: bool) -> None:
    metadata = with_versions(versioning)
    revision = made(metadata, put("k")).revision
    done = metadata.do(DeleteObject("b", "k", owner="me"))
    assert done == ObjectDone(revision + 1, START_MS, "", True, null, marker, versioning=versioning)
    markers = [version.owner for version in versions(metadata) if isinstance(version.body, DeleteMarker)]
    assert markers == ["me"] * marker


@pytest.mark.parametrize(("versioning", "null"), [("off", True), ("enabled", False), ("suspended", True)])
def test_a_put_says_what_it_made(versioning: Versioning, null: bool) -> None:
    metadata = with_versions(versioning)
    checksums: dict[ChecksumAlgorithm, Checksum] = {"CRC32": Checksum(b"1234")}
    command = msgspec.structs.replace(put("k", b"hello"), checksums=checksums, tags={"a": "b"})
    done = metadata.do(command)
    revision = metadata.machine.revision()
    assert done == ObjectDone(revision, START_MS, etag(b"hello"), False, null, False, 5, checksums, versioning)
    assert versions(metadata)[0].tags == {"a": "b"}


def test_what_existed_before_is_an_object_and_no_delete_marker() -> None:
    metadata = with_versions("enabled")
    assert not made(metadata, put("k")).existed
    assert made(metadata, put("k")).existed
    assert made(metadata, DeleteObject("b", "k")).existed
    assert not made(metadata, DeleteObject("b", "k")).existed
    assert not made(metadata, put("k")).existed


def test_deleting_a_version_that_is_not_there_is_no_error_and_no_mutation() -> None:
    metadata = with_versions("enabled")
    metadata.do(put("k"))
    newest = metadata.machine.revision()
    before = metadata.facts()
    for which in (NULL, Which(1), Which(0), Which(-1), Which((1 << 64) - 1), Which(newest + 1)):
        for key in ("k", "none", "", "k" * 2000, "a\0b"):
            done = made(metadata, DeleteObject("b", key, which=which))
            assert (done.revision, done.existed, done.delete_marker) == (newest, False, False)
            assert (done.null, done.versioning) == (which == NULL, "enabled")
    assert metadata.facts() == before


def test_a_key_that_no_row_could_keep_gets_no_delete_marker() -> None:
    metadata = with_versions("enabled")
    for key in ("", "k" * 1025, "a\0b"):
        done = made(metadata, DeleteObject("b", key))
        assert (done.existed, done.delete_marker) == (False, False)
    assert Kind.VERSION not in kinds(metadata)


def test_a_null_version_has_no_other_name_than_null() -> None:
    metadata = with_versions("off")
    revision = made(metadata, put("k")).revision
    for versioning in ("off", "enabled", "suspended"):
        set_versioning(metadata, versioning)
        assert not made(metadata, DeleteObject("b", "k", which=Which(revision))).existed
        assert metadata.code(SetTags("b", "k", {}, Which(revision))) == "NoSuchVersion"
    assert made(metadata, DeleteObject("b", "k", which=NULL)).existed


def test_a_put_under_versions_of_another_key_that_begins_alike_disturbs_nothing() -> None:
    metadata = with_versions("off")
    for key in ("k", "kk", "k\x01"):
        metadata.do(put(key, b"1"))
    set_versioning(metadata, "enabled")
    for key in ("k", "kk", "k\x01"):
        metadata.do(put(key, b"2"))
    set_versioning(metadata, "suspended")
    metadata.do(put("k", b"3"))
    assert history(metadata, "k") == ["3-", "2"]
    assert history(metadata, "kk") == history(metadata, "k\x01") == ["2", "1-"]
    assert null_row(metadata, "kk") is not None


# ---- usage and references


def usage(metadata: Metadata, owner: str) -> Usage:
    return value(metadata, owner_key(1, owner), Usage) or Usage()


def test_each_version_counts_for_its_owner_and_a_delete_marker_for_nobody() -> None:
    metadata = with_versions("enabled")
    metadata.do(put("k", b"123", owner="a"))
    metadata.do(put("k", b"12345", owner="b"))
    metadata.do(DeleteObject("b", "k", owner="c"))
    assert (usage(metadata, "a"), usage(metadata, "b"), usage(metadata, "c")) == (Usage(3, 1), Usage(5, 1), Usage())
    marker, second, first = versions(metadata)
    for version in (marker, first):
        metadata.do(DeleteObject("b", "k", which=Which(version.revision)))
    assert (usage(metadata, "a"), usage(metadata, "b"), usage(metadata, "c")) == (Usage(), Usage(5, 1), Usage())
    assert versions(metadata) == [second]


def test_only_versions_that_go_give_their_chunks_up() -> None:
    metadata = with_versions("enabled")
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("k", ["y"], acks(1, 2)))
    metadata.do(DeleteObject("b", "k"))
    assert trash_rows(metadata) == []
    gone = versions(metadata)[2]
    metadata.do(DeleteObject("b", "k", which=Which(gone.revision)))
    assert [(trash.key, trash.revision) for trash in trash_rows(metadata)] == [("k", gone.revision)]
    set_versioning(metadata, "suspended")
    metadata.do(put_chunks("k", ["z"], acks(1, 2)))
    metadata.do(DeleteObject("b", "k"))
    assert len(trash_rows(metadata)) == 2


class Counting(MemoryRows):
    """Rows that count how often they are read and written, but for kept results."""

    touched = 0

    def _touch(self, key: bytes) -> None:
        self.touched += key[0] != Kind.RESULTS

    def get(self, key: bytes) -> bytes | None:
        self._touch(key)
        return super().get(key)

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        self._touch(start)
        return super().first(start, stop)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for row in super().scan(start, stop):
            self._touch(row[0])
            yield row

    def put(self, key: bytes, value: bytes) -> None:
        self._touch(key)
        super().put(key, value)

    def delete(self, key: bytes) -> None:
        self._touch(key)
        super().delete(key)


@pytest.mark.parametrize("versioning", ["enabled", "suspended"])
def test_no_operation_touches_more_rows_the_more_versions_a_key_has(versioning: Versioning) -> None:
    def touched(count: int) -> list[int]:
        metadata = with_bucket()
        metadata.rows, before = Counting(), metadata.rows
        for row in before.items():
            metadata.rows.put(*row)
        metadata.restart()
        played(metadata, "a+" + "b" * count)
        some = Which(versions(metadata)[count // 2].revision)
        set_versioning(metadata, versioning)
        commands: list[Command] = [
            put("k", b"new"),
            DeleteObject("b", "k"),
            CopyObject("b", "k", "b", "k", source_which=some),
            SetTags("b", "k", {"a": "b"}, some),
            DeleteObject("b", "k", which=some),
            DeleteObject("b", "k", which=NULL),
        ]
        steps = []
        for command in commands:
            before_it = metadata.rows.touched
            made(metadata, command)
            steps.append(metadata.rows.touched - before_it)
        return steps

    few = touched(4)
    assert touched(200) == few
    assert max(few) < 20


# ---- conditions


def test_a_condition_of_a_delete_is_decided_on_the_version_that_is_named() -> None:
    metadata = with_versions("enabled")
    old, new = made(metadata, put("k", b"old")), made(metadata, put("k", b"new"))
    only_old = Condition(if_match=(etag(b"old"),))
    assert metadata.code(DeleteObject("b", "k", only_old)) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "k", only_old, Which(new.revision))) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "k", only_old, Which(1))) == "PreconditionFailed"
    assert made(metadata, DeleteObject("b", "k", only_old, Which(old.revision))).existed
    assert history(metadata) == ["new"]


def test_a_delete_marker_is_no_object_to_a_condition() -> None:
    metadata = with_versions("enabled")
    metadata.do(put("k"))
    marker = made(metadata, DeleteObject("b", "k"))
    any_object = Condition(if_match=("*",))
    assert metadata.code(put("k", condition=any_object)) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "k", any_object)) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "k", any_object, Which(marker.revision))) == "PreconditionFailed"
    assert made(metadata, put("k", condition=Condition(if_none_match=("*",)))).etag


_AT = 10_000_500


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition(if_made_ms=_AT), True),
        (Condition(if_made_ms=10_000_000), True),
        (Condition(if_made_ms=10_000_999), True),
        (Condition(if_made_ms=9_999_999), False),
        (Condition(if_made_ms=10_001_000), False),
        (Condition(if_size=7), True),
        (Condition(if_size=8), False),
        (Condition(if_size=0), False),
        (Condition(if_size=7, if_made_ms=_AT, if_match=("*",)), True),
        (Condition(if_size=7, if_made_ms=0), False),
        (Condition(if_size=0, if_made_ms=_AT), False),
        (Condition(if_size=7, if_match=("other",)), False),
    ],
)
def test_a_delete_can_ask_for_a_time_of_whole_seconds_and_a_size(condition: Condition, holds: bool) -> None:
    assert (unmet(condition, Present("e", _AT, 7), "k") is None) == holds
    assert unmet(condition, None, "k") is not None


def test_time_and_size_of_the_version_itself_are_compared() -> None:
    metadata = with_versions("enabled")
    old = made(metadata, put("k", b"123"))
    metadata.now_ms += 1000
    metadata.do(put("k", b"12345"))
    asked = Condition(if_made_ms=START_MS, if_size=3)
    assert metadata.code(DeleteObject("b", "k", asked)) == "PreconditionFailed"
    assert made(metadata, DeleteObject("b", "k", asked, Which(old.revision))).existed


# ---- copies


def test_a_version_that_is_named_is_copied_though_it_is_not_current() -> None:
    metadata = with_versions("enabled")
    old = made(metadata, put("k", b"old"))
    metadata.do(put("k", b"new"))
    metadata.do(DeleteObject("b", "k"))
    assert metadata.code(CopyObject("b", "k", "b", "t")) == "NoSuchKey"
    done = made(metadata, CopyObject("b", "k", "b", "k", source_which=Which(old.revision)))
    assert (done.existed, done.null, done.size, done.etag) == (False, False, 3, etag(b"old"))
    assert history(metadata) == ["old", "x", "new", "old"]


def test_a_copy_of_a_delete_marker_or_of_no_version_is_refused() -> None:
    metadata = with_versions("enabled")
    metadata.do(put("k"))
    marker = made(metadata, DeleteObject("b", "k"))
    sources = {"VersionIsDeleteMarker": Which(marker.revision), "NoSuchVersion": Which(1), "NoSuchKey": None}
    for code, which in sources.items():
        assert metadata.code(CopyObject("b", "k", "b", "t", source_which=which)) == code
    assert metadata.code(CopyObject("b", "", "b", "t", source_which=NULL)) == "NoSuchVersion"


def test_a_copy_is_refused_once_its_source_is_another_version() -> None:
    metadata = with_versions("off")
    read = made(metadata, put("k", b"1")).revision
    made(metadata, CopyObject("b", "k", "b", "t", source_revision=read))
    metadata.do(put("k", b"2"))
    result = metadata.do(CopyObject("b", "k", "b", "t", source_revision=read))
    assert isinstance(result, Failed)
    assert (result.kind, result.code) == ("unavailable", "SourceChanged")


def test_a_copy_keeps_or_replaces_tags_and_adds_checksums_in_front() -> None:
    metadata = with_versions("off")
    sha, crc, other = Checksum(b"s" * 32), Checksum(b"c" * 4), Checksum(b"d" * 4)
    command = msgspec.structs.replace(put("k"), checksums={"SHA256": sha, "CRC32": crc}, tags={"a": "b"})
    metadata.do(command)
    made(metadata, CopyObject("b", "k", "b", "same"))
    made(metadata, CopyObject("b", "k", "b", "new", replace_tags={}, checksums={"CRC32C": other}))
    made(metadata, CopyObject("b", "k", "b", "again", replace_tags={"c": "d"}, checksums={"CRC32": other}))
    found: list[Version] = [versions(metadata, key)[0] for key in ("same", "new", "again")]
    assert [version.tags for version in found] == [{"a": "b"}, {}, {"c": "d"}]
    assert [list(version.checksums.items()) for version in found] == [
        [("SHA256", sha), ("CRC32", crc)],
        [("CRC32C", other), ("SHA256", sha), ("CRC32", crc)],
        [("CRC32", other), ("SHA256", sha)],
    ]


def test_a_copy_onto_the_null_version_it_reads_keeps_the_bytes() -> None:
    metadata = with_versions("suspended")
    metadata.do(put_chunks("k", ["x", "y"], acks(1, 2)))
    before = versions(metadata)[0]
    made(metadata, CopyObject("b", "k", "b", "k", replace=("text/html", {}, {})))
    metadata.do(Dereference(1000))
    after = versions(metadata)
    assert [(one.body, one.content_type) for one in after] == [(before.body, "text/html")]
    assert Kind.ZERO not in kinds(metadata)


# ---- tags


def test_tags_are_replaced_and_the_version_stays_what_it_is() -> None:
    metadata = with_versions("enabled")
    metadata.do(put("k", b"old"))
    metadata.do(put("k", b"new"))
    new, old = versions(metadata)
    metadata.now_ms += 1000
    newest = metadata.machine.revision()
    done = made(metadata, SetTags("b", "k", {"a": "b"}))
    assert done == ObjectDone(new.revision, START_MS, new.etag, True, False, size=3, versioning="enabled")
    assert metadata.machine.revision() == newest + 1
    made(metadata, SetTags("b", "k", {"c": "d"}, Which(old.revision)))
    replace = msgspec.structs.replace
    assert versions(metadata) == [replace(new, tags={"a": "b"}), replace(old, tags={"c": "d"})]
    made(metadata, SetTags("b", "k", {}))
    assert versions(metadata)[0] == new


def test_only_a_version_with_bytes_has_tags() -> None:
    metadata = with_versions("enabled")
    assert metadata.code(SetTags("nowhere", "k", {})) == "NoSuchBucket"
    assert metadata.code(SetTags("b", "k", {})) == "NoSuchKey"
    assert metadata.code(SetTags("b", "", {})) == "NoSuchKey"
    metadata.do(put("k"))
    marker = made(metadata, DeleteObject("b", "k"))
    assert metadata.code(SetTags("b", "k", {})) == "NoSuchKey"
    assert metadata.code(SetTags("b", "k", {}, Which(marker.revision))) == "VersionIsDeleteMarker"
    assert metadata.code(SetTags("b", "k", {}, NULL)) == "NoSuchVersion"
