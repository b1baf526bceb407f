"""Parts of uploads: of bytes of their own, or of a version's, as they lie in chunks."""

import msgspec
import pytest

from metaraft.commands import (
    Command,
    CreateBucket,
    DeleteObject,
)
from metaraft.machine_parts import PART_REFERENCES_MAX
from metaraft.model import (
    Checksum,
    Copies,
    PartHead,
    Upload,
    Usage,
    Which,
)
from metaraft.results import (
    Failed,
    PartDone,
)
from tests.metaraft.metadata import COPIES, START_MS, Metadata, acks, chunk_id, put, put_chunks, with_bucket
from tests.metaraft.versions import (
    assembled,
    begin,
    complete_command,
    copy_command,
    count,
    dereference,
    made,
    part_command,
    part_rows,
    put_parts,
    set_versioning,
    trash_rows,
    upload_row,
    usage,
)

replace = msgspec.structs.replace


def refs(metadata: Metadata, upload: Upload, number: int) -> list[tuple[bytes, int, int]]:
    return [(ref.chunk_id, ref.offset, ref.length) for ref in part_rows(metadata, upload.upload_id)[number].chunks]


def test_a_part_is_kept_with_its_chunks_and_raises_the_generation() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    metadata.now_ms += 7
    command = part_command(upload, 3, ["x", "y", "x"])
    command = replace(command, part=replace(command.part, checksums={"CRC32": Checksum(b"1234")}))
    assert metadata.do(command) == PartDone(3, START_MS + 7, command.etag)
    (part,) = part_rows(metadata, upload.upload_id).values()
    assert part.head == PartHead(3, START_MS + 7, command.etag, 300, b"m" * 16, COPIES, 3, {"CRC32": Checksum(b"1234")})
    assert part.chunks == command.part.chunks
    assert (count(metadata, "x"), count(metadata, "y")) == (2, 1)
    assert upload_row(metadata, upload) == replace(upload, generation=1)
    assert usage(metadata) == Usage()


def test_a_part_that_is_sent_again_takes_the_first_ones_place() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x", "y"], 2: ["z"]})
    metadata.do(part_command(upload, 1, ["y"]))
    parts = part_rows(metadata, upload.upload_id)
    assert {number: part.head.size for number, part in parts.items()} == {1: 100, 2: 100}
    assert upload_row(metadata, upload) == replace(upload, generation=3)
    assert (count(metadata, "x"), count(metadata, "y")) == (1, 2)
    assert dereference(metadata) == (2, False)
    assert (count(metadata, "x"), count(metadata, "y"), count(metadata, "z")) == (0, 1, 1)


def test_a_part_without_bytes_is_a_part() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    metadata.do(part_command(upload, 1, []))
    metadata.do(part_command(upload, 1, []))
    assert trash_rows(metadata) == []
    done = made(metadata, complete_command(upload, [1], 2))
    assert (done.size, usage(metadata)) == (0, Usage(0, 1))


def test_parts_are_refused_where_they_cannot_be_kept() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", COPIES))
    upload = begin(metadata)
    good = part_command(upload, 1, ["x"])
    part = good.part
    ref = part.chunks[0]
    many = tuple(replace(ref, offset=0, length=1) for _ in range(PART_REFERENCES_MAX + 1))
    refused: dict[str, list[Command]] = {
        "NoSuchBucket": [replace(good, bucket="nowhere"), replace(good, bucket_id=2)],
        "NoSuchUpload": [
            replace(good, upload_id=upload.upload_id[:-1]),
            replace(good, upload_id=upload.upload_id + b"x"),
            replace(good, upload_id=b""),
            replace(good, upload_id=bytes(16)),
            replace(good, key="other"),
            replace(good, key=""),
            replace(good, bucket="c", bucket_id=2),
        ],
        "BadPartNumber": [replace(good, number=number) for number in (0, -1, 10_001, 1 << 40)],
        "BadBody": [
            replace(good, part=replace(part, size=99)),
            replace(good, part=replace(part, scheme=Copies(2))),
            replace(good, part=replace(part, chunks=(replace(ref, offset=1),))),
            replace(good, chunks=()),
            replace(good, part=replace(part, chunks=many, size=len(many))),
        ],
    }
    for code, commands in refused.items():
        for command in commands:
            assert metadata.code(command) == code, command
    few = replace(good, chunks=(replace(good.chunks[0], acks=acks(1)),))
    result = metadata.do(few)
    assert isinstance(result, Failed)
    assert (result.kind, result.code) == ("unavailable", "PutAgain")
    for number in (1, 10_000):
        assert isinstance(metadata.do(replace(good, number=number)), PartDone)


# ---- copied parts


def chunked(metadata: Metadata, key: str = "s") -> int:
    """A source of 300 bytes in chunks x, y, z; its revision."""
    return made(metadata, put_chunks(key, ["x", "y", "z"], acks(1, 2))).revision


@pytest.mark.parametrize(
    ("start", "stop", "pieces"),
    [
        (0, 300, [("x", 0, 100), ("y", 0, 100), ("z", 0, 100)]),
        (0, 1, [("x", 0, 1)]),
        (99, 101, [("x", 99, 1), ("y", 0, 1)]),
        (100, 200, [("y", 0, 100)]),
        (50, 250, [("x", 50, 50), ("y", 0, 100), ("z", 0, 50)]),
        (120, 130, [("y", 20, 10)]),
        (299, 300, [("z", 99, 1)]),
        (0, 0, []),
        (300, 300, []),
    ],
)
def test_a_copied_part_refers_to_the_bytes_asked_for(start: int, stop: int, pieces: list[tuple[str, int, int]]) -> None:
    expected = [(chunk_id(name), offset, length) for name, offset, length in pieces]
    for source in ("s", "completed"):
        metadata = with_bucket(disks=3)
        revision = chunked(metadata)
        if source == "completed":
            revision = assembled(metadata, source, {1: ["x"], 2: [], 5: ["y", "z"]})[1].revision
        upload = begin(metadata)
        before = [count(metadata, name) for name in "xyz"]
        command = copy_command(upload, 7, ("b", source, revision), start, stop)
        metadata.now_ms += 9
        assert metadata.do(command) == PartDone(7, START_MS + 9, command.etag)
        assert refs(metadata, upload, 7) == expected
        (part,) = part_rows(metadata, upload.upload_id).values()
        assert (part.head.size, part.head.md5, part.head.references) == (stop - start, b"c" * 16, len(pieces))
        rose = [count(metadata, name) - was for name, was in zip("xyz", before, strict=True)]
        assert rose == [sum(piece[0] == name for piece in pieces) for name in "xyz"]
        assert upload_row(metadata, upload) == replace(upload, generation=1)


def test_a_part_of_a_part_is_cut_from_what_that_refers_to() -> None:
    metadata = with_bucket(disks=3)
    first = begin(metadata, "s2")
    metadata.do(copy_command(first, 1, ("b", "s", chunked(metadata)), 30, 270))
    whole = made(metadata, complete_command(first, [1], 1))
    upload = begin(metadata)
    metadata.do(copy_command(upload, 1, ("b", "s2", whole.revision), 60, 200))
    expected = [("x", 90, 10), ("y", 0, 100), ("z", 0, 30)]
    assert refs(metadata, upload, 1) == [(chunk_id(name), offset, length) for name, offset, length in expected]


def test_a_copied_part_replaces_another() -> None:
    metadata = with_bucket(disks=3)
    revision = chunked(metadata)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x", "w"]})
    metadata.do(copy_command(upload, 1, ("b", "s", revision), 0, 100))
    assert dereference(metadata) == (2, False)
    assert (count(metadata, "x"), count(metadata, "w")) == (2, 0)


def test_a_copied_part_needs_the_version_that_was_read() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    set_versioning(metadata, "enabled")
    read = chunked(metadata)
    newer = made(metadata, put("s", b"inline")).revision
    command = copy_command(upload, 1, ("b", "s", read), 0, 300)
    result = metadata.do(command)
    assert isinstance(result, Failed)
    assert (result.kind, result.code) == ("unavailable", "SourceChanged")
    assert metadata.code(replace(command, source_revision=newer, stop=6)) == "BadBody"
    marker = made(metadata, DeleteObject("b", "s")).revision
    assert metadata.code(command) == "NoSuchKey"
    assert metadata.code(replace(command, source_which=Which(marker))) == "VersionIsDeleteMarker"
    assert metadata.code(replace(command, source_which=Which(1))) == "NoSuchVersion"
    assert isinstance(metadata.do(replace(command, source_which=Which(read))), PartDone)


def test_copied_parts_are_refused_where_they_cannot_be_kept() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    good = copy_command(upload, 1, ("b", "s", chunked(metadata)), 0, 300)
    refused: dict[str, list[Command]] = {
        "NoSuchBucket": [replace(good, bucket="nowhere"), replace(good, source_bucket="nowhere")],
        "NoSuchKey": [replace(good, source_key="none"), replace(good, source_key="")],
        "NoSuchUpload": [replace(good, key="other"), replace(good, upload_id=bytes(16)), replace(good, upload_id=b"")],
        "BadPartNumber": [replace(good, number=number) for number in (0, -1, 10_001)],
        "BadBody": [replace(good, start=start, stop=stop) for start, stop in ((-1, 1), (0, 301), (2, 1), (301, 301))],
    }
    for code, commands in refused.items():
        for command in commands:
            assert metadata.code(command) == code, command


def test_a_range_under_two_schemes_cannot_be_one_part() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", Copies(2)))
    other = put_chunks("s", ["z"], acks(1, 2), bucket="c", bucket_id=2, scheme=Copies(2))
    source = begin(metadata, "s")
    put_parts(metadata, source, {1: ["x"]})
    metadata.do(copy_command(source, 2, ("c", "s", made(metadata, other).revision), 0, 100))
    whole = made(metadata, complete_command(source, [1, 2], 2))
    upload = begin(metadata)
    assert metadata.code(copy_command(upload, 1, ("b", "s", whole.revision), 99, 101)) == "BadBody"
    for number, start in ((1, 0), (2, 100)):
        assert isinstance(
            metadata.do(copy_command(upload, number, ("b", "s", whole.revision), start, start + 100)), PartDone
        )
    schemes = [part.head.scheme for part in part_rows(metadata, upload.upload_id).values()]
    assert schemes == [COPIES, Copies(2)]
    assert (count(metadata, "x"), count(metadata, "z", Copies(2))) == (2, 3)


@pytest.mark.parametrize("place", [0, 50, 100])
def test_a_range_of_no_bytes_is_under_the_scheme_of_the_bucket_that_it_goes_to(place: int) -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", Copies(2)))
    other = made(metadata, put_chunks("s", ["z"], acks(1, 2), bucket="c", bucket_id=2, scheme=Copies(2)))
    upload = begin(metadata)
    assert isinstance(metadata.do(copy_command(upload, 1, ("c", "s", other.revision), place, place)), PartDone)
    (part,) = part_rows(metadata, upload.upload_id).values()
    assert (part.head.scheme, part.head.size, part.chunks) == (COPIES, 0, ())


def test_a_copied_part_has_a_bounded_number_of_references() -> None:
    metadata = with_bucket(disks=3)
    names = ["x"] * (PART_REFERENCES_MAX // 2)
    whole = assembled(metadata, "s", {1: names, 2: names, 3: ["y"]})[1]
    upload = begin(metadata)
    assert metadata.code(copy_command(upload, 1, ("b", "s", whole.revision), 0, whole.size)) == "BadBody"
    assert isinstance(metadata.do(copy_command(upload, 1, ("b", "s", whole.revision), 100, whole.size)), PartDone)
