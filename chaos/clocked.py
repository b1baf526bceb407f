"""Runs a role whose wall clock is wrong: `python -P -m chaos.clocked FILE python -P -m ROLE ...`.

FILE holds how wrong, a signed number of nanoseconds in 8 bytes, and may change at any time: the clock then jumps. Only
`time.time` and `time.time_ns` are shifted, which is how the roles read it; the monotonic clock is left alone, as it is
when an administrator or NTP sets a machine's clock (clock_gettime(2)).
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_OFFSET = struct.Struct("<q")


class Offset:
    """How wrong a clock is, shared by file."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(_OFFSET.pack(0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _OFFSET.size)

    @property
    def ns(self) -> int:
        """In nanoseconds."""
        return int(_OFFSET.unpack_from(self._map)[0])

    def set(self, seconds: float) -> None:
        """The clock jumps to so many seconds before or behind the true time."""
        _OFFSET.pack_into(self._map, 0, round(seconds * 1e9))


def shift(offset: Offset) -> None:
    """Let this process's wall clock be wrong from now on."""
    true_ns = time.time_ns

    def time_ns() -> int:
        return true_ns() + offset.ns

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def command(file: Path) -> list[str]:
    """What is put before a role's command line."""
    return [sys.executable, "-P", "-m", "chaos.clocked", str(file)]


def main() -> None:
    """Run the role that the rest of the command line names."""
    file, *line = sys.argv[1:]
    shift(Offset(Path(file)))
    at = line.index("-m") + 1
    sys.argv = line[at:]
    runpy.run_module(line[at], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
