"""Trash: what was given up goes in bounded steps, and all of it goes."""

import pytest

from metaraft.commands import (
    AbortUpload,
    CopyObject,
    DeleteObject,
)
from metaraft.rows import Kind, PartRows
from tests.metaraft.metadata import with_bucket
from tests.metaraft.versions import (
    assembled,
    begin,
    complete_command,
    count,
    dereference,
    kinds,
    made,
    part_command,
    part_rows,
    put_parts,
    trash_rows,
)


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
    made(metadata, complete_command(upload, [1, 3], 4))
    made(metadata, DeleteObject("b", "k"))
    assert [trash.rows[0].numbers for trash in trash_rows(metadata)] == [(2, 4), None]
    assert dereference(metadata, 3) == (3, True)
    assert trash_rows(metadata)[0].rows[0].numbers == (4,)
    assert dereference(metadata, 2) == (2, True)
    assert [trash.rows[0].numbers for trash in trash_rows(metadata)] == [None]
    assert dereference(metadata, 1) == (1, True)
    assert dereference(metadata, 1) == (1, False)
    assert Kind.PART not in kinds(metadata)


@pytest.mark.parametrize("limit", range(1, 9))
def test_all_that_was_given_up_goes_whatever_the_step(limit: int) -> None:
    metadata = with_bucket(disks=3)
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["a", "b"], 2: ["c"], 3: ["d", "e", "f"], 4: [], 5: ["g"]})
    made(metadata, complete_command(upload, [3], 5))
    done: list[tuple[int, bool]] = []
    while not done or done[-1][1]:
        done.append(dereference(metadata, limit))
    assert sum(references for references, _ in done) == 4
    assert len(done) == -(-5 // limit), "a part without references is a step too"
    assert set(part_rows(metadata, upload.upload_id)) == {3}
    assert [count(metadata, name) for name in "abcdefg"] == [0, 0, 0, 1, 1, 1, 0]
    assert Kind.TRASH not in kinds(metadata)


def test_what_one_mutation_gives_up_is_one_row_though_it_has_two_origins() -> None:
    metadata = with_bucket(disks=3)
    old, _ = assembled(metadata, "k", {1: ["x"], 2: ["y"]})
    upload = begin(metadata)
    put_parts(metadata, upload, {1: ["z"], 2: ["y"]})
    made(metadata, complete_command(upload, [1], 2))
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
    done = made(metadata, complete_command(upload, range(1, 10_001), 10_000))
    assert done.size == 1_000_000
    made(metadata, CopyObject("b", "k", "b", "copy"))
    made(metadata, DeleteObject("b", "k"))
    made(metadata, DeleteObject("b", "copy"))
    steps = [dereference(metadata) for _ in range(10)]
    assert steps == [(1000, True)] * 9 + [(1000, False)]
    assert not {Kind.PART, Kind.PART_CHUNKS, Kind.TRASH, Kind.ASSEMBLY} & set(kinds(metadata))
    assert [count(metadata, name) for name in range(50)] == [0] * 50
