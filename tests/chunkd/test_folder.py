"""A disk's folder: made once, recognised, and never taken for another."""

from pathlib import Path

import pytest

from chunkd import folder
from chunkd.files import Files
from cluster.errors import Refused
from tests.chunkd.worlds import CLUSTER, open_disk

DISK = "0" * 32


def test_a_prepared_folder_has_all_rooms(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "disk", CLUSTER, DISK)
    folder.check(tmp_path / "disk", CLUSTER, DISK)
    rooms = sorted(path.name for path in (tmp_path / "disk" / "space-1").iterdir())
    assert rooms == [f"{number:02x}" for number in range(256)]
    assert (tmp_path / "disk").stat().st_mode & 0o077 == 0


def test_a_second_prepare_is_refused(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "disk", CLUSTER, DISK)
    with pytest.raises(Refused) as raised:
        folder.prepare(tmp_path / "disk", CLUSTER, DISK)
    assert raised.value.code == "DiskNotEmpty"


def test_a_folder_with_other_files_is_not_prepared(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(Refused, match=r"photo\.jpg"):
        folder.prepare(tmp_path, CLUSTER, DISK)


def test_an_interrupted_prepare_is_completed(tmp_path: Path) -> None:
    (tmp_path / "temp" / "space-1" / "00").mkdir(parents=True)
    (tmp_path / "temp" / "format").write_bytes(b"half")
    folder.prepare(tmp_path, CLUSTER, DISK)
    folder.check(tmp_path, CLUSTER, DISK)
    open_disk(tmp_path.parent, name=tmp_path.name).close()


@pytest.mark.parametrize(
    ("cluster_id", "disk_id", "text", "code"),
    [
        (CLUSTER, "1" * 32, None, "WrongDisk"),
        ("another", DISK, None, "WrongDisk"),
        (CLUSTER, DISK, b'{"format":2,"cluster_id":"c","disk_id":"d"}', "BadFormat"),
        (CLUSTER, DISK, b"not json", "BadFormat"),
        (CLUSTER, DISK, b"", "BadFormat"),
    ],
)
def test_another_disk_is_not_used(tmp_path: Path, cluster_id: str, disk_id: str, text: bytes | None, code: str) -> None:
    folder.prepare(tmp_path / "disk", CLUSTER, DISK)
    if text is not None:
        (tmp_path / "disk" / "format").write_bytes(text)
    with pytest.raises(Refused) as raised:
        folder.check(tmp_path / "disk", cluster_id, disk_id)
    assert raised.value.code == code


@pytest.mark.parametrize("there", [True, False])
def test_an_unmounted_disk_is_not_an_empty_one(tmp_path: Path, *, there: bool) -> None:
    if there:
        (tmp_path / "disk").mkdir()
    with pytest.raises(Refused, match="mounted") as raised:
        folder.check(tmp_path / "disk", CLUSTER, DISK)
    assert raised.value.code == "NoDisk"


def test_one_daemon_per_disk(tmp_path: Path) -> None:
    first = open_disk(tmp_path)
    with pytest.raises(Refused) as raised:
        open_disk(tmp_path)
    assert raised.value.code == "DiskInUse"
    first.close()
    open_disk(tmp_path).close()


@pytest.mark.parametrize("chunk_id", [b"", b"../" * 10 + b"xxx", b"a" * 31, b"a" * 33, b"/etc/passwd"])
def test_a_name_of_another_length_never_becomes_a_path(tmp_path: Path, chunk_id: bytes) -> None:
    layout = folder.Layout(tmp_path)
    for call in (layout.chunk, layout.quarantined):
        with pytest.raises(Refused) as raised:
            call((1, chunk_id))
        assert raised.value.code == "BadChunkId"


@pytest.mark.parametrize(
    "chunk_id", [b"../../../../../../../etc/passwd/", bytes(32), b"\n" * 32, b"%2e%2e%2f" * 3 + b"12345"]
)
def test_any_32_bytes_stay_inside_the_folder(tmp_path: Path, chunk_id: bytes) -> None:
    path = folder.Layout(tmp_path).chunk((1, chunk_id))
    assert path.parent.parent == tmp_path / "space-1"
    assert path.name == chunk_id.hex()


@pytest.mark.parametrize("space", [-1, 4096, 2**32 - 1])
def test_spaces_are_bounded(tmp_path: Path, space: int) -> None:
    with pytest.raises(Refused) as raised:
        folder.Layout(tmp_path).space(space)
    assert raised.value.code == "BadSpace"


def test_strange_files_are_passed_over(tmp_path: Path) -> None:
    open_disk(tmp_path).close()
    room = tmp_path / "disk" / "space-1" / "ab"
    for name in ("x", "ab" * 31, "AB" * 32, "cd" * 32, "ab" * 32):
        (room / name).write_bytes(b"x")
    found = list(folder.chunk_names(Files(), folder.Layout(tmp_path / "disk")))
    assert found == [(1, b"\xab" * 32)]
