"""Reads of buckets, chunks and the space; those of listings and of one object have files of their own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import Refused
from metaraft import answering
from metaraft.commands import (
    Condemn,
    CreateBucket,
    DeleteObject,
    Dereference,
    SetBucketSetting,
)
from metaraft.model import Coded, Copies, SpaceInfo, Usage
from metaraft.queries import (
    BucketFound,
    BucketSettingFound,
    BucketsFound,
    FindStrays,
    GetBucket,
    GetBucketSetting,
    GetHolders,
    GetObject,
    GetParts,
    GetSpace,
    GetUsage,
    HoldersFound,
    ListBuckets,
    ListObjects,
    ListStaleUploads,
    Query,
    SpaceFound,
    StraysFound,
    UsageFound,
)
from metaraft.results import (
    Failed,
)
from tests.metaraft.metadata import (
    COPIES,
    Metadata,
    acks,
    ask,
    chunk_id,
    disk_id,
    encode,
    put_chunks,
    with_bucket,
)


def test_buckets_are_listed_by_name_in_pages() -> None:
    metadata = Metadata()
    for name in ("c", "a", "b"):
        metadata.do(CreateBucket(name, "o", COPIES))
    first = metadata.ask(ListBuckets(limit=2))
    assert isinstance(first, BucketsFound)
    assert ([bucket.name for bucket in first.buckets], first.more) == (["a", "b"], True)
    second = metadata.ask(ListBuckets(after="b", limit=2))
    assert isinstance(second, BucketsFound)
    assert ([bucket.name for bucket in second.buckets], second.more) == (["c"], False)
    for after in ("c", "z", "n" * 5000):
        assert metadata.ask(ListBuckets(after=after)) == BucketsFound((), more=False)
    assert metadata.ask(ListBuckets(after="a\0b")) == metadata.ask(ListBuckets(after="a"))


def buckets_of(metadata: Metadata, query: ListBuckets, rows_max: int = 10_000) -> tuple[list[str], str | None]:
    found = metadata.ask(query, rows_max=rows_max)
    assert isinstance(found, BucketsFound)
    assert found.more == (found.next_after is not None)
    assert len(found.buckets) <= query.limit
    return [bucket.name for bucket in found.buckets], found.next_after


@settings(max_examples=100)
@given(
    made=st.lists(st.tuples(st.text("ab-", min_size=1, max_size=4), st.sampled_from("xy")), max_size=15),
    prefix=st.text("ab-", max_size=2),
    owner=st.sampled_from([None, "x", "z"]),
    limit=st.integers(1, 4),
    rows_max=st.integers(1, 5),
)
def test_pages_of_buckets_hold_each_that_fits_once(
    made: list[tuple[str, str]], prefix: str, owner: str | None, limit: int, rows_max: int
) -> None:
    metadata = Metadata()
    for name, one in made:
        metadata.do(CreateBucket(name, one, COPIES))
    first_made = dict(reversed(made))
    expected = [name for name in sorted(first_made) if name.startswith(prefix) and owner in (None, first_made[name])]
    got: list[str] = []
    after: str | None = ""
    while after is not None:
        names, after = buckets_of(metadata, ListBuckets(after, limit, prefix, owner), rows_max)
        got += names
    assert got == expected
    assert buckets_of(metadata, ListBuckets(prefix=prefix, owner=owner)) == (expected, None)


def test_a_full_page_of_an_owners_buckets_is_the_last_if_only_others_follow() -> None:
    metadata = Metadata()
    for name, owner in (("a", "me"), ("b", "you"), ("c", "you")):
        metadata.do(CreateBucket(name, owner, COPIES))
    assert buckets_of(metadata, ListBuckets(limit=1, owner="me")) == (["a"], None)
    assert buckets_of(metadata, ListBuckets(limit=1, owner="me"), rows_max=2) == (["a"], "b")


@pytest.mark.parametrize("prefix", ["a\0", "\0", "p" * 5000])
def test_no_bucket_has_a_name_that_begins_so(prefix: str) -> None:
    metadata = with_bucket()
    assert buckets_of(metadata, ListBuckets(prefix=prefix)) == ([], None)


def test_a_bucket_is_found_with_one_of_its_settings() -> None:
    metadata = with_bucket()
    metadata.do(SetBucketSetting("b", "cors", b"rules"))
    for name, value in (("cors", b"rules"), ("tags", None), ("cor", None), ("", None), ("n" * 5000, None)):
        found = metadata.ask(GetBucketSetting("b", name))
        assert isinstance(found, BucketSettingFound)
        assert (found.bucket.name, found.value) == ("b", value)


@pytest.mark.parametrize(
    "query", [GetBucketSetting("no", "cors"), GetBucket("no"), GetUsage("no"), GetObject("no", "k"), ListObjects("no")]
)
def test_a_bucket_that_is_not_there_is_said(query: Query) -> None:
    answer = Metadata().ask(query)
    assert isinstance(answer, Failed)
    assert (answer.kind, answer.code) == ("refused", "NoSuchBucket")


def test_an_empty_bucket_has_no_usage() -> None:
    metadata = with_bucket()
    assert metadata.ask(GetUsage("b")) == UsageFound(Usage(0, 0))
    found = metadata.ask(GetBucket("b"))
    assert isinstance(found, BucketFound)
    assert found.usage == Usage(0, 0)


def test_chunks_without_a_row_are_left_out() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    found = metadata.ask(GetHolders(COPIES, (chunk_id("x"), chunk_id("y"), b"short")))
    assert isinstance(found, HoldersFound)
    assert set(found.chunks) == {chunk_id("x")}
    assert metadata.ask(GetHolders(Copies(2), (chunk_id("x"),))) == HoldersFound({})


def test_a_stray_is_what_no_row_of_any_scheme_names_the_disk_for() -> None:
    metadata = with_bucket(disks=4)
    metadata.do(CreateBucket("c", "o", Copies(1)))
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("k", ["x"], acks(3), bucket="c", bucket_id=2, scheme=Copies(1)))
    names = ("x", "y")

    def strays(disk: int) -> list[str]:
        found = metadata.ask(FindStrays(disk_id(disk), tuple(chunk_id(name) for name in names)))
        assert isinstance(found, StraysFound)
        assert found.horizon == horizon
        return [name for name in names if chunk_id(name) in found.chunk_ids]

    horizon = 0
    assert [strays(disk) for disk in (1, 2, 3, 4)] == [["y"], ["y"], ["y"], ["x", "y"]]
    metadata.do(DeleteObject("b", "k"))
    metadata.do(Dereference(1000))
    metadata.do(CreateBucket("later", "o", COPIES))
    assert strays(1) == ["y"], "a row names it, though nothing refers to it"
    horizon = metadata.machine.revision()
    metadata.do(Condemn(horizon, 1000))
    assert strays(1) == ["y"], "it is condemned, and will be deleted as such"
    metadata.do(put_chunks("k", ["x"], acks(2, 4, seen=horizon)))
    assert [strays(disk) for disk in (1, 2, 3, 4)] == [["x", "y"], ["y"], ["y"], ["y"]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (GetHolders(Coded(4, 2), ()), "InvalidScheme"),
        (FindStrays(b"d" * 16, (b"x" * 32,) * 11), "TooManyChunks"),
        (GetHolders(Copies(256), ()), "InvalidScheme"),
        (GetHolders(COPIES, (b"x" * 32,) * 11), "TooManyChunks"),
    ],
)
def test_chunk_queries_that_make_no_sense_are_refused(query: Query, code: str) -> None:
    answer = Metadata().ask(query, rows_max=10)
    assert isinstance(answer, Failed)
    assert answer.code == code


def test_the_space_tells_what_a_writer_needs() -> None:
    metadata = with_bucket(disks=2)
    found = metadata.ask(GetSpace())
    assert isinstance(found, SpaceFound)
    assert found.space.revision == metadata.machine.revision() == 3
    assert [disk.node for disk in found.space.disks] == ["node1", "node2"]
    assert ask(Metadata().rows, GetSpace()) == SpaceFound(SpaceInfo(1, 0, 0, ()))


@pytest.mark.parametrize("space", [0, 2, -1, 1 << 40])
def test_another_space_is_not_there(space: int) -> None:
    answer = ask(Metadata().rows, GetSpace(), space=space)
    assert isinstance(answer, Failed)
    assert answer.code == "NoSuchSpace"


@pytest.mark.parametrize(
    "query",
    [
        FindStrays(b"d" * 16, (b"x" * 32,)),
        GetHolders(COPIES, (b"x" * 32,)),
        GetParts(b"u" * 16, (1,)),
        ListStaleUploads(1),
    ],
)
def test_no_query_finds_a_space_whose_number_no_row_could_have(query: Query) -> None:
    answer = ask(Metadata().rows, query, space=-1)
    assert isinstance(answer, Failed)
    assert answer.code == "NoSuchSpace"


@pytest.mark.parametrize("query", [b"", b"\xc1", encode([1, {"type": "drop_everything"}]), encode([1])])
def test_what_is_no_query_is_refused(query: bytes) -> None:
    with pytest.raises(Refused) as raised:
        answering.answer(Metadata().rows, query, 10)
    assert raised.value.code == "BadQuery"
