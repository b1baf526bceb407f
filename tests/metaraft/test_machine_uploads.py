"""Multipart uploads: parts are rows that come, go and are shared, and no command but completing takes long."""

from collections.abc import Sequence

import msgspec
import pytest

from metaraft.commands import (
    AbortUpload,
    Command,
    Condition,
    CopyObject,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    Dereference,
    Dereferenced,
    Done,
    Failed,
    ObjectDone,
    PartDone,
    PutObject,
    UploadDone,
)
from metaraft.machine_chunks import ROWS_MAX
from metaraft.machine_parts import PART_REFERENCES_MAX
from metaraft.model import (
    Assembled,
    Checksum,
    ChecksumAlgorithm,
    Chunk,
    ChunkRef,
    Copies,
    PartHead,
    Upload,
    Usage,
    Versioning,
    Which,
)
from metaraft.rows import Assembly, Kind, PartRows, bucket_key, chunk_key, scheme_bytes
from tests.metaraft.metadata import COPIES, START_MS, Metadata, acks, chunk_id, etag, put, put_chunks, with_bucket
from tests.metaraft.versions import (
    NONCE,
    assembled,
    assembly_row,
    begin,
    complete_command,
    copy_command,
    kinds,
    null_row,
    part_command,
    part_rows,
    put_parts,
    set_versioning,
    trash_rows,
    upload_row,
    value,
    versions,
)

replace = msgspec.structs.replace


def count(metadata: Metadata, name: object, scheme: Copies = COPIES) -> int:
    found = value(metadata, chunk_key(1, scheme_bytes(scheme), chunk_id(name)), Chunk)
    return 0 if found is None else found.count


def dereference(metadata: Metadata, limit: int = ROWS_MAX) -> tuple[int, bool]:
    result = metadata.do(Dereference(limit))
    assert isinstance(result, Dereferenced)
    return result.references, result.more


def do(metadata: Metadata, command: Command) -> ObjectDone:
    result = metadata.do(command)
    assert isinstance(result, ObjectDone), result
    return result


def usage(metadata: Metadata) -> Usage:
    return value(metadata, bucket_key(1, 1, Kind.BUCKET_USAGE), Usage) or Usage()


def refs(metadata: Metadata, upload: Upload, number: int) -> list[tuple[bytes, int, int]]:
    return [(ref.chunk_id, ref.offset, ref.length) for ref in part_rows(metadata, upload.upload_id)[number].chunks]


# ---- beginning


def test_an_upload_has_an_id_that_sorts_by_its_beginning_and_cannot_be_guessed() -> None:
    metadata = with_bucket()
    metadata.now_ms += 5
    command = CreateUpload(
        "b", "k", NONCE, "text/html", {"cache-control": "no"}, {"a": "b"}, {"c": "d"}, ("CRC32", "COMPOSITE"), "me"
    )
    made = Upload(
        upload_id=(2).to_bytes(8, "big") + NONCE,
        key="k",
        created_ms=START_MS + 5,
        generation=0,
        owner="me",
        content_type="text/html",
        headers={"cache-control": "no"},
        user_metadata={"a": "b"},
        tags={"c": "d"},
        checksum=("CRC32", "COMPOSITE"),
    )
    assert metadata.do(command) == UploadDone(made)
    assert upload_row(metadata, made) == made
    assert begin(metadata).upload_id > made.upload_id
    assert usage(metadata) == Usage()


def test_an_upload_that_no_row_could_keep_is_refused() -> None:
    metadata = with_bucket()
    good = CreateUpload("b", "k", NONCE, "")
    refused = {
        "NoSuchBucket": [replace(good, bucket="nowhere")],
        "InvalidKey": [replace(good, key=key) for key in ("", "k" * 1025, "a\0b")],
        "InvalidOwner": [replace(good, owner="o" * 256)],
        "BadCommand": [replace(good, nonce=nonce) for nonce in (b"", b"1234567", b"123456789")],
    }
    for code, commands in refused.items():
        assert [metadata.code(command) for command in commands] == [code] * len(commands)


# ---- parts


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
    done = do(metadata, complete_command(upload, [1], 2))
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
    return do(metadata, put_chunks(key, ["x", "y", "z"], acks(1, 2))).revision


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
    whole = do(metadata, complete_command(first, [1], 1))
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
    newer = do(metadata, put("s", b"inline")).revision
    command = copy_command(upload, 1, ("b", "s", read), 0, 300)
    result = metadata.do(command)
    assert isinstance(result, Failed)
    assert (result.kind, result.code) == ("unavailable", "SourceChanged")
    assert metadata.code(replace(command, source_revision=newer, stop=6)) == "BadBody"
    marker = do(metadata, DeleteObject("b", "s")).revision
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
    metadata.do(copy_command(source, 2, ("c", "s", do(metadata, other).revision), 0, 100))
    whole = do(metadata, complete_command(source, [1, 2], 2))
    upload = begin(metadata)
    assert metadata.code(copy_command(upload, 1, ("b", "s", whole.revision), 99, 101)) == "BadBody"
    for number, start in ((1, 0), (2, 100)):
        assert isinstance(
            metadata.do(copy_command(upload, number, ("b", "s", whole.revision), start, start + 100)), PartDone
        )
    schemes = [part.head.scheme for part in part_rows(metadata, upload.upload_id).values()]
    assert schemes == [COPIES, Copies(2)]
    assert (count(metadata, "x"), count(metadata, "z", Copies(2))) == (2, 3)


def test_a_copied_part_has_a_bounded_number_of_references() -> None:
    metadata = with_bucket(disks=3)
    names = ["x"] * (PART_REFERENCES_MAX // 2)
    whole = assembled(metadata, "s", {1: names, 2: names, 3: ["y"]})[1]
    upload = begin(metadata)
    assert metadata.code(copy_command(upload, 1, ("b", "s", whole.revision), 0, whole.size)) == "BadBody"
    assert isinstance(metadata.do(copy_command(upload, 1, ("b", "s", whole.revision), 100, whole.size)), PartDone)


# ---- completing


def test_a_completed_object_has_the_uploads_metadata_and_the_parts_named() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(
        metadata,
        headers={"cache-control": "no"},
        user_metadata={"a": "b"},
        tags={"c": "d"},
        owner="me",
        checksum=("CRC32", "COMPOSITE"),
    )
    put_parts(metadata, upload, {1: ["x", "y"], 2: ["z"], 10_000: ["x"]})
    metadata.now_ms += 3
    checksums: dict[ChecksumAlgorithm, Checksum] = {"CRC32": Checksum(b"1234", "COMPOSITE")}
    done = do(metadata, complete_command(upload, [1, 10_000], 3, checksums=checksums))
    assert done == ObjectDone(done.revision, START_MS + 3, "whole", False, size=300, checksums=checksums)
    (version,) = versions(metadata)
    assert version.body == Assembled(upload.upload_id, ((1, 200), (10_000, 100)))
    assert (version.revision, version.size, version.etag, version.owner) == (done.revision, 300, "whole", "me")
    assert (version.content_type, version.headers) == ("text/plain", {"cache-control": "no"})
    assert (version.user_metadata, version.tags, version.checksums) == ({"a": "b"}, {"c": "d"}, checksums)
    assert upload_row(metadata, upload) is None
    assert assembly_row(metadata, upload) == Assembly(1, 1, "k", done.revision, False, "off")
    assert usage(metadata) == Usage(300, 1)
    (trash,) = trash_rows(metadata)
    assert trash.rows == (PartRows(upload.upload_id, (2,)),)
    assert dereference(metadata) == (1, False)
    assert set(part_rows(metadata, upload.upload_id)) == {1, 10_000}
    assert (count(metadata, "x"), count(metadata, "y"), count(metadata, "z")) == (2, 1, 0)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "BadCommand"),
        ([2, 1], "BadCommand"),
        ([1, 1], "BadCommand"),
        ([1, 2, 2], "BadCommand"),
        ([3], "InvalidPart"),
        ([1, 2, 3], "InvalidPart"),
        ([0, 1], "InvalidPart"),
        ([-1], "InvalidPart"),
        ([1, 10_001], "InvalidPart"),
        ([1, 1 << 40], "InvalidPart"),
    ],
)
def test_parts_must_be_there_and_named_in_order(parts: Sequence[int], code: str) -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"], 2: ["y"]})
    assert metadata.code(complete_command(upload, parts, 2)) == code


def test_completing_is_refused_if_parts_came_since_they_were_checked() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"]})
    for generation in (0, 2):
        result = metadata.do(complete_command(upload, [1], generation))
        assert isinstance(result, Failed)
        assert (result.kind, result.code) == ("unavailable", "UploadChanged")
    assert do(metadata, complete_command(upload, [1], 1)).size == 100


def test_a_condition_that_fails_leaves_the_upload_under_way() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put("k", b"there"))
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"]})
    only_new = Condition(if_none_match=("*",))
    assert metadata.code(complete_command(upload, [1], 1, condition=only_new)) == "PreconditionFailed"
    same = Condition(if_match=(etag(b"there"),))
    done = do(metadata, complete_command(upload, [1], 1, condition=same))
    assert done.existed


def test_completing_needs_the_upload_of_that_bucket_and_key() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", COPIES))
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"]})
    good = complete_command(upload, [1], 1)
    assert metadata.code(replace(good, bucket="nowhere")) == "NoSuchBucket"
    for wrong in (
        replace(good, bucket="c"),
        replace(good, key="other"),
        replace(good, key=""),
        replace(good, upload_id=b""),
        replace(good, upload_id=bytes(16)),
        replace(good, upload_id=bytes(3000)),
    ):
        assert metadata.code(wrong) == "NoSuchUpload"


@pytest.mark.parametrize(
    ("versioning", "left", "named"),
    [("off", ["whole-"], None), ("suspended", ["whole-", "new"], None), ("enabled", ["whole", "new", "null-"], 0)],
)
def test_a_completed_object_takes_the_place_that_a_put_would(
    versioning: Versioning, left: list[str], named: int | None
) -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"], 2: ["y"]})
    null = do(metadata, replace(put_chunks("k", ["z"], acks(1, 2)), etag="null")).revision
    if versioning != "off":
        set_versioning(metadata, "enabled")
        metadata.do(replace(put("k"), etag="new"))
        set_versioning(metadata, versioning)
    done = do(metadata, complete_command(upload, [1], 2))
    assert (done.null, done.versioning) == (versioning != "enabled", versioning)
    assert [one.etag + "-" * one.null for one in versions(metadata)] == left
    assert null_row(metadata) == (None if named is None else null)
    (trash,) = trash_rows(metadata)
    assert dereference(metadata) == (1 if versioning == "enabled" else 2, False)
    assert (count(metadata, "x"), count(metadata, "y")) == (1, 0)
    assert trash.revision == (0 if versioning == "enabled" else null)


# ---- completing again


def test_completing_again_is_answered_as_the_first_time() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put("k"))
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"], 2: ["y"]})
    command = complete_command(upload, [1], 2, condition=Condition(if_match=("*",)))
    first = metadata.do(command)
    assert isinstance(first, ObjectDone)
    assert first.existed
    before = metadata.facts()
    metadata.now_ms += 1000
    assert metadata.do(command) == first
    assert metadata.do(replace(command, generation=9, parts=(2, 1))) == first
    set_versioning(metadata, "enabled")
    metadata.do(put("k"))
    assert metadata.do(command) == first
    metadata.do(DeleteObject("b", "k"))
    assert metadata.do(command) == first
    assert len(before) < len(metadata.facts())


def test_completing_again_ends_with_the_version_and_is_only_for_who_did_it() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", COPIES))
    upload, _ = assembled(metadata, "k", {1: ["x"]})
    command = complete_command(upload, [1], 1)
    for wrong in (replace(command, etag="other"), replace(command, key="other"), replace(command, bucket="c")):
        assert metadata.code(wrong) == "NoSuchUpload"
    do(metadata, CopyObject("b", "k", "b", "copy"))
    do(metadata, DeleteObject("b", "k"))
    assert assembly_row(metadata, upload) is not None
    assert metadata.code(command) == "NoSuchUpload"


def test_a_bucket_that_was_made_anew_knows_no_upload_of_the_first() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", COPIES))
    upload, _ = assembled(metadata, "k", {1: ["x"]})
    metadata.do(CopyObject("b", "k", "c", "k"))
    metadata.do(DeleteObject("b", "k"))
    assert isinstance(metadata.do(DeleteBucket("b")), Done)
    metadata.do(CreateBucket("b", "o", COPIES))
    assert metadata.code(complete_command(upload, [1], 1)) == "NoSuchUpload"


# ---- shared parts


def shares(metadata: Metadata, upload: Upload) -> int:
    found = assembly_row(metadata, upload)
    return 0 if found is None else found.count


def test_copies_share_the_parts_and_the_last_one_gives_them_up() -> None:
    metadata = with_bucket(disks=3)
    upload, done = assembled(metadata, "k", {1: ["x", "y"], 2: ["x"]})
    chunks = [row for row in metadata.rows.items() if row[0][0] == Kind.CHUNK]
    for number in range(3):
        copied = do(metadata, CopyObject("b", "k", "b", f"copy{number}"))
        assert (copied.size, copied.etag) == (300, done.etag)
        assert versions(metadata, f"copy{number}")[0].body == versions(metadata)[0].body
        assert shares(metadata, upload) == number + 2
    assert [row for row in metadata.rows.items() if row[0][0] == Kind.CHUNK] == chunks
    assert usage(metadata) == Usage(1200, 4)
    do(metadata, DeleteObject("b", "k"))
    do(metadata, put("copy0"))
    do(metadata, put_chunks("copy1", ["z"], acks(1, 2)))
    assert (shares(metadata, upload), trash_rows(metadata)) == (1, [])
    do(metadata, DeleteObject("b", "copy2"))
    assert shares(metadata, upload) == 0
    assert [trash.rows for trash in trash_rows(metadata)] == [(PartRows(upload.upload_id),)]
    assert count(metadata, "x") == 2
    assert dereference(metadata) == (3, False)
    assert (count(metadata, "x"), count(metadata, "y"), count(metadata, "z")) == (0, 0, 1)
    assert not {Kind.PART, Kind.PART_CHUNKS, Kind.ASSEMBLY, Kind.TRASH} & set(kinds(metadata))


@pytest.mark.parametrize("versioning", ["off", "suspended"])
def test_a_completed_object_survives_a_copy_onto_itself(versioning: Versioning) -> None:
    metadata = with_bucket(disks=3)
    set_versioning(metadata, versioning)
    upload, _ = assembled(metadata, "k", {1: ["x"], 2: ["y"]})
    do(metadata, CopyObject("b", "k", "b", "k", replace=("text/html", {}, {})))
    assert (shares(metadata, upload), trash_rows(metadata)) == (1, [])
    assert set(part_rows(metadata, upload.upload_id)) == {1, 2}
    assert [one.content_type for one in versions(metadata)] == ["text/html"]
    assert usage(metadata) == Usage(200, 1)


def test_under_versioning_a_copy_onto_itself_shares() -> None:
    metadata = with_bucket(disks=3)
    set_versioning(metadata, "enabled")
    upload, first = assembled(metadata, "k", {1: ["x"]})
    do(metadata, CopyObject("b", "k", "b", "k"))
    assert shares(metadata, upload) == 2
    do(metadata, DeleteObject("b", "k", which=Which(first.revision)))
    assert (shares(metadata, upload), trash_rows(metadata)) == (1, [])


# ---- aborting


def test_aborting_gives_all_parts_up_at_once() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", COPIES))
    upload, other = begin(metadata), begin(metadata)
    put_parts(metadata, upload, {1: ["x"], 2: ["y", "x"]})
    put_parts(metadata, other, {1: ["x"]})
    command = AbortUpload("b", "k", upload.upload_id)
    assert metadata.code(replace(command, bucket="nowhere")) == "NoSuchBucket"
    for wrong in (replace(command, bucket="c"), replace(command, key="other"), replace(command, upload_id=bytes(16))):
        assert metadata.code(wrong) == "NoSuchUpload"
    revision = metadata.machine.revision()
    assert metadata.do(command) == Done(revision + 1)
    assert metadata.code(command) == "NoSuchUpload"
    assert metadata.code(part_command(upload, 1, ["x"])) == "NoSuchUpload"
    assert metadata.code(complete_command(upload, [1], 3)) == "NoSuchUpload"
    assert dereference(metadata) == (3, False)
    assert part_rows(metadata, upload.upload_id) == {}
    assert set(part_rows(metadata, other.upload_id)) == {1}
    assert (count(metadata, "x"), count(metadata, "y")) == (1, 0)


def test_an_upload_without_parts_leaves_nothing() -> None:
    metadata = with_bucket()
    upload = begin(metadata)
    metadata.do(AbortUpload("b", "k", upload.upload_id))
    assert not {Kind.UPLOAD, Kind.TRASH} & set(kinds(metadata))


def test_only_an_upload_from_before_the_time_given_is_aborted() -> None:
    metadata = with_bucket()
    upload = begin(metadata)
    command = AbortUpload("b", "k", upload.upload_id, upload.created_ms)
    assert metadata.code(command) == "NotStale"
    assert isinstance(metadata.do(replace(command, made_before_ms=upload.created_ms + 1)), Done)


def test_a_completed_upload_cannot_be_aborted() -> None:
    metadata = with_bucket(disks=3)
    upload, _ = assembled(metadata, "k", {1: ["x"]})
    assert metadata.code(AbortUpload("b", "k", upload.upload_id)) == "NoSuchUpload"


# ---- taking references down


def test_dereferencing_is_bounded_and_goes_on_within_a_part() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    names = [f"c{number}" for number in range(25)]
    put_parts(metadata, upload, {1: names[:10], 2: names[10:12], 3: names[12:]})
    metadata.do(AbortUpload("b", "k", upload.upload_id))
    assert dereference(metadata, 4) == (4, True)
    assert [len(part.chunks) for part in part_rows(metadata, upload.upload_id).values()] == [6, 2, 13]
    assert dereference(metadata, 7) == (7, True)
    assert [len(part.chunks) for part in part_rows(metadata, upload.upload_id).values()] == [1, 13]
    assert dereference(metadata, 1) == (1, True)
    assert dereference(metadata, 13) == (13, False)
    assert dereference(metadata) == (0, False)
    assert [count(metadata, name) for name in names] == [0] * 25
    assert not {Kind.PART, Kind.PART_CHUNKS, Kind.TRASH} & set(kinds(metadata))


def test_parts_that_are_named_and_the_rest_of_the_same_upload_go_one_after_the_other() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["a"], 2: ["b", "b"], 3: ["c"], 4: ["d", "d", "d"]})
    do(metadata, complete_command(upload, [1, 3], 4))
    do(metadata, DeleteObject("b", "k"))
    assert [trash.rows[0].numbers for trash in trash_rows(metadata)] == [(2, 4), None]
    assert dereference(metadata, 3) == (3, True)
    assert trash_rows(metadata)[0].rows[0].numbers == (4,)
    assert dereference(metadata, 2) == (2, True)
    assert [trash.rows[0].numbers for trash in trash_rows(metadata)] == [None]
    assert dereference(metadata, 1) == (1, True)
    assert dereference(metadata, 1) == (1, False)
    assert Kind.PART not in kinds(metadata)


def test_what_one_mutation_gives_up_is_one_row_though_it_has_two_origins() -> None:
    metadata = with_bucket(disks=3)
    old, _ = assembled(metadata, "k", {1: ["x"], 2: ["y"]})
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["z"], 2: ["y"]})
    do(metadata, complete_command(upload, [1], 2))
    (trash,) = trash_rows(metadata)
    assert trash.rows == (PartRows(old.upload_id), PartRows(upload.upload_id, (2,)))
    assert dereference(metadata, 1) == (1, True)
    assert dereference(metadata, 1) == (1, True)
    assert dereference(metadata, 1) == (1, False)
    assert (count(metadata, "x"), count(metadata, "y"), count(metadata, "z")) == (0, 0, 1)


def test_parts_without_references_count_as_one_step_each() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    for number in range(1, 6):
        metadata.do(part_command(upload, number, []))
    metadata.do(AbortUpload("b", "k", upload.upload_id))
    assert dereference(metadata, 3) == (0, True)
    assert set(part_rows(metadata, upload.upload_id)) == {4, 5}
    assert dereference(metadata, 3) == (0, False)


def test_an_object_of_ten_thousand_parts_goes_in_steps_of_a_thousand() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    for number in range(1, 10_001):
        metadata.do(part_command(upload, number, [number % 50]))
        metadata.now_ms += 100
    done = do(metadata, complete_command(upload, range(1, 10_001), 10_000))
    assert done.size == 1_000_000
    do(metadata, CopyObject("b", "k", "b", "copy"))
    do(metadata, DeleteObject("b", "k"))
    do(metadata, DeleteObject("b", "copy"))
    steps = [dereference(metadata) for _ in range(10)]
    assert steps == [(1000, True)] * 9 + [(1000, False)]
    assert not {Kind.PART, Kind.PART_CHUNKS, Kind.TRASH, Kind.ASSEMBLY} & set(kinds(metadata))
    assert [count(metadata, name) for name in range(50)] == [0] * 50


def test_an_assembled_body_is_made_by_completing_only() -> None:
    metadata = with_bucket(disks=3)
    upload, _ = assembled(metadata, "k", {1: ["x"]})
    command: PutObject = replace(put("t"), body=Assembled(upload.upload_id, ((1, 100),)), size=100)
    assert metadata.code(command) == "BadBody"


def test_references_fit_together_in_every_part_row() -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    metadata.do(copy_command(upload, 1, ("b", "s", chunked(metadata)), 50, 250))
    (part,) = part_rows(metadata, upload.upload_id).values()
    assert part.chunks[0] == ChunkRef(chunk_id("x"), 50, 50, 100)
    assert sum(ref.length for ref in part.chunks) == part.head.size
