"""Disks of these tests lie in memory where there is such a file system: each has 256 folders, whose making and removal
is most of the time on a real one. The process's tests keep to the real one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this test's own, removed at its end."""
    if request.node.get_closest_marker("probe") or not os.access(_MEMORY, os.W_OK):
        parent = tmp_path_factory.getbasetemp()
    else:
        parent = _MEMORY
    folder = Path(tempfile.mkdtemp(prefix="trilith-", dir=parent))
    yield folder
    shutil.rmtree(folder)
