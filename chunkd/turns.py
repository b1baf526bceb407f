"""Who goes when, among threads: one at a time per name, and one fsync for all who wait on a folder.

Both keep memory only for names and folders that are in use at the moment.
"""

import errno
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path


class NameLocks:
    """A lock per name, made when first wanted and dropped when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, name: Hashable) -> Iterator[None]:
        """Be alone with a name."""
        with self._guard:
            lock, users = self._locks.get(name) or (threading.Lock(), 0)
            self._locks[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks[name]
                if users == 1:
                    del self._locks[name]
                else:
                    self._locks[name] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)


class _Round:
    """One fsync: begun or not, and how it ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.users = 0
        self.good = False
        self.error: OSError | None = None


class FolderSyncs:
    """Fsyncs of folders, shared: who asks while one runs gets the next one, together with all others who asked.

    An fsync covers only what was done before it began, so nobody is served by one that already ran when he came.
    """

    def __init__(self, sync_folder: Callable[[Path], None]) -> None:
        self._sync_folder = sync_folder
        self._guard = threading.Lock()
        self._running: dict[Path, _Round] = {}
        self._next: dict[Path, _Round] = {}

    def sync(self, folder: Path) -> None:
        """Return when an fsync of the folder that began after this call has ended. Raises its OSError."""
        with self._guard:
            running = self._running.get(folder)
            mine = self._next.get(folder)
            leads = mine is None
            if mine is None:
                mine = self._next[folder] = _Round()
            mine.users += 1
        if leads:
            if running is not None:
                running.ended.wait()
            self._run(folder, mine)
        else:
            mine.ended.wait()
        if not mine.good:
            code = (mine.error and mine.error.errno) or errno.EIO
            raise OSError(code, os.strerror(code), str(folder)) from mine.error

    def waiting(self, folder: Path) -> int:
        """How many wait for an fsync that has not begun."""
        with self._guard:
            following = self._next.get(folder)
            return following.users if following is not None else 0

    def _run(self, folder: Path, mine: _Round) -> None:
        with self._guard:
            del self._next[folder]
            self._running[folder] = mine
        try:
            self._sync_folder(folder)
            mine.good = True
        except OSError as error:
            mine.error = error
        finally:
            with self._guard:
                if self._running.get(folder) is mine:
                    del self._running[folder]
            mine.ended.set()
