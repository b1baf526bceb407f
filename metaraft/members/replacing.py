"""Replacing a member: its slot is given to a successor with an empty disk, which is admitted once it has caught up.

Rules:
* The successor's incarnation is chosen and noted beside the member's folder before anything is asked, so a replacement
  that was interrupted, anywhere, is ended by the same command, whatever of it was done.
* The order is what makes it safe: retired (committed) first, so that the old disk counts for nothing; then its process
  ends by itself, its folder is set aside, and only then is a successor made in its place, wholly or not at all.
* A successor is made once. One whose folder is lost, though it was made or votes, is retired like any other member, and
  another is chosen: what the lost one promised is not asked of it.
* Nothing is deleted. Whoever runs a replacement holds `notes.sole_command`, and has read the plan under it.
"""

from pathlib import Path
from typing import Protocol

import trio

from cluster.config import FILE_NAME, MemberConfig
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.supervisor import RUN_NAME, ask_to_start
from metaraft.core import Admit, Retire, Seat
from metaraft.members.folders import Held, incarnation_of, prepare_successor, set_aside
from metaraft.members.notes import Plan, forget_note, make_note, was_made
from metaraft.members.operator import PAUSE_S, Operator, may_be_done
from metaraft.wire import MembersAnswer

RETIRE_S = 5.0
"""How long it is tried to have the slot retired: a new leader must hear the others first."""

END_S = 30.0
"""How long the old process may take to end: it asks once a second who has its slot."""

START_S = 30.0
"""How long the successor may be silent: until it answers, and again until it is admitted."""


class Teller(Protocol):
    """Is told what happens."""

    def __call__(self, text: str, /) -> None:
        """One line."""


class Replacement:
    """One member's replacement, from wherever it stands to its end."""

    def __init__(self, operator: Operator, node: MemberConfig, plan: Plan, tell: Teller) -> None:
        self._operator = operator
        self._config = operator.config
        self._node = node
        self._plan = plan
        self._tell = tell
        self._folder = self._config.path(node.directory)

    async def run(self) -> None:
        """Do what is left to be done. Raises Refused, Unavailable (what to do next), Corrupt, OSError."""
        seat = await self._retired()
        if not self._plan.elsewhere:
            if self._lost(seat):
                self._choose_another()
                seat = await self._retired()
            await self._make(seat)
        elif not seat.voter:
            self._tell_where_to_make_it()
        if not seat.voter:
            await self._fed(seat)
            await self._admitted()
        forget_note(self._config, self._node, self._plan)
        self._tell(f"{self._node.name} is replaced: incarnation {self._plan.successor} votes in slot {self._plan.slot}")

    async def _retired(self) -> Seat:
        """The slot is the successor's, and that is committed."""
        plan, asked = self._plan, False
        deadline = trio.current_time() + RETIRE_S
        while True:
            leader = await self._operator.leader()
            seat = leader.in_force.seats[plan.slot]
            if seat.incarnation == plan.successor:
                if leader.committed:
                    if asked:
                        self._tell(f"slot {plan.slot} is retired: the old incarnation counts for nothing from now on")
                    return seat
            elif plan.successor in seat.retired:
                forget_note(self._config, self._node, plan)
                raise Refused("ReplacedAgain", f"{self._node.name} was replaced once more meanwhile; begin anew")
            else:
                asked = True
                await self._retire(leader, last=trio.current_time() > deadline)
            await trio.sleep(PAUSE_S)

    async def _retire(self, leader: MembersAnswer, *, last: bool) -> None:
        plan = self._plan
        try:
            if leader.slot == plan.slot:
                await self._operator.move(self._other_voter(leader))
                self._tell(f"{self._node.name} led and leads no more")
            await self._operator.change(Retire(plan.slot, plan.successor, plan.address))
        except TrilithError as error:
            if last or not may_be_done(error):
                raise

    def _other_voter(self, leader: MembersAnswer) -> int:
        """Who can lead instead: the one that lacks least."""
        voters = leader.in_force.voters - {leader.slot}
        known = {slot: lacks for slot, lacks in leader.lacking.items() if slot in voters}
        if not known:
            raise Refused("CostsQuorum", f"{self._node.name} leads and no other voter answers it")
        return min(known, key=lambda slot: known[slot])

    def _lost(self, seat: Seat) -> bool:
        """The successor was made, and what was made is not here."""
        made = seat.voter or was_made(self._config, self._node, self._plan.successor)
        return made and incarnation_of(self._folder) != self._plan.successor

    def _choose_another(self) -> None:
        lost = self._plan
        self._plan = make_note(self._config, self._node, address=lost.address, elsewhere=lost.elsewhere)
        self._tell(f"the successor {lost.successor} was made and is lost: it is replaced by {self._plan.successor}")

    async def _make(self, seat: Seat) -> None:
        """The successor's folder is there and its process is asked for."""
        if incarnation_of(self._folder) != self._plan.successor:
            with await self._ended():
                if incarnation_of(self._folder) != self._plan.successor:  # that may have taken long
                    await trio.to_thread.run_sync(self._set_aside)
                    await trio.to_thread.run_sync(self._prepare, self._plan.address or seat.address)
        if await self._answers():
            return
        if ask_to_start(Path(self._config.base, RUN_NAME), self._node.name):
            self._tell(f"{self._node.name} is started anew")
        else:
            self._tell(f"no supervisor runs here: start {self._node.name} now, as it was started before")

    def _tell_where_to_make_it(self) -> None:
        plan, name = self._plan, self._node.name
        self._tell(
            f"on the new host: trilith member prepare {name} {plan.successor} --listen {plan.address}, "
            f"then start it: python -P -m metaraft --config {FILE_NAME} --node {name}"
        )

    async def _ended(self) -> Held:
        """Wait until the old process has let its folder go; it is kept from being opened again."""
        deadline = trio.current_time() + END_S
        while (held := Held.take(self._folder)) is None:
            if trio.current_time() > deadline:
                raise Unavailable(
                    "StillRunning",
                    f"a process still uses {self._folder} though its incarnation was retired; end it, and repeat this",
                )
            await trio.sleep(PAUSE_S)
        return held

    def _set_aside(self) -> None:
        aside = set_aside(self._folder)
        if aside is not None:
            self._tell(f"the old folder is set aside as {aside}; delete it when you need it no more")

    def _prepare(self, listen: str) -> None:
        prepare_successor(self._config, self._node, self._plan.successor, listen=listen)
        self._tell(f"made the successor's journal and database in {self._folder}")

    async def _answers(self) -> bool:
        answer = await self._operator.seats_at(self._plan.slot)
        return answer is not None and answer.incarnation == self._plan.successor

    def _silent(self, seat: Seat) -> Unavailable:
        plan, name = self._plan, self._node.name
        where = plan.address or seat.address or self._node.dial or self._node.listen
        return Unavailable(
            "NotStarted",
            f"{name} does not answer at {where} as incarnation {plan.successor}: see to it that it runs, and repeat "
            "this. If it cannot run there, or its disk is bad, repeat this with --anew (and --address, if that was "
            "wrong): then another successor is chosen",
        )

    async def _fed(self, seat: Seat) -> None:
        """The successor runs."""
        deadline = trio.current_time() + START_S
        while not await self._answers():
            if trio.current_time() > deadline:
                raise self._silent(seat)
            await trio.sleep(PAUSE_S)

    async def _admitted(self) -> None:
        """The successor votes. It takes as long as it must catch up, while it answers."""
        said: int | None = None
        deadline = trio.current_time() + START_S
        while True:
            leader = await self._operator.leader()
            seat = leader.in_force.seats[self._plan.slot]
            if seat.incarnation != self._plan.successor:
                raise Unavailable("ReplacedAgain", f"slot {self._plan.slot} has another successor; repeat this")
            if seat.voter and leader.committed:
                return
            if await self._answers():
                deadline = trio.current_time() + START_S
            elif trio.current_time() > deadline:
                raise self._silent(seat)
            try:
                await self._operator.change(Admit(self._plan.slot, self._plan.successor))
            except TrilithError as error:
                if not may_be_done(error):
                    raise
            lacks = leader.lacking.get(self._plan.slot)
            if lacks is not None and lacks != said:
                said = lacks
                self._tell(f"{self._node.name} lacks {lacks} entries")
            await trio.sleep(PAUSE_S)
