"""s3cmd: an old client with a signer, listings and uploads of its own."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.environments import environment
from tests.clients.files import TREE, files_of, plant
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, content, new_name

pytestmark = pytest.mark.clients


class S3cmd:
    """`s3cmd` with a configuration of its own."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.folder = programs.folder
        access = programs.store.access
        host = urlsplit(access.endpoint).netloc
        (programs.home / ".s3cfg").write_text(
            f"[default]\naccess_key = {access.access_key}\nsecret_key = {access.secret_key}\n"
            f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\nbucket_location = us-east-1\n"
        )
        self._program = environment("s3cmd").with_name("s3cmd")

    def __call__(self, *arguments: str | Path, refused: str = "", given: bytes = b"") -> str:
        """What a command printed."""
        return self._programs(self._program, "--no-progress", *arguments, refused=refused, given=given)

    def started(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command under way."""
        return self._programs.popen(self._program, "--no-progress", *arguments)

    @property
    def aside(self) -> str:
        """What the last command wrote to its standard error."""
        return self._programs.aside

    def bucket(self, purpose: str) -> str:
        """A new bucket, as s3cmd names it."""
        name = f"s3://{new_name(purpose)}"
        self("mb", name)
        return name


@pytest.fixture
def s3cmd(programs: Programs) -> S3cmd:
    """The one of PyPI."""
    return S3cmd(programs)


def test_s3cmd_synchronises_copies_and_removes(s3cmd: S3cmd) -> None:
    bucket, source, target = s3cmd.bucket("folders"), plant(s3cmd.folder / "source"), s3cmd.folder / "target"
    s3cmd("sync", "--multipart-chunk-size-mb", "5", f"{source}/", f"{bucket}/in/")
    assert "upload:" not in s3cmd("sync", f"{source}/", f"{bucket}/in/")
    listed = s3cmd("ls", "--recursive", f"{bucket}/in/")
    assert all(f" {size}  {bucket}/in/{name}\n" in listed for name, size in TREE.items()), listed
    assert f"{sum(TREE.values())} " in s3cmd("du", bucket)
    s3cmd("cp", "--recursive", f"{bucket}/in/", f"{bucket}/copied/")
    s3cmd("mv", f"{bucket}/copied/a.txt", f"{bucket}/copied/moved å")
    target.mkdir()
    s3cmd("sync", f"{bucket}/copied/", f"{target}/")
    (target / "moved å").rename(target / "a.txt")
    assert files_of(target) == files_of(source)
    s3cmd("put", "-", f"{bucket}/piped", given=content(17 * MIB))
    s3cmd("get", f"{bucket}/piped", s3cmd.folder / "piped")
    assert (s3cmd.folder / "piped").read_bytes() == content(17 * MIB)
    s3cmd("get", f"{bucket}/none", s3cmd.folder / "none", refused="does not exist")
    s3cmd("del", "--recursive", "--force", bucket)
    s3cmd("rb", bucket)
    assert bucket not in s3cmd("ls")


def test_s3cmd_shows_and_changes_what_is_kept_beside_an_object(s3cmd: S3cmd) -> None:
    bucket, file = s3cmd.bucket("headers"), s3cmd.folder / "file"
    file.write_bytes(b"content")
    s3cmd("put", "--mime-type", "text/x-test", "--add-header", "x-amz-meta-m:1", file, f"{bucket}/file å")
    shown = s3cmd("info", f"{bucket}/file å")
    assert "text/x-test" in shown
    assert "x-amz-meta-m: 1" in shown
    s3cmd("modify", "--add-header", "Cache-Control:no-store", f"{bucket}/file å")
    assert "Location:  us-east-1" in s3cmd("info", bucket)
    rules = s3cmd.folder / "cors.xml"
    rules.write_text(
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    s3cmd("setcors", rules, bucket)
    assert "AllowedMethod>GET<" in s3cmd("info", bucket)
    s3cmd("get", f"{bucket}/file å", s3cmd.folder / "down")
    assert (s3cmd.folder / "down").read_bytes() == b"content"


def test_s3cmd_goes_on_with_an_upload_in_whose_middle_it_was_killed(s3cmd: S3cmd) -> None:
    bucket, file = s3cmd.bucket("uploads"), s3cmd.folder / "file"
    file.write_bytes(content(40 * MIB))
    put = ("put", "--multipart-chunk-size-mb", "5", file, f"{bucket}/file")
    with s3cmd.started(*put, "--limit-rate", "2m") as killed:
        upload = ""
        while not upload or "5242880" not in s3cmd("listmp", f"{bucket}/file", upload):
            assert killed.poll() is None, killed.communicate()
            left = s3cmd("multipart", bucket).split()
            upload = left[-1] if f"{bucket}/file" in left else ""
        killed.kill()
    s3cmd(*put, "--continue-put")
    assert "part 1, skipping" in s3cmd.aside
    s3cmd("get", f"{bucket}/file", s3cmd.folder / "down")
    assert (s3cmd.folder / "down").read_bytes() == content(40 * MIB)
    assert upload not in s3cmd("multipart", bucket)
