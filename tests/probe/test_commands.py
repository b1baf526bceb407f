"""The commands on a running cluster: odd names, pipes, JSON, exit codes. One cluster serves them all."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaos.local import LocalCluster
from cluster.cli.main import main
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe

ODD_KEYS = (
    "a b",
    "ü😀",
    "..",
    "../x",
    "a//b",
    "a/",
    "/a",
    "%2F",
    "#?&+=",
    "a/objects/b",
    "quote'\"",
    "new\nline",
    "-r",
)


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[LocalCluster]:
    """The cluster of all tests here; each uses a bucket or keys of its own."""
    with LocalCluster(short_folder) as running:
        yield running


def trilith(cluster: LocalCluster, *arguments: str, code: int = 0) -> str:
    """Run a command on the cluster, in this process; what it printed."""
    done = CliRunner().invoke(main, arguments, env={"TRILITH_DIR": str(cluster.folder)})
    assert done.exit_code == code, (arguments, done, done.stderr)
    return done.stdout if code == 0 else done.stderr


def test_status_names_every_process_and_the_leader(cluster: LocalCluster) -> None:
    facts = json.loads(trilith(cluster, "status", "--json"))
    assert facts["leader"] in {"meta-1", "meta-2", "meta-3"}
    assert [node["up"] for kind in ("members", "chunkds") for node in facts[kind]] == [True] * 6
    names = {process["name"] for process in facts["processes"] if process["state"] == "running"}
    assert names == {"supervisor", *(node.name for node in cluster.config.nodes)}
    assert len(names) == 9
    shown = trilith(cluster, "status", str(cluster.folder))
    assert "leader meta-" in shown
    assert all(name in shown for name in names)


def test_second_supervisor_is_refused_and_touches_nothing(cluster: LocalCluster) -> None:
    output = cluster.folder / "run" / "supervisor.out"
    before = output.read_bytes()
    for arguments in (["up"], ["up", "--detach"], ["init"]):
        assert "AlreadyRunning" in trilith(cluster, *arguments, str(cluster.folder), code=1)
    assert output.read_bytes() == before
    trilith(cluster, "ls")


def test_trees_go_in_and_out(cluster: LocalCluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("a.txt", "deep/b.txt", "deep/er/c ü.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "link").symlink_to("nowhere")
    trilith(cluster, "mb", "box")
    put = cluster.command("put", "-r", str(tree), "box/in", "--dir", str(cluster.folder))
    assert "left out" in put.stderr
    assert put.stdout.splitlines()[0] == "stored box/in/a.txt 5 B"
    listed = json.loads(trilith(cluster, "ls", "-r", "box", "--json"))
    assert [entry["key"] for entry in listed["objects"]] == ["in/a.txt", "in/deep/b.txt", "in/deep/er/c ü.txt"]
    assert json.loads(trilith(cluster, "ls", "box/in/", "--json"))["prefixes"] == ["in/deep/"]
    trilith(cluster, "cp", "-r", "box/in/", "box/out")
    trilith(cluster, "get", "-r", "box/out/", str(tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "er" / "c ü.txt").read_text() == "deep/er/c ü.txt"
    assert "BucketNotEmpty" in trilith(cluster, "rb", "box", code=1)
    trilith(cluster, "rm", "-r", "box/in/")
    trilith(cluster, "rb", "-r", "box")
    trilith(cluster, "ls", "box", code=3)


def test_odd_names_are_just_names(cluster: LocalCluster, tmp_path: Path) -> None:
    trilith(cluster, "mb", "odd")
    file, copied = tmp_path / "file", tmp_path / "copied"
    for number, key in enumerate(ODD_KEYS):
        file.write_text(f"{number} {key}")
        if key.endswith("/"):  # a target that ends so takes the file's name
            trilith(cluster, "put", str(file), f"odd/{key}")
            key += "file"  # noqa: PLW2901
        else:
            trilith(cluster, "put", str(file), f"odd/{key}")
        trilith(cluster, "cp", f"odd/{key}", f"odd/copy/{key}")
        trilith(cluster, "get", f"odd/copy/{key}", str(copied))
        assert copied.read_text() == file.read_text()
    listed = [entry["key"] for entry in json.loads(trilith(cluster, "ls", "-r", "odd", "--json"))["objects"]]
    keys = [key + "file" if key.endswith("/") else key for key in ODD_KEYS]
    assert listed == sorted([*keys, *(f"copy/{key}" for key in keys)], key=str.encode)
    assert "new\\nline" in trilith(cluster, "ls", "odd")  # one line each, whatever the name
    assert json.loads(trilith(cluster, "stat", "odd/new\nline", "--json"))["key"] == "new\nline"
    trilith(cluster, "rm", "--", "odd/..")
    trilith(cluster, "stat", "odd/..", code=3)


def test_versions_are_kept_shown_and_brought_back(cluster: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "file"
    trilith(cluster, "mb", "kept")
    assert trilith(cluster, "versioning", "kept") == "versioning is off\n"
    trilith(cluster, "versioning", "kept", "enable")
    for text in ("one", "two"):
        file.write_text(text)
        trilith(cluster, "put", str(file), "kept/a")
    trilith(cluster, "rm", "kept/a")
    trilith(cluster, "stat", "kept/a", code=3)
    marker, second, first = json.loads(trilith(cluster, "ls", "--versions", "kept", "--json"))["versions"]
    assert [marker["delete_marker"], second["size"], first["latest"]] == [True, 3, False]
    assert trilith(cluster, "get", "kept/a", "-", "--version", first["version_id"]) == "one"
    assert json.loads(trilith(cluster, "stat", "kept/a", "--version", second["version_id"], "--json"))["size"] == 3
    trilith(cluster, "get", "kept/a", str(file), "--version", marker["version_id"], code=1)
    trilith(cluster, "get", "kept/a", str(file), "--version", "0" * 16, code=3)
    trilith(cluster, "rm", "kept/a", "--version", marker["version_id"])
    assert trilith(cluster, "get", "kept/a", "-") == "two"
    trilith(cluster, "cp", "kept/a", "kept/a", "--version", first["version_id"])
    assert trilith(cluster, "get", "kept/a", "-") == "one"
    trilith(cluster, "rb", "kept", code=1)
    http = Http(cluster.access())
    assert http("POST", "/buckets/kept/uploads?key=left").status == 201
    trilith(cluster, "rb", "-r", "kept")
    trilith(cluster, "versioning", "kept", code=3)


def test_pipes_carry_bytes_and_nothing_else(cluster: LocalCluster) -> None:
    data = bytes(range(256)) * 20_000
    where = ["--dir", str(cluster.folder)]
    program = [sys.executable, "-P", "-m", "cluster.cli.main"]
    put = subprocess.run([*program, "put", "-", "default/piped", *where], input=data, capture_output=True, check=True)
    assert put.stderr == b""  # no progress in a pipe
    got = subprocess.run([*program, "get", "default/piped", "-", *where], capture_output=True, check=True)
    assert (got.stdout == data, got.stderr) == (True, b"")
    empty = subprocess.run(
        [*program, "put", "-", "default/empty", "--json", *where], input=b"", capture_output=True, check=True
    )
    assert json.loads(empty.stdout)["stored"][0]["size"] == 0
    with subprocess.Popen(
        [*program, "get", "default/piped", "-", *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as early:
        assert early.stdout is not None
        assert early.stderr is not None
        early.stdout.read(1)
        early.stdout.close()
        assert early.stderr.read() == b""
    assert early.returncode == 141


def test_exit_codes_tell_scripts_what_happened(cluster: LocalCluster, tmp_path: Path) -> None:
    trilith(cluster, "get", "default/missing", str(tmp_path / "x"), code=3)
    trilith(cluster, "stat", code=2)
    trilith(cluster, "put", str(tmp_path / "none"), "default/x", code=3)
    trilith(cluster, "put", str(tmp_path), "default/x", code=1)
    trilith(cluster, "put", "/etc/hostname", "none/x", code=3)
    trilith(cluster, "mb", "Not_A_Bucket", code=1)
    trilith(cluster, "put", "/etc/hostname", "default/" + "k" * 1025, code=1)
    endpoint = cluster.access().endpoint
    wrong = {**os.environ, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    refused = cluster.command("ls", "--endpoint", endpoint, "--json", check=False, env=wrong)
    assert refused.returncode == 4
    assert json.loads(refused.stdout)["error"]["kind"] == "refused"
    assert "wrong-secret" not in refused.stdout + refused.stderr
    assert cluster.command("ls", "--endpoint", "http://127.0.0.1:1", check=False, env=wrong).returncode == 5


def test_key_that_would_leave_the_folder_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    http = Http(cluster.access())
    assert http("PUT", "/objects/p/ok", b"x").status == 201
    assert http("PUT", "/objects/p/..%2F..%2Fescape", b"x").status == 201
    assert "UnsafeKey" in trilith(cluster, "get", "-r", "default/p/", str(tmp_path / "in"), code=1)
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_in_no_log_and_on_no_command_line(cluster: LocalCluster) -> None:
    access = cluster.access()
    for file in (cluster.folder / "run").iterdir():
        if file.is_file():
            assert access.secret_key not in file.read_text(errors="replace")
    for node in cluster.config.nodes:
        pid = cluster.pid(node.name)
        assert access.secret_key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert access.secret_key.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
