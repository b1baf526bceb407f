"""Reads of one object: its current version, one that is named, delete markers, and parts of a completed object."""

import msgspec
import pytest

from metaraft.answering_objects import FIRST_REFERENCES_MAX, REFERENCES_MAX
from metaraft.commands import (
    SetVersioning,
)
from metaraft.model import Assembled, Chunk, ChunkRef, DeleteMarker, PartHead, UploadedPart, Which
from metaraft.queries import (
    GetObject,
    GetParts,
    ObjectFound,
    PartsFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import Kind, assembly_key, chunk_key, part_key, scheme_bytes, version_key, versions_key
from tests.metaraft.listings import keep_null, keep_version, upload_id, version
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    Metadata,
    acks,
    chunk_id,
    disk_id,
    encode,
    put,
    put_chunks,
    with_bucket,
)

UPLOAD = upload_id(50)


def found(metadata: Metadata, query: GetObject) -> ObjectFound:
    answer = metadata.ask(query)
    assert isinstance(answer, ObjectFound), answer
    return answer


def code(metadata: Metadata, query: GetObject | GetParts) -> str:
    answer = metadata.ask(query)
    assert isinstance(answer, Failed), answer
    assert answer.kind == "refused"
    return answer.code


# ---- versions


def with_versions() -> Metadata:
    """Of `k`: version 30 is current, 20 is a delete marker, 10 the null version; the null version of `n` is current."""
    metadata = with_bucket()
    keep_version(metadata.rows, "k", version(10, null=True, data=b"ten"))
    keep_version(metadata.rows, "k", version(20, deleted=True))
    keep_version(metadata.rows, "k", version(30, data=b"thirty"))
    keep_null(metadata.rows, "k", 10)
    keep_version(metadata.rows, "n", version(40))
    keep_version(metadata.rows, "n", version(41, null=True))
    keep_version(metadata.rows, "other", version(42))
    return metadata


@pytest.mark.parametrize(
    ("key", "which", "revision", "current"),
    [
        ("k", None, 30, True),
        ("k", Which(30), 30, True),
        ("k", Which(20), 20, False),
        ("k", Which(), 10, False),
        ("n", None, 41, True),
        ("n", Which(), 41, True),
        ("n", Which(40), 40, False),
    ],
)
def test_a_version_is_the_newest_or_the_one_that_is_named(
    key: str, which: Which | None, revision: int, current: bool
) -> None:
    answer = found(with_versions(), GetObject("b", key, which=which))
    assert (answer.version.revision, answer.current) == (revision, current)
    assert answer.bucket.name == "b"


@pytest.mark.parametrize(
    ("key", "which", "expected"),
    [
        ("missing", None, "NoSuchKey"),
        ("", None, "NoSuchKey"),
        ("k\0", None, "NoSuchKey"),
        ("missing", Which(30), "NoSuchVersion"),
        ("missing", Which(), "NoSuchVersion"),
        ("", Which(), "NoSuchVersion"),
        ("k", Which(10), "NoSuchVersion"),
        ("n", Which(41), "NoSuchVersion"),
        ("k", Which(31), "NoSuchVersion"),
        ("k", Which(42), "NoSuchVersion"),
        ("k", Which(-1), "NoSuchVersion"),
        ("k", Which((1 << 64) - 1), "NoSuchVersion"),
        ("other", Which(), "NoSuchVersion"),
    ],
)
def test_what_is_not_there_is_said(key: str, which: Which | None, expected: str) -> None:
    assert code(with_versions(), GetObject("b", key, which=which)) == expected


def test_a_delete_marker_is_answered_and_says_what_it_is() -> None:
    metadata = with_versions()
    keep_version(metadata.rows, "k", version(50, deleted=True))
    for which in (None, Which(50)):
        answer = found(metadata, GetObject("b", "k", which=which))
        assert (answer.version.revision, answer.version.body, answer.current) == (50, DeleteMarker(), True)
    answer = found(metadata, GetObject("b", "k", which=Which(20)))
    assert (answer.version.body, answer.current) == (DeleteMarker(), False)


def test_a_version_written_before_there_were_null_ones_is_null() -> None:
    metadata = with_bucket()
    made = version(7)
    old = [getattr(made, name) for name in made.__struct_fields__[:8]]
    metadata.rows.insert(version_key(versions_key(1, 1, b"k"), 7), encode(old))
    for which in (None, Which()):
        answer = found(metadata, GetObject("b", "k", which=which))
        assert answer.version == msgspec.structs.replace(made, null=True, owner="")


def test_an_older_version_comes_with_the_holders_of_its_chunks() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(SetVersioning("b", "enabled"))
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    first = found(metadata, GetObject("b", "k")).version.revision
    metadata.do(put("k"))
    answer = found(metadata, GetObject("b", "k", which=Which(first)))
    assert answer.holders == {chunk_id("x"): (disk_id(1), disk_id(2))}


# ---- completed objects


def keep_part(metadata: Metadata, number: int, chunks: int, size: int) -> UploadedPart:
    """A part of `chunks` references whose bytes are `size` together."""
    ids = [chunk_id((number, at)) for at in range(chunks)]
    each = size // max(chunks, 1)
    refs = tuple(ChunkRef(one, 0, each, each) for one in ids)
    head = PartHead(number, START_MS, f"etag{number}", size, b"m" * 16, COPIES, chunks)
    metadata.rows.insert(part_key(1, UPLOAD, number), encode(head))
    metadata.rows.insert(part_key(1, UPLOAD, number, Kind.PART_CHUNKS), encode(refs))
    for one in ids:
        row = encode(Chunk(each, 1, None, (disk_id(1), disk_id(2))))
        metadata.rows.insert(chunk_key(1, scheme_bytes(COPIES), one), row)
    return UploadedPart(head, refs)


def assembled(sizes: dict[int, tuple[int, int]]) -> Metadata:
    """The object `k` of parts: number to (chunk references, size)."""
    metadata = with_bucket()
    for number, (chunks, size) in sizes.items():
        keep_part(metadata, number, chunks, size)
    parts = tuple((number, size) for number, (_, size) in sizes.items())
    total = sum(size for _, size in parts)
    body = Assembled(UPLOAD, parts)
    keep_version(metadata.rows, "k", msgspec.structs.replace(version(60), size=total, body=body))
    metadata.rows.insert(assembly_key(1, UPLOAD), encode([1]))
    return metadata


def numbers(parts: tuple[UploadedPart, ...]) -> list[int]:
    return [one.head.number for one in parts]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0, [1, 3, 7]),
        (9, [1, 3, 7]),
        (10, [3, 7]),
        (29, [3, 7]),
        (30, [7]),
        (34, [7]),
        (35, []),
        (1 << 50, []),
        (-1, [7]),
        (-5, [7]),
        (-6, [3, 7]),
        (-35, [1, 3, 7]),
        (-1000, [1, 3, 7]),
    ],
)
def test_a_completed_object_comes_with_the_parts_from_an_offset_on(offset: int, expected: list[int]) -> None:
    metadata = assembled({1: (1, 10), 3: (2, 20), 7: (1, 5)})
    answer = found(metadata, GetObject("b", "k", offset=offset))
    assert numbers(answer.parts) == expected
    wanted = {ref.chunk_id for part in answer.parts for ref in part.chunks}
    assert answer.holders == dict.fromkeys(wanted, (disk_id(1), disk_id(2)))


def test_an_empty_part_is_passed_over() -> None:
    metadata = assembled({1: (1, 10), 2: (0, 0)})
    assert numbers(found(metadata, GetObject("b", "k", offset=10)).parts) == []
    metadata = assembled({1: (0, 0)})
    assert found(metadata, GetObject("b", "k")).parts == ()


def test_a_completed_object_comes_with_one_part_by_its_number() -> None:
    metadata = assembled({1: (1, 10), 3: (2, 20)})
    answer = found(metadata, GetObject("b", "k", part=3))
    assert numbers(answer.parts) == [3]
    assert set(answer.holders) == {chunk_id((3, 0)), chunk_id((3, 1))}
    bare = found(metadata, GetObject("b", "k", part=3, with_holders=False))
    assert (numbers(bare.parts), bare.holders) == ([3], {})
    for number in (0, 2, -1, 1 << 40):
        assert found(metadata, GetObject("b", "k", part=number)).parts == ()


def test_without_holders_no_part_is_read() -> None:
    answer = found(assembled({1: (1, 10)}), GetObject("b", "k", with_holders=False))
    assert (answer.parts, answer.holders) == ((), {})


def test_the_first_parts_are_few_and_one_at_least() -> None:
    each = FIRST_REFERENCES_MAX // 2
    metadata = assembled(dict.fromkeys(range(1, 6), (each, 10 * each)))
    assert numbers(found(metadata, GetObject("b", "k")).parts) == [1, 2]
    metadata = assembled(dict.fromkeys(range(1, 4), (FIRST_REFERENCES_MAX + 1, 100)))
    assert numbers(found(metadata, GetObject("b", "k")).parts) == [1]
    metadata = assembled(dict.fromkeys(range(1, 100), (1, 0)) | {100: (1, 1)})
    assert numbers(found(metadata, GetObject("b", "k")).parts) == [100]


def test_more_parts_come_by_their_numbers() -> None:
    metadata = assembled({1: (1, 10), 3: (2, 20), 7: (1, 5)})
    answer = metadata.ask(GetParts(UPLOAD, (3, 7)))
    assert isinstance(answer, PartsFound)
    assert numbers(answer.parts) == [3, 7]
    assert len(answer.holders) == 3
    bare = metadata.ask(GetParts(UPLOAD, (3, 7), with_holders=False))
    assert bare == PartsFound(answer.parts)
    assert metadata.ask(GetParts(UPLOAD, ())) == PartsFound(())


def test_parts_by_number_are_bounded_by_their_references() -> None:
    each = REFERENCES_MAX // 2
    metadata = assembled(dict.fromkeys(range(1, 5), (each, each)))
    answer = metadata.ask(GetParts(UPLOAD, (1, 2, 3, 4), with_holders=False))
    assert isinstance(answer, PartsFound)
    assert numbers(answer.parts) == [1, 2]


def test_parts_up_to_one_that_is_not_there_are_answered() -> None:
    metadata = assembled({1: (1, 10), 3: (2, 20)})
    answer = metadata.ask(GetParts(UPLOAD, (1, 2, 3), with_holders=False))
    assert isinstance(answer, PartsFound)
    assert numbers(answer.parts) == [1]


@pytest.mark.parametrize(
    ("upload", "asked"),
    [
        (upload_id(51), (1,)),
        (b"", (1,)),
        (b"u" * 5000, (1,)),
        (UPLOAD, (2,)),
        (UPLOAD, (0,)),
        (UPLOAD, (-1,)),
        (UPLOAD, (1 << 40,)),
    ],
)
def test_parts_that_are_not_there_are_said(upload: bytes, asked: tuple[int, ...]) -> None:
    assert code(assembled({1: (1, 10)}), GetParts(upload, asked)) == "NoSuchUpload"


def test_parts_of_an_upload_under_way_are_no_objects() -> None:
    metadata = with_bucket()
    keep_part(metadata, 1, 1, 10)
    assert code(metadata, GetParts(UPLOAD, (1,))) == "NoSuchUpload"


def test_an_object_in_its_row_has_no_parts_however_it_is_asked() -> None:
    metadata = with_bucket()
    metadata.do(put("k"))
    answer = found(metadata, GetObject("b", "k", offset=-2, part=1))
    assert (answer.parts, answer.holders) == ((), {})
