"""Exactly once, state time, levels, and what stops a member."""

import msgspec
import pytest

from metaraft.commands import (
    CreateBucket,
    RaiseLevel,
    Touch,
)
from metaraft.machine import RESULT_KEPT_MS, SWEEP_ROWS, Machine, UnknownMeaning
from metaraft.model import Copies
from metaraft.queries import (
    ListBuckets,
)
from metaraft.results import (
    BucketDone,
    Done,
    Failed,
    ObjectDone,
)
from metaraft.rows import Kind
from tests.metaraft.metadata import (
    START_MS,
    Metadata,
    acks,
    batch,
    encode,
    envelope,
    key_of,
    put,
    put_chunks,
    results,
    with_bucket,
)


def result_rows(metadata: Metadata) -> int:
    return sum(key[0] == Kind.RESULTS for key, _ in metadata.rows.items())


def test_a_repeated_command_gets_its_first_result_and_has_no_second_effect() -> None:
    metadata = with_bucket()
    first = metadata.do(put("k"), key=key_of(77))
    metadata.do(put("k", b"other"))
    assert metadata.do(put("k"), key=key_of(77)) == first
    assert metadata.machine.revision() == 3


def test_a_repetition_within_one_entry_is_one_too() -> None:
    metadata = with_bucket()
    command = envelope(put("k"), key_of(77), START_MS + 1000)
    first, second = metadata.enter([command, command])
    assert isinstance(first, ObjectDone)
    assert first == second


def test_results_are_found_after_a_restart() -> None:
    metadata = with_bucket()
    first = metadata.do(put("k"), key=key_of(77))
    metadata.restart()
    assert metadata.do(put("k"), key=key_of(77)) == first


def test_a_refusal_is_kept_as_well() -> None:
    metadata = with_bucket()
    refusal = metadata.do(CreateBucket("b", "o", Copies(3)), key=key_of(77))
    assert isinstance(refusal, Failed)
    assert metadata.do(Touch(), key=key_of(77)) == refusal


def test_what_did_not_happen_may_happen_under_the_same_key() -> None:
    metadata = with_bucket(disks=2)
    failed = metadata.do(put_chunks("k", ["c"], acks(1)), key=key_of(77))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.code) == ("unavailable", "PutAgain")
    assert isinstance(metadata.do(put_chunks("k", ["c"], acks(1, 2)), key=key_of(77)), ObjectDone)


def test_a_result_is_kept_a_minute_past_not_after_and_then_the_command_is_too_late() -> None:
    metadata = with_bucket()
    not_after = metadata.now_ms + 5_000
    first = metadata.do(put("k"), key=key_of(77), not_after_ms=not_after)
    metadata.now_ms = not_after + RESULT_KEPT_MS
    assert metadata.do(put("k"), key=key_of(77), not_after_ms=not_after) == first
    metadata.now_ms += 60_000
    late = metadata.do(put("k"), key=key_of(77), not_after_ms=not_after)
    assert isinstance(late, Failed)
    assert late.code == "TooLate"


def test_at_not_after_itself_a_command_is_in_time() -> None:
    metadata = Metadata()
    assert isinstance(metadata.do(Touch(), not_after_ms=metadata.now_ms), Done)
    late = metadata.do(Touch(), not_after_ms=metadata.now_ms - 1)
    assert isinstance(late, Failed)
    assert late.code == "TooLate"


def test_expired_results_are_swept_faster_than_new_ones_come() -> None:
    metadata = Metadata()
    for _ in range(20):
        metadata.do(Touch())
    assert result_rows(metadata) == 20
    metadata.now_ms += 200_000
    for swept in range(1, 6):
        metadata.do(Touch())
        assert result_rows(metadata) == 20 - SWEEP_ROWS * swept + swept
    assert len(metadata.machine._kept) == result_rows(metadata)


def test_an_entry_keeps_its_results_in_one_row() -> None:
    metadata = Metadata()
    metadata.enter([envelope(Touch(), key_of(number), START_MS + 1) for number in range(64)])
    assert result_rows(metadata) == 1
    assert len(metadata.machine._kept) == 64


def test_state_time_never_runs_back() -> None:
    metadata = Metadata()
    metadata.do(Touch())
    metadata.now_ms -= 10_000
    made = metadata.do(CreateBucket("b", "o", Copies(3)), not_after_ms=START_MS + 1)
    assert isinstance(made, BucketDone)
    assert made.bucket.created_ms == metadata.machine.state_time_ms == START_MS


def test_a_key_of_another_length_and_a_not_after_beyond_reason_are_refused() -> None:
    metadata = Metadata()
    short, far = metadata.enter(
        [envelope(Touch(), b"short", START_MS + 1), envelope(Touch(), key_of(1), START_MS + 10**12)]
    )
    assert isinstance(short, Failed)
    assert isinstance(far, Failed)
    assert short.code == far.code == "BadCommand"


def test_another_space_is_refused() -> None:
    metadata = Metadata()
    (refusal,) = metadata.enter([envelope(Touch(), key_of(1), START_MS, space=2)])
    assert isinstance(refusal, Failed)
    assert refusal.code == "NoSuchSpace"


def test_a_version_that_no_program_had_is_refused_and_a_newer_one_stops_the_member() -> None:
    metadata = Metadata()
    (refusal,) = metadata.enter([envelope(Touch(), key_of(1), START_MS, version=0)])
    assert isinstance(refusal, Failed)
    assert refusal.code == "UnknownLevel"
    with pytest.raises(UnknownMeaning, match="version 2"):
        metadata.enter([envelope(Touch(), key_of(1), START_MS, version=2)])


def test_the_level_goes_up_by_one_and_beyond_what_is_known_stops_the_member() -> None:
    metadata = Metadata()
    assert isinstance(metadata.do(RaiseLevel(1)), Done)
    assert metadata.code(RaiseLevel(3)) == "UnknownLevel"
    assert metadata.code(RaiseLevel(0)) == "UnknownLevel"
    with pytest.raises(UnknownMeaning, match="level 2"):
        metadata.do(RaiseLevel(2))


@pytest.mark.parametrize(
    "entry",
    [
        b"\xc1",
        b"not a batch",
        encode(["no time", []]),
        batch(START_MS, [msgspec.Raw(encode("no envelope"))]),
        batch(START_MS, [msgspec.Raw(encode([1, 1, key_of(1), START_MS, {"type": "erase_all"}]))]),
    ],
)
def test_an_entry_that_cannot_be_obeyed_stops_the_member(entry: bytes) -> None:
    with pytest.raises(UnknownMeaning):
        Metadata().machine.apply(entry)


def test_rows_do_not_depend_on_how_entries_fall_into_transactions() -> None:
    entries = [
        batch(START_MS + number, [envelope(put(f"k{number % 3}"), key_of(number), START_MS + 100)])
        for number in range(10)
    ]
    one, many = with_bucket(), with_bucket()
    together = [result for entry in entries for result in results(one.machine.apply(entry))]
    one.machine.flush()
    apart = []
    for entry in entries:
        apart += results(many.machine.apply(entry))
        many.machine.flush()
        many.machine = Machine(many.rows)
    assert together == apart
    assert one.rows.items() == many.rows.items()
    assert one.rows.set_hash == many.rows.set_hash


def test_touch_changes_no_row_but_time_and_results() -> None:
    metadata = with_bucket()
    before = metadata.facts()
    assert metadata.do(Touch(b"padding")) == Done(1)
    assert metadata.facts() == before
    assert metadata.ask(ListBuckets()) == with_bucket().ask(ListBuckets())
