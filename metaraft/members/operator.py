"""What an operator asks members: who has the slots, to change them, to move the leader.

Rules: only the leader's word on the seats counts. What must be done by the leader is done by whoever leads, until a
deadline; a change whose outcome is not known is looked at again before anything else is done, by asking for the seats.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from cluster.config import Config, MemberConfig
from cluster.errors import UNDECODABLE, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.identity import NodeIdentity
from metaraft.client import MetaClient
from metaraft.core import Change
from metaraft.wire import MembersAnswer, MemberStatus, Method, MoveLeader, decode_members, encode

ANSWER_S = 1.0
"""How long a member has to say who has the slots."""

CHANGE_S = 5.0
"""How long a change may take that no majority refuses; it is one commit."""

LEADER_S = 10.0
"""How long there may be no leader before the command gives up (chosen; an election takes a second or two)."""

PAUSE_S = 0.1


class Member(msgspec.Struct, frozen=True):
    """One slot as `trilith member list` shows it. `state`: voter, learner (no vote yet), or stranger (who answers there
    has not the slot)."""

    name: str
    slot: int
    state: str
    role: str
    incarnation: str
    address: str
    lacks: int | None
    version: str
    level: int
    error: str


class Operator:
    """A connected operator."""

    def __init__(self, config: Config, client: MetaClient) -> None:
        self.config = config
        self.client = client

    def node(self, slot: int) -> MemberConfig:
        """The member of a slot."""
        return next(member for member in self.config.member if member.slot == slot)

    async def seats_at(self, slot: int) -> MembersAnswer | None:
        """What one member says; None if it does not answer, or not so that it can be understood."""
        try:
            deadline = trio.current_time() + ANSWER_S
            return decode_members(await self.client.channel(slot).call(Method.MEMBERS, b"", deadline=deadline))
        except (TrilithError, *UNDECODABLE):
            return None

    async def all_seats(self) -> dict[int, MembersAnswer]:
        """What each member says that answers."""
        found: dict[int, MembersAnswer] = {}

        async def ask(slot: int) -> None:
            answer = await self.seats_at(slot)
            if answer is not None:
                found[slot] = answer

        async with trio.open_nursery() as nursery:
            for member in self.config.member:
                nursery.start_soon(ask, member.slot)
        return found

    async def leader(self, patience_s: float = LEADER_S) -> MembersAnswer:
        """What the leader says. Raises Unavailable (NoQuorum)."""
        deadline = trio.current_time() + patience_s
        while True:
            found = await self.all_seats()
            for slot, answer in found.items():
                if answer.leader == slot:
                    return answer
            if trio.current_time() >= deadline:
                there = ", ".join(self.node(slot).name for slot in sorted(found)) or "none"
                raise Unavailable(
                    "NoQuorum",
                    f"no leader in {patience_s:.0f} s; of {len(self.config.member)} members these answer: {there}. "
                    "Start those that still have their disks; if a majority has lost theirs, make a new cluster of a "
                    "snapshot (`trilith snapshot restore FILE DIRECTORY`)",
                )
            await trio.sleep(PAUSE_S)

    async def change(self, change: Change) -> None:
        """Have the leader make a change. Raises Refused, Unavailable, OutcomeUnknown: ask for the seats again."""
        leader = await self.leader()
        await self._ask_leader(leader.slot, Method.CHANGE, encode(change))

    async def move(self, slot: int) -> None:
        """Have a slot lead. Raises Refused, Unavailable, OutcomeUnknown."""
        leader = await self.leader()
        if leader.slot != slot:
            await self._ask_leader(leader.slot, Method.MOVE_LEADER, encode(MoveLeader(slot)))

    async def _ask_leader(self, slot: int, method: Method, body: bytes) -> None:
        await self.client.channel(slot).call(method, body, deadline=trio.current_time() + CHANGE_S)

    async def members(self) -> list[Member]:
        """All slots, by the newest that any member says."""
        seats, stati = await self.all_seats(), {status.slot: status for status in await self.client.status()}
        leading = next((answer for slot, answer in seats.items() if answer.leader == slot), None)
        newest = leading or max(seats.values(), key=lambda answer: answer.in_force.index, default=None)
        return [
            self._member(member, stati[member.slot], seats.get(member.slot), newest)
            for member in sorted(self.config.member, key=lambda member: member.slot)
        ]

    def _member(
        self, node: MemberConfig, status: MemberStatus, there: MembersAnswer | None, newest: MembersAnswer | None
    ) -> Member:
        seat = None if newest is None else newest.in_force.seats[node.slot]
        state = "unknown"
        if seat is not None:
            state = "voter" if seat.voter else "learner"
            if there is not None and there.incarnation != seat.incarnation:
                state = "stranger"
        return Member(
            name=node.name,
            slot=node.slot,
            state=state,
            role=status.role,
            incarnation=seat.incarnation if seat is not None else there.incarnation if there is not None else "",
            address=(seat.address if seat is not None else "") or node.dial or node.listen,
            lacks=None if newest is None else newest.lacking.get(node.slot),
            version=status.version,
            level=status.level,
            error=status.error,
        )


@asynccontextmanager
async def connected(config: Config, me: NodeIdentity) -> AsyncIterator[Operator]:
    """An operator whose connections are up, as far as members are."""
    client = MetaClient(config, me)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        with trio.move_on_after(config.timings.connect_s):
            async with trio.open_nursery() as waiting:
                for member in config.member:
                    waiting.start_soon(client.channel(member.slot).wait_connected)
        yield Operator(config, client)
        nursery.cancel_scope.cancel()


def member_of(config: Config, name: str) -> MemberConfig:
    """A member by its name. Raises Refused (UnknownNode, WrongRole)."""
    node = config.role(name)
    if not isinstance(node, MemberConfig):
        raise Refused(
            "WrongRole",
            f"{name} is not a metadata member; these are: {', '.join(member.name for member in config.member)}",
        )
    return node


def may_be_done(error: TrilithError) -> bool:
    """Whether what failed may have happened, or may succeed when it is tried again."""
    return isinstance(error, OutcomeUnknown | Unavailable)
