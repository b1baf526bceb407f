"""Several workers share the tests by file: what a module's tests have in common, a cluster often, is made once.

The tests of clients are one group: they use one cluster, and their environments are installed once.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.folders import wait_removed

SIM_SEED = "TRILITH_SIM_SEED"
"""In the environment: the first seed of the simulator's run. Drawn if it is not there; the report says it."""

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # how long an example takes is the machine's affair

_CLIENTS = PurePosixPath("tests/clients")


class _ByFile(LoadScopeScheduling):
    """A worker gets all tests of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return str(_CLIENTS) if PurePosixPath(file).is_relative_to(_CLIENTS) else file


def pytest_configure() -> None:
    """A shell that runs the tests in its background ignores SIGINT for them, and so would all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault(SIM_SEED, str(secrets.randbits(40)))  # the workers inherit it


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What else the run depended on: a worker's own output is not seen."""
    terminalreporter.write_line(f"The simulator's seeds began with {SIM_SEED}={os.environ[SIM_SEED]}.")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Folders that cannot be removed are an error at the end: one raised later in a worker is heard by nobody."""
    yield
    wait_removed()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile:
    """What shares out the tests, whatever `--dist` says."""
    return _ByFile(config, log)
