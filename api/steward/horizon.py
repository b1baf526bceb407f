"""Which revision is old enough to be the horizon. Pure.

The horizon z trails the newest revision by `timings.horizon_s` of state time. How old a revision is is known only by
having looked: each sample is a state time and the newest revision at about that time.
"""

from collections import deque


class Horizon:
    """Samples of the newest revision, as far back as they are needed."""

    def __init__(self, behind_ms: int) -> None:
        self._behind_ms = behind_ms
        self._samples: deque[tuple[int, int]] = deque()

    def note(self, state_time_ms: int, revision: int) -> None:
        """The newest revision was this one. A time before the last one (estimates differ) counts as the last one."""
        if self._samples:
            state_time_ms = max(state_time_ms, self._samples[-1][0])
        self._samples.append((state_time_ms, revision))
        self._forget(state_time_ms)

    def at(self, state_time_ms: int) -> int:
        """The newest revision that was noted at least `behind_ms` before; 0 if none was."""
        found = 0
        for noted_ms, revision in self._samples:
            if noted_ms > state_time_ms - self._behind_ms:
                break
            found = revision
        return found

    def _forget(self, now_ms: int) -> None:
        """Drop samples that a later one, old enough already, stands in for."""
        while len(self._samples) > 1 and self._samples[1][0] <= now_ms - self._behind_ms:
            self._samples.popleft()
