"""Listings of current versions against a plain model."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaraft.commands import (
    CreateBucket,
    DeleteObject,
    PutObject,
)
from metaraft.model import Checksum
from metaraft.queries import (
    ListObjects,
    ObjectsFound,
)
from tests.metaraft.listings import (
    Entry,
    counting,
    entries,
    keep_version,
    letters,
    some_delimiters,
    some_keys,
    some_prefixes,
    version,
)
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    Metadata,
    ask,
    envelope,
    etag,
    put,
    with_bucket,
)


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
    place = after.encode()
    while True:
        got, next_after = page(metadata, ListObjects("b", prefix, delimiter, after, limit), rows_max=rows_max)
        assert len(got) <= limit
        found += got
        if next_after is None:
            return found
        # Behind a common prefix means behind all that it has, and so behind a deleted key of the same name.
        next_place = next_after.encode() + (b"\xff" if (next_after, True) in got else b"")
        assert next_place > place, "every page goes on"
        place = next_place
        after = next_after


@settings(max_examples=300)
@given(
    keys=some_keys,
    prefix=some_prefixes,
    delimiter=some_delimiters,
    after=letters,
    limit=st.integers(1, 6),
    rows_max=st.integers(1, 8),
)
def test_pages_hold_every_entry_once_in_byte_order(
    keys: list[str], prefix: str, delimiter: str, after: str, limit: int, rows_max: int
) -> None:
    expected = [entry for entry in entries(keys, prefix, delimiter) if entry[0].encode() > after.encode()]
    assert walk(holding(keys), prefix, delimiter, limit, rows_max, after) == expected


@settings(max_examples=300)
@given(
    history=st.lists(st.tuples(letters.filter(bool), st.booleans()), max_size=30),
    prefix=some_prefixes,
    delimiter=some_delimiters,
    after=letters,
    limit=st.integers(1, 4),
    rows_max=st.integers(1, 5),
)
def test_pages_show_what_is_current_and_neither_older_versions_nor_deleted_keys(
    history: list[tuple[str, bool]], prefix: str, delimiter: str, after: str, limit: int, rows_max: int
) -> None:
    metadata = with_bucket()
    for revision, (key, deleted) in enumerate(history, start=1):
        keep_version(metadata.rows, key, version(revision, deleted=deleted))
    current = [key for key, deleted in dict(history).items() if not deleted]
    expected = [entry for entry in entries(current, prefix, delimiter) if entry[0].encode() > after.encode()]
    assert walk(metadata, prefix, delimiter, limit, rows_max, after) == expected


def test_a_page_that_stops_among_deleted_keys_does_not_lose_their_common_prefix() -> None:
    metadata = with_bucket()
    for number in range(5):
        keep_version(metadata.rows, f"a/{number}", version(number + 1, deleted=number < 4))
    assert page(metadata, ListObjects("b", delimiter="/"), rows_max=3) == ([], "a/2\0")
    assert page(metadata, ListObjects("b", delimiter="/", after="a/2\0"), rows_max=3) == ([("a/", True)], None)
    assert page(metadata, ListObjects("b", delimiter="/", after="a/2")) == ([], None)


def test_a_full_page_looks_on_through_deleted_keys_to_say_whether_it_is_the_last() -> None:
    metadata = with_bucket()
    for number, key in enumerate("abcd"):
        keep_version(metadata.rows, key, version(number + 1, deleted=key in "bcd"))
    assert page(metadata, ListObjects("b", limit=1)) == ([("a", False)], None)
    keep_version(metadata.rows, "e", version(9))
    assert page(metadata, ListObjects("b", limit=1)) == ([("a", False)], "d")


def test_a_page_of_long_content_types_ends_before_its_frame_is_full() -> None:
    metadata = with_bucket()
    for number in range(1000):
        one = msgspec.structs.replace(version(number + 1), content_type="t" * 15_000)
        keep_version(metadata.rows, f"{number:04}", one)
    got, next_after = page(metadata, ListObjects("b"))
    assert 200 < len(got) < 500
    assert next_after == got[-1][0]
    assert walk(metadata, "", "", 1000, 10_000, "") == [(f"{number:04}", False) for number in range(1000)]


@given(keys=some_keys, delimiter=st.sampled_from(["", "/"]), limit=st.integers(1, 25))
def test_a_page_is_full_unless_it_is_the_last_and_says_so(keys: list[str], delimiter: str, limit: int) -> None:
    expected = entries(keys, "", delimiter)
    got, next_after = page(holding(keys), ListObjects("b", "", delimiter, "", limit))
    assert got == expected[:limit]
    assert (next_after is None) == (len(expected) <= limit)


def test_a_common_prefix_costs_one_row_however_many_keys_are_under_it() -> None:
    metadata = holding([f"{group}/{number}" for group in "abc" for number in range(200)])
    rows = counting(metadata)
    found = ask(rows, ListObjects("b", delimiter="/"))
    assert isinstance(found, ObjectsFound)
    assert (found.objects, found.prefixes, found.next_after) == ((), ("a/", "b/", "c/"), None)
    assert rows.looked == 3


def test_a_key_costs_one_row_however_many_versions_it_has() -> None:
    metadata = with_bucket()
    for number in range(50):
        for revision in range(1, 1001):
            keep_version(metadata.rows, f"{number:03}", version(1000 * number + revision, deleted=number % 5 == 0))
    rows = counting(metadata)
    found = ask(rows, ListObjects("b", after="009", limit=20))
    assert isinstance(found, ObjectsFound)
    shown = [number for number in range(10, 50) if number % 5][:20]
    assert [(one.key, one.revision) for one in found.objects] == [(f"{one:03}", 1000 * one + 1000) for one in shown]
    last = shown[-1] + 2  # a deleted key, and one that shows that there is more
    assert rows.looked == rows.sought == last + 1 - 10


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
    assert one.checksums == command.checksums
    assert found.bucket is not None
    assert found.bucket.name == "b"


def test_deleted_keys_are_not_listed() -> None:
    metadata = holding(["a", "b"])
    metadata.do(DeleteObject("b", "a"))
    assert page(metadata, ListObjects("b"))[0] == [("b", False)]
