"""Folders with short paths, for Unix sockets, of real clusters.

A cluster reserves tens of MiB that a file system takes seconds to free: that is done beside the tests that follow.
"""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_removals: list[threading.Thread] = []


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that goes when the context ends; `wait_removed` waits for it."""
    name = tempfile.mkdtemp(prefix="tl")
    try:
        yield Path(name)
    finally:
        removal = threading.Thread(target=shutil.rmtree, args=(name,))
        removal.start()
        _removals.append(removal)


def wait_removed() -> None:
    """Wait until all folders that are no longer used are gone."""
    while _removals:
        _removals.pop().join()
