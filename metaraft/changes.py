"""Changes of members, and of the leader, on their way at the leader: who asked, and what became of it. No I/O.

Rules:
* A slot is retired only when a majority without it was heard to answer after it was asked: an entry that cannot be
  committed would leave the cluster without a leader until the missing one is back.
* One change at a time, in the log like a batch of commands: answered when its entry was executed here, `LeadershipLost`
  if another entry took its place, outcome unknown if leadership ended before either is known.
* A move of the leader is answered when this member leads no more, or when it gave up.
"""

from typing import NamedTuple

from cluster.errors import OutcomeUnknown, TrilithError, Unavailable
from metaraft.commits import Executed, Reply, not_leader
from metaraft.core import Admit, Change, Core, CoreStatus

CONFIRM_S = 2.0
"""How long a change waits for the answers that show that it will not cost the majority; heartbeats are 0.1 s apart."""

_MOVE = "a move of the leader"


class _Asked(NamedTuple):
    change: Change
    reply: Reply
    sequence: int
    until: float


class Changes:
    """What was asked of this leader and is not answered."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._asked: _Asked | None = None
        self._place: tuple[int, int] | None = None
        self._moving: Reply | None = None
        self._now = 0.0

    @property
    def moving(self) -> bool:
        """Whether leadership is being handed over: nothing is proposed meanwhile."""
        return self._moving is not None

    @property
    def in_log(self) -> bool:
        """Whether a change that was asked of this member is in the log, and not executed."""
        return self._place is not None

    def change(self, change: Change, reply: Reply, now: float) -> None:
        """Have a change of members proposed. The member leads."""
        if self._asked is not None:
            error: TrilithError | None = _under_way(_words(change), _words(self._asked.change))
        else:
            error = self._why_not(change, now)
        if error is not None:
            reply.error(error)
        else:
            self._asked = _Asked(change, reply, self._core.sequence, now + CONFIRM_S)

    def _why_not(self, change: Change, now: float) -> TrilithError | None:
        if self.moving:
            return _under_way(_words(change), _MOVE)
        return self._core.refusal(change, now)

    def due(self, now: float) -> Change | None:
        """The change to be proposed in the next step. `proposed` must follow."""
        self._now = now
        asked = self._asked
        if asked is None or self._place is not None:
            return None
        if isinstance(asked.change, Admit) or self._core.answered_without(asked.change.slot, asked.sequence):
            return asked.change
        if now >= asked.until:
            said = f"a majority without slot {asked.change.slot} did not answer within {CONFIRM_S:.0f} s"
            self._fail(Unavailable("CostsQuorum", said))
        return None

    def move(self, slot: int, reply: Reply, now: float) -> None:
        """Have another slot lead. The member leads."""
        error = self._core.hand_over(slot, now) if not self.moving else _under_way(f"{_MOVE} to slot {slot}", _MOVE)
        if error is not None:
            reply.error(error)
        else:
            self._moving = reply

    def proposed(self, due: Change | None, place: tuple[int, int] | None, status: CoreStatus) -> None:
        """What became of what was `due`, and how the core stands after the step."""
        if due is not None and place is not None:
            self._place = place
        elif self._asked is not None and self._place is None and status.state != "leader":
            self._fail(not_leader(status.leader))
        elif due is not None:
            said = f"{_words(due)} was not begun: what stood in its way is over already"
            self._fail(self._why_not(due, self._now) or Unavailable("ChangeUnderWay", said))
        if self._place is not None and status.state != "leader" and self._place[0] > status.commit:
            self._fail(OutcomeUnknown("LeadershipLost", "leadership ended while the change was in the log"))
        if self._moving is not None and status.transfer is None:
            moving, self._moving = self._moving, None
            if status.state == "leader":
                moving.error(Unavailable("NotMoved", "it did not take over in time; this member leads on"))
            else:
                moving.ok(b"")

    def executed(self, done: Executed) -> None:
        """A committed entry was executed."""
        if self._place is None or self._place[0] != done.index or self._asked is None:
            return
        if self._place[1] != done.term:
            self._fail(Unavailable("LeadershipLost", "another entry took its place: the change did not happen"))
            return
        reply = self._asked.reply
        self._asked = self._place = None
        reply.ok(b"")

    def _fail(self, error: TrilithError) -> None:
        assert self._asked is not None
        reply = self._asked.reply
        self._asked = self._place = None
        reply.error(error)


def _under_way(asked: str, other: str) -> Unavailable:
    return Unavailable("ChangeUnderWay", f"{asked} was not begun: {other} is under way")


def _words(change: Change) -> str:
    what = "the admission" if isinstance(change, Admit) else "the retirement"
    return f"{what} of slot {change.slot}"
