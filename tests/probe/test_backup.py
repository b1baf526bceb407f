"""The drill of docs/backup.md: the members' disks are lost under load, and a new cluster has all that was saved."""

import hashlib
import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chaos.local import LocalCluster
from chaos.signing import Signer
from cluster.exits import CommandExit
from tests.probe.conftest import Http, Reply

pytestmark = pytest.mark.probe

MIB = 1024 * 1024
CORS = b"<CORSConfiguration><CORSRule><AllowedOrigin>http://a</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"


class Site:
    """A cluster and what can be asked of it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.cluster = LocalCluster(folder, *options)
        self.folder = folder

    @property
    def http(self) -> Http:
        """Native requests with the root key."""
        return Http(self.cluster.access())

    def trilith(self, *arguments: object, code: int = 0) -> str:
        """A command; what it printed."""
        done = self.cluster.command(*map(str, arguments), check=False)
        assert done.returncode == code, (arguments, done, self.cluster.logs())
        return done.stdout

    def s3(self, method: str, target: str, body: bytes = b"") -> Reply:
        """A signed request of S3's dialect with the root key."""
        access = self.cluster.access()
        host = urlsplit(access.endpoint).netloc
        lines = Signer(access.access_key, access.secret_key, host).headers(method, target, body)
        headers = dict(line.split(": ", 1) for line in lines.strip().split("\r\n"))
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


@dataclass
class Content:
    """What was acknowledged before the snapshot: path of each object, and version, -> SHA-256."""

    objects: dict[str, str] = field(default_factory=dict)
    chunk_of: dict[str, str] = field(default_factory=dict)
    user: tuple[str, str] = ("", "")

    def put(self, site: Site, path: str, data: bytes) -> Reply:
        """Store an object."""
        reply = site.http("PUT", path, data)
        assert reply.status in (200, 201), reply
        self.objects[path] = digest(data)
        return reply

    def check(self, site: Site) -> None:
        """All of it is there, byte for byte."""
        for path, wanted in self.objects.items():
            reply = site.http("GET", path)
            assert (reply.status, digest(reply.body)) == (200, wanted), (path, reply.status)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunk_files(folder: Path) -> set[Path]:
    """The chunk files on all disks below a folder."""
    return set(folder.glob("chunk-*/space-1/??/*"))


def fill(site: Site) -> Content:
    """Objects of every kind, versions, an upload in parts, a user with a bucket, a bucket's settings."""
    content, http_to = Content(), site.http
    content.put(site, "/objects/small", b"inline")
    content.put(site, "/objects/empty", b"")
    content.put(site, "/objects/large", os.urandom(20 * MIB))
    before = chunk_files(site.folder)
    content.put(site, "/objects/one-chunk", os.urandom(3 * MIB))
    content.chunk_of["one-chunk"] = next(iter(chunk_files(site.folder) - before)).name
    before = chunk_files(site.folder)
    content.put(site, "/objects/deleted-later", os.urandom(2 * MIB))
    content.chunk_of["deleted-later"] = next(iter(chunk_files(site.folder) - before)).name
    begun = http_to("POST", "/buckets/default/uploads?key=parts").json()["upload_id"]
    parts = [os.urandom(6 * MIB), os.urandom(MIB)]
    for number, part in enumerate(parts, 1):
        reply = http_to("PUT", f"/buckets/default/uploads/{begun}/parts/{number}?key=parts", part)
        assert reply.status in (200, 201), reply
    assert http_to("POST", f"/buckets/default/uploads/{begun}?key=parts").status == 201
    content.objects["/objects/parts"] = digest(b"".join(parts))
    site.trilith("mb", "versions", "--dir", site.folder)
    site.trilith("versioning", "versions", "enable", "--dir", site.folder)
    for number in range(3):
        data = os.urandom(10_000 * (number + 1))
        reply = content.put(site, "/buckets/versions/objects/k", data)
        content.objects[f"/buckets/versions/objects/k?version={reply.headers['x-version-id']}"] = digest(data)
    assert site.s3("PUT", "/versions?cors=", CORS).status == 200
    made = json.loads(site.trilith("user", "add", "ann", "--json", "--dir", site.folder))
    content.user = made["access_key"], made["secret_key"]
    return content


class Load:
    """Writers that never stop, and what they were told."""

    def __init__(self, site: Site) -> None:
        self._http = site.http
        self._stop = threading.Event()
        self.acknowledged: dict[str, str] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the context is open."""
        threads = [threading.Thread(target=self._write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            data = os.urandom((100, 50_000, 300_000)[number % 3])
            path = f"/objects/load/{writer}/{number}"
            if self._http("PUT", path, data).status == 201:
                self.acknowledged[path] = digest(data)


def until(site: Site, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline, site.cluster.logs()
        time.sleep(0.1)


@dataclass
class Drill:
    """A restored cluster, what it must have, and what happened only after the snapshot."""

    site: Site
    content: Content
    later: set[str]
    revision: int


@pytest.fixture(scope="module")
def drill(short_folder: Path) -> Iterator[Drill]:
    """A cluster saved under load, its members lost, restored in another folder on its old disks, and started."""
    old, new = Site(short_folder / "o"), Site(short_folder / "n")
    file = short_folder / "snapshot"
    old.trilith("init", old.folder)
    old.cluster.set_timings(horizon_s=2)  # what is deleted leaves the disks, for the trash, soon
    with old.cluster:
        content = fill(old)
        load = Load(old)
        with load.running():
            until(old, lambda: len(load.acknowledged) > 30)
            before = dict(load.acknowledged)
            saved = json.loads(old.trilith("snapshot", "save", file, "--dir", old.folder, "--json"))
            at_end = len(load.acknowledged)
            until(old, lambda: len(load.acknowledged) > at_end + 30)
        content.objects |= before
        later = set(load.acknowledged) - set(before)
        assert old.http("DELETE", "/objects/deleted-later").status == 204
        gone = content.chunk_of["deleted-later"]
        until(old, lambda: not any(path.name == gone for path in chunk_files(old.folder)))
    for member in old.cluster.config.member:
        shutil.rmtree(old.folder / member.directory)
    keys = ("--cluster-key-file", old.folder / "cluster.key", "--credentials-file", old.folder / "credentials.json")
    restored = json.loads(new.trilith("snapshot", "restore", file, new.folder, *keys, "--json"))
    assert restored["lost_keys"] == []
    for node in old.cluster.config.chunkd:
        new.trilith("snapshot", "adopt", old.folder / node.directory, "--dir", new.folder)
    new.cluster.set_timings(horizon_s=2, trash_s=0)
    with new.cluster:
        yield Drill(new, content, later, saved["revision"])


def test_all_that_was_acknowledged_before_the_snapshot_is_there(drill: Drill) -> None:
    site = drill.site
    found = json.loads(site.trilith("snapshot", "check", site.folder, "--json"))
    assert (found["missing"], found["thin"], found["silent"], found["objects"]) == (0, 0, [], [])
    assert found["chunks"] > 10
    drill.content.check(site)
    assert site.s3("GET", "/versions?cors=").status == 200
    keys = {**os.environ, "AWS_ACCESS_KEY_ID": drill.content.user[0], "AWS_SECRET_ACCESS_KEY": drill.content.user[1]}
    endpoint = site.cluster.access().endpoint
    assert site.cluster.command("mb", "anns", "--endpoint", endpoint, env=keys).returncode == 0
    unknown = [path for path in drill.later if site.http("GET", path).status == 404]
    assert unknown  # what came after the snapshot is lost: that is what a snapshot is


def test_a_restored_cluster_is_written_to_with_revisions_far_above_the_old_ones(drill: Drill) -> None:
    site = drill.site
    data = os.urandom(10 * MIB)
    assert site.http("PUT", "/objects/new", data).status == 201
    assert site.http("GET", "/objects/new").body == data
    version = site.http("PUT", "/buckets/versions/objects/new", b"newer").headers["x-version-id"]
    assert int(version, 16) > drill.revision + (1 << 40)
    assert site.cluster.status()["state"] == "ok"


def test_what_nothing_refers_to_leaves_the_disks_and_nothing_else_does(drill: Drill) -> None:
    """The chunks of what came after the snapshot are strays; they go once the horizon has passed the restore."""
    site, disks = drill.site, drill.site.folder.parent / "o"

    referred_to: int = json.loads(site.trilith("snapshot", "check", site.folder, "--json"))["chunks"]

    def only_what_is_referred_to() -> bool:
        assert site.http("PUT", "/objects/time-passes", b"x").status in (200, 201)  # small: it has no chunk
        return len({path.name for path in chunk_files(disks)}) == referred_to

    until(site, only_what_is_referred_to)
    drill.content.check(site)


def test_what_lost_all_its_copies_is_named(drill: Drill) -> None:
    site = drill.site
    lost = drill.content.chunk_of["one-chunk"]
    files = [path for path in chunk_files(site.folder.parent / "o") if path.name == lost]
    assert len(files) == 3
    kept = files[0].read_bytes()
    for file in files:
        file.unlink()
    found = json.loads(
        site.trilith("snapshot", "check", site.folder, "--json", "--repair", code=CommandExit.INCOMPLETE)
    )
    assert [(one["bucket"], one["key"], one["version_id"], one["missing"]) for one in found["objects"]] == [
        ("default", "one-chunk", "null", 1)
    ]
    said = site.trilith("snapshot", "check", site.folder, code=CommandExit.INCOMPLETE)
    assert "default/one-chunk version null: 1 chunks missing" in said
    files[0].write_bytes(kept)
    found = json.loads(site.trilith("snapshot", "check", site.folder, "--json", code=CommandExit.INCOMPLETE))
    assert (found["missing"], found["thin"], found["objects_thin"]) == (0, 1, 1)
    assert digest(site.http("GET", "/objects/one-chunk").body) == drill.content.objects["/objects/one-chunk"]


def test_between_hosts_a_command_speaks_with_the_keys_of_a_node_of_its_host(folder: Path) -> None:
    site = Site(folder, "--members", "1", "--chunkds", "1", "--transport", "tcp")
    with site.cluster:
        assert site.http("PUT", "/objects/k", os.urandom(10_000)).status == 201
        saved = json.loads(site.trilith("snapshot", "save", folder / "file", "--dir", folder, "--json"))
        verified = json.loads(site.trilith("snapshot", "verify", folder / "file", "--json"))
        assert verified["snapshot"] == saved
        assert json.loads(site.trilith("snapshot", "check", folder, "--json"))["chunks"] == 1
