"""When writes were acknowledged: what a fault's length of silence is read from.

Two figures, because one alone can hide a slow recovery. The *silence* lasts from the fault to the acknowledgement of a
write that began after it: one that was under way tells nothing of what came after. The *gap* is the longest stretch
without any acknowledgement from the fault until the next one: what came back and went away again shows there.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from itertools import pairwise

import trio


class Progress:
    """All acknowledged writes of a run, by their ends."""

    def __init__(self) -> None:
        self._begins = array("d")
        self._ends = array("d")
        self._newest = -math.inf  # when the latest of the acknowledged writes began
        self._changed = trio.Event()

    @property
    def acknowledged(self) -> int:
        """How many there are."""
        return len(self._ends)

    def note(self, begin: float, end: float) -> None:
        """A write was acknowledged just now."""
        self._begins.append(begin)
        self._ends.append(end)
        self._newest = max(self._newest, begin)
        self._changed.set()
        self._changed = trio.Event()

    async def acknowledged_since(self, moment: float) -> None:
        """Wait until a write that began after `moment` was acknowledged."""
        while self._newest <= moment:
            await self._changed.wait()

    def gap(self, start: float, stop: float) -> float:
        """The longest stretch between two moments in which nothing was acknowledged."""
        inside = self._ends[bisect_left(self._ends, start) : bisect_right(self._ends, stop)]
        edges = [start, *inside, stop]
        return max(later - earlier for earlier, later in pairwise(edges))

    def served(self, start: float, stop: float, slot_s: float = 0.25) -> float:
        """The share of the slots of time between two moments in each of which something was acknowledged."""
        inside = self._ends[bisect_left(self._ends, start) : bisect_right(self._ends, stop)]
        slots = max(1, int((stop - start) / slot_s))
        return len({place for end in inside if (place := int((end - start) / slot_s)) < slots}) / slots

    def latency(self, start: float, stop: float, share: float) -> float | None:
        """The quantile `share` of what those writes took that began between two moments and have been acknowledged by
        now; None if there are none."""
        took = sorted(
            self._ends[place] - self._begins[place]
            for place in range(bisect_left(self._ends, start), len(self._ends))
            if start <= self._begins[place] <= stop
        )
        return took[min(len(took) - 1, int(len(took) * share))] if took else None
