"""Wrong clocks under load: members' wall clocks jump by an hour or a quarter of one, back and forth, or are wrong when
a member starts again.

Nothing but timestamps may change. So there is no election and no silence; state time never runs back and never faster
than twice the true time; and what was written later never has an earlier timestamp.
"""

import random
import signal
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import trio

from chaos import ledger
from chaos.client import Connection
from chaos.clocked import Offset, command
from chaos.history import History
from chaos.ledger import Run
from chaos.load import Load
from chaos.members import Members, led_by
from chaos.roles import Roles
from chaos.turns import Extent, run_turns
from cluster.cli.access import Access
from cluster.create import Shape
from metaraft.wire import MemberStatus

TARGETS = ("one", "all", "strobe", "restart")

JUMPS_S = (3600.0, -3600.0, 900.0, -900.0)

STROBE_S = 0.1

LOOK_S = 0.05
"""How often state time is looked at."""

SLACK_MS = 1500
"""State time may be off by so much between two looks at different leaders: the new one goes on from the last word of
the old one, which is up to a second old; and answers take their time."""

SEEN_MS_MIN = 800_000
"""A skew that only a clock which jumped explains."""


async def run(
    folder: Path,
    target: str,
    extent: Extent,
    *,
    seconds: float,
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
) -> Run:
    """Wrong clocks for `seconds` each, in a fresh cluster under `folder`; judge.

    `one` member's clock jumps and jumps back; `all` jump together; one or all `strobe` every 100 ms; one or all
    members `restart` at once with a clock that is wrong from then on.
    """
    names = [f"meta-{n}" for n in range(1, Shape.members + 1)]
    offsets = {name: Offset(folder.parent / f"clock-{name}") for name in names}
    roles = Roles(folder, wrap={name: command(folder.parent / f"clock-{name}") for name in names})
    async with roles.running(), Members.connected(roles.config) as members, trio.open_nursery() as nursery:
        load = Load(roles.access(), clients=clients, keys=40, seed=seed, large=False)
        nursery.start_soon(_StateTime(members, load.history, may_leap=target == "restart").run)
        found = ledger.begun("clock", target, seed=seed, clients=clients)
        clocks = _Clocks(roles, members, load, offsets, found, seconds, random.Random(seed), say)
        await run_turns(found, load, members, extent, clocks.turn, say)
        found.violations += await _wrong_order(roles.access(), load.bucket)
        nursery.cancel_scope.cancel()
    return found


class _StateTime:
    """Looks at the leader's state time all the time: it never runs back, nor faster than twice the true time."""

    def __init__(self, members: Members, history: History, *, may_leap: bool) -> None:
        self._members = members
        self._history = history
        self._may_leap = may_leap  # where all were down, the first to lead believes its own clock

    async def run(self) -> None:
        """Until cancelled."""
        before: tuple[float, float, MemberStatus] | None = None
        while True:
            asked = trio.current_time()
            statuses = await self._members.statuses()
            leader = led_by(statuses, len(self._members.names))
            if leader is not None:
                now = (asked, trio.current_time(), leader)
                if before is not None:
                    self._compare(before, now)
                before = now
            await trio.sleep(LOOK_S)

    def _compare(self, before: tuple[float, float, MemberStatus], now: tuple[float, float, MemberStatus]) -> None:
        """Each look is (asked, answered, status): the true time between them is known within these bounds."""
        passed_ms = (now[1] - before[0]) * 1000
        advanced_ms = now[2].state_time_ms - before[2].state_time_ms
        slack_ms = 1 if now[2].term == before[2].term else SLACK_MS
        if advanced_ms < -slack_ms:
            self._history.violations.append(f"state time ran back by {-advanced_ms} ms in {passed_ms:.0f} ms: {now[2]}")
        if advanced_ms > 2 * passed_ms + slack_ms and not self._may_leap:
            self._history.violations.append(f"state time leapt by {advanced_ms} ms in {passed_ms:.0f} ms: {now[2]}")


class _Clocks:
    def __init__(
        self,
        roles: Roles,
        members: Members,
        load: Load,
        offsets: dict[str, Offset],
        found: Run,
        seconds: float,
        dice: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._roles = roles
        self._members = members
        self._load = load
        self._offsets = offsets
        self._run = found
        self._seconds = seconds
        self._dice = dice
        self._say = say

    async def turn(self, number: int) -> float | None:
        """One jump, and one back; or one restart."""
        await trio.sleep(self._dice.uniform(0.3, 1.0))
        leader = await self._members.leader()
        jump_s = JUMPS_S[number % len(JUMPS_S)]
        names = list(self._offsets) if self._run.target == "all" or number % 4 == 3 else [self._one(number)]
        began = trio.current_time()
        if self._run.target == "restart":
            await self._restart(names, jump_s)
        elif self._run.target == "strobe":
            await self._strobe(names, jump_s)
        else:
            await self._jump(names, jump_s)
        await self._load.progress.acknowledged_since(began)
        await self._members.wait_up()
        ended = trio.current_time()
        if self._run.target != "restart":
            self._run.sample("terms", (await self._members.leader()).term - leader.term)
        self._run.sample("served_share", self._load.progress.served(began, ended))
        self._say(f"{number + 1}: {self._run.target}, {jump_s:+g} s on {', '.join(names)}")
        return began

    def _one(self, number: int) -> str:
        return list(self._offsets)[number % len(self._offsets)]

    async def _jump(self, names: Sequence[str], seconds: float) -> None:
        self._set(names, seconds)
        await trio.sleep(self._seconds)
        skew_ms = (await self._members.leader()).skew_ms
        if len(names) < len(self._offsets) and abs(skew_ms) >= SEEN_MS_MIN:
            self._run.count("jumps seen by the leader")
        self._set(names, 0)
        await trio.sleep(self._seconds)

    async def _strobe(self, names: Sequence[str], seconds: float) -> None:
        for turn in range(int(self._seconds / STROBE_S)):
            self._set(names, 0 if turn % 2 else seconds)
            await trio.sleep(STROBE_S)
        self._set(names, 0)

    async def _restart(self, names: Sequence[str], seconds: float) -> None:
        for name in names:
            self._roles.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            await trio.to_thread.run_sync(self._roles.processes[name].wait)
        self._set(names, seconds)
        for name in names:
            self._roles.start(name, wait=False)
        for name in names:
            await trio.to_thread.run_sync(self._roles.wait_ready, name)
        await trio.sleep(self._seconds)

    def _set(self, names: Sequence[str], seconds: float) -> None:
        for name in names:
            self._offsets[name].set(seconds)


class _Made(msgspec.Struct):
    key: str
    created: str
    revision: int


class _Page(msgspec.Struct):
    objects: list[_Made]
    cursor: str | None


async def _wrong_order(access: Access, bucket: str) -> list[str]:
    """Objects that were written later than another and are said to be older."""
    connection = Connection(access)
    made: list[_Made] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await connection.request("GET", f"/buckets/{bucket}/objects" + (f"?cursor={cursor}" if cursor else ""))
        page = msgspec.json.decode(answer.body, type=_Page)
        made += page.objects
        cursor = page.cursor
    connection.close_nowait()
    made.sort(key=lambda each: each.revision)
    return [f"{later} is older than {earlier}" for earlier, later in pairwise(made) if later.created < earlier.created]
