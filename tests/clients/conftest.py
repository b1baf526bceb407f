"""One cluster for the tests of all clients: whole first, then without its leading member and a chunk daemon."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import Programs
from tests.clients.store import Store, roles_with_https
from tests.folders import short_folder


@pytest.fixture(scope="package")
def cluster() -> Iterator[Store]:
    """The cluster of all tests here; each has buckets of its own."""
    with short_folder() as folder, roles_with_https(folder / "c") as roles:
        yield Store(roles)


@pytest.fixture(scope="package", params=["whole", "crippled"])
def store(request: pytest.FixtureRequest, cluster: Store) -> Iterator[Store]:
    """The cluster as it should be, and again while one member and one chunk daemon are down."""
    if request.param == "crippled":
        cluster.cripple()
    yield cluster
    cluster.mend()


@pytest.fixture
def programs(store: Store) -> Iterator[Programs]:
    """Clients' programs, for a user with the root key, in a folder of the test's own (pytest would keep its own)."""
    with tempfile.TemporaryDirectory(prefix="trilith-client-") as folder:
        yield Programs(store, Path(folder))
