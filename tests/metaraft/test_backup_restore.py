"""A member made of a snapshot file: the old rows under a new cluster's name, far ahead in revisions, or nothing."""

import secrets
import shutil
from pathlib import Path

import msgspec
import pytest

from cluster.config import FORMAT, Config, MemberConfig
from cluster.errors import Corrupt, Refused
from cluster.limits import MIB, Limits
from metaraft.backup.file import read_manifest
from metaraft.backup.restore import REVISIONS_AHEAD, begin_anew, prepare_from
from metaraft.commands import Condemn, PutObject, TakeStewardship, Touch
from metaraft.journal import Journal
from metaraft.memory_rows import MemoryRows
from metaraft.model import DEFAULT_SPACE, Inline
from metaraft.results import ObjectDone, StewardDone
from metaraft.rows import MEMBERSHIP_KEY, STEWARDSHIP_KEY, Kind, Reader, Space, space_key
from metaraft.seating import first_seats
from metaraft.server import journal_directory, prepare, store_directory
from metaraft.store import ORIGIN_INDEX, Store
from tests.metaraft.members import cluster_folder, equal_rows, members_of, soon, until
from tests.metaraft.metadata import START_MS, LogEntry, batch, envelope, key_of, results
from tests.metaraft.snapshots import LATER_MS, some_snapshot
from tests.metaraft.stores import faults_of_file, open_store

SMALL = Limits(map_bytes=64 * MIB, free_bytes_min=0)
NEW = "fedcba9876543210"


def config_in(folder: Path, limits: Limits = SMALL) -> Config:
    """A cluster of three that is to be restored."""
    members = tuple(
        MemberConfig(
            name=f"meta-{n}", slot=n, incarnation=secrets.token_hex(16), listen=f"unix:s/{n}", directory=f"new/meta-{n}"
        )
        for n in (1, 2, 3)
    )
    return Config(format=FORMAT, cluster_id=NEW, member=members, limits=limits, base=str(folder))


def rows_of(store: Store) -> dict[bytes, bytes]:
    """All rows that are replicated."""
    with store.reader() as rows:
        return dict(rows.scan(bytes([Kind.STATE]), b"\xff"))


def space_of(rows: Reader) -> Space:
    """The default space."""
    row = rows.get(space_key(DEFAULT_SPACE))
    assert row is not None
    return msgspec.msgpack.decode(row, type=Space)


def test_the_rows_are_the_old_ones_but_for_the_revision_and_the_steward(tmp_path: Path) -> None:
    file = some_snapshot(tmp_path, last=[Condemn(3, 10), TakeStewardship("old", 0)])
    config = config_in(tmp_path)
    prepare_from(file, config, config.member[0])
    old = open_store(tmp_path / "old")
    new = Store.open(store_directory(config, config.member[0]), cluster_id=NEW, limits=SMALL)
    try:
        before, after = rows_of(old), rows_of(new)
        assert before.pop(STEWARDSHIP_KEY)
        assert STEWARDSHIP_KEY not in after
        with old.reader() as rows, new.reader() as new_rows:
            was, now = space_of(rows), space_of(new_rows)
        assert (now.revision, now.horizon) == (was.revision + REVISIONS_AHEAD, was.horizon)
        assert was.horizon > 0
        del before[space_key(DEFAULT_SPACE)], after[space_key(DEFAULT_SPACE)]
        assert before.pop(MEMBERSHIP_KEY) != after.pop(MEMBERSHIP_KEY)
        assert new.membership == first_seats(config)
        assert before == after
        assert new.applied == ORIGIN_INDEX
        assert new.state_time_ms == LATER_MS
        assert new.walk().set_hash == new.facts().set_hash
    finally:
        old.close()
        new.close()
    assert faults_of_file(store_directory(config, config.member[0])) == []


def test_all_members_are_made_equal_with_journals_that_begin_anew(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    file = some_snapshot(tmp_path)
    hashes = set()
    for node in config.member:
        prepare_from(file, config, node)
        with pytest.raises(Refused, match="holds a member already"):
            prepare_from(file, config, node)
        store = Store.open(store_directory(config, node), cluster_id=NEW, limits=SMALL)
        hashes.add(store.facts().set_hash)
        store.close()
        journal = Journal.open(
            journal_directory(config, node), cluster_id=NEW, slot=node.slot, incarnation=node.incarnation, limits=SMALL
        )
        assert (journal.term, journal.voted_for, journal.first_index, journal.last_index) == (0, None, 2, 2)
        journal.close()
    assert len(hashes) == 1
    assert read_manifest(file).set_hash not in hashes


def test_a_restored_store_goes_on_with_the_next_revision_a_new_steward_and_known_results(tmp_path: Path) -> None:
    put = PutObject("b", 1, "k", 1, "e", "t", Inline(b"x"))
    file = some_snapshot(tmp_path, last=[put, TakeStewardship("old", 0)])
    revision = read_manifest(file).revision
    config = config_in(tmp_path)
    prepare_from(file, config, config.member[0])
    store = Store.open(store_directory(config, config.member[0]), cluster_id=NEW, limits=SMALL)
    try:
        repeated = envelope(put, key_of(10**9), LATER_MS + 5000)
        fresh = envelope(put, key_of(10**9 + 50), LATER_MS + 5000)
        steward = envelope(TakeStewardship("new", 0), key_of(10**9 + 51), LATER_MS + 5000)
        late = envelope(Touch(), key_of(10**9 + 52), START_MS)
        entries = [LogEntry(3, b""), LogEntry(4, batch(LATER_MS - 10**6, [repeated, fresh, steward, late]))]
        first, second, taken, too_late = results(store.apply(entries)[1])
        assert isinstance(first, ObjectDone)
        assert first.revision <= revision
        assert isinstance(second, ObjectDone)
        assert second.revision == revision + REVISIONS_AHEAD + 1
        assert isinstance(taken, StewardDone)
        assert "TooLate" in repr(too_late)
        assert store.state_time_ms == LATER_MS  # never back
    finally:
        store.close()


async def test_a_member_made_of_nothing_comes_into_a_restored_cluster_by_a_copy(tmp_path: Path) -> None:
    file = some_snapshot(tmp_path)
    with cluster_folder() as config:
        for node in config.member:
            shutil.rmtree(config.path(node.directory))
            prepare_from(file, config, node)
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            await members.stop(1, 2, 3)
            shutil.rmtree(config.path(config.member[2].directory))
            prepare(config, config.member[2])
            await members.start(1, 2, 3)
            await client.commit(Touch(), deadline=soon())
            await until(client.status, equal_rows)
            assert members.installed == [3]
            members.running[3].store.walk()


def test_no_room_makes_no_member(tmp_path: Path) -> None:
    config = config_in(tmp_path, msgspec.structs.replace(SMALL, free_bytes_min=1 << 60))
    with pytest.raises(Refused, match="bytes free; the database has"):
        prepare_from(some_snapshot(tmp_path), config, config.member[0])
    assert not store_directory(config, config.member[0]).exists()


def test_a_damaged_file_makes_no_member(tmp_path: Path) -> None:
    file = some_snapshot(tmp_path)
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    config = config_in(tmp_path)
    with pytest.raises(Corrupt, match="its BLAKE3 is"):
        prepare_from(file, config, config.member[0])
    assert not store_directory(config, config.member[0]).exists()
    assert not journal_directory(config, config.member[0]).exists()


def test_every_space_is_raised_and_a_steward_need_not_have_been() -> None:
    rows = MemoryRows()
    for number, space in ((1, Space(10, 3)), (7, Space(20, 20))):
        rows.insert(space_key(number), msgspec.msgpack.encode(space))
    begin_anew(rows)
    found = [msgspec.msgpack.decode(value, type=Space) for _, value in rows.items()]
    assert [(space.revision, space.horizon) for space in found] == [
        (10 + REVISIONS_AHEAD, 3),
        (20 + REVISIONS_AHEAD, 20),
    ]
