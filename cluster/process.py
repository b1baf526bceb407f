"""Child processes that cannot outlive their supervisor and say when they are ready, and pid files that cannot name a
stranger.

A child gets SIGTERM when the process that started it dies (prctl(2), PR_SET_PDEATHSIG), so a supervisor killed
with -9 leaves nothing running. A pid file holds `pid start-time`; the start time (proc(5), stat field 22) tells the
process apart from a later one with the same number.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1

READY_VARIABLE = "TRILITH_READY_FD"
"""Names the descriptor on which a role says, with one byte, that it serves."""


def end_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that ties the child to this thread. What it calls is looked up before the fork."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return tie


def tell_ready() -> None:
    """Say to the supervisor, if there is one, that this process serves. The first call counts."""
    descriptor = os.environ.pop(READY_VARIABLE, "")
    if descriptor.isdecimal():
        with contextlib.suppress(OSError):  # it asked and is gone, or a test set the variable to something else
            os.write(int(descriptor), b"1")
            os.close(int(descriptor))


def start_time(pid: int) -> int | None:
    """When a live process started, in clock ticks since boot; None if there is none (or only its zombie)."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # the last: proc(5), hidepid; not ours then
        return None
    fields = facts.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def write_pid(file: Path, pid: int) -> None:
    """Note a live process in a pid file, atomically."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(f"{pid} {start_time(pid) or 0}\n")
    temporary.replace(file)


def read_pid(file: Path) -> int | None:
    """The process that a pid file names, if it is still the same one and alive."""
    try:
        pid, _, started = file.read_text().strip().partition(" ")
        number, since = int(pid), int(started)
    except (FileNotFoundError, ValueError):
        return None
    return number if start_time(number) == since else None


@contextlib.contextmanager
def opened_process(file: Path) -> Iterator[int | None]:
    """A handle (pidfd_open(2)) of the live process that a pid file names, or None. It never becomes another's."""
    pid = read_pid(file)
    try:
        handle = None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        handle = None
    try:
        # looked at again: the process of that number could have changed before the handle was there
        yield handle if handle is not None and read_pid(file) == pid else None
    finally:
        if handle is not None:
            os.close(handle)
