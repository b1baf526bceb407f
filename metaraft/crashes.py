"""A member that was ended by a fault of its own process (SIGSEGV, SIGBUS, SIGABRT): what its next start does about it.

A damaged database can do that: LMDB follows an offset in a page to wherever it points. So can a bit that flipped in
memory, once. Rules:
* The dying process itself writes a note into its folder (`faulthandler`), whoever started it and will start it again.
* A start that finds a note has another process open the database and read all rows before it opens anything itself.
  If that finds rot, or dies so too, the database is condemned. So no member votes or serves with what killed it.
* If all is right the member starts: one stray crash costs no member.
* If it crashed before, less than `SOON_S` ago, it does not: it is said, and whoever starts it then knows of it. Nothing
  is condemned by that, for a fault of the program would end all members so.
"""

import contextlib
import faulthandler
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.exits import RoleExit
from cluster.log import get_logger
from cluster.process import end_with_parent
from metaraft.condemned import condemn, is_condemned
from metaraft.files import allocate

FILE = "crashed"
BEFORE = "crashed.before"

SOON_S = 3600.0
"""Two crashes within this time are no accident (chosen)."""

FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
"""Signals that a process gets for what it did itself."""

_NAMES = {(signal.strsignal(number) or number.name).lower(): number.name for number in FAULTS}
_BYTES_MAX = 16 * 1024

_log = get_logger("metaraft")


def note_crash(folder: Path) -> None:
    """From now on a crash of this process is noted in this folder. A disk that takes no file has no note."""
    with contextlib.suppress(OSError):
        note = (folder / FILE).open("wb", buffering=0)
        faulthandler.enable(note)
        allocate(note.fileno(), 0, _BYTES_MAX)  # the disk may be full then


def look_into_crash(folder: Path, store: Path, check: Sequence[str], advice: str) -> int:
    """What to do about the crash that is noted in a member's folder, if one is: 0, start; else end with this code, the
    reason is logged. `check` is a command that reads all rows, and logs what it finds. Blocking, as long as that takes.
    For the main thread. Raises OSError."""
    note, before = folder / FILE, folder / BEFORE
    text = _text(note)
    if not text:
        return RoleExit.DONE
    name = _signal_name(text)
    _log.error("crashed", reason=f"this member was killed by {name}; all rows are read before it starts", stack=text)
    code = subprocess.run(check, check=False, preexec_fn=end_with_parent()).returncode  # noqa: S603 - ourselves
    if code == RoleExit.CONFIG:
        return RoleExit.DONE  # there is no database to read: the start itself says so, or has one to install
    if code > 0:
        return code
    if -code in FAULTS:
        died = signal.Signals(-code).name
        why = f"the member was killed by {name}, and the process that read all its rows then by {died}"
        condemn(store, why)
        if is_condemned(store):
            return RoleExit.DONE  # the start itself says what is condemned
        _log.critical("rotten", reason=f"{why}; that cannot be written down. {advice}")
        return RoleExit.DISK
    if code < 0:
        _log.error("failed", reason=f"the check of all rows was killed by signal {-code}")
        return RoleExit.INTERNAL
    again = before.exists() and abs(note.stat().st_mtime - before.stat().st_mtime) < SOON_S
    note.replace(before)
    if again:
        reason = f"this member was killed by {name}, the second time within {SOON_S:.0f} s, though all rows are right"
        _log.critical("crashed_again", reason=f"{reason}. {advice}")
        return RoleExit.DISK
    return RoleExit.DONE


def _text(note: Path) -> str:
    try:
        with note.open("rb") as file:
            return file.read(_BYTES_MAX).rstrip(b"\0").decode(errors="replace")
    except FileNotFoundError:
        return ""


def _signal_name(text: str) -> str:
    """The signal that the first line of a note tells in words."""
    words = text.partition("\n")[0].removeprefix("Fatal Python error:").strip()
    return _NAMES.get(words.lower(), words)
