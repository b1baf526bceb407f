"""Several workers share the tests by file: what a module's tests have in common, a cluster often, is made once.

The tests of clients are one group: they use one cluster, and their environments are installed once.
"""

import signal
from pathlib import Path

import pytest

_CLIENTS = Path(__file__).parent / "clients"


def pytest_configure() -> None:
    """A shell that runs the tests in its background ignores SIGINT for them, and so would all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name each test's group (`--dist loadgroup`)."""
    for item in items:
        group = "clients" if item.path.is_relative_to(_CLIENTS) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
