"""What a client of the metadata decides: whom to ask, for how long, whether again, and what is known in the end.

No I/O, no clock and no random source of its own: a call says what to do next (`Send` or `Rest`) and is told what came
of it. `metaraft.client` does it over connections, and the simulator in virtual time.

    while True:
        step = call.next(now)                        # raises the final error
        ...                                          # rest; or send, and then
        call.failed(error)                           # raises the final error, or
        result = call.answered(body, now)            # None: go on

Rules:
* A commit is repeated under its key and its `not_after` only, so it has its effect once however often it is sent.
* It ends with its result, with a refusal, with Unavailable if it certainly did not happen, or else with
  OutcomeUnknown. A read that fails may always be repeated.
* `not_after` is computed from the state time last seen, never from the wall clock.
* Members that said they do not lead are not asked again before the others were; rounds without a leader back off.
* Who says nothing is passed over when the attempt is over, or as soon as a majority follows another (`followed`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import NamedTuple, Protocol

import msgspec

from cluster.errors import OutcomeUnknown, Refused, TrilithError, Unavailable
from metaraft.commands import Command, Envelope
from metaraft.model import DEFAULT_SPACE
from metaraft.queries import Answer, Ask, Query
from metaraft.results import Failed, Result
from metaraft.wire import (
    MemberStatus,
    Method,
    decode_commit_answer,
    decode_index_answer,
    decode_read_answer,
    decode_status,
    encode,
)

COMMAND_VERSION = 1
"""Version of the commands' meaning that this program speaks."""

ATTEMPT_S = 1.5
"""How long one member may keep an attempt before another is asked: a paused leader is replaced by then (chosen)."""

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.02, 0.25
"""Between rounds in which nobody led; an election takes 0.5 to 1 s."""

NOT_AFTER_MARGIN_MS = 1000
"""State time may have run ahead of what was seen last."""

_ELSEWHERE = frozenset(
    {"NotLeader", "NotConnected", "LeadershipLost", "ShuttingDown", "MemberFailed", "DeadlineExceeded"}
)
"""Codes of Unavailable that mean: another member, or the same one a moment later."""

_decode_result: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
_decode_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Send(NamedTuple):
    """Ask the member in `slot`, and wait for its answer until `until`."""

    slot: int
    method: Method
    body: bytes
    until: float


class Rest(NamedTuple):
    """Nobody led: wait before the members are asked again."""

    seconds: float


class Call[T](Protocol):
    """One call on its way to its end."""

    def next(self, now: float) -> Send | Rest:
        """What to do. Raises the final error, at the deadline."""

    def failed(self, error: TrilithError) -> None:
        """What was sent ended with an error. Raises the final error, if this decides it."""

    def answered(self, body: bytes, now: float) -> T | None:
        """What was sent was answered: the end of the call, or None. Raises the final error, if this is one."""


class Members:
    """What a client believes of the members: who can be reached, who leads, and what state time it is."""

    def __init__(self, slots: Sequence[int], random: Random) -> None:
        self.leader: int | None = None
        """The slot believed to lead."""
        self._connected = dict.fromkeys(slots, False)
        self._random = random
        self._turn = 0
        self._seen_ms = 0
        self._seen_at = 0.0

    @property
    def time_known(self) -> bool:
        """Whether any state time was seen."""
        return self._seen_ms > 0

    def changed(self, slot: int, connected: bool) -> None:
        """A connection to a member is ready, or gone."""
        self._connected[slot] = connected
        if not connected and self.leader == slot:
            self.leader = None

    def saw(self, state_time_ms: int, now: float) -> None:
        """A member told the state time."""
        self._seen_ms, self._seen_at = max(self._seen_ms, state_time_ms), now

    def state_time_ms(self, now: float) -> int:
        """State time last seen, and the time that has passed here since; 0 while none was seen."""
        return self._seen_ms + int((now - self._seen_at) * 1000) if self._seen_ms else 0

    def pick(self, passed_over: set[int]) -> int | None:
        """The slot to try: who is believed to lead, else one in turn that is connected and not passed over."""
        leader = self.leader
        if leader is not None and leader not in passed_over and self._connected[leader]:
            return leader
        slots = [slot for slot, connected in self._connected.items() if connected and slot not in passed_over]
        if not slots:
            return None
        self._turn += 1
        return slots[self._turn % len(slots)]

    def leads(self, slot: int) -> None:
        """A member answered as only a leader does."""
        self.leader = slot

    def does_not_lead(self, slot: int, hint: str | None) -> None:
        """A member said that it does not lead, and who may, or it did not answer."""
        if self.leader == slot:
            self.leader = None
        if hint is not None and hint.isdecimal() and int(hint) != slot and int(hint) in self._connected:
            self.leader = int(hint)

    def backoff(self, round_number: int) -> float:
        """How long to wait after a round in which nobody led."""
        return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0**round_number) * self._random.uniform(0.5, 1.0)


class Attempts:
    """The attempts of one call: who was passed over in this round, and what is known of the outcome."""

    def __init__(self, members: Members, deadline: float) -> None:
        self.may_have_happened = False
        """A commit was sent and not answered."""
        self._members = members
        self._deadline = deadline
        self._sent: Send | None = None
        self._passed_over: set[int] = set()
        self._rounds = 0
        self._last: TrilithError | None = None

    @property
    def method(self) -> Method:
        """What was sent last."""
        assert self._sent is not None, "something was sent"
        return self._sent.method

    def next(self, method: Method, body: bytes, now: float) -> Send | Rest:
        """Ask the best member; once all were asked, after a moment's rest. Raises at the deadline."""
        if now < self._deadline:
            slot = self._members.pick(self._passed_over)
            if slot is not None:
                self._sent = Send(slot, method, body, min(self._deadline, now + ATTEMPT_S))
                return self._sent
            self._passed_over.clear()
            delay = self._members.backoff(self._rounds)
            self._rounds += 1
            if now + delay < self._deadline:
                return Rest(delay)
        raise self._final(None) from self._last

    def failed(self, error: TrilithError) -> None:
        """Pass this member over. Raises the final error, unless another member may do better."""
        if isinstance(error, OutcomeUnknown):
            self.may_have_happened |= self.method == Method.COMMIT
        elif error.code not in _ELSEWHERE:
            raise self._final(error) from error
        self.pass_over(error)

    def answered(self) -> None:
        """The member answered."""
        assert self._sent is not None, "something was sent"
        if self._sent.method != Method.STATUS:
            self._members.leads(self._sent.slot)

    def pass_over(self, error: TrilithError) -> None:
        """Ask others before this member is asked again."""
        assert self._sent is not None, "something was sent"
        self._last = error
        self._passed_over.add(self._sent.slot)
        self._members.does_not_lead(self._sent.slot, (error.detail or {}).get("leader"))

    def _final(self, error: TrilithError | None) -> TrilithError:
        """What the caller is told: `error`, or (None) that the deadline passed."""
        last = error or self._last
        said = "no member answered" if last is None else f"{last.code}: {last.message}"
        if self.may_have_happened:
            return OutcomeUnknown("OutcomeUnknown", f"the command may have been applied; at last, {said}")
        return error or Unavailable("NoQuorum", f"no leader answered before the deadline; at last, {said}")


class Commit:
    """A command on its way: `Call[Result]`. `key` has 16 bytes; `buckets` as in an `Envelope`."""

    def __init__(
        self,
        members: Members,
        command: Command,
        *,
        key: bytes,
        deadline: float,
        space: int = DEFAULT_SPACE,
        buckets: Mapping[str, int] | None = None,
    ) -> None:
        self._members = members
        self._attempts = Attempts(members, deadline)
        self._command = command
        self._key = key
        self._deadline = deadline
        self._space = space
        self._buckets = tuple((buckets or {}).items())
        self._body: bytes | None = None

    def next(self, now: float) -> Send | Rest:
        """What to do; as long as no state time was seen, ask whoever answers: a member's idea of it is never ahead of
        the leader's by more than a pause."""
        if self._body is None:
            if not self._members.time_known:
                return self._attempts.next(Method.STATUS, b"", now)
            self._body = self._envelope(now)
        return self._attempts.next(Method.COMMIT, self._body, now)

    def failed(self, error: TrilithError) -> None:
        """What was sent ended with an error. Raises the final one."""
        self._attempts.failed(error)

    def answered(self, body: bytes, now: float) -> Result | None:
        """The result, or None. Raises Refused and Unavailable as the state machine says; OutcomeUnknown."""
        attempts = self._attempts
        attempts.answered()
        if attempts.method == Method.STATUS:
            self._learn_time(body, now)
            return None
        answer = decode_commit_answer(body)
        self._members.saw(answer.state_time_ms, now)
        result = _decode_result.decode(answer.result)
        if not isinstance(result, Failed):
            return result
        if result.code != "TooLate":
            raise _failure(result)
        if attempts.may_have_happened:
            raise OutcomeUnknown("OutcomeUnknown", "an earlier attempt may have been applied; its result is gone")
        self._body = None  # nothing of it was applied, and now the time is known: another not_after is a new chance
        return None

    def _learn_time(self, body: bytes, now: float) -> None:
        status = decode_status(body)
        if status.state_time_ms:
            self._members.saw(status.state_time_ms, now)
        else:
            self._attempts.pass_over(Unavailable("NotLeader", f"{status.name} has heard of no leader yet"))

    def _envelope(self, now: float) -> bytes:
        left_ms = max(0, int((self._deadline - now) * 1000))
        not_after_ms = self._members.state_time_ms(now) + left_ms + NOT_AFTER_MARGIN_MS
        envelope = Envelope(COMMAND_VERSION, self._space, self._key, not_after_ms, self._command, self._buckets)
        return encode(envelope)


class Read:
    """A query on its way: `Call[Answer]`."""

    def __init__(self, members: Members, query: Query, *, deadline: float, space: int = DEFAULT_SPACE) -> None:
        self._members = members
        self._attempts = Attempts(members, deadline)
        self._body = encode(Ask(space, query))

    def next(self, now: float) -> Send | Rest:
        """What to do."""
        return self._attempts.next(Method.READ, self._body, now)

    def failed(self, error: TrilithError) -> None:
        """What was sent ended with an error. Raises the final one."""
        self._attempts.failed(error)

    def answered(self, body: bytes, now: float) -> Answer:
        """The answer. Raises Refused, Unavailable."""
        self._attempts.answered()
        found = decode_read_answer(body)
        self._members.saw(found.state_time_ms, now)
        answer = _decode_answer.decode(found.answer)
        if isinstance(answer, Failed):
            raise _failure(answer)
        return answer


class Index:
    """The question how far a member must be to have all that was acknowledged by now: `Call[int]`."""

    def __init__(self, members: Members, *, deadline: float) -> None:
        self._attempts = Attempts(members, deadline)

    def next(self, now: float) -> Send | Rest:
        """What to do."""
        return self._attempts.next(Method.INDEX, b"", now)

    def failed(self, error: TrilithError) -> None:
        """What was sent ended with an error. Raises the final one."""
        self._attempts.failed(error)

    def answered(self, body: bytes, _now: float) -> int:
        """The index."""
        self._attempts.answered()
        return decode_index_answer(body).index


def followed(statuses: Iterable[MemberStatus], slots: int) -> int | None:
    """The slot that a majority of so many says it follows, in one term: it leads, or led of late."""
    named = Counter((status.term, status.leader) for status in statuses if status.leader is not None)
    return next((leader for (_, leader), count in named.items() if count > slots // 2), None)


def _failure(failed: Failed) -> Refused | Unavailable:
    kind = Refused if failed.kind == "refused" else Unavailable
    return kind(failed.code, failed.message)
