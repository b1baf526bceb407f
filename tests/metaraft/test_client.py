"""What the client makes of what members say, with members that say what a test wants (over real sockets)."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio
import trio.testing

from cluster.config import Config, MemberConfig, address
from cluster.errors import OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.identity import NodeIdentity
from cluster.limits import Limits, Timings
from cluster.rpc import Reply, Request, Service, serve
from metaraft.attempts import ATTEMPT_S
from metaraft.client import MetaClient
from metaraft.commands import (
    Envelope,
    Touch,
)
from metaraft.commits import not_leader
from metaraft.queries import (
    Ask,
    BucketsFound,
    ListBuckets,
)
from metaraft.results import (
    Done,
    Failed,
)
from metaraft.wire import SERVICE, CommitAnswer, MemberStatus, Method, ReadAnswer, encode
from tests.folders import short_folder
from tests.metaraft.members import PATIENCE_S, identity, soon

NOW_MS = 5_000_000

type Act = Callable[[Reply], None]

_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_decode_ask = msgspec.msgpack.Decoder(Ask).decode


def done(reply: Reply) -> None:
    """A commit's result."""
    reply.ok(encode(CommitAnswer(NOW_MS, msgspec.Raw(encode(Done(7))))))


def failed(failure: Failed, state_time_ms: int = NOW_MS) -> Act:
    """A refusal by the state machine."""
    return lambda reply: reply.ok(encode(CommitAnswer(state_time_ms, msgspec.Raw(encode(failure)))))


def found(reply: Reply) -> None:
    """A read's answer."""
    reply.ok(encode(ReadAnswer(NOW_MS, msgspec.Raw(encode(BucketsFound((), False))))))


def error(failure: TrilithError) -> Act:
    """An error of the member."""
    return lambda reply: reply.error(failure)


def silent(_reply: Reply) -> None:
    """No answer."""


TOO_LATE = Failed("refused", "TooLate", "too late")


class Scripted:
    """A member that answers commands and reads by its script, the last line again and again."""

    def __init__(self, slot: int, *script: Act) -> None:
        self.slot = slot
        self.script = list(script) or [error(not_leader(None))]
        self.envelopes: list[Envelope] = []
        self.asks: list[Ask] = []
        self.state_time_ms = NOW_MS
        self.follows: int | None = None
        self.looked_at = trio.Semaphore(0)
        """Released whenever it says how it is."""
        self.service = Service(
            SERVICE,
            inline={Method.COMMIT: self._commit, Method.READ: self._read},
            handlers={Method.STATUS: self._status},
        )

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return len(self.envelopes) + len(self.asks)

    def _commit(self, request: Request, reply: Reply) -> None:
        self.envelopes.append(_decode_envelope(request.body))
        self._act(reply)

    def _read(self, request: Request, reply: Reply) -> None:
        self.asks.append(_decode_ask(request.body))
        self._act(reply)

    def _act(self, reply: Reply) -> None:
        act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        act(reply)

    async def _status(self, _request: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        self.looked_at.release()
        return encode(
            MemberStatus(
                slot=self.slot,
                name=f"meta-{self.slot}",
                role="leader" if self.follows == self.slot else "follower",
                term=2,
                leader=self.follows,
                state_time_ms=self.state_time_ms,
            )
        )


@asynccontextmanager
async def facing(*members: Scripted, down: tuple[int, ...] = ()) -> AsyncIterator[MetaClient]:
    """A client that is connected to all members but those that are down."""
    with short_folder() as folder:
        config = Config(
            format=1,
            cluster_id=secrets.token_hex(16),
            member=tuple(
                MemberConfig(
                    name=f"meta-{member.slot}",
                    slot=member.slot,
                    incarnation="",
                    listen=f"unix:{folder}/{member.slot}",
                    directory="",
                )
                for member in members
            ),
        )
        async with trio.open_nursery() as nursery:
            for member in members:
                if member.slot not in down:
                    listen = address(f"unix:{folder}/{member.slot}")
                    me = NodeIdentity(config.cluster_id, f"meta-{member.slot}")
                    await nursery.start(partial(serve, member.service, listen, me, Limits(), Timings()))
            client = MetaClient(config, identity(config))
            await nursery.start(client.run)
            for member in members:
                if member.slot not in down:
                    await client.channel(member.slot).wait_connected()
            yield client
            nursery.cancel_scope.cancel()


async def commit(client: MetaClient, seconds: float = 30.0) -> object:
    return await client.commit(Touch(), deadline=soon(seconds))


async def test_a_hint_is_followed_and_the_leader_is_asked_first_from_then_on() -> None:
    leader, others = Scripted(2, done), [Scripted(1, error(not_leader(2))), Scripted(3, error(not_leader(2)))]
    async with facing(others[0], leader, others[1]) as client:
        for _ in range(5):
            assert await commit(client) == Done(7)
        assert client.leader == 2
        assert leader.asked == 5
        assert sum(member.asked for member in others) <= 1


async def test_reads_and_commits_find_a_leader_that_nobody_names() -> None:
    members = [Scripted(1), Scripted(2), Scripted(3, found)]
    async with facing(*members) as client:
        assert isinstance(await client.read(ListBuckets(), deadline=soon()), BucketsFound)
        assert members[0].asked <= 1
        assert members[1].asked <= 1


async def test_members_that_name_each_other_are_not_asked_in_a_circle() -> None:
    members = [Scripted(1, error(not_leader(2))), Scripted(2, error(not_leader(1))), Scripted(3)]
    async with facing(*members) as client:
        with pytest.raises(Unavailable) as refused:
            await commit(client, 1.0)
        assert refused.value.code == "NoQuorum"
        assert sum(member.asked for member in members) < 60


async def test_every_attempt_of_a_commit_has_the_same_key_and_not_after() -> None:
    shaky = Scripted(1, error(OutcomeUnknown("LeadershipLost", "?")), error(not_leader(None)), done)
    async with facing(shaky) as client:
        assert await commit(client) == Done(7)
        assert len(shaky.envelopes) == 3
        assert len(set(shaky.envelopes)) == 1


async def test_calls_that_hang_at_a_leader_go_to_the_one_that_the_others_elected_meanwhile() -> None:
    stopped, elected, third = Scripted(1, done, silent), Scripted(2, done), Scripted(3, error(not_leader(2)))
    async with facing(stopped, elected, third) as client:
        client.leads(1)
        await commit(client)
        elected.follows = third.follows = 2
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(commit, client)
        assert trio.current_time() - began < ATTEMPT_S
        assert client.leader == 2
        assert set(stopped.envelopes[1:]) == set(elected.envelopes)


@pytest.mark.parametrize("follows", [None, 1, 3])
async def test_calls_stay_with_a_leader_that_is_slow_unless_a_majority_follows_another(follows: int | None) -> None:
    waiting: list[Reply] = []
    slow, other, third = Scripted(1, done, waiting.append), Scripted(2), Scripted(3)
    async with facing(slow, other, third) as client:
        client.leads(1)
        await commit(client)
        other.follows, third.follows = follows, 1 if follows == 3 else follows
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit, client)
            for member in (other, third, other, third):
                await member.looked_at.acquire()
            done(waiting.pop())
        assert (slow.asked, other.asked, third.asked) == (2, 0, 0)


async def test_not_after_is_in_state_time() -> None:
    member = Scripted(1, done)
    async with facing(member) as client:
        await commit(client, 5.0)
        ahead = member.envelopes[0].not_after_ms - NOW_MS
        assert 1000 < ahead < 60_000


async def test_a_command_that_came_too_late_and_never_was_anywhere_gets_another_chance() -> None:
    member = Scripted(1, failed(TOO_LATE, NOW_MS + 7_200_000), done)
    async with facing(member) as client:
        assert await commit(client) == Done(7)
        first, second = member.envelopes
        assert first.key == second.key
        assert second.not_after_ms - first.not_after_ms > 7_000_000


async def test_a_command_that_may_have_been_applied_before_it_was_too_late_is_unknown() -> None:
    member = Scripted(1, error(OutcomeUnknown("LeadershipLost", "?")), failed(TOO_LATE))
    async with facing(member) as client:
        with pytest.raises(OutcomeUnknown):
            await commit(client)
        assert len(member.envelopes) == 2


async def test_a_refusal_of_the_state_machine_is_raised_as_what_it_is() -> None:
    member = Scripted(
        1, failed(Failed("refused", "NoSuchBucket", "no")), failed(Failed("unavailable", "PutAgain", "again"))
    )
    async with facing(member) as client:
        with pytest.raises(Refused) as refused:
            await commit(client)
        assert refused.value.code == "NoSuchBucket"
        with pytest.raises(Unavailable) as unavailable:
            await commit(client)
        assert unavailable.value.code == "PutAgain"


@pytest.mark.parametrize("code", ["Overloaded", "LogFull", "NoSpace"])
async def test_a_member_that_is_full_is_not_asked_again(code: str) -> None:
    member = Scripted(1, error(Unavailable(code, "full", limit={"some_max": 1})))
    async with facing(member) as client:
        with pytest.raises(Unavailable) as refused:
            await commit(client)
        assert refused.value.code == code
        assert refused.value.limit == {"some_max": 1}
        assert member.asked == 1


async def test_a_refused_repetition_does_not_hide_that_the_first_may_have_happened() -> None:
    member = Scripted(1, error(OutcomeUnknown("LeadershipLost", "?")), error(Unavailable("LogFull", "full")))
    async with facing(member) as client:
        with pytest.raises(OutcomeUnknown):
            await commit(client)


async def test_a_silent_leader_is_given_up_for_another() -> None:
    silent_one, other = Scripted(1, silent), Scripted(2, done)
    async with facing(silent_one, other) as client:
        client.leads(1)
        assert await commit(client) == Done(7)
        assert silent_one.envelopes == other.envelopes


async def test_without_any_member_it_is_certain_that_nothing_happened() -> None:
    async with facing(Scripted(1), down=(1,)) as client:
        with pytest.raises(Unavailable) as refused:
            await commit(client, 0.3)
        assert refused.value.code == "NoQuorum"


async def test_silence_until_the_deadline_is_unknown_for_a_commit_and_unavailable_for_a_read() -> None:
    async with facing(Scripted(1, silent)) as client:
        with pytest.raises(OutcomeUnknown):
            await commit(client, 0.5)
        with pytest.raises(Unavailable):
            await client.read(ListBuckets(), deadline=soon(0.5))


async def test_a_cancelled_call_leaves_the_client_whole() -> None:
    member = Scripted(1, silent, done)
    async with facing(member) as client:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(commit, client)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert await commit(client) == Done(7)


async def test_a_client_waits_for_members_that_know_of_no_time_yet() -> None:
    young, old = Scripted(1, done), Scripted(2)
    young.state_time_ms = 0
    async with facing(young, old) as client:
        assert await commit(client) == Done(7)


async def test_the_status_names_those_that_do_not_answer() -> None:
    async with facing(Scripted(1), Scripted(2), Scripted(3), down=(2,)) as client:
        statuses = await client.status()
        assert [(status.slot, status.name, status.role) for status in statuses] == [
            (1, "meta-1", "follower"),
            (2, "meta-2", "unreachable"),
            (3, "meta-3", "follower"),
        ]
        assert statuses[1].error


GARBAGE = b"\x93\x01\xa1\xff\x03"
"""A text in it is not UTF-8."""


class Garbled(Scripted):
    """A member that says nothing that can be read of itself and of the seats."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.seats_asked = 0
        self.again = trio.Event()
        self.service = Service(SERVICE, handlers={Method.STATUS: self._garbage, Method.MEMBERS: self._garbage})

    async def _garbage(self, request: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        self.seats_asked += request.method == Method.MEMBERS
        if self.seats_asked == 2:
            self.again.set()
        return GARBAGE


async def test_what_cannot_be_read_is_no_answer_and_ends_no_client() -> None:
    member = Garbled(1)
    async with facing(member, Scripted(2), down=(2,)) as client:
        status = (await client.status())[0]
        assert (status.role, "cannot be read" in status.error) == ("unreachable", True)
        with trio.fail_after(PATIENCE_S):
            await member.again.wait()
