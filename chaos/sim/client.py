"""A simulated client: the real retry logic over simulated connections, one call after the other."""

import random
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from chaos.sim.network import FIRST_CLIENT
from chaos.sim.workload import Asked, Workload
from cluster.errors import OutcomeUnknown, TrilithError
from cluster.frames import decode_error
from cluster.hello import lost
from metaraft.attempts import Commit, Members, Read, Rest, Send
from metaraft.queries import Answer
from metaraft.results import Result
from metaraft.wire import Method, decode_commit_answer, decode_read_answer

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

_decode_result: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)
_decode_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Client:
    """Calls the members for ever, or until it is told to rest."""

    def __init__(self, cluster: "Cluster", number: int, workload: Workload) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.host = FIRST_CLIENT + number
        self.name = f"C{number}"
        self.resting = False
        self.paused = False
        self.lives = 1
        self.calls = 0
        self._workload = workload
        self._members = Members(cluster.slots, random.Random(cluster.world.random.getrandbits(64)))
        self._channels = {
            member.slot: cluster.network.channel(self, member, partial(self._changed, member.slot))
            for member in cluster.members.values()
        }
        self._asked: Asked | None = None
        self._call: Commit | Read | None = None
        self._sent: tuple[int, int, Method] | None = None
        self._last_sent = 0
        self._told = False
        self._must_see = 0
        self._doubtful: set[bytes] = set()
        """Keys of commands that may have happened by an earlier call."""

    @property
    def life(self) -> int:
        """Clients do not die here; one that is paused answers nobody."""
        return 0 if self.paused else 1

    @property
    def idle(self) -> bool:
        """Whether no call of it is under way."""
        return self._call is None

    def begin(self) -> None:
        """Make the next call."""
        if self.resting or self._call is not None:
            return
        self.ask(self._workload.next())

    def ask_last(self) -> None:
        """Make a last call, which must be acknowledged."""
        self.ask(self._workload.touch())

    def resume(self) -> None:
        """A pause is over."""
        self.paused = False

    def ask(self, asked: Asked) -> None:
        """Make this call."""
        self._asked, self._told = asked, False
        deadline = self.world.now + asked.seconds
        self.calls += 1
        if asked.query is not None:
            self._must_see = self.cluster.judge.seen_index
            self._call = Read(self._members, asked.query, deadline=deadline)
            self.world.note(self.name, "asks {}", asked.query)
        else:
            assert asked.command is not None, "a call is a command or a query"
            self._call = Commit(self._members, asked.command, key=asked.key, deadline=deadline)
            self.world.note(self.name, "calls {} under key {}", asked.command, asked.key.hex())
        self._go(self.calls)

    # ---- one call (metaraft.client)

    def _go(self, call_number: int) -> None:
        if call_number != self.calls or self._call is None:
            return
        if self.paused:
            self.world.at(0.1, self._go, call_number)
            return
        try:
            step = self._call.next(self.world.now)
            while not isinstance(step, Rest) and self._channels[step.slot].forth is None:
                self._call.failed(lost(f"S{step.slot}", sent=False))
                step = self._call.next(self.world.now)
        except TrilithError as error:
            self._done(error)
            return
        if isinstance(step, Rest):
            self.world.at(step.seconds, self._go, call_number)
        else:
            self._send(step)

    def _send(self, step: Send) -> None:
        self._last_sent += 1
        self._sent = (self._last_sent, step.slot, step.method)
        member, channel = self.cluster.members[step.slot], self._channels[step.slot]
        remaining_s = step.until - self.world.now
        self.cluster.network.send(
            channel.forth,
            len(step.body),
            member.call,
            channel.back,
            self._answered,
            self._last_sent,
            step.method,
            step.body,
            remaining_s,
        )
        self.world.at(remaining_s, self._expired, self._last_sent)

    def _changed(self, slot: int, connected: bool) -> None:
        self._members.changed(slot, connected)
        if not connected and self._sent is not None and self._sent[1] == slot:
            self._failed(lost(f"S{slot}", sent=True))

    def _expired(self, sent: int) -> None:
        if self._sent is not None and self._sent[0] == sent:
            self._failed(OutcomeUnknown("DeadlineExceeded", "no answer before the deadline"))

    def _answered(self, _life: int, sent: int, ok: bool, body: bytes) -> None:
        if self._sent is None or self._sent[0] != sent:
            return
        if self.paused:
            self.world.at(0.1, self._answered, _life, sent, ok, body)
            return
        if not ok:
            self._failed(decode_error(body))
            return
        method, self._sent = self._sent[2], None
        call, judge = self._call, self.cluster.judge
        assert call is not None, "an answer that is awaited belongs to a call"
        assert self._asked is not None
        try:
            if isinstance(call, Read):
                answer = _decode_answer.decode(decode_read_answer(body).answer)
                assert self._asked.query is not None
                judge.read(self._asked.query, answer, self._must_see)
                self._done(call.answered(body, self.world.now))
                return
            result = call.answered(body, self.world.now)
            if method == Method.COMMIT and result is not None:
                judge.acknowledged(self._asked.key, bytes(decode_commit_answer(body).result))
                self._done(result)
                return
        except TrilithError as error:
            self._refused(body, error)
            return
        self._go(self.calls)

    def _refused(self, body: bytes, error: TrilithError) -> None:
        """The state machine's word, or that nothing is known any more."""
        assert self._asked is not None
        if isinstance(self._call, Commit) and not isinstance(error, OutcomeUnknown):
            self._told = True
            self.cluster.judge.acknowledged(self._asked.key, bytes(decode_commit_answer(body).result))
        self._told = True
        self._done(error)

    def _failed(self, error: TrilithError) -> None:
        self._sent = None
        assert self._call is not None, "what is sent belongs to a call"
        try:
            self._call.failed(error)
        except TrilithError as final:
            self._done(final)
            return
        self._go(self.calls)

    def _done(self, outcome: object) -> None:
        asked, self._call = self._asked, None
        assert asked is not None
        if isinstance(outcome, TrilithError):
            self.world.note(self.name, "is told {}: {}", outcome.code, outcome.message)
            if isinstance(outcome, OutcomeUnknown):
                self._doubtful.add(asked.key)
            elif asked.command is not None and not self._told and asked.key not in self._doubtful:
                self.cluster.judge.denied(asked.key)
        else:
            self.world.note(self.name, "is told {}", outcome)
        again = self._workload.learn(asked, outcome)
        if again is not None and not self.resting:
            self.world.at(self.world.spread(0.05), self._again, again)
        else:
            self.world.at(self.world.spread(self._workload.pause_s), self.begin)

    def _again(self, asked: Asked) -> None:
        if self._call is None:
            self.ask(asked)
