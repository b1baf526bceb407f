"""`trilith snapshot` on one machine: what is made of a file, which keys are lost, and which disks are adopted."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from chunkd.folder import prepare, read_format
from cluster.cli.main import main
from cluster.config import FILE_NAME, TcpAddress, address, load
from cluster.create import Shape, create
from cluster.exits import CommandExit
from cluster.identity import make_cluster_key, make_credentials, read_cluster_key, read_credentials
from cluster.restored import RESTORED_FILE
from cluster.sealing import Sealer
from cluster.supervisor import locked
from metaraft.backup.file import read_manifest
from metaraft.commands import AddAccessKey, AddUser
from metaraft.model import AccessKey, User
from tests.metaraft.metadata import disk_id
from tests.metaraft.snapshots import some_snapshot

pytestmark = pytest.mark.probe

OLD = "0123456789abcdef"


def run(*arguments: object, code: int = 0) -> Result:
    """`trilith snapshot ...`"""
    done = CliRunner().invoke(main, ["snapshot", *map(str, arguments)])
    assert done.exit_code == code, (arguments, done.output, done.exception)
    return done


def as_json(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The same with --json."""
    return msgspec.json.decode(run(*arguments, "--json", code=code).stdout, type=dict[str, Any])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a snapshot `file`, the `cluster.key` of its users' secrets, and the root's `credentials.json`."""
    folder = tmp_path_factory.mktemp("old")
    make_cluster_key(folder / "cluster.key")
    make_credentials(folder / "credentials.json")
    sealer = Sealer(read_cluster_key(folder / "cluster.key"))
    good = AccessKey("GOODKEY", "ann", sealer.seal("x", "GOODKEY"))
    bad = AccessKey("BADKEY", "ann", sealer.seal("x", "ANOTHERKEY"))
    some_snapshot(folder, entries=1, last=[AddUser(User("ann", "77", "Ann", ""), good), AddAccessKey(bad)])
    return folder


def restore(old: Path, folder: Path, *options: object, code: int = 0) -> dict[str, Any]:
    """Restore with one member, which is quick."""
    return as_json("restore", old / "file", folder, "--members", 1, *options, code=code)


def lost(found: dict[str, Any]) -> set[str]:
    return {key["access_key"] for key in found["lost_keys"]}


def test_a_new_cluster_is_made_that_says_which_keys_are_lost(old: Path, tmp_path: Path) -> None:
    found = restore(old, tmp_path / "new")
    config = load(tmp_path / "new" / FILE_NAME)
    assert config.cluster_id == found["cluster_id"] != OLD
    assert (len(config.member), config.chunkd, config.copies) == (1, (), 3)
    assert found["snapshot"]["index"] == read_manifest(old / "file").index
    assert lost(found) == {"GOODKEY", "BADKEY"}
    assert read_cluster_key(tmp_path / "new" / "cluster.key") != read_cluster_key(old / "cluster.key")
    for file in ("cluster.key", "credentials.json"):
        assert (tmp_path / "new" / file).stat().st_mode & 0o777 == 0o600
    said = run("restore", old / "file", tmp_path / "new", code=CommandExit.REFUSED).stderr
    assert "ClusterExists" in said


def test_the_old_keys_go_on_and_only_what_does_not_open_is_lost(old: Path, tmp_path: Path) -> None:
    keys = ("--cluster-key-file", old / "cluster.key", "--credentials-file", old / "credentials.json")
    assert lost(restore(old, tmp_path / "new", *keys)) == {"BADKEY"}
    assert read_cluster_key(tmp_path / "new" / "cluster.key") == read_cluster_key(old / "cluster.key")
    assert read_credentials(tmp_path / "new" / "credentials.json") == read_credentials(old / "credentials.json")


def test_key_files_that_are_in_the_folder_are_kept(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(old / "cluster.key", tmp_path / "new" / "cluster.key")
    make_credentials(tmp_path / "new" / "credentials.json")
    refused = restore(old, tmp_path / "new", "--credentials-file", old / "credentials.json", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "KeyDiffers"
    assert not (tmp_path / "new" / "meta-1").exists()
    assert lost(restore(old, tmp_path / "new")) == {"BADKEY"}


def test_people_are_told_what_is_lost_and_what_comes_next(old: Path, tmp_path: Path) -> None:
    done = run("restore", old / "file", tmp_path / "new", "--members", 1)
    assert "lost: access key GOODKEY of user ann" in done.stderr
    assert f"of the metadata of cluster {OLD}" in done.stdout
    for disk in (1, 2, 3):
        assert disk_id(disk).hex() in done.stdout
    assert "trilith snapshot adopt" in done.stdout


@pytest.mark.parametrize("place", [10, 9000, -10])
def test_nothing_is_made_of_a_damaged_file(old: Path, tmp_path: Path, place: int) -> None:
    data = bytearray((old / "file").read_bytes())
    data[place] ^= 1
    (tmp_path / "file").write_bytes(data)
    refused = as_json("restore", tmp_path / "file", tmp_path / "new", code=CommandExit.CORRUPT)
    assert refused["error"]["code"] == "SnapshotDamaged"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run"]


def test_nothing_is_made_of_what_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello" * 10_000)
    refused = as_json("restore", tmp_path / "file", tmp_path / "new", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "NotASnapshot"
    as_json("restore", tmp_path / "none", tmp_path / "new", code=CommandExit.NOT_FOUND)


def test_an_adopted_disk_is_in_the_configuration_where_it_lies(old: Path, tmp_path: Path) -> None:
    restore(old, tmp_path / "new")
    prepare(tmp_path / "old-1", OLD, disk_id(1).hex())
    prepare(tmp_path / "new" / "second", OLD, disk_id(2).hex())
    found = as_json("adopt", tmp_path / "old-1", "--dir", tmp_path / "new")
    assert (found["name"], found["cluster_id"]) == ("n", OLD)
    refused = as_json("adopt", tmp_path / "new" / "second", "--dir", tmp_path / "new", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "BadConfig"  # both were a node called n
    assert read_format(tmp_path / "new" / "second").cluster_id == OLD
    as_json("adopt", tmp_path / "new" / "second", "--dir", tmp_path / "new", "--name", "m")
    config = load(tmp_path / "new" / FILE_NAME)
    assert [(node.name, node.directory, node.zone) for node in config.chunkd] == [
        ("n", str(tmp_path / "old-1"), "z"),
        ("m", "second", "z"),
    ]
    for node in config.chunkd:
        assert read_format(config.path(node.directory)).cluster_id == config.cluster_id
    again = run("adopt", tmp_path / "old-1", "--dir", tmp_path / "new").stdout
    assert "it was before" in again
    assert load(tmp_path / "new" / FILE_NAME) == config


def test_a_disk_that_was_moved_is_followed(old: Path, tmp_path: Path) -> None:
    restore(old, tmp_path / "new")
    prepare(tmp_path / "here", OLD, disk_id(1).hex())
    run("adopt", tmp_path / "here", "--dir", tmp_path / "new")
    (tmp_path / "here").rename(tmp_path / "there")
    run("adopt", tmp_path / "there", "--dir", tmp_path / "new")
    (node,) = load(tmp_path / "new" / FILE_NAME).chunkd
    assert (node.name, node.directory) == ("n", str(tmp_path / "there"))


def test_a_disk_that_the_metadata_does_not_know_is_left_alone(old: Path, tmp_path: Path) -> None:
    restore(old, tmp_path / "new")
    prepare(tmp_path / "strange", OLD, disk_id(77).hex())
    refused = as_json("adopt", tmp_path / "strange", "--dir", tmp_path / "new", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "UnknownDisk"
    assert read_format(tmp_path / "strange").cluster_id == OLD


def test_a_disk_that_another_cluster_has_is_left_to_it_unless_that_one_is_named(old: Path, tmp_path: Path) -> None:
    restore(old, tmp_path / "new")
    other = "f" * 16
    prepare(tmp_path / "disk", other, disk_id(1).hex())
    where = [tmp_path / "disk", "--dir", tmp_path / "new"]
    for options in ([], ["--from", OLD]):
        refused = as_json("adopt", *where, *options, code=CommandExit.REFUSED)
        assert refused["error"]["code"] == "OtherCluster"
        assert f"--from {other}" in refused["error"]["message"]
        assert read_format(tmp_path / "disk").cluster_id == other
    for _ in range(2):
        as_json("adopt", *where, "--from", other)
    assert read_format(tmp_path / "disk").cluster_id == load(tmp_path / "new" / FILE_NAME).cluster_id


def test_a_restore_that_fails_leaves_nothing_to_adopt_by(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(old / "cluster.key", tmp_path / "new" / "cluster.key")
    (tmp_path / "new" / "tls").write_text("no folder")
    options = ["--transport", "tcp", "--members", 1]
    run("restore", old / "file", tmp_path / "new", *options, code=CommandExit.REFUSED)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "cluster.key",
        "credentials.json",
        "run",
        "tls",
    ]


def test_a_cluster_that_runs_or_was_never_restored_adopts_nothing(old: Path, tmp_path: Path) -> None:
    restore(old, tmp_path / "new")
    prepare(tmp_path / "disk", OLD, disk_id(1).hex())
    with locked(tmp_path / "new" / "run"):
        refused = as_json("adopt", tmp_path / "disk", "--dir", tmp_path / "new", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "AlreadyRunning"
    (tmp_path / "new" / RESTORED_FILE).unlink()
    refused = as_json("adopt", tmp_path / "disk", "--dir", tmp_path / "new", code=CommandExit.REFUSED)
    assert refused["error"]["code"] == "NotRestored"
    assert read_format(tmp_path / "disk").cluster_id == OLD


def test_between_hosts_an_adopted_daemon_gets_its_certificate_and_new_disks_stand_beside(
    old: Path, tmp_path: Path
) -> None:
    restore(old, tmp_path / "new", "--transport", "tcp", "--chunkds", 1)
    prepare(tmp_path / "disk", OLD, disk_id(1).hex())
    run("adopt", tmp_path / "disk", "--dir", tmp_path / "new")
    config = load(tmp_path / "new" / FILE_NAME)
    assert [node.name for node in config.chunkd] == ["chunk-1", "n"]
    assert isinstance(address(config.chunkd[1].listen), TcpAddress)
    assert (tmp_path / "new" / "tls" / "n.key").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_restore_is_begun_anew(old: Path, tmp_path: Path) -> None:
    first = restore(old, tmp_path / "new")
    (tmp_path / "new" / FILE_NAME).rename(tmp_path / "new" / f".{FILE_NAME}.draft")  # an instant before the end
    second = restore(old, tmp_path / "new")
    assert second["cluster_id"] != first["cluster_id"]


def test_without_an_origin_nothing_is_remembered(tmp_path: Path) -> None:
    create(tmp_path / "c", Shape(members=1, chunkds=1))
    assert not (tmp_path / "c" / RESTORED_FILE).exists()
