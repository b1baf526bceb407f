"""State time: the clock that commands carry and `apply` obeys. Pure; every reading is passed in.

Rules: it advances by a monotonic clock, is pulled towards the wall clock by at most one second per second (so it
runs at 0 to 2 times real speed), and never runs back behind what the log holds. The leader stamps each batch. A
follower goes on by its own monotonic clock from the leader's last word, so that a new leader continues where the
old one was, even if nothing was committed for hours. Only a member that has heard no leader since its process
began (the whole cluster was down) starts at its wall clock, if that is ahead of the log.
"""


class StateClock:
    """A member's idea of state time. `now` is monotonic seconds, `wall_ms` milliseconds since the epoch."""

    def __init__(self) -> None:
        self._at_us = 0  # state time as of _now; whole microseconds, because a rounding error could run back
        self._now = 0.0
        self._known = False

    def heard(self, state_time_ms: int, now: float) -> None:
        """A leader's word: take it over as it is, back or forward."""
        self._set(state_time_ms * 1000, now)

    def lead(self, floor_ms: int, now: float, wall_ms: int) -> None:
        """This member leads from now on; `floor_ms` is the last state time in its log."""
        at_us = self._at_us + self._elapsed_us(now) if self._known else wall_ms * 1000
        self._set(max(at_us, floor_ms * 1000), now)

    def stamp(self, now: float, wall_ms: int) -> int:
        """The leader's state time now, in milliseconds; never less than before."""
        elapsed_us = self._elapsed_us(now)
        at_us = self._at_us + elapsed_us
        behind_us = wall_ms * 1000 - at_us
        self._set(at_us + min(elapsed_us, max(-elapsed_us, behind_us)), now)
        return self._at_us // 1000

    def estimate(self, now: float) -> int:
        """State time as a follower sees it, in milliseconds; 0 while it has heard of none."""
        return (self._at_us + self._elapsed_us(now)) // 1000 if self._known else 0

    def _elapsed_us(self, now: float) -> int:
        return max(0, round((now - self._now) * 1e6))

    def _set(self, at_us: int, now: float) -> None:
        self._at_us, self._now, self._known = at_us, now, True
