"""Deleted chunk files: kept for a day by the hour they came in, erased at once when space is low (or if none are kept).

The clock here only decides how long what is garbage already can be brought back by hand; what is garbage is decided
in the log.
"""

import errno
from collections.abc import Callable
from contextlib import suppress

from chunkd.files import Files
from chunkd.folder import Layout, flat, sweep
from chunkd.seen import Name

HOUR_S = 3600

_HARMLESS = (errno.ENOENT, errno.ENOTEMPTY)


class Trash:
    """The trash folder of one disk. `wall` gives seconds since 1970; with a `trash_s` of 0 it stays empty."""

    def __init__(self, files: Files, layout: Layout, trash_s: float, wall: Callable[[], float]) -> None:
        self._files = files
        self._layout = layout
        self._trash_s = trash_s
        self._wall = wall

    def take(self, name: Name) -> None:
        """Move a chunk's file here. Raises FileNotFoundError if there is none."""
        source = self._layout.chunk(name)
        if self._trash_s == 0:
            return self._files.unlink(source)
        while True:
            folder = self._layout.trash / str(int(self._wall() // HOUR_S))
            if not self._files.exists(folder):
                with suppress(FileExistsError):  # another thread was first
                    self._files.make_folder(folder)
            try:
                return self._files.rename(source, folder / flat(name))
            except FileNotFoundError:
                if not self._files.exists(source):
                    raise  # else another thread has just emptied and removed the folder

    def empty_old(self) -> int:
        """Erase what has been here for longer than `trash_s`; returns the number of files."""
        return self._empty(lambda hour: (hour + 1) * HOUR_S + self._trash_s <= self._wall())

    def is_empty(self) -> bool:
        """Whether there is nothing to erase."""
        return not self._hours()

    def empty_until(self, enough: Callable[[], bool]) -> int:
        """Erase hour by hour, the oldest first, until there is room enough; returns the number of files."""
        return self._empty(lambda _: not enough())

    def _empty(self, wanted: Callable[[int], bool]) -> int:
        count = 0
        for hour in self._hours():
            if not wanted(hour):
                break
            folder = self._layout.trash / str(hour)
            try:
                count += sweep(self._files, folder)
                self._files.remove_folder(folder)
            except OSError as error:
                if not _gone_or_refilled(error):
                    raise
        return count

    def _hours(self) -> list[int]:
        return sorted(int(text) for text in self._files.names(self._layout.trash) if text.isascii() and text.isdigit())


def _gone_or_refilled(error: OSError) -> bool:
    """Two threads empty at once, or one fills the present hour meanwhile: the rest is for the next time."""
    return error.errno in _HARMLESS
