"""What is kept of an upload that was interrupted: for one file, for one process, and only what can be read."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cluster.cli import resuming
from cluster.cli.names import Name
from cluster.cli.resuming import State
from cluster.errors import Refused

HERE = "http://127.0.0.1:9000"
X = Name("box", "x")
STATE = State(HERE, "box", "x", "/f", {"Content-Type": "text/plain"}, 10, 20, "id", 5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "trilith" / "uploads"


def test_what_is_kept_is_found_again_and_is_for_its_owner_alone(folder: Path) -> None:
    with resuming.kept(HERE, X, Path("/f")) as kept:
        assert kept.read() is None
        kept.write(msgspec.structs.replace(STATE, file="a much longer name"))
        kept.write(STATE)
    with resuming.kept(HERE, X, Path("/f")) as kept:
        assert kept.read() == STATE
    (file,) = folder.iterdir()
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_where_nothing_is_kept_there_is_no_file(folder: Path) -> None:
    with resuming.kept(HERE, X, Path("/f")):
        pass
    assert list(folder.iterdir()) == []
    with resuming.kept(HERE, X, Path("/f")) as kept:
        kept.write(STATE)
        kept.clear()
        assert kept.read() is None
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("endpoint", "name", "file"),
    [
        ("http://127.0.0.1:9001", X, "/f"),
        (HERE, Name("box", "y"), "/f"),
        (HERE, Name("boxx", ""), "/f"),
        (HERE, X, "/g"),
        (HERE, X, os.fsdecode(b"/\xff")),
    ],
)
def test_each_endpoint_bucket_key_and_file_has_its_own(folder: Path, endpoint: str, name: Name, file: str) -> None:
    with resuming.kept(HERE, X, Path("/f")) as kept, resuming.kept(endpoint, name, Path(file)) as other:
        kept.write(STATE)
        assert other.read() is None


def test_a_file_is_the_same_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to("f")
    with resuming.kept(HERE, X, tmp_path / "f") as kept:
        kept.write(STATE)
    monkeypatch.chdir(tmp_path)
    for name in ("f", "link", "../" + tmp_path.name + "/f"):
        with resuming.kept(HERE, X, Path(name)) as kept:
            assert kept.read() == STATE


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        msgspec.json.encode(STATE)[:-3],
        msgspec.json.encode(msgspec.structs.replace(STATE, part_bytes=0)),
        b'{"endpoint": "e"}',
    ],
)
def test_what_cannot_be_read_is_nothing(folder: Path, raw: bytes) -> None:
    with resuming.kept(HERE, X, Path("/f")) as kept:
        kept.write(STATE)
    (file,) = folder.iterdir()
    file.write_bytes(raw)
    with resuming.kept(HERE, X, Path("/f")) as kept:
        assert kept.read() is None


def test_another_process_is_kept_out_until_we_are_gone() -> None:
    program = (
        "from pathlib import Path\n"
        "from cluster.cli import resuming\n"
        "from cluster.cli.names import Name\n"
        f"with resuming.kept({HERE!r}, Name('box', 'x'), Path('/f')):\n"
        "    pass\n"
    )

    def other() -> str:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        return done.stderr

    with resuming.kept(HERE, X, Path("/f")):
        assert "is being stored as box/x by another process" in other()
        with pytest.raises(Refused), resuming.kept(HERE, X, Path("/f")):
            pass
    assert other() == ""


def test_states_are_where_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for base, expected in (
        ("/var/state", "/var/state"),
        ("", "/home/ann/.local/state"),
        ("relative", "/home/ann/.local/state"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", base)
        assert resuming.folder() == Path(expected, "trilith", "uploads")
