"""All chunks and all that refers to them, in pages of any size: each once, and what is long in pieces."""

from collections import Counter
from collections.abc import Sequence

import pytest

from metaraft.commands import (
    CopyObject,
    CreateBucket,
    DeleteObject,
    Dereference,
    SetVersioning,
)
from metaraft.model import Copies
from metaraft.queries import ChunksFound, ListChunks, ListReferences, Reference, ReferencesFound
from metaraft.results import Failed
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id, put, put_chunks, with_bucket
from tests.metaraft.versions import assembled, begin, put_parts

TWO = Copies(2)


def parts_of(key: str, count: int) -> dict[int, Sequence[object]]:
    """Parts with two chunks each."""
    return {number: [(key, number, n) for n in range(2)] for number in range(1, count + 1)}


def world() -> tuple[Metadata, bytes]:
    """Every kind of version and upload; and the id of an upload under way."""
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("two", "o", TWO))
    metadata.do(put("inline"))
    metadata.do(put_chunks("one", ["a"], acks(1, 2)))
    metadata.do(put_chunks("twice", ["a", "b", "a"], acks(1, 2, 3)))
    metadata.do(put_chunks("two", ["a"], acks(1, 3), bucket="two", bucket_id=2, scheme=TWO))
    metadata.do(put_chunks("gone", ["g"], acks(1, 2)))
    metadata.do(DeleteObject("b", "gone"))
    metadata.do(put_chunks("taken down", ["d"], acks(1, 2)))
    metadata.do(SetVersioning("b", "enabled"))
    metadata.do(put_chunks("one", ["c"], acks(2, 3)))
    metadata.do(DeleteObject("b", "twice"))
    assembled(metadata, "done", parts_of("done", 5))
    metadata.do(CopyObject("b", "done", "b", "copy"))
    under_way = begin(metadata, "under way")
    put_parts(metadata, under_way, parts_of("under way", 3))
    return metadata, under_way.upload_id


def chunks_of(metadata: Metadata, limit: int, rows_max: int = 10_000) -> list[tuple[Copies, bytes]]:
    """All pages of chunks."""
    found: list[tuple[Copies, bytes]] = []
    cursor: bytes | None = b""
    while cursor is not None:
        page = metadata.ask(ListChunks(cursor, limit), rows_max=rows_max)
        assert isinstance(page, ChunksFound)
        assert len(page.chunks) <= max(limit, 1)
        for chunk in page.chunks:
            assert isinstance(chunk.scheme, Copies)
            assert len(chunk.holders) >= 2
            found.append((chunk.scheme, chunk.chunk_id))
        cursor = page.cursor
    return found


def references_of(metadata: Metadata, limit: int, rows_max: int = 10_000) -> list[Reference]:
    """All pages of references."""
    found: list[Reference] = []
    cursor: bytes | None = b""
    while cursor is not None:
        page = metadata.ask(ListReferences(cursor, limit), rows_max=rows_max)
        assert isinstance(page, ReferencesFound)
        found += page.references
        cursor = page.cursor
    return found


@pytest.mark.parametrize(("limit", "rows_max"), [(1000, 10_000), (1, 10_000), (3, 10_000), (0, 1), (5, 2)])
def test_each_chunk_that_something_refers_to_comes_once(limit: int, rows_max: int) -> None:
    metadata, _ = world()
    found = chunks_of(metadata, limit, rows_max)
    names: list[object] = ["a", "b", "c", "d", "g"]
    names += [("done", number, n) for number in range(1, 6) for n in range(2)]
    names += [("under way", number, n) for number in range(1, 4) for n in range(2)]
    assert sorted(id_ for scheme, id_ in found if scheme == COPIES) == sorted(map(chunk_id, names))
    assert [id_ for scheme, id_ in found if scheme == TWO] == [chunk_id("a")]
    metadata.do(Dereference(1000))
    assert (COPIES, chunk_id("g")) not in chunks_of(metadata, limit, rows_max)


@pytest.mark.parametrize(("limit", "rows_max"), [(10_000, 10_000), (1, 10_000), (3, 10_000), (0, 1), (7, 2)])
def test_each_reference_comes_once_with_whose_it_is(limit: int, rows_max: int) -> None:
    metadata, upload_id = world()
    found = references_of(metadata, limit, rows_max)
    of = Counter((one.bucket, one.key, one.upload_id) for one in found for _ in one.chunk_ids)
    assert of == {
        ("b", "one", b""): 2,
        ("b", "twice", b""): 2,
        ("two", "two", b""): 1,
        ("b", "taken down", b""): 1,
        ("b", "done", b""): 10,
        ("b", "copy", b""): 10,
        ("b", "under way", upload_id): 6,
    }
    ones = [(one.null, one.chunk_ids) for one in found if one.key == "one"]
    assert ones == [(False, (chunk_id("c"),)), (True, (chunk_id("a"),))]
    assert {one.scheme for one in found if one.bucket == "two"} == {TWO}
    assert all(one.revision > 0 for one in found if not one.upload_id)


def test_references_and_chunks_are_the_same_chunks_but_for_what_was_deleted() -> None:
    metadata, _ = world()
    metadata.do(Dereference(1000))
    referred = {(one.scheme, chunk) for one in references_of(metadata, 4) for chunk in one.chunk_ids}
    assert referred == set(chunks_of(metadata, 2))


@pytest.mark.parametrize(
    "query",
    [
        ListChunks(b"x"),
        ListChunks(b"x" * 36),
        ListReferences(b"x"),
        ListReferences(b"\x00\x00x"),
        ListReferences(b"\x00\x00\x20\x00\x00\x00\x02"),
        ListReferences(b"\x00\x00\x20\x00\x00\x00\x01" + bytes(3000)),
    ],
)
def test_a_cursor_that_was_not_given_is_refused(query: ListChunks | ListReferences) -> None:
    metadata, _ = world()
    found = metadata.ask(query)
    assert isinstance(found, Failed)
    assert found.code == "BadQuery"


def test_what_went_away_between_two_pages_is_passed_over() -> None:
    metadata, _ = world()
    page = metadata.ask(ListReferences(limit=3))
    assert isinstance(page, ReferencesFound)
    assert page.cursor is not None
    for key in ("one", "done", "copy", "twice", "taken down"):
        metadata.do(DeleteObject("b", key))
    assert isinstance(metadata.ask(ListReferences(page.cursor)), ReferencesFound)
