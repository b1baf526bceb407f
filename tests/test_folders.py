"""What becomes of the folders of tests."""

from pathlib import Path

import pytest

from tests.folders import Removals


def test_a_folder_that_cannot_be_removed_is_told_once_by_its_name_and_the_others_go(tmp_path: Path) -> None:
    removals, gone, there = Removals(), tmp_path / "gone", tmp_path / "there"
    (there / "file").parent.mkdir()
    (there / "file").write_text("x")
    removals.begin(str(gone))
    removals.begin(str(there))
    with pytest.RaisesGroup(pytest.RaisesExc(FileNotFoundError, check=lambda error: str(gone) in error.__notes__[0])):
        removals.wait()
    assert not there.exists()
    removals.wait()
