"""rclone: folders that are synchronised and compared, streams, versions, and a file of a gibibyte in parts."""

import json
from pathlib import Path

import pytest

from tests.clients.environments import program
from tests.clients.files import GIB, TREE, files_of, large_file, plant
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, content, new_name

pytestmark = pytest.mark.clients


class Rclone:
    """`rclone`, with the cluster as the remote `t:`."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.folder = programs.folder
        programs.environ |= {
            "RCLONE_CONFIG_T_TYPE": "s3",
            "RCLONE_CONFIG_T_PROVIDER": "Other",
            "RCLONE_CONFIG_T_ENV_AUTH": "true",
            "RCLONE_CONFIG_T_ENDPOINT": programs.store.access.endpoint,
        }

    def __call__(self, *arguments: str | Path, refused: str = "", given: bytes = b"", timeout_s: float = 120) -> str:
        """What a command printed; what it says of its doings is left out."""
        line = [program("rclone"), "--quiet", *arguments]
        return self._programs(*line, refused=refused, given=given, timeout_s=timeout_s)

    def bucket(self, purpose: str) -> str:
        """A new bucket, as rclone names it."""
        name = f"t:{new_name(purpose)}"
        self("mkdir", name)
        return name


@pytest.fixture
def rclone(programs: Programs) -> Rclone:
    """The machine's."""
    return Rclone(programs)


def test_rclone_synchronises_and_compares_folders(rclone: Rclone) -> None:
    bucket, source, target = rclone.bucket("folders"), plant(rclone.folder / "source"), rclone.folder / "target"
    rclone("sync", source, f"{bucket}/in")
    rclone("check", source, f"{bucket}/in")
    rclone("check", "--download", source, f"{bucket}/in")
    listed = json.loads(rclone("lsjson", "--recursive", "--files-only", "--hash", f"{bucket}/in"))
    assert {entry["Path"]: entry["Size"] for entry in listed} == TREE
    (source / "a.txt").write_bytes(b"another ")
    (source / "empty").unlink()
    rclone("check", source, f"{bucket}/in", refused="differences found")
    rclone("sync", source, f"{bucket}/in")
    rclone("copy", f"{bucket}/in", f"{bucket}/copied")
    rclone("check", "--download", f"{bucket}/in", f"{bucket}/copied")
    rclone("moveto", f"{bucket}/copied/a.txt", f"{bucket}/copied/moved å")
    rclone("sync", f"{bucket}/copied", target)
    (target / "moved å").rename(target / "a.txt")
    assert files_of(target) == files_of(source)
    rclone("rcat", f"{bucket}/piped", given=content(7 * MIB))
    assert rclone("cat", "--count", "5", f"{bucket}/in/a.txt") == "anoth"
    assert rclone("lsf", f"{bucket}") == "copied/\nin/\npiped\n"
    rclone("copyto", f"{bucket}/piped", rclone.folder / "piped")
    assert (rclone.folder / "piped").read_bytes() == content(7 * MIB)
    rclone("purge", bucket)
    assert bucket.removeprefix("t:") not in rclone("lsd", "t:")


def test_rclone_lists_and_fetches_versions_and_cleans_them_up(rclone: Rclone) -> None:
    bucket = rclone.bucket("versions")
    rclone("backend", "versioning", bucket, "Enabled")
    for body in (b"first", b"second", b"third"):
        rclone("rcat", f"{bucket}/folder/file.txt", given=body)
    rclone("deletefile", f"{bucket}/folder/file.txt")
    assert rclone("lsf", f"{bucket}/folder") == ""
    names = rclone("lsf", "--s3-versions", f"{bucket}/folder").split()
    assert len(names) == 3
    assert all(name.startswith("file-v") for name in names)
    rclone("copy", "--s3-versions", f"{bucket}/folder", rclone.folder / "versions")
    found = files_of(rclone.folder / "versions")
    assert [found[name] for name in sorted(names)] == [b"first", b"second", b"third"]
    rclone("backend", "cleanup-hidden", bucket)
    assert rclone("lsf", "--s3-versions", f"{bucket}/folder") == ""


def test_rclone_copies_a_gibibyte_in_parts_and_finds_the_same_bytes(rclone: Rclone) -> None:
    bucket, source = rclone.bucket("large"), rclone.folder / "source"
    source.mkdir()
    large_file(source / "gibibyte")
    rclone("copy", "--s3-chunk-size", "16M", "--s3-upload-concurrency", "4", source, bucket, timeout_s=600)
    assert json.loads(rclone("lsjson", bucket))[0]["Size"] == GIB
    assert json.loads(rclone("backend", "list-multipart-uploads", bucket)) == {bucket.removeprefix("t:"): []}
    rclone("check", "--download", source, bucket, timeout_s=600)
