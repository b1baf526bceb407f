"""Virtual time: events in the order of their moments, one random source, one transcript.

One seed is one history, to the letter, on every machine. So nothing in this package asks the real clock, the system's
random source or a hash for anything; no thread and no socket is made; and durations are drawn by arithmetic alone (a
logarithm may differ in its last bit between two machines' libraries).
"""

import heapq
import random
from collections.abc import Callable

from chaos.sim.transcript import Transcript

START_S = 1000.0
"""The monotonic clock as a world begins (chosen: not 0, which an unset field could be taken for)."""

EPOCH_MS = 1_700_000_000_000
"""The wall clock then."""


class World:
    """What is to happen, and when. Members' monotonic clocks are the world's; their wall clocks are their own."""

    def __init__(self, seed: int, transcript: Transcript) -> None:
        self.random = random.Random(seed)
        self.now = START_S
        self.transcript = transcript
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = 0

    @property
    def wall_ms(self) -> int:
        """The right time, in milliseconds since the epoch."""
        return EPOCH_MS + int((self.now - START_S) * 1000)

    def at(self, delay_s: float, what: Callable[..., None], *arguments: object) -> None:
        """Do something later. What is due at the same moment is done in the order in which it was asked for."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + max(0.0, delay_s), self._order, what, arguments))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        queue = self._queue
        while queue and queue[0][0] <= end:
            self.now, _, what, arguments = heapq.heappop(queue)
            self.events += 1
            what(*arguments)
        self.now = end

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens."""
        return self.random.random() < probability

    def spread(self, mean_s: float) -> float:
        """A duration between nothing and three times the mean, short ones more often."""
        return 3 * mean_s * self.random.random() ** 2

    def note(self, who: str, what: str, *arguments: object) -> None:
        """Write a line of the transcript."""
        self.transcript.note(self.now - START_S, who, what, arguments)
