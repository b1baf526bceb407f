"""The members of a cluster asked one by one: how each sees itself, and what exactly this one answers.

The product's client finds the leader and hides who answered. Here a question goes to the member that is meant, whoever
leads, over a connection of its own that is kept up.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import msgspec
import trio

from chaos.load import Unanswered
from cluster.config import Config, address
from cluster.errors import TrilithError
from cluster.identity import load_identity
from cluster.rpc import Channel
from metaraft.attempts import COMMAND_VERSION
from metaraft.commands import Envelope, Touch
from metaraft.model import DEFAULT_SPACE
from metaraft.queries import Answer, Ask, GetObject, ObjectFound
from metaraft.results import Failed
from metaraft.wire import SERVICE, MemberStatus, Method, decode_read_answer, decode_status, encode

STATUS_S = 1.0
"""How long a member has to say how it is."""

PATIENCE_S = 60.0
"""How long what must happen may take; a busy machine is slow."""

_NOT_AFTER_MS = 60_000

_decode_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Members:
    """Connections to all members, for whoever asks one of them."""

    def __init__(self, config: Config) -> None:
        me = load_identity(config, config.api[0].name)
        self.names = {member.slot: member.name for member in config.member}
        self._channels = {
            member.slot: Channel(
                address(member.listen, config.base), member.name, SERVICE, me, config.limits, config.timings
            )
            for member in config.member
        }

    @classmethod
    @asynccontextmanager
    async def connected(cls, config: Config) -> AsyncIterator[Self]:
        """All connections kept up inside."""
        members = cls(config)
        async with trio.open_nursery() as nursery:
            for channel in members._channels.values():
                nursery.start_soon(channel.run)
            for channel in members._channels.values():
                await channel.wait_connected()
            yield members
            nursery.cancel_scope.cancel()

    async def status(self, slot: int) -> MemberStatus | None:
        """How a member sees itself; None if it does not say."""
        try:
            return decode_status(
                await self._channels[slot].call(Method.STATUS, b"", deadline=trio.current_time() + STATUS_S)
            )
        except TrilithError:
            return None

    async def statuses(self) -> list[MemberStatus]:
        """Those that say how they are, by slot."""
        found: dict[int, MemberStatus] = {}

        async def ask(slot: int) -> None:
            status = await self.status(slot)
            if status is not None:
                found[slot] = status

        async with trio.open_nursery() as nursery:
            for slot in self.names:
                nursery.start_soon(ask, slot)
        return [found[slot] for slot in sorted(found)]

    async def leader(self) -> MemberStatus:
        """The one that leads and that a majority follows, as soon as there is one. Raises trio.TooSlowError."""
        with trio.fail_after(PATIENCE_S):
            while True:
                found = led_by(await self.statuses(), len(self.names))
                if found is not None:
                    return found
                await trio.sleep(0.02)

    async def wait_up(self) -> None:
        """Wait until all members answer and follow one of them. Raises trio.TooSlowError."""
        with trio.fail_after(PATIENCE_S):
            while True:
                if _all_follow(await self.statuses(), len(self.names)):
                    return
                await trio.sleep(0.05)

    async def wait_equal(self) -> bool:
        """Wait, without a load, until all have applied the same; whether they then hold the same rows.

        Raises trio.TooSlowError.
        """
        with trio.fail_after(PATIENCE_S):
            while True:
                found = await self.statuses()
                if len(found) == len(self.names) and len({status.applied for status in found}) == 1:
                    return len({status.set_hash for status in found}) == 1
                await trio.sleep(0.05)

    async def etag(self, slot: int, bucket: str, key: str, *, seconds: float) -> str | None:
        """An object's ETag as this very member reads it; None: there is no object. Raises Unanswered."""
        ask = encode(Ask(DEFAULT_SPACE, GetObject(bucket, key, with_holders=False)))
        try:
            body = await self._channels[slot].call(Method.READ, ask, deadline=trio.current_time() + seconds)
        except TrilithError as error:
            raise Unanswered(error.code) from error
        match _decode_answer.decode(decode_read_answer(body).answer):
            case ObjectFound(version=version):
                return version.etag
            case Failed(code="NoSuchKey"):
                return None
            case other:
                raise ValueError(f"{self.names[slot]} answered a read of {key!r} with {other}")

    async def commits(self, slot: int, *, seconds: float) -> bool:
        """Whether this very member acknowledges a command."""
        status = await self.status(slot)
        if status is None:
            return False
        touch = Envelope(COMMAND_VERSION, DEFAULT_SPACE, os.urandom(16), status.state_time_ms + _NOT_AFTER_MS, Touch())
        try:
            await self._channels[slot].call(Method.COMMIT, encode(touch), deadline=trio.current_time() + seconds)
        except TrilithError:
            return False
        return True


def led_by(statuses: list[MemberStatus], slots: int) -> MemberStatus | None:
    """The member that leads and that a majority (itself included) follows in its term."""
    for leader in statuses:
        if leader.role != "leader":
            continue
        followers = [other for other in statuses if (other.term, other.leader) == (leader.term, leader.slot)]
        if len(followers) > slots // 2:
            return leader
    return None


def _all_follow(statuses: list[MemberStatus], slots: int) -> bool:
    leader = led_by(statuses, slots)
    return len(statuses) == slots and leader is not None and all(status.leader == leader.slot for status in statuses)
