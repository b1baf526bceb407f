"""Which cluster a command reaches, and that no key goes where it was not meant to."""

import ssl
from pathlib import Path

import pytest

from cluster.cli import access
from cluster.config import FILE_NAME, ApiConfig, Config, Identity, MemberConfig, dump, load
from cluster.endpoints import ENDPOINTS_FILE, Endpoints, read_endpoints, write_endpoints
from cluster.errors import Refused, Unavailable
from cluster.identity import make_ca, make_credentials, make_node_certificate

NAMES = ("TRILITH_DIR", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE")
MEMBER = MemberConfig(name="meta-1", slot=1, incarnation="00" * 16, listen="unix:run/m", directory="meta-1")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def make_folder(folder: Path, *, scheme: str = "http", credentials: str = "credentials.json", cert: str = "") -> Path:
    """What the folder of a running cluster has for its clients."""
    folder.mkdir(parents=True)
    config = Config(
        format=1,
        cluster_id="c",
        member=(MEMBER,),
        api=(ApiConfig(name="api-1", tls_cert=cert),),
        identity=Identity(credentials=credentials),
    )
    (folder / FILE_NAME).write_text(dump(config))
    make_credentials(folder / credentials)
    write_endpoints(folder, Endpoints(object=f"{scheme}://127.0.0.1:9000", operator=f"{scheme}://127.0.0.1:9001"))
    return folder


def keys_in_environment(monkeypatch: pytest.MonkeyPatch, access_key: str = "AK", secret_key: str = "SK") -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)


def test_option_comes_before_environment_before_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_folder(tmp_path / "data")
    make_folder(tmp_path / "other", credentials="root.json")
    make_folder(tmp_path / "third")
    secrets = {access.find(None, None).secret_key}
    monkeypatch.setenv("TRILITH_DIR", "other")
    secrets.add(access.find(None, None).secret_key)
    secrets.add(access.find("third", None).secret_key)
    assert len(secrets) == 3
    assert access.find("third", None).endpoint == "http://127.0.0.1:9000"
    assert access.find("third", None, operator=True).endpoint == "http://127.0.0.1:9001"


def test_keys_for_another_store_are_not_sent_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys_in_environment(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    make_folder(tmp_path / "data")
    found = access.find(None, None)
    assert found.endpoint == "http://127.0.0.1:9000"
    assert found.access_key != "AK"


def test_endpoint_takes_its_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY") as raised:
        access.find(None, "http://h:9000")
    assert raised.value.code == "NoKeys"
    keys_in_environment(monkeypatch)
    monkeypatch.setenv("AWS_CA_BUNDLE", "/ca.pem")
    assert access.find(None, "https://h/") == access.Access("https://h", "AK", "SK", "/ca.pem")


def test_two_clusters_at_once_are_refused() -> None:
    with pytest.raises(Refused, match="one of them"):
        access.find("d", "http://h")


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "h:9000",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h:70000",
        "http://h/base",
        "http://AK:SK@h",
        "http://h?a",
    ],
)
def test_endpoint_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    keys_in_environment(monkeypatch)
    with pytest.raises(Refused) as raised:
        access.find(None, endpoint)
    assert raised.value.code == "BadEndpoint"


@pytest.mark.parametrize("secret", ["secret\n", "sec ret", "sécret"])
def test_keys_that_no_header_can_carry_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    keys_in_environment(monkeypatch, secret_key=secret)
    with pytest.raises(Refused) as raised:
        access.find(None, "http://h")
    assert secret not in raised.value.message
    assert raised.value.code == "NoKeys"


def test_secret_is_not_in_what_is_shown() -> None:
    assert "SK" not in repr(access.Access("http://h", "AK", "SK"))


def test_folder_without_a_ready_cluster_says_how_to_start_one() -> None:
    with pytest.raises(Unavailable, match="trilith up data"):
        access.find(None, None)


def test_credentials_that_others_can_read_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data")
    (folder / "credentials.json").chmod(0o644)
    with pytest.raises(Refused, match="0600"):
        access.find(None, None)


def test_cluster_with_tls_is_known_by_the_first_certificate_of_its_file(tmp_path: Path) -> None:
    make_ca(tmp_path, "c")
    make_node_certificate(tmp_path, "api-1")
    first = (tmp_path / "api-1.pem").read_text()
    chain = tmp_path / "chain.pem"
    chain.write_text("text before\n" + first + (tmp_path / "ca.pem").read_text())
    folder = make_folder(tmp_path / "data", scheme="https", cert=str(chain))
    assert access.find(None, None).certificate == ssl.PEM_cert_to_DER_cert(first)
    chain.write_text("no certificate")
    with pytest.raises(Refused, match="holds no certificate"):
        access.local(load(folder / FILE_NAME), "https://127.0.0.1")


def test_endpoints_file_is_whole_or_wrong(tmp_path: Path) -> None:
    endpoints = Endpoints(object="http://a", operator="http://b")
    write_endpoints(tmp_path, endpoints)
    assert read_endpoints(tmp_path) == endpoints
    assert [path.name for path in tmp_path.iterdir()] == [ENDPOINTS_FILE]
    for text in ("", "{}", "\xff"):
        (tmp_path / ENDPOINTS_FILE).write_text(text, encoding="latin-1")
        with pytest.raises(Refused, match="trilith up"):
            read_endpoints(tmp_path)
