"""Making a cluster: whole or not at all, never over somebody's data, with keys that only their owner can read."""

import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from cluster.config import FILE_NAME, Config, TcpAddress, address, load
from cluster.create import Shape, create, ensure_private_folder, have_cluster_key, socket_folder
from cluster.errors import Refused
from cluster.identity import load_identity, read_cluster_key, read_credentials
from cluster.limits import UNIX_PATH_BYTES_MAX

SMALL = Shape(members=1, chunkds=1)
DRAFT = f".{FILE_NAME}.draft"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.probe
def test_cluster_between_hosts_has_keys_for_each_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = create(Path("a b/c ü"), Shape(members=1, chunkds=1, apis=2, transport="tcp", port=1, admin_port=2))
    folder = tmp_path / "a b" / "c ü"
    assert made == load(folder / FILE_NAME)
    assert [node.name for node in made.nodes] == ["meta-1", "chunk-1", "api-1", "api-2", "steward-1"]
    places = [address(text, made.base) for text in (made.member[0].listen, made.chunkd[0].listen)]
    assert all(isinstance(place, TcpAddress) and place.host == "127.0.0.1" for place in places)
    for node in made.nodes:
        assert load_identity(made, node.name).server_context is not None
        assert mode(folder / "tls" / f"{node.name}.key") == 0o600
    assert mode(folder / "tls" / "ca.key") == 0o600
    assert mode(folder / "credentials.json") == mode(folder / "cluster.key") == 0o600
    assert read_credentials(folder / "credentials.json").secret_key not in (folder / FILE_NAME).read_text()
    assert {api.object_listen for api in made.api} == {"127.0.0.1:1"}
    with pytest.raises(Refused, match="made once"):
        create(folder, SMALL)


@pytest.mark.probe
def test_interrupted_init_is_begun_anew(tmp_path: Path) -> None:
    first = create(tmp_path, SMALL)
    (tmp_path / FILE_NAME).rename(tmp_path / DRAFT)  # as it is an instant before the end
    (tmp_path / "meta-1" / "half").write_text("")
    keys = read_credentials(tmp_path / "credentials.json")
    cluster_key = read_cluster_key(tmp_path / "cluster.key")
    second = create(tmp_path, SMALL)
    assert second.cluster_id != first.cluster_id
    assert not (tmp_path / "meta-1" / "half").exists()
    assert not (tmp_path / DRAFT).exists()
    assert read_credentials(tmp_path / "credentials.json") == keys
    assert read_cluster_key(tmp_path / "cluster.key") == cluster_key
    assert second.member[0].listen == "unix:run/meta-1.sock"  # so the folder can be moved


def test_failed_init_leaves_nothing_that_stops_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # what every role ends with then
    for _ in range(2):
        with pytest.raises(Refused) as raised:
            create(tmp_path, SMALL)
        assert raised.value.code == "PrepareFailed"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.key", "credentials.json"]


def test_two_clusters_share_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # keys are made before any role runs
    for name in ("one", "two"):
        with pytest.raises(Refused):
            create(tmp_path / name, SMALL)
    one, two = (
        {
            *msgspec.structs.astuple(read_credentials(folder / "credentials.json")),
            read_cluster_key(folder / "cluster.key"),
        }
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert len(one) == len(two) == 3
    assert not one & two


def test_a_folder_older_than_users_gets_a_cluster_key_and_keeps_it(tmp_path: Path) -> None:
    config = Config(format=1, cluster_id="c", base=str(tmp_path))
    assert have_cluster_key(config)
    made = read_cluster_key(tmp_path / "cluster.key")
    assert not have_cluster_key(config)
    assert read_cluster_key(tmp_path / "cluster.key") == made


def test_data_without_a_configuration_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "chunk-1").mkdir()
    (tmp_path / "chunk-1" / "kept").write_text("data")
    with pytest.raises(Refused) as raised:
        create(tmp_path, SMALL)
    assert raised.value.code == "FolderNotEmpty"
    assert (tmp_path / "chunk-1" / "kept").read_text() == "data"


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.0.2.1", "", "127.0.0.1:9000", "store.example"])
def test_keys_do_not_cross_a_network_in_clear_unasked(tmp_path: Path, listen: str) -> None:
    with pytest.raises(Refused) as raised:
        create(tmp_path, Shape(listen=listen))
    assert raised.value.code in ("InsecureListen", "BadAddress")
    assert list(tmp_path.iterdir()) == []


def test_path_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as raised:
        create(tmp_path / os.fsdecode(b"caf\xe9"), SMALL)
    assert raised.value.code == "BadFolder"
    assert list(tmp_path.iterdir()) == []


def test_sockets_of_a_long_path_lie_in_a_short_one_of_their_own() -> None:
    assert socket_folder(Path("/srv/data"), "0123456789abcdef") == "run"
    far = socket_folder(Path("/" + "d" * 90), "0123456789abcdef")
    assert far.endswith(f"trilith-{os.getuid()}-0123456789ab")
    for length in range(40, 120):
        folder = Path("/" + "d" * length)
        listen = address(f"unix:{socket_folder(folder, 'ab' * 16)}/chunk-64.sock", str(folder))
        assert len(str(listen).removeprefix("unix:")) <= UNIX_PATH_BYTES_MAX


def test_private_folder_is_ours_alone(tmp_path: Path) -> None:
    ensure_private_folder(tmp_path / "new" / "run")
    assert mode(tmp_path / "new" / "run") == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    ensure_private_folder(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(Refused, match="not a folder of this user"):
        ensure_private_folder(tmp_path / "link")
