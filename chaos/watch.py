"""Who leads, looked at all the time: how much of it there was a leader, and that no term ever had two.

A leader counts while it can commit: it follows itself, and a majority with it, over links that are open both ways. It
may take a while to find out that they are not, and says that it leads all the same. A time in which no majority could
talk both ways counts neither way: nobody could have led then.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import trio

from chaos.history import History
from chaos.members import Members
from metaraft.wire import MemberStatus

EVERY_S = 0.03

type Joined = Callable[[str, str], bool]
"""Whether two members can talk both ways."""


class Watch:
    """Asks all members again and again. Two leaders of one term go to the history's violations."""

    def __init__(self, members: Members, history: History, joined: Joined) -> None:
        self._members = members
        self._history = history
        self._joined = joined
        self._times: list[float] = []
        self._led: list[bool | None] = []
        self._leaders: dict[int, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        names = tuple(self._members.names.values())
        while True:
            statuses = await self._members.statuses()
            self._times.append(trio.current_time())
            self._led.append(led(statuses, self._joined, len(names)) if could_be_led(names, self._joined) else None)
            for status in statuses:
                if status.role == "leader" and self._leaders.setdefault(status.term, status.slot) != status.slot:
                    self._history.violations.append(f"term {status.term} has two leaders")
            await trio.sleep(EVERY_S)

    def times(self, start: float, stop: float) -> tuple[float, float]:
        """Seconds with a leader and without one, between two moments; each look stands for the time until the next."""
        first, last = bisect_left(self._times, start), bisect_right(self._times, stop)
        sums = {True: 0.0, False: 0.0, None: 0.0}
        for place, (look, following) in enumerate(pairwise([*self._times[first:last], stop]), first):
            sums[self._led[place]] += following - look
        return sums[True], sums[False]


def led(statuses: Sequence[MemberStatus], joined: Joined, members: int) -> bool:
    """Whether a member leads whom a majority follows in its term that it can talk with."""
    return any(
        sum(
            (other.term, other.leader) == (leader.term, leader.slot)
            and (other.slot == leader.slot or joined(leader.name, other.name))
            for other in statuses
        )
        > members // 2
        for leader in statuses
        if leader.role == "leader"
    )


def could_be_led(names: Sequence[str], joined: Joined) -> bool:
    """Whether any member can talk with a majority, itself included."""
    return any(1 + sum(joined(one, other) for other in names if other != one) > len(names) // 2 for one in names)
