"""A run of faults under load, whatever they are: turn after turn, then the verdict.

Between two turns the cluster is whole again, so that each fault is one fault. What a turn measures goes into the run's
samples; a turn that did not do what it should (the member that was hit no longer led) is counted apart and repeated.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from chaos import ledger, verdict
from chaos.ledger import Run
from chaos.load import Load
from chaos.members import Members

MISSED_MAX = 20
"""With so many missed turns in a row the run is broken."""

TURN_S_MAX = 300.0
"""A turn that takes longer will never end. The longest has a pause of its own, and waits of a minute each."""


@dataclass(frozen=True)
class Extent:
    """How long a run is: so many faults, or so many minutes, whichever is first; at least one of them is given."""

    faults: int | None = None
    minutes: float | None = None

    def reached(self, faults: int, seconds: float) -> bool:
        """Whether so many faults in so many seconds are enough."""
        return (self.faults is not None and faults >= self.faults) or (
            self.minutes is not None and seconds >= self.minutes * 60
        )


class Spared(Exception):
    """What a turn was to break was not there to be broken: the turn is over, is no fault, and need not be repeated."""


type Turn = Callable[[int], Awaitable[float | None]]
"""One fault, given how many turns were before: the moment that it began, when all is whole again; None: it was missed.
It may raise Spared, when all is whole again."""


async def run_turns(
    run: Run, load: Load, members: Members, extent: Extent, turn: Turn, say: Callable[[str], None]
) -> Run:
    """Do turns under load until the extent is reached, read everything back, judge, and fill in the run.

    A cluster that does not become whole, or takes no more writes, ends the run: that too is a violation, and told.
    """
    began = trio.current_time()
    turns: list[tuple[float, bool]] = []  # when each began, and whether it was a fault
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        try:
            while not extent.reached(len(turns), trio.current_time() - began):
                with trio.fail_after(TURN_S_MAX):
                    await load.progress.acknowledged_since(trio.current_time())
                    turns.append(await turned(turn, len(turns), run))
        except trio.TooSlowError:
            load.history.violations.append(f"fault {len(turns) + 1}: not whole again, or no writes, in time")
        stopped = trio.current_time()
        nursery.cancel_scope.cancel()
    stops = [*(start for start, _ in turns[1:]), stopped]
    gaps = [load.progress.gap(start, stop) for (start, fault), stop in zip(turns, stops, strict=True) if fault]
    run.faults = len(gaps)
    run.samples[ledger.GAP] = [round(gap, 4) for gap in gaps]
    say(f"reading {len(load.history.operations)} keys back, and judging")
    await load.read_back()
    await _compare(members, load)
    run.acknowledged_writes = load.progress.acknowledged
    run.operations = sum(len(operations) for operations in load.history.operations.values())
    run.keys = len(load.history.operations)
    run.outcomes = dict(sorted(load.history.counts.items()))
    run.lost = verdict.lost(load)
    run.violations = verdict.judge(load)
    run.seconds = round(trio.current_time() - began, 1)
    return run


async def turned(turn: Turn, number: int, run: Run) -> tuple[float, bool]:
    """The turn, again until it hits: when it began, and whether it was a fault. Raises RuntimeError."""
    for _ in range(MISSED_MAX):
        began = trio.current_time()
        try:
            moment = await turn(number)
        except Spared:
            return began, False
        if moment is not None:
            return moment, True
        run.count("missed")
    raise RuntimeError(f"{MISSED_MAX} faults in a row did not hit what they should")


async def _compare(members: Members, load: Load) -> None:
    """Without load all members come to the same rows."""
    try:
        if not await members.wait_equal():
            load.history.violations.append("members that have applied the same log do not hold the same rows")
    except trio.TooSlowError:
        load.history.violations.append("members do not come to the same place of the log, though nothing is written")
