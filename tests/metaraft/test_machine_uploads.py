"""Multipart uploads: parts are rows that come, go and are shared, and no command but completing takes long."""

from collections.abc import Sequence

import msgspec
import pytest

from metaraft.commands import (
    AbortUpload,
    Condition,
    CopyObject,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    PutObject,
)
from metaraft.model import (
    Assembled,
    Checksum,
    ChecksumAlgorithm,
    Upload,
    Usage,
    Versioning,
    Which,
)
from metaraft.results import (
    Done,
    Failed,
    ObjectDone,
    UploadDone,
)
from metaraft.rows import Assembly, Kind, PartRows
from tests.metaraft.metadata import COPIES, START_MS, Metadata, acks, etag, put, put_chunks, with_bucket
from tests.metaraft.versions import (
    NONCE,
    assembled,
    assembly_row,
    begin,
    complete_command,
    count,
    dereference,
    kinds,
    made,
    null_row,
    part_command,
    part_rows,
    put_parts,
    set_versioning,
    trash_rows,
    upload_row,
    usage,
    versions,
)

replace = msgspec.structs.replace


# ---- beginning


def test_an_upload_has_an_id_that_sorts_by_its_beginning_and_cannot_be_guessed() -> None:
    metadata = with_bucket()
    metadata.now_ms += 5
    command = CreateUpload(
        "b", "k", NONCE, "text/html", {"cache-control": "no"}, {"a": "b"}, {"c": "d"}, ("CRC32", "COMPOSITE"), "me"
    )
    upload = Upload(
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
    assert metadata.do(command) == UploadDone(upload)
    assert upload_row(metadata, upload) == upload
    assert begin(metadata).upload_id > upload.upload_id
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
    done = made(metadata, complete_command(upload, [1, 10_000], 3, checksums=checksums))
    assert done == ObjectDone(done.revision, START_MS + 3, "whole", False, size=300, checksums=checksums)
    (version,) = versions(metadata)
    assert version.body == Assembled(upload.upload_id, ((1, 200), (10_000, 100)))
    assert (version.revision, version.size, version.etag, version.owner) == (done.revision, 300, "whole", "me")
    assert (version.content_type, version.headers) == ("text/plain", {"cache-control": "no"})
    assert (version.user_metadata, version.tags, version.checksums) == ({"a": "b"}, {"c": "d"}, checksums)
    assert upload_row(metadata, upload) is None
    assert assembly_row(metadata, upload) == Assembly(1, done.revision, False, "off")
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
    assert made(metadata, complete_command(upload, [1], 1)).size == 100


def test_a_condition_that_fails_leaves_the_upload_under_way() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put("k", b"there"))
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["x"]})
    only_new = Condition(if_none_match=("*",))
    assert metadata.code(complete_command(upload, [1], 1, condition=only_new)) == "PreconditionFailed"
    same = Condition(if_match=(etag(b"there"),))
    done = made(metadata, complete_command(upload, [1], 1, condition=same))
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
    null = made(metadata, replace(put_chunks("k", ["z"], acks(1, 2)), etag="null")).revision
    if versioning != "off":
        set_versioning(metadata, "enabled")
        metadata.do(replace(put("k"), etag="new"))
        set_versioning(metadata, versioning)
    done = made(metadata, complete_command(upload, [1], 2))
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
    made(metadata, CopyObject("b", "k", "b", "copy"))
    made(metadata, DeleteObject("b", "k"))
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
        copied = made(metadata, CopyObject("b", "k", "b", f"copy{number}"))
        assert (copied.size, copied.etag) == (300, done.etag)
        assert versions(metadata, f"copy{number}")[0].body == versions(metadata)[0].body
        assert shares(metadata, upload) == number + 2
    assert [row for row in metadata.rows.items() if row[0][0] == Kind.CHUNK] == chunks
    assert usage(metadata) == Usage(1200, 4)
    made(metadata, DeleteObject("b", "k"))
    made(metadata, put("copy0"))
    made(metadata, put_chunks("copy1", ["z"], acks(1, 2)))
    assert (shares(metadata, upload), trash_rows(metadata)) == (1, [])
    made(metadata, DeleteObject("b", "copy2"))
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
    made(metadata, CopyObject("b", "k", "b", "k", replace=("text/html", {}, {})))
    assert (shares(metadata, upload), trash_rows(metadata)) == (1, [])
    assert set(part_rows(metadata, upload.upload_id)) == {1, 2}
    assert [one.content_type for one in versions(metadata)] == ["text/html"]
    assert usage(metadata) == Usage(200, 1)


def test_under_versioning_a_copy_onto_itself_shares() -> None:
    metadata = with_bucket(disks=3)
    set_versioning(metadata, "enabled")
    upload, first = assembled(metadata, "k", {1: ["x"]})
    made(metadata, CopyObject("b", "k", "b", "k"))
    assert shares(metadata, upload) == 2
    made(metadata, DeleteObject("b", "k", which=Which(first.revision)))
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


def test_an_assembled_body_is_made_by_completing_only() -> None:
    metadata = with_bucket(disks=3)
    upload, _ = assembled(metadata, "k", {1: ["x"]})
    command: PutObject = replace(put("t"), body=Assembled(upload.upload_id, ((1, 100),)), size=100)
    assert metadata.code(command) == "BadBody"
