"""Reads: listings against a plain model, and every other query."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import Refused
from metaraft import answering
from metaraft.commands import (
    CreateBucket,
    DeleteObject,
    Failed,
    PutObject,
)
from metaraft.memory_rows import MemoryRows
from metaraft.model import Checksum, Coded, Copies, SpaceInfo, Usage
from metaraft.queries import (
    BucketFound,
    BucketsFound,
    GetBucket,
    GetHolders,
    GetObject,
    GetSpace,
    GetUsage,
    HoldersFound,
    ListBuckets,
    ListObjects,
    ObjectsFound,
    Query,
    SpaceFound,
    UsageFound,
)
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    Metadata,
    acks,
    ask,
    chunk_id,
    encode,
    envelope,
    etag,
    put,
    put_chunks,
    with_bucket,
)

type Entry = tuple[str, bool]
"""A key or (True) a common prefix."""


def entries(keys: Sequence[str], prefix: str, delimiter: str) -> list[Entry]:
    """All entries of a listing, as S3 and the contract of `ListObjects` define them."""
    found: dict[Entry, None] = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            found[(key, False) if at < 0 else (key[: at + len(delimiter)], True)] = None
    return list(found)


def holding(keys: Sequence[str]) -> Metadata:
    metadata = with_bucket()
    if keys:
        metadata.enter([envelope(put(key), metadata.next_key(), START_MS + 1) for key in keys])
    return metadata


def page(metadata: Metadata, query: ListObjects, *, rows_max: int = 10_000) -> tuple[list[Entry], str | None]:
    found = metadata.ask(query, rows_max=rows_max)
    assert isinstance(found, ObjectsFound), found
    merged = [(one.key, False) for one in found.objects] + [(one, True) for one in found.prefixes]
    return sorted(merged, key=lambda entry: entry[0].encode()), found.next_after


def walk(metadata: Metadata, prefix: str, delimiter: str, limit: int, rows_max: int, after: str) -> list[Entry]:
    """All pages, one after another."""
    found: list[Entry] = []
    while True:
        got, next_after = page(metadata, ListObjects("b", prefix, delimiter, after, limit), rows_max=rows_max)
        assert len(got) <= limit
        found += got
        if next_after is None:
            return found
        assert next_after.encode() > after.encode(), "every page goes on"
        after = next_after


letters = st.text(st.sampled_from("ab/é\U0010ffff\x01"), max_size=5)
some_keys = st.lists(letters.filter(bool), max_size=25, unique=True)


@settings(max_examples=300, deadline=None)
@given(
    keys=some_keys,
    prefix=letters.map(lambda text: text[:2]),
    delimiter=st.sampled_from(["", "/", "a", "ab", "//", "é/"]),
    after=letters,
    limit=st.integers(1, 6),
    rows_max=st.integers(1, 8),
)
def test_pages_hold_every_entry_once_in_byte_order(
    keys: list[str], prefix: str, delimiter: str, after: str, limit: int, rows_max: int
) -> None:
    expected = [entry for entry in entries(keys, prefix, delimiter) if entry[0].encode() > after.encode()]
    assert walk(holding(keys), prefix, delimiter, limit, rows_max, after) == expected


@given(keys=some_keys, delimiter=st.sampled_from(["", "/"]), limit=st.integers(1, 25))
def test_a_page_is_full_unless_it_is_the_last_and_says_so(keys: list[str], delimiter: str, limit: int) -> None:
    expected = entries(keys, "", delimiter)
    got, next_after = page(holding(keys), ListObjects("b", "", delimiter, "", limit))
    assert got == expected[:limit]
    assert (next_after is None) == (len(expected) <= limit)


class Counting(MemoryRows):
    """Rows that count what is looked at."""

    looked = 0

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As the twin's."""
        for row in super().scan(start, stop):
            self.looked += 1
            yield row


def test_a_common_prefix_costs_one_row_however_many_keys_are_under_it() -> None:
    metadata = holding([f"{group}/{number}" for group in "abc" for number in range(200)])
    rows = Counting()
    for key, value in metadata.rows.items():
        rows.put(key, value)
    rows.looked = 0
    found = ask(rows, ListObjects("b", delimiter="/"))
    assert found == ObjectsFound((), ("a/", "b/", "c/"), None)
    assert rows.looked == 3


def test_a_page_looks_at_no_more_rows_than_it_may_and_says_where_it_stopped() -> None:
    metadata = holding([f"{number:03}" for number in range(50)])
    got, next_after = page(metadata, ListObjects("b"), rows_max=7)
    assert [key for key, _ in got] == [f"{number:03}" for number in range(7)]
    assert next_after == "006"
    assert page(metadata, ListObjects("b", after="042"), rows_max=7) == (
        [(f"{number:03}", False) for number in range(43, 50)],
        None,
    )


def test_no_page_is_longer_than_a_thousand() -> None:
    metadata = holding([f"{number:04}" for number in range(1002)])
    got, next_after = page(metadata, ListObjects("b", limit=5000))
    assert (len(got), next_after) == (1000, "0999")
    assert page(metadata, ListObjects("b", limit=0)) == ([], None)


def test_keys_of_one_bucket_are_not_listed_in_another() -> None:
    metadata = holding(["k"])
    metadata.do(CreateBucket("c", "o", COPIES))
    metadata.do(put("l", bucket="c", bucket_id=2))
    assert page(metadata, ListObjects("b"))[0] == [("k", False)]
    assert page(metadata, ListObjects("c"))[0] == [("l", False)]


@pytest.mark.parametrize("text", ["k" * 2000, "k" * 1024 + "\0", "a\0", "\0"])
def test_what_cannot_be_in_a_key_is_compared_as_the_bytes_it_is(text: str) -> None:
    keys = ["a", "a\x01", "k" * 1024, "l"]
    metadata = holding(keys)
    assert page(metadata, ListObjects("b", prefix=text)) == ([], None)
    expected = [(key, False) for key in keys if key.encode() > text.encode()]
    assert page(metadata, ListObjects("b", after=text))[0] == expected
    assert page(metadata, ListObjects("b", delimiter=text))[0] == [(key, False) for key in keys]


def test_a_listed_object_shows_its_metadata_and_no_body() -> None:
    metadata = with_bucket()
    small = put("k", b"hello", owner="me")
    command = PutObject(
        bucket="b",
        bucket_id=1,
        key="k",
        size=5,
        etag=small.etag,
        content_type="text/plain",
        body=small.body,
        checksums={"SHA256": Checksum(b"s" * 32), "MD5": Checksum(b"m" * 16)},
        owner="me",
    )
    metadata.do(command)
    found = metadata.ask(ListObjects("b"))
    assert isinstance(found, ObjectsFound)
    (one,) = found.objects
    assert (one.key, one.revision, one.created_ms, one.size) == ("k", 2, START_MS, 5)
    assert (one.etag, one.content_type, one.owner, one.sha256) == (etag(b"hello"), "text/plain", "me", b"s" * 32)


def test_deleted_keys_are_not_listed() -> None:
    metadata = holding(["a", "b"])
    metadata.do(DeleteObject("b", "a"))
    assert page(metadata, ListObjects("b"))[0] == [("b", False)]


# ---- buckets, chunks, the space


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


@pytest.mark.parametrize("query", [GetBucket("no"), GetUsage("no"), GetObject("no", "k"), ListObjects("no")])
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


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (GetHolders(Coded(4, 2), ()), "InvalidScheme"),
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


@pytest.mark.parametrize("query", [b"", b"\xc1", encode([1, {"type": "drop_everything"}]), encode([1])])
def test_what_is_no_query_is_refused(query: bytes) -> None:
    with pytest.raises(Refused) as raised:
        answering.answer(Metadata().rows, query, 10)
    assert raised.value.code == "BadQuery"
