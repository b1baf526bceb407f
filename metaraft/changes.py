"""Changes of members, and of the leader, on their way at the leader: who asked, and what became of it. No I/O.

Rules:
* One change at a time, in the log like a batch of commands: answered when its entry was executed here, `LeadershipLost`
  if another entry took its place, outcome unknown if leadership ended before either is known.
* A move of the leader is answered when this member leads no more, or when it gave up.
"""

from typing import NamedTuple

from cluster.errors import OutcomeUnknown, TrilithError, Unavailable
from metaraft.commits import Executed, Reply, not_leader
from metaraft.core import Change, Core, CoreStatus


class _Asked(NamedTuple):
    change: Change
    reply: Reply


class Changes:
    """What was asked of this leader and is not answered."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._asked: _Asked | None = None
        self._place: tuple[int, int] | None = None
        self._moving: Reply | None = None

    @property
    def moving(self) -> bool:
        """Whether leadership is being handed over: nothing is proposed meanwhile."""
        return self._moving is not None

    @property
    def waiting(self) -> Change | None:
        """The change to be proposed in the next step."""
        return self._asked.change if self._asked is not None and self._place is None else None

    def change(self, change: Change, reply: Reply, now: float) -> None:
        """Have a change of members proposed. The member leads."""
        error = self._core.refusal(change, now) if self._asked is None else _under_way()
        if error is not None:
            reply.error(error)
        else:
            self._asked = _Asked(change, reply)

    def move(self, slot: int, reply: Reply, now: float) -> None:
        """Have another slot lead. The member leads."""
        error = self._core.hand_over(slot, now) if self._moving is None else _under_way()
        if error is not None:
            reply.error(error)
        else:
            self._moving = reply

    def proposed(self, place: tuple[int, int] | None, status: CoreStatus) -> None:
        """What became of `waiting`, and how the core stands after the step."""
        if self.waiting is not None:
            self._place = place
            if place is None:
                self._fail(not_leader(status.leader) if status.state != "leader" else _under_way())
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


def _under_way() -> Unavailable:
    return Unavailable("ChangeUnderWay", "another change is under way")
