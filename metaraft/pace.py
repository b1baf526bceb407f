"""How quick a disk is of late, and so whether the event loop may wait for it.

Source: the hop to a thread and back is 35 to 70 us on an idle machine, several hundred on a busy one (measured).
"""

import time
from collections.abc import Callable

INLINE_S_MAX = 0.002
"""While syncs take less than this on average they are done without a thread: the hop there and back costs a third of a
quick sync, and the loop has nothing else to do. A disk that becomes slow is waited for in a thread."""


class Pace:
    """Mean time of one kind of sync. It counts as slow until some have been timed."""

    def __init__(self) -> None:
        self._mean_s = 2 * INLINE_S_MAX

    @property
    def quick(self) -> bool:
        """The event loop may wait for the next one."""
        return self._mean_s < INLINE_S_MAX

    def timed(self, sync: Callable[[], None]) -> None:
        """Do it (blocking) and note how long it took."""
        began = time.perf_counter()
        sync()
        self._mean_s += (time.perf_counter() - began - self._mean_s) / 8
