"""Who leads, looked at all the time: how much of it there was a leader, and that no term ever had two."""

from bisect import bisect_left, bisect_right

import trio

from chaos.history import History
from chaos.members import Members, led_by

EVERY_S = 0.03


class Watch:
    """Asks all members again and again. Two leaders of one term go to the history's violations."""

    def __init__(self, members: Members, history: History) -> None:
        self._members = members
        self._history = history
        self._times: list[float] = []
        self._led: list[bool] = []
        self._leaders: dict[int, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            statuses = await self._members.statuses()
            self._times.append(trio.current_time())
            self._led.append(led_by(statuses, len(self._members.names)) is not None)
            for status in statuses:
                if status.role == "leader" and self._leaders.setdefault(status.term, status.slot) != status.slot:
                    self._history.violations.append(f"term {status.term} has two leaders")
            await trio.sleep(EVERY_S)

    def share(self, start: float, stop: float) -> float | None:
        """In which share of the looks between two moments a majority followed a leader; None: there was no look."""
        looks = self._led[bisect_left(self._times, start) : bisect_right(self._times, stop)]
        return sum(looks) / len(looks) if looks else None
