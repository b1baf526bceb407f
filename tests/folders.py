"""Folders with short paths, for Unix sockets, of real clusters.

A cluster reserves tens of MiB that a file system takes seconds to free: that is done beside the tests that follow. A
folder that cannot be removed is told at the end, by its name: raised in its thread it would fail another test.
"""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Removals:
    """Folders that are being removed, each in a thread."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []

    def begin(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        thread = threading.Thread(target=self._remove, args=(folder,))
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Wait until all are gone. Raises ExceptionGroup if some are not."""
        while self._threads:
            self._threads.pop().join()
        if self._failures:
            failures, self._failures = self._failures, []
            raise ExceptionGroup("folders of tests are left behind", failures)

    def _remove(self, folder: str) -> None:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            error.add_note(f"as {folder} was removed")
            self._failures.append(error)


_removals = Removals()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that goes when the context ends; `wait_removed` waits for it."""
    name = tempfile.mkdtemp(prefix="tl")
    try:
        yield Path(name)
    finally:
        _removals.begin(name)


def wait_removed() -> None:
    """Wait until all folders that are no longer used are gone. Raises ExceptionGroup if some are not."""
    _removals.wait()
