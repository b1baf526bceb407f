"""Clusters of real processes, each in a folder of its own, ended by their own ids."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from chaos.roles import Roles
from cluster.cli.access import Access
from tests import folders


@dataclass
class Reply:
    """An answer with its whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body as JSON."""
        decoded: dict[str, object] = msgspec.json.decode(self.body)
        return decoded


class Http:
    """Plain requests, one connection each: what `curl` would send."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._address = urlsplit(access.endpoint).netloc

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        key: bool = True,
        timeout_s: float = 30,
        **headers: str,
    ) -> Reply:
        """One request; header names are written with underscores."""
        connection = http.client.HTTPConnection(self._address, timeout=timeout_s)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["Authorization"] = f"Bearer {self._access.access_key}:{self._access.secret_key}"
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path (Unix sockets) that is removed at the end."""
    with folders.short_folder() as made:
        yield made / "c"


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """The same for all tests of a module."""
    with folders.short_folder() as made:
        yield made / "c"


@pytest.fixture
def roles(folder: Path) -> Iterator[Roles]:
    """The same processes without a supervisor: what is killed stays dead."""
    with Roles(folder) as running:
        yield running


@pytest.fixture
def http_to(roles: Roles) -> Http:
    """Requests to the test's cluster."""
    return Http(roles.access())
