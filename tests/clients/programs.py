"""Clients' programs as a user runs them: keys in the environment, a home and a folder of their own."""

import os
import subprocess
from pathlib import Path

from tests.clients.environments import FOLDER
from tests.clients.store import Store

_REPOSITORY = FOLDER.parent.parent


class Programs:
    """Runs programs in a folder of the test."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": store.access.access_key,
            "AWS_SECRET_ACCESS_KEY": store.access.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(store.authority),
            "PYTHONWARNINGS": "ignore",
        }

    def popen(self, *line: str | Path) -> subprocess.Popen[str]:
        """Start a program and return at once."""
        return subprocess.Popen(
            line,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(
        self,
        *line: str | Path,
        code: int = 0,
        given: str | bytes = b"",
        timeout_s: float = 120,
        cwd: Path | None = None,
    ) -> str:
        """Run a program to its end; what it printed, if it ends with the expected code."""
        done = subprocess.run(
            line,
            cwd=cwd or self.folder,
            env=self.environ,
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        said, failed = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, (
            f"{' '.join(map(str, line))} ended with {done.returncode}, not {code}\n{said}\n{failed}{self.store.logs()}"
        )
        return said + failed if code else said

    def scenario(self, python: Path, name: str, *arguments: str, https: bool = False, timeout_s: float = 120) -> str:
        """Run a scenario of tests/clients/scenarios in a client's environment; its report."""
        endpoint = self.store.https if https else self.store.access.endpoint
        line: list[str | Path] = [python, "-m", f"tests.clients.scenarios.{name}", endpoint, *arguments]
        return self(*line, timeout_s=timeout_s, cwd=_REPOSITORY)
