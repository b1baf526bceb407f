"""Multipart uploads under way: a bucket's page by page against a plain list, parts, and the old ones of all buckets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaraft.commands import (
    CreateBucket,
)
from metaraft.model import Copies, PartHead, Upload
from metaraft.queries import (
    GetUpload,
    ListParts,
    ListStaleUploads,
    ListUploads,
    PartsListed,
    Query,
    StaleUploadsFound,
    UploadFound,
    UploadsFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import Kind, part_key, upload_key
from tests.metaraft.listings import (
    counting,
    group,
    keep_upload,
    letters,
    some_delimiters,
    some_keys,
    some_prefixes,
    upload_id,
)
from tests.metaraft.metadata import COPIES, START_MS, Metadata, ask, encode, with_bucket

type Begun = tuple[str, int]
"""(key, revision) of an upload."""


@st.composite
def some_uploads(draw: st.DrawFn) -> list[Begun]:
    keys = draw(some_keys)
    if not keys:
        return []
    return numbered(draw(st.lists(st.sampled_from(keys), max_size=30)))


def numbered(keys: list[str]) -> list[Begun]:
    return [(key, 2 * place) for place, key in enumerate(keys, start=1)]


def holding(uploads: list[Begun]) -> Metadata:
    metadata = with_bucket()
    for key, revision in uploads:
        keep_upload(metadata.rows, key, revision)
    return metadata


def whole(uploads: list[Begun], prefix: str = "", delimiter: str = "") -> list[Begun | str]:
    """All entries of the listing."""
    found: dict[Begun | str, None] = {}
    for key, revision in sorted(uploads, key=lambda one: (one[0].encode(), one[1])):
        if key.startswith(prefix):
            found[group(key, prefix, delimiter) or (key, revision)] = None
    return list(found)


def page(metadata: Metadata, query: ListUploads, *, rows_max: int = 10_000) -> UploadsFound:
    found = metadata.ask(query, rows_max=rows_max)
    assert isinstance(found, UploadsFound), found
    assert len(found.uploads) + len(found.prefixes) <= max(query.limit, 0)
    return found


def merged(found: UploadsFound) -> list[Begun | str]:
    every: list[Begun | str] = [(one.key, int.from_bytes(one.upload_id[:8])) for one in found.uploads]
    every += found.prefixes
    return sorted(every, key=lambda one: (one.encode(), 0) if isinstance(one, str) else (one[0].encode(), one[1]))


@settings(max_examples=300)
@given(
    uploads=some_uploads(),
    prefix=some_prefixes,
    delimiter=some_delimiters,
    limit=st.integers(1, 5),
    rows_max=st.integers(1, 5),
)
def test_pages_hold_every_upload_once_by_key_and_then_by_its_beginning(
    uploads: list[Begun], prefix: str, delimiter: str, limit: int, rows_max: int
) -> None:
    metadata = holding(uploads)
    got: list[Begun | str] = []
    after: tuple[str, bytes] | None = ("", b"")
    while after is not None:
        found = page(metadata, ListUploads("b", prefix, delimiter, *after, limit), rows_max=rows_max)
        got += merged(found)
        after = found.next_after
    assert got == whole(uploads, prefix, delimiter)


@settings(max_examples=200)
@given(
    uploads=some_uploads(),
    prefix=some_prefixes,
    delimiter=some_delimiters,
    after_key=letters.filter(bool),
    after=st.none() | st.integers(0, 70),
)
def test_a_marker_is_a_place_and_need_not_be_there(
    uploads: list[Begun], prefix: str, delimiter: str, after_key: str, after: int | None
) -> None:
    def is_behind(entry: Begun | str) -> bool:
        if isinstance(entry, str):
            return entry.encode() > after_key.encode()
        if after is not None and entry[0] == after_key:
            return entry[1] > after
        return entry[0].encode() > after_key.encode()

    after_id = b"" if after is None else upload_id(after)
    found = page(holding(uploads), ListUploads("b", prefix, delimiter, after_key, after_id))
    assert merged(found) == [entry for entry in whole(uploads, prefix, delimiter) if is_behind(entry)]
    assert found.next_after is None


@pytest.mark.parametrize(("after_id", "left"), [(b"\0", 2), (upload_id(1) + b"more", 1), (b"\xff" * 5000, 0)])
def test_any_bytes_are_a_marker(after_id: bytes, left: int) -> None:
    metadata = holding([("k", 1), ("k", 2)])
    assert len(page(metadata, ListUploads("b", after_key="k", after_id=after_id)).uploads) == left


@pytest.mark.parametrize("text", ["k" * 2000, "k" * 1024 + "\0", "a\0", "\0"])
def test_what_cannot_be_in_a_key_is_compared_as_the_bytes_it_is(text: str) -> None:
    uploads = numbered(["a", "a\x01", "k" * 1024, "l"])
    metadata = holding(uploads)
    assert merged(page(metadata, ListUploads("b", prefix=text))) == []
    expected = [one for one in whole(uploads) if one[0].encode() > text.encode()]
    assert merged(page(metadata, ListUploads("b", after_key=text))) == expected
    assert merged(page(metadata, ListUploads("b", after_key=text, after_id=upload_id(0)))) == expected
    assert merged(page(metadata, ListUploads("b", delimiter=text))) == whole(uploads)


def test_an_entry_costs_one_row_and_a_common_prefix_too() -> None:
    rows = counting(holding(numbered([f"{key}/{under}" for key in "abc" for under in range(100)])))
    found = ask(rows, ListUploads("b", delimiter="/"))
    assert isinstance(found, UploadsFound)
    assert found.prefixes == ("a/", "b/", "c/")
    assert rows.looked == 3
    rows.looked = 0
    found = ask(rows, ListUploads("b", after_key="b/50", limit=20))
    assert isinstance(found, UploadsFound)
    assert len(found.uploads) == 20
    assert rows.looked == 21


def test_a_page_of_large_uploads_ends_before_its_frame_is_full() -> None:
    metadata = with_bucket()
    for number in range(1, 1001):
        upload = Upload(upload_id(number), "k", START_MS, 0, "me", "t", headers={"content-disposition": "x" * 15_000})
        metadata.rows.insert(upload_key(1, 1, b"k", upload.upload_id), encode(upload))
    found = page(metadata, ListUploads("b"))
    assert 200 < len(found.uploads) < 500
    assert found.next_after == ("k", found.uploads[-1].upload_id)


def test_no_page_is_longer_than_a_thousand_and_one_of_none_is_the_last() -> None:
    metadata = holding([("k", number) for number in range(1, 1003)])
    found = page(metadata, ListUploads("b", limit=5000))
    assert (len(found.uploads), found.next_after) == (1000, ("k", upload_id(1000)))
    assert page(metadata, ListUploads("b", limit=0)) == UploadsFound(found.bucket, (), (), None)


# ---- one upload and its parts


def part(number: int) -> PartHead:
    return PartHead(number, START_MS, f"etag{number}", 100, b"m" * 16, COPIES, 1)


def with_parts(numbers: list[int]) -> Metadata:
    metadata = holding([("k", 5), ("k", 6)])
    for owner, mine in ((5, numbers), (6, [1, 2])):
        for number in mine:
            metadata.rows.insert(part_key(1, upload_id(owner), number), encode(part(number)))
            metadata.rows.insert(part_key(1, upload_id(owner), number, Kind.PART_CHUNKS), encode(()))
    return metadata


def test_an_upload_is_found_by_bucket_key_and_id() -> None:
    metadata = with_bucket()
    upload = keep_upload(metadata.rows, "k", 5)
    found = metadata.ask(GetUpload("b", "k", upload.upload_id))
    assert isinstance(found, UploadFound)
    assert (found.bucket.name, found.upload) == ("b", upload)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (GetUpload("no", "k", upload_id(5)), "NoSuchBucket"),
        (GetUpload("b", "other", upload_id(5)), "NoSuchUpload"),
        (GetUpload("b", "k", upload_id(7)), "NoSuchUpload"),
        (GetUpload("b", "k", b""), "NoSuchUpload"),
        (GetUpload("b", "k", b"u" * 5000), "NoSuchUpload"),
        (GetUpload("b", "k\0", upload_id(5)[1:]), "NoSuchUpload"),
        (GetUpload("b", "", upload_id(5)), "NoSuchUpload"),
        (ListParts("no", "k", upload_id(5)), "NoSuchBucket"),
        (ListParts("b", "k", upload_id(7)), "NoSuchUpload"),
        (ListUploads("no"), "NoSuchBucket"),
    ],
)
def test_what_is_not_there_is_said(query: Query, code: str) -> None:
    answer = with_parts([1]).ask(query)
    assert isinstance(answer, Failed)
    assert (answer.kind, answer.code) == ("refused", code)


@settings(max_examples=100)
@given(
    numbers=st.lists(st.integers(1, 10_000), unique=True, max_size=20),
    limit=st.integers(1, 5),
    rows_max=st.integers(1, 5),
)
def test_parts_come_in_order_of_their_numbers_and_each_once(numbers: list[int], limit: int, rows_max: int) -> None:
    metadata = with_parts(numbers)
    got: list[PartHead] = []
    more = True
    while more:
        after = got[-1].number if got else 0
        found = metadata.ask(ListParts("b", "k", upload_id(5), after, limit), rows_max=rows_max)
        assert isinstance(found, PartsListed)
        assert found.upload.upload_id == upload_id(5)
        got += found.parts
        more = found.more
    assert got == [part(number) for number in sorted(numbers)]


@pytest.mark.parametrize(("after", "left"), [(-5, 2), (0, 2), (1, 1), (2, 0), (65_535, 0), (1 << 40, 0)])
def test_any_number_is_a_marker_of_parts(after: int, left: int) -> None:
    found = with_parts([1, 2]).ask(ListParts("b", "k", upload_id(5), after))
    assert isinstance(found, PartsListed)
    assert (len(found.parts), found.more) == (left, False)


def test_a_page_of_no_parts_is_the_last() -> None:
    found = with_parts([1, 2]).ask(ListParts("b", "k", upload_id(5), limit=0))
    assert isinstance(found, PartsListed)
    assert (found.parts, found.more) == ((), False)


# ---- old uploads


@settings(max_examples=100)
@given(
    ages=st.lists(st.integers(0, 9), max_size=20),
    made_before=st.integers(0, 10),
    limit=st.integers(1, 4),
    rows_max=st.integers(1, 5),
)
def test_a_walk_finds_every_old_upload_of_every_bucket_once(
    ages: list[int], made_before: int, limit: int, rows_max: int
) -> None:
    metadata = with_bucket()
    metadata.do(CreateBucket("c", "o", Copies(2)))
    for revision, age in enumerate(ages, start=1):
        keep_upload(metadata.rows, f"k{age}", revision, bucket_id=1 + revision % 2, created_ms=age)
    got: list[tuple[str, str, bytes]] = []
    cursor: bytes | None = b""
    while cursor is not None:
        found = metadata.ask(ListStaleUploads(made_before, cursor, limit), rows_max=rows_max)
        assert isinstance(found, StaleUploadsFound)
        assert len(found.uploads) <= limit
        got += found.uploads
        cursor = found.cursor
    expected = [
        ("bc"[revision % 2], f"k{age}", upload_id(revision))
        for revision, age in enumerate(ages, start=1)
        if age < made_before
    ]
    assert sorted(got) == sorted(expected)


def test_a_walk_looks_at_no_more_rows_than_it_may_and_says_where_it_stopped() -> None:
    metadata = with_bucket()
    for revision in range(1, 6):
        keep_upload(metadata.rows, "k", revision, created_ms=START_MS + revision)
    found = metadata.ask(ListStaleUploads(START_MS + 2), rows_max=3)
    assert isinstance(found, StaleUploadsFound)
    assert found.uploads == (("b", "k", upload_id(1)),)
    assert found.cursor is not None
    assert found.cursor.endswith(upload_id(3))


def test_a_cursor_that_was_not_given_is_refused_if_no_row_could_have_it() -> None:
    metadata = with_bucket()
    answer = metadata.ask(ListStaleUploads(START_MS, b"c" * 5000))
    assert isinstance(answer, Failed)
    assert answer.code == "BadQuery"
    assert metadata.ask(ListStaleUploads(START_MS, b"\xff" * 100)) == StaleUploadsFound((), None)


def test_the_longest_key_is_walked_past() -> None:
    metadata = with_bucket()
    keep_upload(metadata.rows, "k" * 1024, 1)
    keep_upload(metadata.rows, "l", 2)
    first = metadata.ask(ListStaleUploads(START_MS + 1, limit=1))
    assert isinstance(first, StaleUploadsFound)
    assert first.cursor is not None
    second = metadata.ask(ListStaleUploads(START_MS + 1, first.cursor))
    assert second == StaleUploadsFound((("b", "l", upload_id(2)),), None)
