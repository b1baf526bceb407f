"""A disk's state as its daemon knows it: ok, full, failed or read-only, with the reason.

An fsync or write that failed is never retried: what the kernel did with the pages is unknown (the PostgreSQL
community's "fsyncgate", 2018). The disk is then `failed` for the life of the process: it takes no puts, and reads go
on, since each block is verified by its reader.
"""

import errno
from collections.abc import Callable

from chunkd.wire import DiskState
from cluster.errors import TrilithError, Unavailable

FULL = (errno.ENOSPC, errno.EDQUOT)


class Health:
    """The disk's lasting state. `full` is not kept here: it is asked of the file system each time."""

    def __init__(self, on_change: Callable[[DiskState, str], None] | None = None) -> None:
        self.state: DiskState = "ok"
        self.reason = ""
        self._on_change = on_change

    def check_writable(self) -> None:
        """Raises Unavailable (DiskFailed, DiskReadOnly)."""
        if self.state == "failed":
            raise Unavailable("DiskFailed", f"the disk has failed and takes no writes: {self.reason}")
        if self.state == "read_only":
            raise Unavailable("DiskReadOnly", f"the disk's file system is read-only: {self.reason}")

    def blame(self, error: OSError, doing: str) -> TrilithError:
        """What a failed write, fsync or rename means: the error to raise; the state is changed where it is lasting."""
        what = f"{doing}: {error.strerror or error}"
        if error.errno in FULL:
            return Unavailable("DiskFull", f"no room: {what}")
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return Unavailable("Overloaded", f"out of a resource: {what}")
        if error.errno == errno.EROFS:
            self._change("read_only", what)
            return Unavailable("DiskReadOnly", f"the disk's file system is read-only: {what}")
        self._change("failed", what)
        return Unavailable("DiskFailed", f"the disk has failed: {what}")

    def _change(self, state: DiskState, reason: str) -> None:
        if self.state != "failed":
            self.state, self.reason = state, reason
            if self._on_change is not None:
                self._on_change(state, reason)
