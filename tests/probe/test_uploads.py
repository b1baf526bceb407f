"""Large files by `trilith put` on real processes: client and server are killed meanwhile, and the upload goes on."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from chaos.local import LocalCluster
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe

SIZE = 200_000_000
PARTS = 24  # of 8 MiB


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[LocalCluster]:
    """The cluster of all tests here; each has keys of its own."""
    with LocalCluster(short_folder) as running:
        yield running


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 200 MB."""
    file = tmp_path_factory.mktemp("large") / "file"
    file.write_bytes(random.Random(4).randbytes(SIZE))
    return file


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def put_line(cluster: LocalCluster, file: Path, key: str, *words: str) -> list[str]:
    """The command that stores the file."""
    put = ["put", str(file), f"default/{key}", "--part-size", "8M", "--json", "--dir", str(cluster.folder)]
    return [sys.executable, "-P", "-m", "cluster.cli.main", *put, *words]


@contextmanager
def stored_in_part(
    command: list[str], http: Http, key: str, parts: int, *, besides: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs, as soon as the server has so many parts, not counting an upload that was before."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 20
        while len(listed(http, key, besides=besides)) < parts:
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield running


def uploads(http: Http, key: str) -> list[str]:
    """The ids of the key's uploads under way."""
    page = json.loads(http("GET", f"/buckets/default/uploads?prefix={key}").body)
    return [each["upload_id"] for each in page["uploads"]]


def listed(http: Http, key: str, *, besides: str = "") -> dict[int, str]:
    """When each part of the key's upload was made."""
    found: dict[int, str] = {}
    for upload in set(uploads(http, key)) - {besides}:
        reply = http("GET", f"/buckets/default/uploads/{upload}?key={quote(key)}")
        if reply.status == 200:
            found |= {part["number"]: part["created"] for part in json.loads(reply.body)["parts"]}
    return found


def is_there(http: Http, key: str, file: Path) -> bool:
    """The object has the file's bytes."""
    body = http("GET", f"/objects/{key}").body
    return hashlib.sha256(body).digest() == hashlib.sha256(file.read_bytes()).digest()


def test_a_client_killed_in_the_middle_goes_on_where_it_was(cluster: LocalCluster, large: Path) -> None:
    http = Http(cluster.access())
    with stored_in_part(put_line(cluster, large, "killed"), http, "killed", 6) as running:
        running.kill()
    before = listed(http, "killed")
    assert 6 <= len(before) < PARTS
    assert http("HEAD", "/objects/killed").status == 404
    with stored_in_part(put_line(cluster, large, "killed"), http, "killed", len(before) + 4) as again:
        now = listed(http, "killed")
        out, err = again.communicate(timeout=20)
    assert {number: now[number] for number in before} == before  # not one of them was made again
    assert (again.returncode, err) == (0, "")
    (made,) = json.loads(out)["stored"]
    assert (made["size"], made["parts"]) == (SIZE, PARTS)
    assert made["resumed_parts"] >= len(before)
    assert is_there(http, "killed", large)
    assert uploads(http, "killed") == []


def test_an_api_killed_in_the_middle_does_not_end_an_upload(cluster: LocalCluster, large: Path) -> None:
    http = Http(cluster.access())
    with stored_in_part(put_line(cluster, large, "api"), http, "api", 4) as running:
        assert cluster.signal("api-1") is not None
        out, err = running.communicate(timeout=40)
    assert (running.returncode, err) == (0, "")
    (made,) = json.loads(out)["stored"]
    assert (made["size"], made["parts"], made["resumed_parts"]) == (SIZE, PARTS, 0)
    assert is_there(http, "api", large)
    assert uploads(http, "api") == []


def test_an_interrupt_leaves_the_upload_unless_it_is_not_to_be_resumed(
    cluster: LocalCluster, large: Path, tmp_path: Path
) -> None:
    http = Http(cluster.access())
    with stored_in_part(put_line(cluster, large, "interrupted"), http, "interrupted", 3) as running:
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=10)
    assert running.returncode == 130
    assert "parts are stored; the same command goes on from there" in err
    (upload,) = uploads(http, "interrupted")
    assert upload in cluster.command("uploads", "ls", "default", "--dir", str(cluster.folder)).stdout
    command = put_line(cluster, large, "interrupted", "--no-resume")
    with stored_in_part(command, http, "interrupted", 1, besides=upload) as once:
        assert upload not in uploads(http, "interrupted")
        once.send_signal(signal.SIGINT)
        _, err = once.communicate(timeout=10)
    assert (once.returncode, err) == (130, "the upload was aborted\n")
    assert uploads(http, "interrupted") == []
    assert os.listdir(tmp_path / "state" / "trilith" / "uploads") == []
