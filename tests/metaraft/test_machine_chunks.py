"""References, holders, the horizon: a chunk that somebody refers to, or is about to, is never given up."""

import msgspec
import pytest

from metaraft.commands import (
    AddHolders,
    Condemn,
    CopyObject,
    CreateBucket,
    DeleteObject,
    Dereference,
    DropHolder,
    RegisterDisk,
    StoredChunk,
)
from metaraft.machine_buckets import DISKS_MAX
from metaraft.machine_chunks import ROWS_MAX
from metaraft.model import Chunk, Coded, Copies, Disk, Scheme
from metaraft.queries import (
    GetHolders,
    GetObject,
    GetSpace,
    HoldersFound,
    ObjectFound,
    SpaceFound,
)
from metaraft.results import (
    Condemned,
    CondemnedChunk,
    Dereferenced,
    Done,
    Failed,
    ObjectDone,
)
from metaraft.rows import Kind, disk_key
from tests.metaraft.metadata import COPIES, Metadata, acks, chunk_id, disk_id, encode, put_chunks, with_bucket


def chunk(metadata: Metadata, name: object, scheme: Scheme = COPIES) -> Chunk | None:
    found = metadata.ask(GetHolders(scheme, (chunk_id(name),)))
    assert isinstance(found, HoldersFound)
    return found.chunks.get(chunk_id(name))


def count(metadata: Metadata, name: object) -> int:
    found = chunk(metadata, name)
    return 0 if found is None else found.count


def holders(metadata: Metadata, name: object) -> set[int]:
    found = chunk(metadata, name)
    return set() if found is None else {disk[0] for disk in found.holders}


def condemned(metadata: Metadata, horizon: int, limit: int = 1000, after: bytes = b"") -> Condemned:
    result = metadata.do(Condemn(horizon, limit, after))
    assert isinstance(result, Condemned), result
    return result


def given_up(name: object, *disks: int, scheme: Scheme = COPIES) -> CondemnedChunk:
    """As `condemned` tells it."""
    return CondemnedChunk(scheme, chunk_id(name), tuple(disk_id(disk) for disk in disks))


def dereference(metadata: Metadata, limit: int = 1000) -> Dereferenced:
    result = metadata.do(Dereference(limit))
    assert isinstance(result, Dereferenced)
    return result


def zero_rows(metadata: Metadata) -> int:
    return sum(key[0] == Kind.ZERO for key, _ in metadata.rows.items())


def forget(metadata: Metadata, key: str) -> None:
    """Delete an object and take its references down."""
    metadata.do(DeleteObject("b", key))
    while dereference(metadata).more:
        pass


# ---- disks


def test_a_disk_is_registered_and_renewed() -> None:
    metadata = with_bucket(disks=1)
    revision = metadata.machine.revision()
    renewed = Disk(disk_id(1), "moved", "zone9", 50)
    assert metadata.do(RegisterDisk(renewed)) == Done(revision + 1)
    assert metadata.do(RegisterDisk(renewed)) == Done(revision + 1)
    space = metadata.ask(GetSpace())
    assert isinstance(space, SpaceFound)
    assert space.space.disks == (renewed,)
    assert space.space.revision == revision + 1


def test_registering_does_not_change_a_disks_state() -> None:
    metadata = with_bucket(disks=1)
    disk = Disk(disk_id(1), "node1", "zone1", 100, "draining")
    metadata.rows.put(disk_key(disk.disk_id), encode(disk))
    metadata.restart()
    metadata.do(RegisterDisk(Disk(disk_id(1), "node1", "zone1", 7)))
    space = metadata.ask(GetSpace())
    assert isinstance(space, SpaceFound)
    assert space.space.disks == (msgspec.structs.replace(disk, weight=7),)


@pytest.mark.parametrize(
    "disk",
    [
        Disk(b"short", "n", "z", 1),
        Disk(disk_id(1), "", "z", 1),
        Disk(disk_id(1), "n", "", 1),
        Disk(disk_id(1), "n" * 256, "z", 1),
        Disk(disk_id(1), "n", "z", -1),
    ],
)
def test_a_disk_that_no_row_could_keep_is_refused(disk: Disk) -> None:
    assert Metadata().code(RegisterDisk(disk)) == "InvalidDisk"


def test_the_number_of_disks_is_bounded() -> None:
    metadata = Metadata()
    for number in range(DISKS_MAX):
        metadata.do(RegisterDisk(Disk(number.to_bytes(16, "big"), "n", "z", 1)))
    assert metadata.code(RegisterDisk(Disk(b"x" * 16, "n", "z", 1))) == "TooManyDisks"
    assert isinstance(metadata.do(RegisterDisk(Disk(bytes(16), "moved", "z", 1))), Done)


# ---- references


@pytest.mark.parametrize(("copies", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_chunk_needs_w_registered_disks_of_this_request(copies: int, needed: int) -> None:
    metadata = with_bucket(disks=5)
    metadata.do(CreateBucket("c", "o", Copies(copies)))

    def command(*disks: int) -> Failed | ObjectDone:
        put = put_chunks("k", ["x"], acks(*disks), bucket="c", bucket_id=2, scheme=Copies(copies))
        result = metadata.do(put)
        assert isinstance(result, Failed | ObjectDone)
        return result

    few = command(*range(1, needed), 9, 8)  # 8 and 9 are not registered
    assert isinstance(few, Failed)
    assert (few.kind, few.code) == ("unavailable", "PutAgain")
    doubled = command(*[1] * 9) if needed > 1 else few
    assert isinstance(doubled, Failed)
    assert isinstance(command(*range(1, needed + 1)), ObjectDone)
    assert chunk(metadata, "x", Copies(copies)) is not None


def test_a_removed_disk_counts_for_nothing() -> None:
    metadata = with_bucket(disks=2)
    gone = Disk(disk_id(2), "node2", "zone2", 100, "removed")
    metadata.rows.put(disk_key(gone.disk_id), encode(gone))
    metadata.restart()
    assert metadata.code(put_chunks("k", ["x"], acks(1, 2))) == "PutAgain"


def test_counts_rise_with_each_reference_and_holders_are_merged() -> None:
    metadata = with_bucket(disks=4)
    metadata.do(put_chunks("k", ["x", "x", "y"], acks(1, 2)))
    assert (count(metadata, "x"), count(metadata, "y")) == (2, 1)
    metadata.do(put_chunks("l", ["x"], acks(2, 3)))
    assert count(metadata, "x") == 3
    assert holders(metadata, "x") == {1, 2, 3}
    metadata.do(CopyObject("b", "k", "b", "m"))
    assert (count(metadata, "x"), count(metadata, "y")) == (5, 2)
    found = metadata.ask(GetObject("b", "m"))
    assert isinstance(found, ObjectFound)
    assert found.holders[chunk_id("y")] == (disk_id(1), disk_id(2))
    bare = metadata.ask(GetObject("b", "m", with_holders=False))
    assert isinstance(bare, ObjectFound)
    assert bare.holders == {}


def test_the_rows_holders_do_not_stand_in_for_this_requests_acknowledgements() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put_chunks("k", ["x"], acks(1, 2, 3)))
    assert metadata.code(put_chunks("l", ["x"], acks(1))) == "PutAgain"


def test_counts_fall_by_dereferencing_only() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x", "y"], acks(1, 2)))
    metadata.do(put_chunks("l", ["y"], acks(1, 2)))
    metadata.do(DeleteObject("b", "k"))
    assert (count(metadata, "x"), count(metadata, "y")) == (1, 2)
    assert dereference(metadata) == Dereferenced(2, more=False)
    revision = metadata.machine.revision()
    assert chunk(metadata, "x") == Chunk(100, 0, revision, (disk_id(1), disk_id(2)))
    assert count(metadata, "y") == 1
    assert dereference(metadata) == Dereferenced(0, more=False)
    assert metadata.machine.revision() == revision


def test_dereferencing_is_bounded_and_goes_on_within_a_version() -> None:
    metadata = with_bucket(disks=2)
    names = [f"c{number}" for number in range(25)]
    metadata.do(put_chunks("k", names, acks(1, 2)))
    metadata.do(put_chunks("l", names[:5], acks(1, 2)))
    metadata.do(DeleteObject("b", "k"))
    metadata.do(DeleteObject("b", "l"))
    done = [dereference(metadata, 10) for _ in range(3)]
    assert done == [Dereferenced(10, more=True), Dereferenced(10, more=True), Dereferenced(10, more=False)]
    assert [count(metadata, name) for name in names] == [0] * 25
    assert zero_rows(metadata) == 25


def test_no_limit_is_above_what_one_command_may_do() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", [f"c{number}" for number in range(ROWS_MAX + 1)], acks(1, 2)))
    metadata.do(DeleteObject("b", "k"))
    assert dereference(metadata, 10**6) == Dereferenced(ROWS_MAX, more=True)
    assert dereference(metadata, -5) == Dereferenced(1, more=False)


def test_a_chunk_without_references_that_is_named_again_lives_on() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    assert zero_rows(metadata) == 1
    metadata.do(put_chunks("k", ["x"], acks(2, 3)))
    found = chunk(metadata, "x")
    assert found is not None
    assert (found.count, found.zero_since) == (1, None)
    assert holders(metadata, "x") == {1, 2, 3}
    assert zero_rows(metadata) == 0


# ---- holders


def late(*disks: int, name: object = "x", seen: int = 0) -> AddHolders:
    return AddHolders(COPIES, (StoredChunk(chunk_id(name), 100, acks(*disks, seen=seen)),))


def test_late_holders_are_added_and_void_ones_passed_over() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    revision = metadata.machine.revision()
    assert metadata.do(late(3, 9)) == Done(revision + 1)
    assert holders(metadata, "x") == {1, 2, 3}
    assert metadata.do(late(1, 2, 3)) == Done(revision + 1)
    assert metadata.do(late(1, name="nobody's")) == Done(revision + 1)
    assert chunk(metadata, "nobody's") is None


def test_late_holders_from_below_the_horizon_are_passed_over() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    horizon = metadata.machine.revision()
    condemned(metadata, horizon)
    metadata.do(late(3, seen=horizon - 1))
    assert holders(metadata, "x") == {1, 2}
    metadata.do(late(3, seen=horizon))
    assert holders(metadata, "x") == {1, 2, 3}


def test_a_holder_is_dropped_but_never_the_last_one() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(DropHolder(COPIES, chunk_id("x"), disk_id(1)))
    assert holders(metadata, "x") == {2}
    revision = metadata.machine.revision()
    for name, disk in (("x", 2), ("x", 1), ("none", 1)):
        assert metadata.do(DropHolder(COPIES, chunk_id(name), disk_id(disk))) == Done(revision)
    assert holders(metadata, "x") == {2}


def test_commands_on_what_cannot_be_a_chunk_are_refused() -> None:
    metadata = Metadata()
    assert metadata.code(DropHolder(COPIES, b"short", disk_id(1))) == "BadCommand"
    assert metadata.code(AddHolders(COPIES, (StoredChunk(b"short", 1, ()),))) == "BadCommand"
    assert metadata.code(AddHolders(COPIES, (StoredChunk(chunk_id("x"), 1, ()),) * (ROWS_MAX + 1))) == "BadCommand"
    for scheme in (Coded(4, 2), Copies(0), Copies(256)):
        assert metadata.code(DropHolder(scheme, chunk_id("x"), disk_id(1))) == "InvalidScheme"
        assert metadata.code(AddHolders(scheme, ())) == "InvalidScheme"


# ---- the horizon


def test_only_chunks_without_references_since_before_the_horizon_are_condemned() -> None:
    metadata = with_bucket(disks=2)
    for name in ("old", "new", "live"):
        metadata.do(put_chunks(name, [name], acks(1, 2)))
    forget(metadata, "old")
    horizon = metadata.machine.revision() + 1
    forget(metadata, "new")
    result = condemned(metadata, horizon)
    assert result == Condemned(horizon, (given_up("old", 1, 2),), None)
    states = {name: found.condemned for name in ("old", "new", "live") if (found := chunk(metadata, name))}
    assert states == {"old": True, "new": False, "live": False}


def test_a_chunk_whose_count_fell_at_the_horizon_itself_stays() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    zero_since = metadata.machine.revision()
    assert condemned(metadata, zero_since).chunks == ()
    metadata.do(CreateBucket("later", "o", COPIES))
    assert len(condemned(metadata, zero_since + 1).chunks) == 1


def test_the_horizon_is_not_above_the_newest_revision_and_never_falls() -> None:
    metadata = with_bucket(disks=2)
    newest = metadata.machine.revision()
    assert metadata.code(Condemn(newest + 1, 10)) == "HorizonTooNew"
    assert condemned(metadata, newest).horizon == newest
    assert condemned(metadata, newest - 1).horizon == newest
    assert condemned(metadata, -1).horizon == newest
    assert metadata.code(Condemn(1, 10, b"x" * 100)) == "BadCommand"


def test_an_acknowledgement_below_the_horizon_is_refused_with_put_again() -> None:
    metadata = with_bucket(disks=3)
    horizon = metadata.machine.revision()
    condemned(metadata, horizon)
    mixed = acks(1, 2, seen=horizon) + acks(3, seen=horizon - 1)
    assert metadata.code(put_chunks("k", ["x"], mixed)) == "PutAgain"
    assert isinstance(metadata.do(put_chunks("k", ["x"], acks(1, 2, seen=horizon))), ObjectDone)


def test_a_condemned_chunk_comes_back_with_its_own_acknowledgements_only() -> None:
    metadata = with_bucket(disks=4)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    metadata.do(CreateBucket("later", "o", COPIES))
    horizon = metadata.machine.revision()
    assert len(condemned(metadata, horizon).chunks) == 1
    assert metadata.code(put_chunks("k", ["x"], acks(3, 4, seen=horizon - 1))) == "PutAgain"
    metadata.do(put_chunks("k", ["x"], acks(3, 4, seen=horizon)))
    assert chunk(metadata, "x") == Chunk(100, 1, None, (disk_id(3), disk_id(4)))
    assert zero_rows(metadata) == 0


def test_condemned_chunks_are_told_again_until_their_last_holder_is_dropped() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    metadata.do(CreateBucket("later", "o", COPIES))
    horizon = metadata.machine.revision()
    assert condemned(metadata, horizon).chunks == (given_up("x", 1, 2),)
    metadata.do(DropHolder(COPIES, chunk_id("x"), disk_id(1)))
    assert condemned(metadata, horizon).chunks == (given_up("x", 2),)
    metadata.do(DropHolder(COPIES, chunk_id("x"), disk_id(2)))
    assert condemned(metadata, horizon).chunks == ()
    assert chunk(metadata, "x") is None
    assert zero_rows(metadata) == 0


def test_a_disks_word_that_it_deleted_a_chunk_counts_only_while_nothing_referred_to_it() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    metadata.do(CreateBucket("later", "o", COPIES))
    horizon = metadata.machine.revision()
    assert condemned(metadata, horizon).chunks == (given_up("x", 1, 2),)
    late_word = DropHolder(COPIES, chunk_id("x"), disk_id(1), horizon=horizon)
    metadata.do(put_chunks("k", ["x"], acks(1, 2, seen=horizon)))
    assert isinstance(metadata.do(late_word), Done)
    assert holders(metadata, "x") == {1, 2}, "the disk got it anew"
    forget(metadata, "k")
    assert isinstance(metadata.do(late_word), Done)
    assert holders(metadata, "x") == {1, 2}, "it is to be deleted once more"
    metadata.do(CreateBucket("even-later", "o", COPIES))
    horizon = metadata.machine.revision()
    assert condemned(metadata, horizon).chunks == (given_up("x", 1, 2),)
    assert isinstance(metadata.do(late_word), Done)
    assert holders(metadata, "x") == {1, 2}, "it has not said so for this time"
    metadata.do(msgspec.structs.replace(late_word, horizon=horizon))
    assert holders(metadata, "x") == {2}


def test_a_disks_word_on_a_chunk_that_is_not_condemned_changes_nothing() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    forget(metadata, "k")
    newest = metadata.machine.revision()
    assert metadata.do(DropHolder(COPIES, chunk_id("x"), disk_id(1), horizon=newest + 10)) == Done(newest)
    assert holders(metadata, "x") == {1, 2}


def test_condemned_chunks_are_told_with_the_scheme_they_are_under() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", Copies(1)))
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("l", ["y"], acks(3), bucket="c", bucket_id=2, scheme=Copies(1)))
    forget(metadata, "k")
    metadata.do(DeleteObject("c", "l"))
    dereference(metadata)
    metadata.do(CreateBucket("later", "o", COPIES))
    found = condemned(metadata, metadata.machine.revision()).chunks
    assert found == (given_up("x", 1, 2), given_up("y", 3, scheme=Copies(1)))


def test_condemning_is_bounded_and_goes_on_by_cursor() -> None:
    metadata = with_bucket(disks=2)
    names = [f"c{number}" for number in range(7)]
    for name in names:
        metadata.do(put_chunks(name, [name], acks(1, 2)))
        forget(metadata, name)
    metadata.do(CreateBucket("later", "o", COPIES))
    horizon = metadata.machine.revision()
    found: list[bytes] = []
    after = b""
    pages = 0
    while True:
        result = condemned(metadata, horizon, 3, after)
        found += [one.chunk_id for one in result.chunks]
        pages += 1
        if result.cursor is None:
            break
        after = result.cursor
    assert found == [chunk_id(name) for name in names]
    assert pages == 3


def test_a_disk_keeps_a_chunk_that_another_scheme_lives_by() -> None:
    metadata = with_bucket(disks=3)
    metadata.do(CreateBucket("c", "o", Copies(1)))
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("k", ["x"], acks(2), bucket="c", bucket_id=2, scheme=Copies(1)))
    forget(metadata, "k")
    metadata.do(CreateBucket("later", "o", COPIES))
    horizon = metadata.machine.revision()
    assert condemned(metadata, horizon).chunks == (given_up("x", 1),)
    metadata.do(DropHolder(COPIES, chunk_id("x"), disk_id(1)))
    assert chunk(metadata, "x") is None
    living = chunk(metadata, "x", Copies(1))
    assert living is not None
    assert living.holders == (disk_id(2),)


def test_a_row_whose_disks_all_serve_another_scheme_goes_at_once() -> None:
    metadata = with_bucket(disks=2)
    metadata.do(CreateBucket("c", "o", Copies(2)))
    metadata.do(put_chunks("k", ["x"], acks(1, 2)))
    metadata.do(put_chunks("k", ["x"], acks(1, 2), bucket="c", bucket_id=2, scheme=Copies(2)))
    forget(metadata, "k")
    metadata.do(CreateBucket("later", "o", COPIES))
    assert condemned(metadata, metadata.machine.revision()).chunks == ()
    assert chunk(metadata, "x") is None
    assert zero_rows(metadata) == 0
    assert chunk(metadata, "x", Copies(2)) is not None
