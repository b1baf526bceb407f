"""The turns of a member's Ready loop, without the I/O between: what is proposed, and what is made of a step's Ready.

    ready = turns.step(inbox, now, wall_ms)
    ...                                     # send, sync, send: see `metaraft.core`
    turns.executed(results)                 # when committed entries were executed
    turns.answer(applied, now, wall_ms)     # when they can be read, and after each turn

`metaraft.driver` does the rest on trio, and the simulator in virtual time. The wall clock only feeds state time.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from cluster.limits import Limits
from metaraft.changes import Changes
from metaraft.commands import Batch
from metaraft.commits import Commits, Executed
from metaraft.core import Core, CoreStatus, Message, Ready
from metaraft.core_membership import is_batch
from metaraft.journal_records import Entry
from metaraft.reads import TURN_S, Reads
from metaraft.statetime import StateClock

ENTRIES_IN_FLIGHT_MAX = 2
"""Batches of this leader in the log and not executed. Few: what waits meanwhile becomes one larger batch, and a batch
costs far more than a command in it (chosen)."""

_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Log(Protocol):
    """What is needed of the journal."""

    @property
    def term(self) -> int:
        """Current term."""

    @property
    def last_index(self) -> int:
        """Index of the newest entry."""

    def entry(self, index: int) -> Entry:
        """One entry."""


class Database(Protocol):
    """What is needed of the store."""

    @property
    def applied(self) -> int:
        """Index of the last entry applied."""

    @property
    def state_time_ms(self) -> int:
        """State time of the last batch applied."""

    def answer(self, ask: bytes) -> bytes:
        """Answer a query from what is applied."""


class Turns:
    """A member's commands, reads and state time, and its core's status as of the last step."""

    def __init__(self, core: Core, journal: Log, database: Database, limits: Limits) -> None:
        self.commits = Commits(limits)
        self.reads = Reads(limits)
        self.clock = StateClock()
        self.status = core.status
        self.hurry_to = 0
        """The highest index whose result somebody waits for."""
        self.changes = Changes(core)
        self._core = core
        self._journal = journal
        self._database = database

    @property
    def leads(self) -> bool:
        """Whether this member leads, as of its last step."""
        return self.status.state == "leader"

    def state_time_ms(self, now: float, wall_ms: int) -> int:
        """State time now, as far as this member knows."""
        return self.clock.stamp(now, wall_ms) if self.leads else self.clock.estimate(now)

    def step(self, inbox: Sequence[tuple[int, str, Message]], now: float, wall_ms: int) -> Ready:
        """Step the core with what came and what waits, and take over what it decided."""
        proposals = self._proposals(now, wall_ms)
        reads, change = int(self.reads.waiting), self.changes.due(now)
        ready = self._core.step(inbox=inbox, proposals=proposals, reads=reads, now=now, change=change)
        before, self.status = self.status, ready.status
        self._change_role(before, now, wall_ms)
        self.commits.proposed(ready.proposed, self.status.leader)
        self.changes.proposed(change, ready.changed, self.status)
        for place in (*ready.proposed, ready.changed):
            if place is not None:
                self._hurry(place[0])
        if ready.read_round is not None:
            self.reads.asked(ready.read_round)
        elif self.reads.waiting:
            self.reads.lost(self.status.leader)
        for confirmed in ready.reads_confirmed:
            self.reads.confirmed(confirmed.round, confirmed.index)
            self._hurry(confirmed.index)
        return ready

    def executed(self, done: Iterable[Executed]) -> None:
        """Committed entries were executed: answer those who waited for them. If nobody does, `done` is not looked at:
        a follower's backlog is long."""
        if not self.commits.entries_in_flight and not self.changes.in_log:
            return
        for entry in done:
            self.commits.executed(entry)
            self.changes.executed(entry)

    def answer(self, applied: int, now: float, wall_ms: int, turn_s: float = TURN_S) -> bool:
        """Answer confirmed reads up to the index that can be read, for about `turn_s`. True: more could be."""
        if not self.reads.confirmed_waiting:
            return False
        return self.reads.answer(applied, now, self.state_time_ms(now, wall_ms), self._database.answer, turn_s)

    def _proposals(self, now: float, wall_ms: int) -> list[bytes]:
        room = ENTRIES_IN_FLIGHT_MAX - self.commits.entries_in_flight
        if room <= 0 or not self.commits.waiting or self.changes.moving:
            return []
        return self.commits.take(self.clock.stamp(now, wall_ms), now, room)

    def _hurry(self, index: int) -> None:
        self.hurry_to = max(self.hurry_to, index)

    def _change_role(self, before: CoreStatus, now: float, wall_ms: int) -> None:
        status = self.status
        if (before.term, before.state) == (status.term, status.state):
            return
        if before.state == "leader":
            self.commits.lost(status.commit, status.leader)
            self.reads.lost(status.leader)
        if status.state == "leader":
            self.clock.lead(self._last_state_time_ms(), now, wall_ms)

    def _last_state_time_ms(self) -> int:
        """State time of the last batch in the log; they never fall along it."""
        for index in range(self._journal.last_index, self._database.applied, -1):
            data = self._journal.entry(index).data
            if is_batch(data):
                return _decode_batch(data).state_time_ms
        return self._database.state_time_ms
