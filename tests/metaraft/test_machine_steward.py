"""The stewardship: one holder at a time, and nothing of those that held it before."""

import pytest

from metaraft.commands import (
    AbortUpload,
    Command,
    Condemn,
    CreateUpload,
    DeleteObject,
    Dereference,
    DropHolder,
    TakeStewardship,
)
from metaraft.machine_steward import HOLDER_BYTES_MAX
from metaraft.model import STEWARD_LEASE_MS
from metaraft.results import (
    Condemned,
    Dereferenced,
    Done,
    StewardDone,
    UploadDone,
)
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id, disk_id, put_chunks, with_bucket


def with_steward() -> Metadata:
    """A bucket and two disks; steward `a` holds epoch 1."""
    metadata = with_bucket(disks=2)
    assert metadata.do(TakeStewardship("a", 0)) == StewardDone(1)
    return metadata


def test_the_stewardship_is_taken_when_nobody_holds_it_and_renewed_by_its_holder() -> None:
    metadata = with_steward()
    for _ in range(5):
        metadata.now_ms += STEWARD_LEASE_MS - 1
        assert metadata.do(TakeStewardship("a", 1)) == StewardDone(1)


def test_who_holds_it_keeps_it_until_the_lease_is_over() -> None:
    metadata = with_steward()
    metadata.now_ms += STEWARD_LEASE_MS - 1
    assert metadata.code(TakeStewardship("b", 0)) == "StewardshipHeld"
    assert metadata.code(TakeStewardship("a", 0)) == "StewardshipHeld", "another process of the same name"
    metadata.do(TakeStewardship("a", 1))
    metadata.now_ms += 1
    assert metadata.code(TakeStewardship("b", 0)) == "StewardshipHeld"
    metadata.now_ms += STEWARD_LEASE_MS - 1
    assert metadata.do(TakeStewardship("b", 0)) == StewardDone(2)


def test_a_late_renewal_counts_as_long_as_nobody_else_has_taken_over() -> None:
    metadata = with_steward()
    metadata.now_ms += 10 * STEWARD_LEASE_MS
    assert metadata.do(TakeStewardship("a", 1)) == StewardDone(1)
    metadata.now_ms += STEWARD_LEASE_MS
    assert metadata.do(TakeStewardship("b", 0)) == StewardDone(2)
    assert metadata.code(TakeStewardship("a", 1)) == "StewardshipHeld"


@pytest.mark.parametrize(("holder", "epoch"), [("b", 1), ("a", 2), ("a", -1), ("", 1), ("a" * 256, 0)])
def test_only_the_holder_renews_and_only_its_own_epoch(holder: str, epoch: int) -> None:
    metadata = with_steward()
    expected = "StewardshipHeld" if 0 < len(holder) <= HOLDER_BYTES_MAX else "BadCommand"
    assert metadata.code(TakeStewardship(holder, epoch)) == expected


def test_nobody_renews_what_nobody_holds() -> None:
    assert Metadata().code(TakeStewardship("a", 1)) == "StewardshipHeld"


def test_it_outlives_a_restart_of_the_members() -> None:
    metadata = with_steward()
    metadata.restart()
    assert metadata.code(TakeStewardship("b", 0)) == "StewardshipHeld"
    assert metadata.do(TakeStewardship("a", 1)) == StewardDone(1)


def commands(upload_id: bytes, epoch: int) -> list[Command]:
    """One of each that a steward sends."""
    return [
        Dereference(1000, epoch),
        Condemn(1, 1000, epoch=epoch),
        DropHolder(COPIES, chunk_id("x"), disk_id(1), epoch=epoch),
        AbortUpload("b", "up", upload_id, epoch=epoch),
    ]


def with_work() -> tuple[Metadata, bytes]:
    """Something to do for each command of a steward."""
    metadata = with_steward()
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("l", ["y"], acks(1, 2)))
    metadata.do(DeleteObject("b", "l"))
    begun = metadata.do(CreateUpload("b", "up", b"n" * 8, "text/plain"))
    assert isinstance(begun, UploadDone)
    return metadata, begun.upload.upload_id


@pytest.mark.parametrize("stale", [1, 3, -1, 2**63])
@pytest.mark.parametrize("number", range(4))
def test_no_command_of_another_epoch_has_an_effect(number: int, stale: int) -> None:
    metadata, upload_id = with_work()
    metadata.now_ms += STEWARD_LEASE_MS
    assert metadata.do(TakeStewardship("b", 0)) == StewardDone(2)
    assert metadata.code(commands(upload_id, stale)[number]) == "StaleSteward"


def test_staleness_is_seen_before_anything_else_that_is_wrong() -> None:
    metadata, upload_id = with_work()
    assert metadata.code(Condemn(10**9, 1, epoch=7)) == "StaleSteward"
    assert metadata.code(AbortUpload("none", "up", upload_id, epoch=7)) == "StaleSteward"
    assert metadata.code(DropHolder(COPIES, b"short", disk_id(1), epoch=7)) == "StaleSteward"


@pytest.mark.parametrize("epoch", [0, 1])
def test_commands_of_the_present_epoch_and_of_nobody_are_obeyed(epoch: int) -> None:
    metadata, upload_id = with_work()
    kinds = [type(metadata.do(command)) for command in commands(upload_id, epoch)]
    assert kinds == [Dereferenced, Condemned, Done, Done]
