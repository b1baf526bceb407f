"""The client of the metadata: connections to all members, and calls over them that `metaraft.attempts` decides on.

A call finds the leader, follows it, and repeats what may be repeated; the rules are on that page.
"""

import itertools
import os
from collections.abc import Mapping
from functools import partial
from random import Random

import trio

from cluster.config import Config, MemberConfig, address
from cluster.errors import UNDECODABLE, TrilithError
from cluster.identity import NodeIdentity
from cluster.rpc import Channel
from metaraft.addresses import dial_address
from metaraft.attempts import Call, Commit, Index, Members, Read, Rest, followed
from metaraft.commands import Command
from metaraft.model import DEFAULT_SPACE
from metaraft.queries import Answer, Query
from metaraft.results import Result
from metaraft.wire import SERVICE, MemberStatus, Method, decode_members, decode_status

__all__ = ["MemberStatus", "MetaClient"]

SEATS_S = 1.0
"""How often it is asked who has the slots while a member cannot be reached."""

STATUS_S = 1.0
"""How long members have to say how they are."""

QUIET_S = 0.25
"""A leader that owes answers and has said nothing for so long may be gone, and the others are asked whom they follow
(chosen: below the shortest election)."""

LOOK_S = 0.1
"""How often a leader that owes answers is looked at, and how long others have to say whom they follow."""


class MetaClient:
    """Connections to all members, kept up by `run`. Calls may be made from any task of the same trio run."""

    def __init__(self, config: Config, me: NodeIdentity, *, random: Random | None = None) -> None:
        self._config = config
        self._members: dict[int, MemberConfig] = {member.slot: member for member in config.member}
        spread = random or Random(os.urandom(8))  # noqa: S311 - spreads retries, no secret
        self._known = Members(tuple(self._members), spread)
        self._asking = trio.Event()  # since the leader was last found to owe nothing
        self._channels = {
            slot: Channel(
                address(member.dial or member.listen, config.base),
                member.name,
                SERVICE,
                me,
                config.limits,
                config.timings,
                on_change=partial(self._known.changed, slot),
            )
            for slot, member in self._members.items()
        }

    @property
    def leader(self) -> int | None:
        """The slot believed to lead."""
        return self._known.leader

    @property
    def state_time_ms(self) -> int:
        """State time last seen, and the time that has passed here since; 0 while none was seen."""
        return self._known.state_time_ms(trio.current_time())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections up until cancelled; started at once."""
        async with trio.open_nursery() as nursery:
            for channel in self._channels.values():
                nursery.start_soon(channel.run)
            nursery.start_soon(self._follow_seats)
            nursery.start_soon(self._follow_leader)
            task_status.started()

    async def _follow_seats(self) -> None:
        """While a member cannot be reached, ask others, one after the other, whether it is dialled elsewhere now."""
        known = 0
        for turn in itertools.count():
            await trio.sleep(SEATS_S)
            up = [channel for _, channel in sorted(self._channels.items()) if channel.connected]
            if not up or len(up) == len(self._channels):
                continue
            try:
                deadline = trio.current_time() + STATUS_S
                body = await up[turn % len(up)].call(Method.MEMBERS, b"", deadline=deadline)
                seats = decode_members(body).applied
            except (TrilithError, *UNDECODABLE):  # the next one
                continue
            if seats.index >= known:
                known = seats.index
                for slot, member in self._members.items():
                    self._channels[slot].redial(dial_address(self._config, member, seats))

    async def _follow_leader(self) -> None:
        """Take calls away from a leader that says nothing, once a majority follows another.

        One that stands still keeps its connections, and each call would wait for it until its attempt is over. They are
        not sent twice because somebody is slow: the majority has elected another one.
        """
        while True:
            await self._asking.wait()
            self._asking = trio.Event()
            while (slot := self._known.leader) is not None and self._channels[slot].owed:
                await trio.sleep(LOOK_S)
                if self._channels[slot].silent_s() < QUIET_S:
                    continue
                leader = followed(await self._statuses(slot), len(self._members))
                if leader not in (None, slot) and self._known.leader == slot:
                    self._known.leads(leader)
                    self._channels[slot].give_up()

    async def _statuses(self, but: int) -> list[MemberStatus]:
        """What the others say at once of how they are."""
        found: dict[int, MemberStatus] = {}
        with trio.move_on_after(LOOK_S):
            async with trio.open_nursery() as nursery:
                for slot in self._members:
                    if slot != but:
                        nursery.start_soon(self._ask_status, slot, found)
        return list(found.values())

    async def commit(
        self,
        command: Command,
        *,
        deadline: float,
        key: bytes | None = None,
        trace_id: str = "",
        space: int = DEFAULT_SPACE,
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        """Have a command applied, exactly once under `key` (16 bytes; by default a new one), if these `buckets` still
        have their ids by then.

        Raises Refused and Unavailable as the state machine says (its `Failed`); Unavailable (NoQuorum, Overloaded,
        LogFull, NoSpace, ...) if it did not happen; OutcomeUnknown if it may have. After a cancel it may have.
        """
        key = key or os.urandom(16)
        call = Commit(self._known, command, key=key, deadline=deadline, space=space, buckets=buckets)
        return await self._carry_out(call, trace_id, space)

    async def read(self, query: Query, *, deadline: float, trace_id: str = "", space: int = DEFAULT_SPACE) -> Answer:
        """Ask; the answer reflects all that was acknowledged before the call. Raises Refused, Unavailable."""
        return await self._carry_out(Read(self._known, query, deadline=deadline, space=space), trace_id, space)

    async def index(self, *, deadline: float) -> int:
        """How far a member must have applied the log to have all that was acknowledged before the call. Raises
        Refused, Unavailable."""
        return await self._carry_out(Index(self._known, deadline=deadline), "", DEFAULT_SPACE)

    async def _carry_out[T](self, call: Call[T], trace_id: str, space: int) -> T:
        while True:
            try:
                step = call.next(trio.current_time())
            except TrilithError:
                await trio.lowlevel.checkpoint()
                raise
            if isinstance(step, Rest):
                await trio.sleep(step.seconds)
                continue
            channel = self._channels[step.slot]
            self._asking.set()
            try:
                body = await channel.call(step.method, step.body, deadline=step.until, trace_id=trace_id, space=space)
            except TrilithError as error:
                call.failed(error)
            else:
                found = call.answered(body, trio.current_time())
                if found is not None:
                    return found

    async def status(self) -> list[MemberStatus]:
        """How each member sees itself, by slot; those that do not answer too. Not linearizable."""
        found: dict[int, MemberStatus] = {}
        async with trio.open_nursery() as nursery:
            for slot in self._members:
                nursery.start_soon(self._ask_status, slot, found)
        for status in found.values():
            if status.role == "leader":
                self.leads(status.slot)
        return [found[slot] for slot in sorted(found)]

    async def _ask_status(self, slot: int, found: dict[int, MemberStatus]) -> None:
        channel, name = self._channels[slot], self._members[slot].name
        try:
            status = decode_status(await channel.call(Method.STATUS, b"", deadline=trio.current_time() + STATUS_S))
        except TrilithError as error:
            status = MemberStatus(slot=slot, name=name, role="unreachable", error=f"{error.code}: {error.message}")
        except UNDECODABLE as error:
            status = MemberStatus(slot=slot, name=name, role="unreachable", error=f"its answer cannot be read: {error}")
        found[slot] = status

    def leads(self, slot: int) -> None:
        """A member said that it leads."""
        self._known.leads(slot)

    def channel(self, slot: int) -> Channel:
        """The connection to a member."""
        return self._channels[slot]
