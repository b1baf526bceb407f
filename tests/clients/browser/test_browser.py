"""A browser uploads: the scenario beside this file, in an environment of its own, against a cluster of processes."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from chaos.roles import Roles
from tests.clients.environments import environment

HERE = Path(__file__).parent


@pytest.mark.clients
def test_a_browser_uploads_by_presigned_put_and_by_form_with_cors() -> None:
    python = environment("browser", HERE / "requirements.txt")
    with tempfile.TemporaryDirectory(prefix="trilith-test-") as folder, Roles(Path(folder, "c")) as roles:
        access = roles.access()
        keys = {"AWS_ACCESS_KEY_ID": access.access_key, "AWS_SECRET_ACCESS_KEY": access.secret_key}
        done = subprocess.run(
            [python, HERE / "scenario.py", access.endpoint],
            env={**os.environ, **keys},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
