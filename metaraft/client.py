"""The client of the metadata: finds the leader, follows it, retries what may be retried.

Rules:
* A commit is repeated under its key and its `not_after` only, so it has its effect once however often it is sent.
* It ends with its result, with a refusal, with Unavailable if it certainly did not happen, or else with
  OutcomeUnknown. A read that fails may always be repeated.
* `not_after` is computed from the state time last seen, never from the wall clock.
* Members that said they do not lead are not asked again before the others were; rounds without a leader back off.
"""

import os
from collections.abc import Mapping
from functools import partial
from random import Random

import msgspec
import trio

from cluster.config import Config, MemberConfig, address
from cluster.errors import OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.identity import NodeIdentity
from cluster.rpc import Channel
from metaraft.commands import (
    Command,
    Envelope,
)
from metaraft.model import DEFAULT_SPACE
from metaraft.queries import (
    Answer,
    Ask,
    Query,
)
from metaraft.results import (
    Failed,
    Result,
)
from metaraft.wire import (
    SERVICE,
    MemberStatus,
    Method,
    decode_commit_answer,
    decode_read_answer,
    decode_status,
    encode,
)

__all__ = ["MemberStatus", "MetaClient"]

COMMAND_VERSION = 1
"""Version of the commands' meaning that this program speaks."""

ATTEMPT_S = 1.5
"""How long one member may keep an attempt before another is asked: a paused leader is replaced by then (chosen)."""

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.02, 0.25
"""Between rounds in which nobody led; an election takes 0.5 to 1 s."""

STATUS_S = 1.0
"""How long members have to say how they are."""

NOT_AFTER_MARGIN_MS = 1000
"""State time may have run ahead of what was seen last."""

_ELSEWHERE = frozenset(
    {"NotLeader", "NotConnected", "LeadershipLost", "ShuttingDown", "MemberFailed", "DeadlineExceeded"}
)
"""Codes of Unavailable that mean: another member, or the same one a moment later."""

_decode_result: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
_decode_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class MetaClient:
    """Connections to all members, kept up by `run`. Calls may be made from any task of the same trio run."""

    def __init__(self, config: Config, me: NodeIdentity, *, random: Random | None = None) -> None:
        self._members: dict[int, MemberConfig] = {member.slot: member for member in config.member}
        self._random = random or Random(os.urandom(8))  # noqa: S311 - spreads retries, no secret
        self._seen_ms = 0
        self._seen_at = 0.0
        self._leader: int | None = None
        self._turn = 0
        self._channels = {
            slot: Channel(
                address(member.dial or member.listen, config.base),
                member.name,
                SERVICE,
                me,
                config.limits,
                config.timings,
                on_change=partial(self._changed, slot),
            )
            for slot, member in self._members.items()
        }

    @property
    def leader(self) -> int | None:
        """The slot believed to lead."""
        return self._leader

    @property
    def state_time_ms(self) -> int:
        """State time last seen, and the time that has passed here since; 0 while none was seen."""
        if not self._seen_ms:
            return 0
        return self._seen_ms + int((trio.current_time() - self._seen_at) * 1000)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections up until cancelled; started at once."""
        async with trio.open_nursery() as nursery:
            for channel in self._channels.values():
                nursery.start_soon(channel.run)
            task_status.started()

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
        attempts = _Attempts(self, deadline)
        while True:
            body = await self._envelope(command, key, deadline, space, tuple((buckets or {}).items()), attempts)
            answer = decode_commit_answer(await attempts.call(Method.COMMIT, body, trace_id, space))
            self._saw(answer.state_time_ms)
            result = _decode_result.decode(answer.result)
            if not isinstance(result, Failed):
                return result
            if result.code != "TooLate":
                raise _failure(result)
            if attempts.may_have_happened:
                raise OutcomeUnknown("OutcomeUnknown", "an earlier attempt may have been applied; its result is gone")
            # Nothing of it was applied, and now the time is known: another not_after is a new chance.

    async def read(self, query: Query, *, deadline: float, trace_id: str = "", space: int = DEFAULT_SPACE) -> Answer:
        """Ask; the answer reflects all that was acknowledged before the call. Raises Refused, Unavailable."""
        attempts = _Attempts(self, deadline)
        found = decode_read_answer(await attempts.call(Method.READ, encode(Ask(space, query)), trace_id, space))
        self._saw(found.state_time_ms)
        answer = _decode_answer.decode(found.answer)
        if isinstance(answer, Failed):
            raise _failure(answer)
        return answer

    async def status(self) -> list[MemberStatus]:
        """How each member sees itself, by slot; those that do not answer too. Not linearizable."""
        found: dict[int, MemberStatus] = {}
        async with trio.open_nursery() as nursery:
            for slot in self._members:
                nursery.start_soon(self._ask_status, slot, found)
        return [found[slot] for slot in sorted(found)]

    async def _ask_status(self, slot: int, found: dict[int, MemberStatus]) -> None:
        channel = self._channels[slot]
        try:
            body = await channel.call(Method.STATUS, b"", deadline=trio.current_time() + STATUS_S)
        except TrilithError as error:
            name = self._members[slot].name
            found[slot] = MemberStatus(slot=slot, name=name, role="unreachable", error=f"{error.code}: {error.message}")
        else:
            found[slot] = status = decode_status(body)
            if status.role == "leader":
                self._leader = slot

    async def _envelope(
        self,
        command: Command,
        key: bytes,
        deadline: float,
        space: int,
        buckets: tuple[tuple[str, int], ...],
        attempts: "_Attempts",
    ) -> bytes:
        if not self._seen_ms:
            await self._learn_time(attempts)
        left_ms = int((deadline - trio.current_time()) * 1000)
        not_after_ms = self.state_time_ms + max(0, left_ms) + NOT_AFTER_MARGIN_MS
        return encode(Envelope(COMMAND_VERSION, space, key, not_after_ms, command, buckets))

    async def _learn_time(self, attempts: "_Attempts") -> None:
        """Ask whoever answers: a member's idea of state time is never ahead of the leader's by more than a pause."""
        while not self._seen_ms:
            status = decode_status(await attempts.call(Method.STATUS, b"", "", DEFAULT_SPACE))
            if status.state_time_ms:
                self._saw(status.state_time_ms)
            else:
                attempts.pass_over(Unavailable("NotLeader", f"{status.name} has heard of no leader yet"))

    def _saw(self, state_time_ms: int) -> None:
        self._seen_ms, self._seen_at = max(self._seen_ms, state_time_ms), trio.current_time()

    def _changed(self, slot: int, connected: bool) -> None:
        if not connected and self._leader == slot:
            self._leader = None

    # ---- for one call's attempts

    def pick(self, passed_over: set[int]) -> int | None:
        """The slot to try: who is believed to lead, else one in turn that is connected and not passed over."""
        leader = self._leader
        if leader is not None and leader not in passed_over and self._channels[leader].connected:
            return leader
        slots = [slot for slot, channel in self._channels.items() if channel.connected and slot not in passed_over]
        if not slots:
            return None
        self._turn += 1
        return slots[self._turn % len(slots)]

    def leads(self, slot: int) -> None:
        """A member answered as only a leader does."""
        self._leader = slot

    def does_not_lead(self, slot: int, hint: str | None) -> None:
        """A member said that it does not lead, and who may, or it did not answer."""
        if self._leader == slot:
            self._leader = None
        if hint is not None and hint.isdecimal() and int(hint) != slot and int(hint) in self._members:
            self._leader = int(hint)

    def channel(self, slot: int) -> Channel:
        """The connection to a member."""
        return self._channels[slot]

    def backoff(self, round_number: int) -> float:
        """How long to wait after a round in which nobody led."""
        return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0**round_number) * self._random.uniform(0.5, 1.0)


class _Attempts:
    """The attempts of one call: who was passed over in this round, and what is known of the outcome."""

    def __init__(self, client: MetaClient, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._slot = 0
        self._passed_over: set[int] = set()
        self._rounds = 0
        self._last: TrilithError | None = None
        self.may_have_happened = False
        """A commit was sent and not answered."""

    async def call(self, method: Method, body: bytes, trace_id: str, space: int) -> bytes:
        """Ask one member after the other until one answers. Raises the final error."""
        client = self._client
        while True:
            self._slot = slot = await self._choose()
            until = min(self._deadline, trio.current_time() + ATTEMPT_S)
            try:
                answer = await client.channel(slot).call(method, body, deadline=until, trace_id=trace_id, space=space)
            except OutcomeUnknown as error:
                self.may_have_happened |= method == Method.COMMIT
                self.pass_over(error)
            except TrilithError as error:
                if error.code not in _ELSEWHERE:
                    raise self._final(error) from error
                self.pass_over(error)
            else:
                if method != Method.STATUS:
                    client.leads(slot)
                return answer

    def pass_over(self, error: TrilithError) -> None:
        """Ask others before this member is asked again."""
        self._last = error
        self._passed_over.add(self._slot)
        self._client.does_not_lead(self._slot, (error.detail or {}).get("leader"))

    async def _choose(self) -> int:
        """The best member to ask; once all were asked, after a moment's rest. Raises at the deadline."""
        while trio.current_time() < self._deadline:
            slot = self._client.pick(self._passed_over)
            if slot is not None:
                return slot
            self._passed_over.clear()
            delay = self._client.backoff(self._rounds)
            self._rounds += 1
            if trio.current_time() + delay >= self._deadline:
                break
            await trio.sleep(delay)
        await trio.lowlevel.checkpoint()
        raise self._final(None) from self._last

    def _final(self, error: TrilithError | None) -> TrilithError:
        """What the caller is told: `error`, or (None) that the deadline passed."""
        last = error or self._last
        said = "no member answered" if last is None else f"{last.code}: {last.message}"
        if self.may_have_happened:
            return OutcomeUnknown("OutcomeUnknown", f"the command may have been applied; at last, {said}")
        return error or Unavailable("NoQuorum", f"no leader answered before the deadline; at last, {said}")


def _failure(failed: Failed) -> Refused | Unavailable:
    kind = Refused if failed.kind == "refused" else Unavailable
    return kind(failed.code, failed.message)
