"""Commands on their way through the log, at the leader: group commit and who waits for what. No I/O.

Rules:
* All commands that wait become one log entry (a `Batch`), bounded by `limits.entry_bytes_max`; an envelope is
  decoded once, to refuse what apply could not obey, and travels on as the bytes it came in.
* A command is answered only when its entry was executed here: with its result if the entry is the one proposed.
  If another entry took its place in the log it certainly did not happen. If leadership ends before either is
  known its outcome is unknown.
* While space is short an entry holds few commands (`SHORT_COMMANDS_MAX`): what it changes in the database fits then,
  as a rule, in the room that is left (`metaraft.room`). What does not is applied later (`metaraft.applier`).
* At most `limits.proposals_pending_max` commands wait or are in the log unexecuted, and at most
  `limits.proposals_pending_bytes_max` bytes of them wait; one more is refused at once.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from cluster.errors import UNDECODABLE, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.limits import Limits
from metaraft.commands import (
    AddAccessKey,
    AddHolders,
    AddUser,
    Batch,
    Command,
    CompleteUpload,
    CopyObject,
    CopyPart,
    CreateBucket,
    CreateUpload,
    Envelope,
    PutObject,
    PutPart,
    RaiseLevel,
    SetBucketSetting,
    SetTags,
)
from metaraft.wire import NOT_AFTER_AHEAD_MS_MAX, CommitAnswer, encode

GROWING = (
    PutObject,
    CopyObject,
    SetTags,
    CreateUpload,
    PutPart,
    CopyPart,
    CompleteUpload,
    CreateBucket,
    SetBucketSetting,
    AddUser,
    AddAccessKey,
    AddHolders,
)
"""Commands that are refused while log or disk are short of space. Deletes, aborts and collection pass."""

SHORT_COMMANDS_MAX = 64
"""Commands in one entry while space is short. If one changes ten pages of the database, each 4 KiB, the two entries
that may be in flight are 5 MiB, and the quarter of `limits.room_bytes` that is left for them has 8 (reckoned, not
measured)."""

BATCH_BYTES_MIN = 64
"""What an empty batch and a long run of envelopes cost beside the envelopes."""

_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode


class Reply(Protocol):
    """Where an answer goes (see `cluster.rpc.Reply`)."""

    def ok(self, body: bytes) -> None:
        """Answer."""

    def error(self, error: TrilithError) -> None:
        """Refuse."""


class Executed(msgspec.Struct, frozen=True):
    """What became of one committed entry: its place, and the encoded result of each envelope."""

    index: int
    term: int
    results: Sequence[bytes]


class _InFlight(NamedTuple):
    term: int
    state_time_ms: int
    replies: Sequence[Reply]


def not_leader(leader: int | None) -> Unavailable:
    """The refusal of a member that does not lead; it names who does, if known."""
    detail = {} if leader is None else {"leader": str(leader)}
    said = "nobody is known to lead" if leader is None else f"slot {leader} leads"
    return Unavailable("NotLeader", f"this member does not lead; {said}", detail=detail)


class Commits:
    """The leader's commands: waiting, then in the log, then answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[bytes, float, Reply]] = deque()
        self._taken: list[tuple[int, list[Reply]]] = []
        self._in_flight: dict[int, _InFlight] = {}
        self._pending = 0
        self._waiting_bytes = 0
        self.short = False
        """Whether space is short."""

    @property
    def waiting_bytes(self) -> int:
        """What the commands have that wait to be proposed."""
        return self._waiting_bytes

    @property
    def waiting(self) -> bool:
        """Whether commands wait to be proposed."""
        return bool(self._waiting)

    @property
    def entries_in_flight(self) -> int:
        """Entries proposed here and not executed yet."""
        return len(self._in_flight)

    @property
    def pending(self) -> int:
        """Commands not answered yet."""
        return self._pending

    def add(
        self,
        body: bytes,
        reply: Reply,
        *,
        deadline: float,
        state_time_ms: int,
        level: int,
        level_max: int | None,
        refusal: Unavailable | None,
    ) -> bool:
        """Take a command in, or refuse it at once (False).

        `level` is the replicated one, `level_max` what it may be raised to: all members know it (None: not by who
        asks). `refusal` is why growing commands are refused at the moment.
        """
        error = self._invalid(body, state_time_ms, level, level_max, refusal)
        if error is not None:
            reply.error(error)
            return False
        self._pending += 1
        self._waiting_bytes += len(body)
        self._waiting.append((body, deadline, reply))
        return True

    def take(self, state_time_ms: int, now: float, entries_max: int) -> list[bytes]:
        """What waits, as up to `entries_max` encoded batches, one log entry each. `proposed` must follow."""
        assert not self._taken, "batches were taken and never noted as proposed"
        batches: list[bytes] = []
        while self._waiting and len(batches) < entries_max:
            envelopes: list[msgspec.Raw] = []
            replies: list[Reply] = []
            left = self._limits.entry_bytes_max - BATCH_BYTES_MIN
            count_max = SHORT_COMMANDS_MAX if self.short else self._limits.proposals_pending_max
            while self._waiting and (not envelopes or len(self._waiting[0][0]) <= left):
                if len(envelopes) == count_max:
                    break
                body, deadline, reply = self._waiting.popleft()
                if deadline <= now:
                    self._pending -= 1
                    self._waiting_bytes -= len(body)
                    reply.error(Unavailable("DeadlineExceeded", "the deadline passed before it was proposed"))
                    continue
                left -= len(body)
                self._waiting_bytes -= len(body)
                envelopes.append(msgspec.Raw(body))
                replies.append(reply)
            if envelopes:
                batches.append(encode(Batch(state_time_ms, tuple(envelopes))))
                self._taken.append((state_time_ms, replies))
        return batches

    def proposed(self, places: Sequence[tuple[int, int] | None], leader: int | None) -> None:
        """Where each taken batch stands in the log as (index, term); None: not leader, it is nowhere."""
        assert len(places) == len(self._taken), "each batch is either in the log or refused"
        for place, (state_time_ms, replies) in zip(places, self._taken, strict=True):
            if place is None:
                self._fail(replies, not_leader(leader))
            else:
                index, term = place
                assert index not in self._in_flight, "an index is proposed once while it leads"
                self._in_flight[index] = _InFlight(term, state_time_ms, replies)
        self._taken = []

    def executed(self, done: Executed) -> None:
        """A committed entry was executed: answer those who waited for its place in the log."""
        flight = self._in_flight.pop(done.index, None)
        if flight is None:
            return
        if flight.term != done.term:
            error = Unavailable("LeadershipLost", "another leader's entry took its place in the log: it did not happen")
            self._fail(flight.replies, error)
            return
        assert len(done.results) == len(flight.replies), "apply gives one result per envelope"
        self._pending -= len(flight.replies)
        for reply, result in zip(flight.replies, done.results, strict=True):
            reply.ok(encode(CommitAnswer(flight.state_time_ms, msgspec.Raw(result))))

    def refuse_waiting(self, error: TrilithError) -> None:
        """Refuse what was taken in and is not in the log."""
        waiting = [reply for _, _, reply in self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        self._fail(waiting, error)

    def lost(self, commit: int, leader: int | None) -> None:
        """Leadership ended with `commit` as the last index known to be committed; what is beyond is unknown."""
        self.refuse_waiting(not_leader(leader))
        for index in [index for index in self._in_flight if index > commit]:
            error = OutcomeUnknown("LeadershipLost", "leadership ended while the command was in the log")
            self._fail(self._in_flight.pop(index).replies, error)

    def _fail(self, replies: Sequence[Reply], error: TrilithError) -> None:
        self._pending -= len(replies)
        for reply in replies:
            reply.error(error)

    def _invalid(
        self, body: bytes, state_time_ms: int, level: int, level_max: int | None, refusal: Unavailable | None
    ) -> TrilithError | None:
        limits = self._limits
        if self._pending >= limits.proposals_pending_max:
            return overloaded("proposals_pending_max", limits.proposals_pending_max)
        if self._waiting_bytes + len(body) > limits.proposals_pending_bytes_max:
            return overloaded("proposals_pending_bytes_max", limits.proposals_pending_bytes_max)
        if len(body) > limits.command_bytes_max:
            return Refused(
                "CommandTooLarge",
                f"the command has {len(body)} bytes; at most {limits.command_bytes_max} are allowed",
                limit={"command_bytes_max": limits.command_bytes_max},
            )
        try:
            envelope = _decode_envelope(body)
        except UNDECODABLE as error:
            return Refused("BadCommand", f"the command is not one of the known: {error}")
        if not 0 < envelope.version <= level:
            return Refused("UnknownVersion", f"command version is {envelope.version}; the cluster is at level {level}")
        if len(envelope.key) != 16:
            return Refused("BadCommand", f"an idempotency key has 16 bytes, not {len(envelope.key)}")
        if envelope.not_after_ms > state_time_ms + NOT_AFTER_AHEAD_MS_MAX:
            return Refused("BadCommand", f"not_after is more than {NOT_AFTER_AHEAD_MS_MAX} ms ahead of state time")
        if isinstance(envelope.command, RaiseLevel) and level_max is None:
            return Refused("NotAnOperator", "only a host that has the keys of a member may raise the level")
        if isinstance(envelope.command, RaiseLevel) and envelope.command.level > max(level, level_max or 0):
            said = f"level {envelope.command.level} is not known to all members, or not all are there to say so"
            return Refused("UnknownLevel", said)
        if refusal is not None and _grows(envelope.command):
            return refusal
        return None


def _grows(command: Command) -> bool:
    if isinstance(command, SetBucketSetting):
        return command.value is not None
    return isinstance(command, GROWING)


def overloaded(limit: str, value: int) -> Unavailable:
    """A bounded queue is full."""
    return Unavailable("Overloaded", f"{limit} of {value} is reached", retry_after_s=0.1, limit={limit: value})
