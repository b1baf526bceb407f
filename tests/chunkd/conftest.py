"""Disks of these tests lie in memory where there is such a file system: each has 256 folders, whose making and removal
is most of the time on a real one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = "/dev/shm"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of this test's own, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="trilith-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)
