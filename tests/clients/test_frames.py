"""Data frames: pandas and Arrow on s3fs, which is fsspec over aiobotocore."""

import pytest

from tests.clients.environments import environment
from tests.clients.programs import Programs

pytestmark = pytest.mark.clients


def test_frames_are_written_and_read_and_files_are_found(programs: Programs) -> None:
    programs.scenario(environment("frames"), "frames")
