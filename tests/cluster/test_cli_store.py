"""What is fetched gets its name when it is whole and right; what is stored is compared with what was sent."""

import hashlib
import os
import stat
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from cluster.cli import listings, store
from cluster.cli.access import Access
from cluster.cli.http import Client
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.errors import Corrupt, Refused, Unavailable
from tests.cluster.http_script import Script, answering, error, scripted

X = Name("box", "x")
DIGEST = f"Repr-Digest: sha-256=:{b64encode(hashlib.sha256(b'hello').digest()).decode()}:\r\n"
WHOLE = answering(200, b"hello", headers=DIGEST)
CUT = answering(200, b"hel", length=5)


def client_of(script: Script) -> Client:
    return Client(Access(script.endpoint, "AK", "SK"), timeout_s=60, pause=lambda _: None)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetched_file_has_its_bytes_and_usual_mode(tmp_path: Path) -> None:
    file = tmp_path / "new" / ("😀" * 60)
    with scripted(WHOLE) as script, client_of(script) as client:
        assert store.get_file(client, X, file, Meter(None)) == 5
    assert file.read_bytes() == b"hello"
    assert names_in(file.parent) == [file.name]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_download_that_breaks_off_begins_anew(tmp_path: Path) -> None:
    with scripted(CUT, WHOLE) as script, client_of(script) as client:
        store.get_file(client, X, tmp_path / "x", Meter(None))
    assert (tmp_path / "x").read_bytes() == b"hello"


def test_failed_download_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    wrong = answering(200, b"jello", headers=DIGEST)
    for steps, kind in (
        ((CUT,) * 4, Unavailable),
        ((wrong,), Corrupt),
        ((answering(404, error("NoSuchKey")),), Refused),
    ):
        with scripted(*steps) as script, client_of(script) as client, pytest.raises(kind):
            store.get_file(client, X, tmp_path / "x", Meter(None))
        assert (tmp_path / "x").read_bytes() == b"old"
        assert names_in(tmp_path) == ["x"]


def test_object_in_parts_is_checked_by_its_crc(tmp_path: Path) -> None:
    crc = f"{crc64nvme(b'hello'):016x}"
    for told, body, right in ((crc, b"hello", True), (crc, b"jello", False), ("0" * 16, b"hello", False)):
        step = answering(200, body, headers=f"X-Crc64nvme: {told}\r\n")
        with scripted(step) as script, client_of(script) as client:
            if right:
                assert store.get_file(client, X, tmp_path / "x", Meter(None)) == 5
            else:
                with pytest.raises(Corrupt, match="checksum"):
                    store.get_file(client, X, tmp_path / "x", Meter(None))
    assert (tmp_path / "x").read_bytes() == b"hello"


def test_version_is_named_in_every_call(tmp_path: Path) -> None:
    old = Name("box", "x", "00ff")
    steps = (WHOLE, answering(200, b"{}"), answering(204), answering(201, stored_as(b"")))
    with scripted(*steps) as script, client_of(script) as client:
        store.get_file(client, old, tmp_path / "x", Meter(None))
        store.stat(client, old)
        store.remove(client, old)
        store.copy(client, old, X)
    path = "/buckets/box/objects/x"
    targets = [f"{path}?version=00ff", f"{path}?metadata=&version=00ff", f"{path}?version=00ff", path]
    assert [seen.target for seen in script.seen] == targets
    assert script.seen[3].header("X-Copy-Source-Version") == "00ff"


def test_links_are_followed_and_folders_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with scripted(WHOLE) as script, client_of(script) as client:
        store.get_file(client, X, tmp_path / "link", Meter(None))
        with pytest.raises(Refused, match="is a folder"):
            store.get_file(client, X, tmp_path, Meter(None))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"hello"


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with scripted(WHOLE) as script, client_of(script) as client:
        store.get_file(client, X, pipe, Meter(None))
    reader.join()
    assert received == [b"hello"]
    assert pipe.is_fifo()


def stored_as(data: bytes) -> bytes:
    return f'{{"bucket":"box","key":"x","size":{len(data)},"sha256":"{hashlib.sha256(data).hexdigest()}"}}'.encode()


def test_stored_file_is_compared_with_what_was_sent(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"hello")
    right = answering(201, stored_as(b"hello"))
    with scripted(answering(503, error("SlowDown")), right) as script, client_of(script) as client:
        made = store.put_file(client, tmp_path / "x.txt", X, Meter(None), {})
    assert made["size"] == 5
    assert [seen.body for seen in script.seen] == [b"hello"] * 2
    assert script.seen[0].header("Content-Type") == "text/plain"
    with (
        scripted(answering(201, stored_as(b"jello"))) as script,
        client_of(script) as client,
        pytest.raises(Corrupt, match="delete the object"),
    ):
        store.put_file(client, tmp_path / "x.txt", X, Meter(None), {})


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.json", "application/json"), ("a.tar.gz", "application/octet-stream"), ("a", "application/octet-stream")],
)
def test_content_type_is_guessed_only_where_it_is_the_bytes_own(tmp_path: Path, name: str, content_type: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with scripted(answering(201, stored_as(b""))) as script, client_of(script) as client:
        store.put_file(client, tmp_path / name, X, Meter(None), {})
    assert script.seen[0].header("Content-Type") == content_type


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    with Client(Access("http://127.0.0.1:1", "AK", "SK")) as client:
        for path, code in ((tmp_path / "none", "NoSuchFile"), (tmp_path, "NotAFile")):
            with pytest.raises(Refused) as raised:
                store.put_file(client, path, X, Meter(None), {})
            assert raised.value.code == code


def test_all_pages_of_a_listing_are_read() -> None:
    entry = '{"key":"%s","size":1,"etag":"e","created":"t"}'
    first = f'{{"objects":[{entry % "a"}],"prefixes":[],"cursor":"c+/="}}'.encode()
    last = f'{{"objects":[{entry % "b"}],"prefixes":[],"cursor":null}}'.encode()
    with scripted(answering(200, first), answering(200, last)) as script, client_of(script) as client:
        assert [found.key for found in listings.keys(client, Name("box", "p &/"))] == ["a", "b"]
    assert script.seen[0].target == "/buckets/box/objects?limit=1000&prefix=p%20%26%2F"
    assert script.seen[1].target.endswith("&cursor=c%2B%2F%3D")
