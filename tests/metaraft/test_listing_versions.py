"""All versions of a bucket, page by page, against a plain list of them."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaraft.commands import (
    CreateBucket,
)
from metaraft.model import Checksum
from metaraft.queries import (
    ListedVersion,
    ListVersions,
    VersionsFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import version_key, versions_key
from tests.metaraft.listings import (
    counting,
    group,
    keep_null,
    keep_version,
    letters,
    some_delimiters,
    some_keys,
    some_prefixes,
    version,
)
from tests.metaraft.metadata import COPIES, START_MS, Metadata, ask, encode, etag, put, with_bucket

type Listed = tuple[str, int, bool, bool, bool]
"""(key, revision, null, latest, delete marker) of a version."""


@dataclass(frozen=True)
class Made:
    """One version of the plain model."""

    key: str
    revision: int
    deleted: bool
    null: bool


@st.composite
def histories(draw: st.DrawFn) -> list[Made]:
    """Versions in the order of their revisions; a key has at most one null version."""
    keys = draw(some_keys)
    if not keys:
        return []
    order = draw(st.lists(st.tuples(st.sampled_from(keys), st.booleans(), st.booleans()), max_size=30))
    nulls: set[str] = set()
    made = []
    for revision, (key, deleted, null) in enumerate(order, start=1):
        made.append(Made(key, revision * 3, deleted, null and key not in nulls))
        if null:
            nulls.add(key)
    return made


def holding(history: list[Made]) -> Metadata:
    metadata = with_bucket()
    newest = {one.key: one.revision for one in history}
    for one in history:
        keep_version(metadata.rows, one.key, version(one.revision, deleted=one.deleted, null=one.null))
        if one.null and one.revision != newest[one.key]:
            keep_null(metadata.rows, one.key, one.revision)
    return metadata


def whole(history: list[Made], prefix: str = "", delimiter: str = "") -> list[Listed | str]:
    """All entries of the listing."""
    found: dict[Listed | str, None] = {}
    seen: set[str] = set()
    for one in sorted(history, key=lambda one: (one.key.encode(), -one.revision)):
        if one.key.startswith(prefix):
            common = group(one.key, prefix, delimiter)
            entry = (one.key, one.revision, one.null, one.key not in seen, one.deleted)
            found[entry if common is None else common] = None
            seen.add(one.key)
    return list(found)


def listed(one: ListedVersion) -> Listed:
    return (one.key, one.revision, one.null, one.latest, one.delete_marker)


def page(metadata: Metadata, query: ListVersions, *, rows_max: int = 10_000) -> VersionsFound:
    found = metadata.ask(query, rows_max=rows_max)
    assert isinstance(found, VersionsFound), found
    assert found.bucket.name == "b"
    assert len(found.versions) + len(found.prefixes) <= max(query.limit, 0)
    return found


def merged(found: VersionsFound) -> list[Listed | str]:
    every: list[Listed | str] = [listed(one) for one in found.versions]
    every += found.prefixes
    return sorted(every, key=lambda one: (one.encode(), 0) if isinstance(one, str) else (one[0].encode(), -one[1]))


@settings(max_examples=300)
@given(
    history=histories(),
    prefix=some_prefixes,
    delimiter=some_delimiters,
    limit=st.integers(1, 5),
    rows_max=st.integers(1, 5),
    by_null=st.booleans(),
)
def test_pages_hold_every_version_once_newest_first(
    history: list[Made], prefix: str, delimiter: str, limit: int, rows_max: int, by_null: bool
) -> None:
    metadata = holding(history)
    got: list[Listed | str] = []
    after_key, after_revision, after_null = "", None, False
    while True:
        query = ListVersions("b", prefix, delimiter, after_key, after_revision, after_null, limit)
        found = page(metadata, query, rows_max=rows_max)
        got += merged(found)
        if found.next_after is None:
            break
        after_key, after_revision = found.next_after
        # A client knows a null version by the word, not by its revision.
        after_null = by_null and after_revision is not None and found.versions[-1].null
        if after_null:
            after_revision = None
    assert got == whole(history, prefix, delimiter)


@settings(max_examples=200)
@given(
    history=histories(),
    prefix=some_prefixes,
    delimiter=some_delimiters,
    after_key=letters.filter(bool),
    after_revision=st.none() | st.integers(0, 100),
)
def test_a_marker_is_a_place_and_need_not_be_there(
    history: list[Made], prefix: str, delimiter: str, after_key: str, after_revision: int | None
) -> None:
    def is_behind(entry: Listed | str) -> bool:
        if isinstance(entry, str):
            return entry.encode() > after_key.encode()
        if after_revision is not None and entry[0] == after_key:
            return entry[1] < after_revision
        return entry[0].encode() > after_key.encode()

    found = page(holding(history), ListVersions("b", prefix, delimiter, after_key, after_revision))
    assert merged(found) == [entry for entry in whole(history, prefix, delimiter) if is_behind(entry)]
    assert found.next_after is None


def test_a_page_that_begins_among_a_keys_versions_knows_which_is_the_latest() -> None:
    metadata = holding([Made("k", 10, False, False), Made("k", 20, True, False)])
    both = [("k", 20, False, True, True), ("k", 10, False, False, False)]
    assert merged(page(metadata, ListVersions("b", after_key="k", after_revision=20))) == both[1:]
    # The marker itself may have been deleted for good: then what was behind it is the latest.
    assert merged(page(metadata, ListVersions("b", after_key="k", after_revision=30))) == both


def test_behind_a_null_version_that_is_gone_all_of_its_key_is_listed() -> None:
    history = [Made("k", 10, False, False), Made("k", 20, False, False), Made("l", 30, False, False)]
    found = page(holding(history), ListVersions("b", after_key="k", after_null=True))
    assert merged(found) == whole(history)


@pytest.mark.parametrize(("revision", "left"), [(-1, 0), (0, 0), ((1 << 64) - 1, 1), (5, 0), (6, 1)])
def test_any_number_is_a_marker(revision: int, left: int) -> None:
    metadata = holding([Made("k", 5, False, False)])
    assert len(page(metadata, ListVersions("b", after_key="k", after_revision=revision)).versions) == left


@pytest.mark.parametrize("text", ["k" * 2000, "k" * 1024 + "\0", "a\0", "\0"])
def test_what_cannot_be_in_a_key_is_compared_as_the_bytes_it_is(text: str) -> None:
    history = [Made(key, number + 1, False, False) for number, key in enumerate(["a", "a\x01", "k" * 1024, "l"])]
    metadata = holding(history)
    assert merged(page(metadata, ListVersions("b", prefix=text))) == []
    expected = [entry for entry in whole(history) if entry[0].encode() > text.encode()]
    assert merged(page(metadata, ListVersions("b", after_key=text))) == expected
    assert merged(page(metadata, ListVersions("b", after_key=text, after_revision=9))) == expected
    assert merged(page(metadata, ListVersions("b", delimiter=text))) == whole(history)


def test_an_entry_costs_one_row_and_a_common_prefix_too() -> None:
    history = [Made(f"{key}/{under}", 1 + at, False, False) for key in "abc" for under in "xy" for at in range(100)]
    rows = counting(holding(history))
    found = ask(rows, ListVersions("b", delimiter="/"))
    assert isinstance(found, VersionsFound)
    assert found.prefixes == ("a/", "b/", "c/")
    assert rows.looked == 3
    rows.looked = 0
    found = ask(rows, ListVersions("b", after_key="b/x", after_revision=50, limit=20))
    assert isinstance(found, VersionsFound)
    assert [one.revision for one in found.versions] == list(range(49, 29, -1))
    assert rows.looked == 20 + 2  # one to see that there is more, one to see which is the newest


def test_a_listed_version_shows_its_metadata() -> None:
    metadata = with_bucket()
    done = put("k", b"hello", owner="me")
    metadata.do(done)
    (one,) = page(metadata, ListVersions("b")).versions
    assert one == ListedVersion("k", 2, True, True, False, START_MS, 5, etag(b"hello"), "me")


def test_versions_of_one_bucket_are_not_listed_in_another() -> None:
    metadata = holding([Made("k", 5, False, False)])
    metadata.do(CreateBucket("c", "o", COPIES))
    found = metadata.ask(ListVersions("c"))
    assert isinstance(found, VersionsFound)
    assert found.versions == ()
    answer = metadata.ask(ListVersions("no"))
    assert isinstance(answer, Failed)
    assert answer.code == "NoSuchBucket"


def test_no_page_is_longer_than_a_thousand_and_one_of_none_is_the_last() -> None:
    metadata = holding([Made("k", number, False, False) for number in range(1, 1003)])
    found = page(metadata, ListVersions("b", limit=5000))
    assert (len(found.versions), found.next_after) == (1000, ("k", 3))
    assert page(metadata, ListVersions("b", limit=0)) == VersionsFound(found.bucket, (), (), None)


def test_versions_written_before_there_were_null_ones_are_null() -> None:
    metadata = with_bucket()
    made = version(7, null=True)
    old = [getattr(made, name) for name in made.__struct_fields__[:10]]
    old[5] = ["inline", b"data"]
    old[8] = {"MD5": Checksum(b"m" * 16)}
    metadata.rows.insert(version_key(versions_key(1, 1, b"k"), 7), encode(old))
    (one,) = page(metadata, ListVersions("b")).versions
    assert (one.revision, one.null, one.owner, one.checksums) == (7, True, "me", {"MD5": Checksum(b"m" * 16)})
