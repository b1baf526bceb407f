"""Clients' programs as a user runs them: keys in the environment, a home and a folder of their own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.clients.environments import FOLDER
from tests.clients.store import Store

_REPOSITORY = FOLDER.parent.parent


class Programs:
    """Runs programs in a folder of the test."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.aside = ""  # what the last program wrote to its standard error
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
        }

    def popen(self, *line: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a program and return at once; what it says comes from its `stdout`."""
        return subprocess.Popen(
            line,
            cwd=cwd or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(
        self,
        *line: str | Path,
        refused: str = "",
        given: bytes = b"",
        timeout_s: float = 120,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program to its end; what it printed. It must do well, or fail and say the word of `refused`."""
        done = subprocess.run(
            line,
            cwd=cwd or self.folder,
            env={**self.environ, **(environ or {})},
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        said, aside = done.stdout.decode(), done.stderr.decode()
        self.aside = aside
        well = (done.returncode != 0 and refused in said + aside) if refused else done.returncode == 0
        assert well, (
            f"{' '.join(map(str, line))} ended with {done.returncode}, to be refused with {refused!r}\n"
            f"{said}\n{aside}{self.store.logs()}"
        )
        return said

    def start_scenario(self, python: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a scenario and return at once."""
        scenario = f"tests.clients.scenarios.{name}"
        return self.popen(python, "-m", scenario, self.store.access.endpoint, *arguments, cwd=_REPOSITORY)

    def scenario(self, python: Path, name: str, endpoint: str = "", *, timeout_s: float = 120) -> str:
        """Run a scenario of tests/clients/scenarios in a client's environment, by default over HTTP; its report."""
        endpoint = endpoint or self.store.access.endpoint
        trusted = str(self.store.authority)
        environ = {"AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted} if endpoint == self.store.https else {}
        line = (python, "-m", f"tests.clients.scenarios.{name}", endpoint)
        return self(*line, timeout_s=timeout_s, cwd=_REPOSITORY, environ=environ)
