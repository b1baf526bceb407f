"""Buckets and objects: what commands do, refuse, and count."""

import msgspec
import pytest

from metaraft.commands import (
    Command,
    Condition,
    CopyObject,
    CreateBucket,
    DeleteBucket,
    DeleteObject,
)
from metaraft.conditions import Present, unmet
from metaraft.machine_buckets import BUCKETS_MAX
from metaraft.model import Bucket, Coded, Copies, DeleteMarker, Inline, Parts, Usage, Version
from metaraft.queries import (
    BucketFound,
    GetBucket,
    GetObject,
    GetUsage,
    ObjectFound,
    UsageFound,
)
from metaraft.results import (
    BucketDone,
    Done,
    Failed,
    ObjectDone,
)
from metaraft.rows import Kind, owner_key
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    Metadata,
    acks,
    chunk_id,
    envelope,
    etag,
    key_of,
    put,
    put_chunks,
    with_bucket,
)


def current(metadata: Metadata, key: str, bucket: str = "b") -> Version:
    found = metadata.ask(GetObject(bucket, key))
    assert isinstance(found, ObjectFound), found
    return found.version


def missing(metadata: Metadata, key: str, bucket: str = "b") -> str:
    found = metadata.ask(GetObject(bucket, key))
    assert isinstance(found, Failed), found
    return found.code


def usage(metadata: Metadata, bucket: str = "b") -> Usage:
    found = metadata.ask(GetUsage(bucket))
    assert isinstance(found, UsageFound)
    return found.usage


def owner_usage(metadata: Metadata, owner: str) -> Usage | None:
    row = metadata.rows.get(owner_key(1, owner))
    return None if row is None else msgspec.msgpack.decode(row, type=Usage)


# ---- buckets


def test_a_bucket_is_made_once_and_its_id_never_used_again() -> None:
    metadata = Metadata()
    made = metadata.do(CreateBucket("b", "owner", COPIES))
    assert made == BucketDone(Bucket("b", 1, 1, START_MS, "owner", COPIES))
    assert metadata.code(CreateBucket("b", "other", COPIES)) == "BucketAlreadyExists"
    assert metadata.do(DeleteBucket("b")) == Done(2)
    again = metadata.do(CreateBucket("b", "owner", COPIES))
    assert isinstance(again, BucketDone)
    assert again.bucket.bucket_id == 2


def test_a_put_into_a_bucket_that_was_made_anew_is_refused() -> None:
    metadata = with_bucket()
    metadata.do(DeleteBucket("b"))
    assert metadata.code(put("k")) == "NoSuchBucket"
    metadata.do(CreateBucket("b", "owner", COPIES))
    assert metadata.code(put("k", bucket_id=1)) == "NoSuchBucket"
    assert isinstance(metadata.do(put("k", bucket_id=2)), ObjectDone)


@pytest.mark.parametrize("name", ["", "n" * 64, "é" * 32, "a\0b"])
def test_bucket_names_that_no_row_could_keep_are_refused(name: str) -> None:
    metadata = Metadata()
    assert metadata.code(CreateBucket(name, "owner", COPIES)) == "InvalidBucketName"
    assert metadata.code(DeleteBucket(name)) == "NoSuchBucket"
    assert missing(metadata, "k", name) == "NoSuchBucket"


@pytest.mark.parametrize("scheme", [Copies(0), Copies(16), Copies(-1), Copies(300), Coded(4, 2)])
def test_schemes_that_cannot_be_kept_are_refused(scheme: Copies | Coded) -> None:
    assert Metadata().code(CreateBucket("b", "owner", scheme)) == "InvalidScheme"


def test_owners_have_a_length_limit() -> None:
    metadata = with_bucket()
    assert metadata.code(CreateBucket("c", "o" * 256, COPIES)) == "InvalidOwner"
    assert metadata.code(put("k", owner="o" * 256)) == "InvalidOwner"
    metadata.do(put("k", owner="o" * 255))
    assert metadata.code(CopyObject("b", "k", "b", "c", owner="o" * 256)) == "InvalidOwner"


def test_only_an_empty_bucket_goes() -> None:
    metadata = with_bucket()
    metadata.do(put("k"))
    assert metadata.code(DeleteBucket("b")) == "BucketNotEmpty"
    metadata.do(DeleteObject("b", "k"))
    assert isinstance(metadata.do(DeleteBucket("b")), Done)
    assert metadata.code(DeleteBucket("b")) == "NoSuchBucket"
    assert [key for key, _ in metadata.facts() if key[0] != Kind.SPACE] == []


def test_the_number_of_buckets_is_bounded() -> None:
    metadata = Metadata()
    for first in range(0, BUCKETS_MAX, 500):
        numbers = range(first, first + 500)
        metadata.enter(
            [envelope(CreateBucket(f"b{number}", "o", COPIES), key_of(number), START_MS) for number in numbers]
        )
    metadata.now_ms += 1_000_000
    assert metadata.code(CreateBucket("one-more", "o", COPIES)) == "TooManyBuckets"
    metadata.do(DeleteBucket("b7"))
    assert isinstance(metadata.do(CreateBucket("one-more", "o", COPIES)), BucketDone)


def test_a_bucket_is_found_with_its_usage() -> None:
    metadata = with_bucket()
    metadata.do(put("k", b"12345"))
    found = metadata.ask(GetBucket("b"))
    assert isinstance(found, BucketFound)
    assert (found.bucket.name, found.usage) == ("b", Usage(5, 1))


# ---- put, get, delete


def test_a_put_is_read_back_with_revision_and_time() -> None:
    metadata = with_bucket()
    metadata.now_ms += 1234
    done = metadata.do(put("k", b"hello", owner="me"))
    assert done == ObjectDone(2, START_MS + 1234, etag(b"hello"), existed=False, size=5)
    version = current(metadata, "k")
    assert version.body == Inline(b"hello")
    assert (version.revision, version.created_ms, version.size, version.owner) == (2, START_MS + 1234, 5, "me")


def test_a_second_put_takes_the_first_ones_place_and_usage() -> None:
    metadata = with_bucket()
    metadata.do(put("k", b"first", owner="a"))
    done = metadata.do(put("k", b"second", owner="b"))
    assert isinstance(done, ObjectDone)
    assert done.existed
    assert current(metadata, "k").body == Inline(b"second")
    assert usage(metadata) == Usage(6, 1)
    assert owner_usage(metadata, "a") is None
    assert owner_usage(metadata, "b") == Usage(6, 1)


def test_inline_objects_leave_no_trash() -> None:
    metadata = with_bucket()
    metadata.do(put("k"))
    metadata.do(put("k", b"other"))
    metadata.do(DeleteObject("b", "k"))
    assert not [key for key, _ in metadata.rows.items() if key[0] in (Kind.TRASH, Kind.VERSION)]


def test_chunked_objects_leave_one_trash_row_and_usage_changes_at_once() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x", "y"], acks(1, 2)))
    assert usage(metadata) == Usage(200, 1)
    metadata.do(DeleteObject("b", "k"))
    assert usage(metadata) == Usage(0, 0)
    assert sum(key[0] == Kind.TRASH for key, _ in metadata.rows.items()) == 1


def test_deleting_what_is_not_there_is_no_error_and_no_mutation() -> None:
    metadata = with_bucket()
    for key in ("k", "", "k" * 2000, "a\0b"):
        done = metadata.do(DeleteObject("b", key))
        assert isinstance(done, ObjectDone)
        assert (done.revision, done.existed) == (1, False)
    assert metadata.code(DeleteObject("nowhere", "k")) == "NoSuchBucket"


@pytest.mark.parametrize("key", ["", "k" * 1025, "é" * 513, "a\0b", "\0"])
def test_keys_that_no_row_could_keep_are_refused(key: str) -> None:
    metadata = with_bucket()
    metadata.do(put("a"))
    assert metadata.code(put(key)) == "InvalidKey"
    assert metadata.code(CopyObject("b", "a", "b", key)) == "InvalidKey"
    assert metadata.code(CopyObject("b", key, "b", "z")) == "NoSuchKey"
    assert missing(metadata, key) == "NoSuchKey"


@pytest.mark.parametrize(
    "key", ["a", "a/", "a//b", "../x", "%", " ", "😀", "k" * 1024, "é" * 512, "\x01", "\U0010ffff"]
)
def test_any_other_key_is_just_a_name(key: str) -> None:
    metadata = with_bucket()
    metadata.do(put(key, b"1"))
    metadata.do(put(key + "x" if len(key.encode()) < 1024 else "x", b"2"))
    assert current(metadata, key).body == Inline(b"1")


def test_a_body_that_is_not_what_it_says_is_refused() -> None:
    metadata = with_bucket(disks=3)
    good = put_chunks("k", ["x"], acks(1, 2))
    assert isinstance(good.body, Parts)
    part = good.body.parts[0]
    ref = part.chunks[0]
    replace = msgspec.structs.replace
    bad = [
        replace(put("k", b"four"), size=3),
        replace(put("k"), body=DeleteMarker(), size=0),
        replace(good, size=99),
        replace(good, chunks=()),
        replace(good, chunks=(replace(good.chunks[0], size=99),)),
        replace(good, body=Parts((replace(part, size=99),)), size=99),
        replace(good, body=Parts((replace(part, scheme=Copies(2)),))),
        replace(good, body=Parts((replace(part, chunks=(replace(ref, offset=1),)),))),
        replace(good, body=Parts((replace(part, chunks=(replace(ref, offset=-1),)),))),
        replace(good, body=Parts((replace(part, chunks=(replace(ref, length=0),), size=0),)), size=0),
    ]
    for command in bad:
        assert metadata.code(command) == "BadBody"
    for size in (0, 8 * 1024 * 1024 + 1):
        sized = replace(ref, chunk_bytes=size, length=size or 1)
        command = replace(good, body=Parts((replace(part, chunks=(sized,), size=size or 1),)), size=size or 1)
        assert metadata.code(replace(command, chunks=(replace(good.chunks[0], size=size),))) == "BadBody"
    short = replace(ref, chunk_id=b"short")
    command = replace(good, body=Parts((replace(part, chunks=(short,)),)))
    assert metadata.code(replace(command, chunks=(replace(good.chunks[0], chunk_id=b"short"),))) == "BadBody"
    assert isinstance(metadata.do(good), ObjectDone)


def test_a_chunk_of_another_size_under_a_known_name_is_refused() -> None:
    metadata = with_bucket(disks=2)
    good = put_chunks("k", ["x"], acks(1, 2))
    metadata.do(good)
    assert isinstance(good.body, Parts)
    part = good.body.parts[0]
    replace = msgspec.structs.replace
    ref = replace(part.chunks[0], chunk_bytes=200)
    other = replace(good, body=Parts((replace(part, chunks=(ref,)),)), chunks=(replace(good.chunks[0], size=200),))
    assert metadata.code(other) == "BadBody"


# ---- copy


def test_a_copy_has_the_bytes_and_metadata_of_its_source() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(CreateBucket("c", "owner", Copies(1)))
    metadata.do(put_chunks("k", ["x", "y", "x"], acks(1, 2)))
    metadata.now_ms += 5
    done = metadata.do(CopyObject("b", "k", "c", "k2", owner="me"))
    source, copy = current(metadata, "k"), current(metadata, "k2", "c")
    assert done == ObjectDone(copy.revision, START_MS + 5, source.etag, existed=False, size=300)
    same = msgspec.structs.replace(copy, revision=source.revision, created_ms=source.created_ms, owner="")
    assert same == source
    found = metadata.ask(GetObject("c", "k2"))
    assert isinstance(found, ObjectFound)
    assert set(found.holders) == {chunk_id("x"), chunk_id("y")}
    assert usage(metadata, "c") == Usage(300, 1)


def test_a_copy_onto_itself_replaces_metadata_and_keeps_the_bytes() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    before = current(metadata, "k")
    done = metadata.do(CopyObject("b", "k", "b", "k", replace=("text/html", {"cache-control": "no-store"}, {"a": "b"})))
    assert isinstance(done, ObjectDone)
    assert done.existed
    after = current(metadata, "k")
    assert after.body == before.body
    assert (after.content_type, after.headers, after.user_metadata) == (
        "text/html",
        {"cache-control": "no-store"},
        {"a": "b"},
    )
    assert usage(metadata) == Usage(100, 1)


def test_a_copy_needs_its_source_its_target_and_both_conditions() -> None:
    metadata = with_bucket()
    metadata.do(put("k", b"data"))
    metadata.do(put("t", b"target"))
    assert metadata.code(CopyObject("nowhere", "k", "b", "t")) == "NoSuchBucket"
    assert metadata.code(CopyObject("b", "k", "nowhere", "t")) == "NoSuchBucket"
    assert metadata.code(CopyObject("b", "none", "b", "t")) == "NoSuchKey"
    tag, other = (etag(b"data"),), (etag(b"target"),)
    refused = [
        CopyObject("b", "k", "b", "t", source_condition=Condition(if_match=other)),
        CopyObject("b", "k", "b", "t", source_condition=Condition(if_none_match=tag)),
        CopyObject("b", "k", "b", "t", condition=Condition(if_match=tag)),
        CopyObject("b", "k", "b", "t", condition=Condition(if_none_match=("*",))),
    ]
    for command in refused:
        assert metadata.code(command) == "PreconditionFailed"
    granted = CopyObject(
        "b", "k", "b", "t", source_condition=Condition(if_match=tag), condition=Condition(if_match=other)
    )
    assert isinstance(metadata.do(granted), ObjectDone)
    assert current(metadata, "t").body == Inline(b"data")


# ---- conditions

_E, _F = "e" * 32, "f" * 32
_AT = 10_000_500


@pytest.mark.parametrize(
    ("condition", "holds", "holds_for_nothing"),
    [
        (Condition(), True, True),
        (Condition(if_match=(_E,)), True, False),
        (Condition(if_match=(_F, _E)), True, False),
        (Condition(if_match=(_F,)), False, False),
        (Condition(if_match=("*",)), True, False),
        (Condition(if_match=()), False, False),
        (Condition(if_none_match=(_E,)), False, True),
        (Condition(if_none_match=(_F,)), True, True),
        (Condition(if_none_match=("*",)), False, True),
        (Condition(if_unmodified_since_ms=_AT - 1000), False, True),
        (Condition(if_unmodified_since_ms=10_000_000), True, True),
        (Condition(if_unmodified_since_ms=_AT + 1000), True, True),
        (Condition(if_modified_since_ms=_AT - 1000), True, True),
        (Condition(if_modified_since_ms=10_000_000), False, True),
        (Condition(if_modified_since_ms=_AT + 1000), False, True),
        (Condition(if_match=(_E,), if_unmodified_since_ms=0), True, False),
        (Condition(if_none_match=(_F,), if_modified_since_ms=_AT + 1000), True, True),
        (Condition(if_match=(_E,), if_none_match=(_E,)), False, False),
    ],
)
def test_preconditions_as_rfc_9110_has_them(condition: Condition, holds: bool, holds_for_nothing: bool) -> None:
    assert (unmet(condition, Present(_E, _AT), "k") is None) == holds
    assert (unmet(condition, None, "k") is None) == holds_for_nothing


def test_conditions_are_decided_at_the_commit() -> None:
    metadata = with_bucket()
    only_new = Condition(if_none_match=("*",))
    assert isinstance(metadata.do(put("k", b"1", condition=only_new)), ObjectDone)
    assert metadata.code(put("k", b"2", condition=only_new)) == "PreconditionFailed"
    assert metadata.code(put("none", condition=Condition(if_match=("*",)))) == "PreconditionFailed"
    same = Condition(if_match=(etag(b"1"),))
    assert isinstance(metadata.do(put("k", b"2", condition=same)), ObjectDone)
    assert metadata.code(put("k", b"3", condition=same)) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "k", condition=same)) == "PreconditionFailed"
    assert metadata.code(DeleteObject("b", "none", condition=Condition(if_match=("*",)))) == "PreconditionFailed"
    assert isinstance(metadata.do(DeleteObject("b", "k", condition=Condition(if_match=("*",)))), ObjectDone)
    assert isinstance(metadata.do(put("k", b"1", condition=only_new)), ObjectDone)


def test_a_refusal_is_short_whatever_was_sent() -> None:
    metadata = with_bucket()
    long = "é" * 100_000
    tags = Condition(if_match=(long,))
    commands: list[Command] = [CreateBucket(long, "o", COPIES), DeleteBucket(long), put(long), put("k", bucket=long)]
    commands += [DeleteObject("b", long, tags), put("k", condition=tags), CopyObject("b", long, "b", "k")]
    for command in commands:
        result = metadata.do(command)
        assert isinstance(result, Failed)
        assert len(result.message) <= 500
