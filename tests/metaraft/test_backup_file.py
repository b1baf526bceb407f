"""A snapshot file: it says what is in it, and a file that is not what was written is refused, whatever was changed."""

import itertools
import os
import shutil
from pathlib import Path
from random import Random

import msgspec
import pytest

from cluster.errors import Corrupt, Refused
from metaraft.backup import file as backup_file
from metaraft.backup.file import FOOT_BYTES, Manifest, decode_foot, encode_foot, read_manifest, verify
from metaraft.commands import AddUser
from metaraft.model import AccessKey, User
from metaraft.rows import LEVEL, SCHEMA
from tests.metaraft.metadata import disk_id
from tests.metaraft.snapshots import LATER_MS, some_snapshot
from tests.metaraft.stores import CLUSTER, open_store

ANN = AddUser(User("ann", "77", "Ann", ""), AccessKey("ANNKEY", "ann", b"sealed"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is as it should be."""
    return some_snapshot(tmp_path_factory.mktemp("snapshot"), last=[ANN])


def test_it_says_what_is_in_it(good: Path) -> None:
    read: list[int] = []
    manifest, contents = verify(good, read.append)
    store = open_store(good.parent / "old")
    try:
        facts = store.facts()
    finally:
        store.close()
    assert (manifest.cluster_id, manifest.index, manifest.term, manifest.version) == (CLUSTER, 41, 7, "1.2.3")
    assert (manifest.set_hash, manifest.revision) == (facts.set_hash, facts.revision)
    assert (manifest.state_time_ms, manifest.level, manifest.schema) == (LATER_MS, LEVEL, SCHEMA)
    assert manifest.rows == sum(contents.kinds.values()) == facts.rows - 2  # the local rows are this store's alone
    assert sum(read) == manifest.size == good.stat().st_size - FOOT_BYTES
    assert {disk.disk_id for disk in contents.disks} >= {disk_id(number) for number in (1, 2, 3)}
    assert ("ann", "ANNKEY") in [(key.user, key.access_key) for key in contents.access_keys]
    assert contents.kinds["access_key"] == len(contents.access_keys)


def test_any_byte_that_was_changed_is_noticed(good: Path, tmp_path: Path) -> None:
    size = good.stat().st_size
    random = Random(5)
    bad = tmp_path / "bad"
    shutil.copy(good, bad)
    places = {random.randrange(size) for _ in range(60)} | {random.randrange(size - 4096, size) for _ in range(60)}
    with bad.open("r+b", buffering=0) as opened:
        for place in sorted(places | {0, size - 4097, size - 4096, size - 1}):
            was = os.pread(opened.fileno(), 1, place)
            os.pwrite(opened.fileno(), bytes([was[0] ^ 1 << random.randrange(8)]), place)
            with pytest.raises((Corrupt, Refused)) as caught:
                verify(bad)
            assert caught.value.code in ("SnapshotDamaged", "SnapshotFormat", "NotASnapshot")
            os.pwrite(opened.fileno(), was, place)
    verify(bad)


@pytest.mark.parametrize("missing", [1, 100, 4096, 50_000])
def test_a_file_without_its_end_is_refused(good: Path, tmp_path: Path, missing: int) -> None:
    (tmp_path / "short").write_bytes(good.read_bytes()[:-missing])
    with pytest.raises(Refused, match="is no snapshot"):
        verify(tmp_path / "short")


def test_a_file_with_a_hole_or_more_than_its_own_bytes_is_damaged(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    for changed in (data[4096:], data[:4096] + data, bytes(4096) + data[4096:]):
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(Corrupt, match="is damaged"):
            verify(tmp_path / "changed")


@pytest.mark.parametrize("text", [b"", b"hello", bytes(10_000)])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "other").write_bytes(text)
    with pytest.raises(Refused, match="is no snapshot"):
        verify(tmp_path / "other")


def manifest(**changes: object) -> Manifest:
    """Of a file that never was."""
    plain = Manifest(
        cluster_id="c",
        index=1,
        term=1,
        revision=1,
        state_time_ms=1,
        level=1,
        schema=SCHEMA,
        set_hash="0",
        rows=1,
        size=10,
        blake3="0",
        version="1",
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(("field", "said"), [("level", "is of level 9"), ("schema", "of schema 9")])
def test_a_file_of_a_newer_program_is_refused(tmp_path: Path, field: str, said: str) -> None:
    (tmp_path / "new").write_bytes(bytes(10) + encode_foot(manifest(**{field: 9})))
    with pytest.raises(Refused, match=said):
        read_manifest(tmp_path / "new")


def test_another_format_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(backup_file, "FORMAT", 2)
        foot = encode_foot(manifest())
    with pytest.raises(Refused, match="has format 2; this program reads 1"):
        decode_foot(foot, "file")


def test_rows_that_do_not_add_up_are_noticed_though_every_byte_is_as_it_was_written(good: Path, tmp_path: Path) -> None:
    lie = tmp_path / "lie"
    database, found = good.read_bytes()[:-FOOT_BYTES], read_manifest(good)
    for change in ({"rows": found.rows + 1}, {"revision": 5}, {"set_hash": "00" * 16}, {"cluster_id": "another"}):
        lie.write_bytes(database + encode_foot(msgspec.structs.replace(found, **change)))
        with pytest.raises(Corrupt, match="not those that it says"):
            verify(lie)


def test_no_two_places_of_the_foot_say_the_same(good: Path) -> None:
    foot = good.read_bytes()[-FOOT_BYTES:]
    assert decode_foot(foot, "f") == read_manifest(good)
    for one, other in itertools.pairwise([manifest(index=n) for n in range(5)]):
        assert encode_foot(one) != encode_foot(other)
