"""Who has the slots, at one member: where the others are dialled, what is told of it, and whether it is retired itself.

Rules:
* A seat's address, if it has one, wins over the configuration's; the seats in force decide, committed or not.
* Once a second each member asks another one for the seats. Who finds its own incarnation among those that were retired
  there, by entries that are applied, ends (`Retired`): its disk is an old one, and what it holds counts for nothing.
* A seat is named by its slot, and a slot by its member's name, which is from the peer's certificate.
* Only operators change seats or the leader (`metaraft.callers`), and who asked is in the log.
"""

from collections.abc import Callable

import trio

from cluster.config import Config, MemberConfig
from cluster.errors import UNDECODABLE, Refused, TrilithError, Unavailable
from cluster.log import get_logger
from cluster.rpc import Channel, Reply, Request
from metaraft.addresses import dial_address, new_address
from metaraft.applier import DiskFailed, failing_disk
from metaraft.callers import Callers
from metaraft.core import Membership, Retire, Seat
from metaraft.core_membership import is_incarnation
from metaraft.driver import Driver
from metaraft.store import Store
from metaraft.wire import MembersAnswer, Method, decode_change, decode_members, decode_move, encode

ASK_S = 1.0
"""How often another member is asked for the seats, and how long it has to answer."""

_log = get_logger("seating")


class Retired(Exception):
    """This member's incarnation was retired: end the process, and do not start it again."""


def first_seats(config: Config) -> Membership:
    """The seats that a cluster is made with."""
    return Membership({member.slot: Seat(member.incarnation) for member in config.member})


class Seating:
    """The seats as one member's process deals with them."""

    def __init__(
        self,
        config: Config,
        node: MemberConfig,
        incarnation: str,
        store: Store,
        channels: dict[int, Channel],
        *,
        callers: Callers,
    ) -> None:
        self._callers = callers
        self._config = config
        self._node = node
        self._incarnation = incarnation
        self._store = store
        self._channels = channels
        self._members = {member.slot: member for member in config.member}
        self._turn = 0

    def retired(self, membership: Membership) -> Retired | None:
        """What is wrong if the seats say that this member had one and was retired."""
        seat = membership.seats[self._node.slot]
        if self._incarnation not in seat.retired:
            return None
        return Retired(
            f"this folder's incarnation {self._incarnation} of {self._node.name} (slot {self._node.slot}) was replaced "
            f"by {seat.incarnation} and counts for nothing any more: set the folder aside"
        )

    def seated(self, membership: Membership) -> None:
        """Other seats are in force: dial the others where they are now."""
        for slot, channel in self._channels.items():
            channel.redial(dial_address(self._config, self._members[slot], membership))

    async def ask(self) -> None:
        """Ask the others, one after the other, for ever. Raises Retired, DiskFailed."""
        while True:
            found = self.retired(self._applied())
            if found is None:
                found = await self._ask_one()
            if found is not None:
                raise found
            await trio.sleep(ASK_S)

    async def _ask_one(self) -> Retired | None:
        connected = [slot for slot, channel in sorted(self._channels.items()) if channel.connected]
        if not connected:
            return None
        self._turn += 1
        channel = self._channels[connected[self._turn % len(connected)]]
        try:
            body = await channel.call(Method.MEMBERS, b"", deadline=trio.current_time() + ASK_S)
            return self.retired(decode_members(body).applied)
        except (TrilithError, *UNDECODABLE):  # later, and another one
            return None

    def _applied(self) -> Membership:
        with failing_disk():
            return self._store.membership

    # ---- for operators

    def handlers(self, driver: Driver) -> dict[int, Callable[[Request, Reply], None]]:
        """What is asked and answered, by method."""

        def members(_request: Request, reply: Reply) -> None:
            status = driver.status
            try:
                applied = self._applied()
            except DiskFailed as error:  # `ask` ends the process by it
                raise Unavailable("DiskFailed", f"the database of {self._node.name} failed: {error}") from error
            reply.ok(
                encode(
                    MembersAnswer(
                        slot=self._node.slot,
                        incarnation=self._incarnation,
                        leader=status.leader,
                        applied=applied,
                        in_force=status.membership,
                        committed=status.membership.index <= status.commit,
                        lacking=driver.lacking(),
                    )
                )
            )

        def change(request: Request, reply: Reply) -> None:
            self._callers.refuse_but_operators(request)
            asked = _decoded(decode_change, request)
            if isinstance(asked, Retire):
                self._check(asked)
            _log.info("change_asked", by=request.peer.name, change=str(asked))
            driver.change_members(asked, reply)

        def move(request: Request, reply: Reply) -> None:
            self._callers.refuse_but_operators(request)
            slot = _decoded(decode_move, request).slot
            _log.info("move_asked", by=request.peer.name, to=slot)
            driver.move_leader(slot, reply)

        return {Method.MEMBERS: members, Method.CHANGE: change, Method.MOVE_LEADER: move}

    def _check(self, asked: Retire) -> None:
        """Raises Refused for an incarnation that no folder can have, and an address that nobody could dial."""
        if not is_incarnation(asked.successor):
            raise Refused("BadIncarnation", f"{asked.successor!r} is no incarnation: 32 hex digits")
        if asked.address:
            new_address(self._config, asked.address)


def _decoded[T](decode: Callable[[bytes], T], request: Request) -> T:
    try:
        return decode(request.body)
    except UNDECODABLE as error:
        raise Refused("BadRequest", f"a request of {request.peer.name} cannot be read: {error}") from error
