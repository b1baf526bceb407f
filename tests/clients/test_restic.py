"""restic: a repository is made, backed up to, checked to the last byte, restored from, and pruned."""

import json
import shutil
from pathlib import Path

import pytest

from tests.clients.environments import program
from tests.clients.files import files_of, large_file, plant
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, new_name

pytestmark = pytest.mark.clients


class Restic:
    """`restic` with a repository in a bucket of its own."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.folder = programs.folder
        programs.environ |= {
            "RESTIC_REPOSITORY": f"s3:{programs.store.access.endpoint}/{new_name('restic')}/backups",
            "RESTIC_PASSWORD": "of the test",
        }

    def __call__(self, *arguments: str | Path) -> str:
        """What a command printed."""
        return self._programs(program("restic"), *arguments)


def test_restic_backs_up_checks_restores_and_prunes(programs: Programs) -> None:
    restic = Restic(programs)
    source, target = plant(restic.folder / "source"), restic.folder / "target"
    large_file(source / "large", 64 * MIB)
    restic("init")
    restic("backup", source)
    assert "no errors were found" in restic("check", "--read-data")
    first = files_of(source)
    shutil.rmtree(source / "folder")
    (source / "later å").write_bytes(b"later")
    restic("backup", source)
    snapshots = json.loads(restic("snapshots", "--json"))
    assert len(snapshots) == 2
    for snapshot, files in zip(snapshots, (first, files_of(source)), strict=True):
        restic("restore", snapshot["short_id"], "--target", target, "--verify")
        assert files_of(Path(f"{target}{source}")) == files
        shutil.rmtree(target)
    assert "later å" in restic("diff", snapshots[0]["short_id"], snapshots[1]["short_id"])
    restic("forget", "--keep-last", "1", "--prune")
    assert "no errors were found" in restic("check", "--read-data")
    restic("restore", "latest", "--target", target, "--verify")
    assert files_of(Path(f"{target}{source}")) == files_of(source)
