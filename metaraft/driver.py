"""The Ready loop: one task that steps the core, syncs the journal, sends, and hands over what is committed.

Rules:
* Votes and answers leave after the journal's sync, a leader's appends before it; nothing is answered before it is
  committed and executed (DESIGN 3.1).
* It wakes on events only: a message, a command, a read, something applied, a timer. It never polls.
* The database has a task of its own, `metaraft.applier`; a disk that is slow is waited for in threads.
* A disk that fails ends the process: `DiskFailed` comes out of `run` (in exception groups).

The shape is that of etcd's raft (doc.go).
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from cluster.limits import Limits
from cluster.log import get_logger
from metaraft import applier
from metaraft.applier import Applier, failing_disk
from metaraft.commands import (
    Batch,
)
from metaraft.commits import Commits, Executed
from metaraft.core import Core, CoreStatus, Message, Ready
from metaraft.journal import Journal
from metaraft.journal_records import Entry
from metaraft.pace import Pace
from metaraft.reads import Reads
from metaraft.statetime import StateClock

ENTRIES_IN_FLIGHT_MAX = 2
"""Batches of this leader in the log and not executed. Few: what waits meanwhile becomes one larger batch, and a batch
costs far more than a command in it (chosen)."""

IDLE_S = 0.04
"""A journal that was not written to for this long is marked (DESIGN 3.2: within 50 ms)."""

_log = get_logger("driver")
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Database(applier.Database[Entry], Protocol):
    """What the driver needs of the store beside what the applier does."""

    @property
    def state_time_ms(self) -> int:
        """State time of the last batch applied."""

    def answer(self, ask: bytes) -> bytes:
        """Answer a query from what is applied."""


class Bell:
    """Wakes one task. Rings before the wait are not lost; many rings are one."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake it, now or at its next wait."""
        self._event.set()

    async def wait(self, until: float) -> None:
        """Return when it was rung, or at `until` (trio's clock). Always a checkpoint."""
        if self._event.is_set():
            await trio.lowlevel.checkpoint()
        else:
            with trio.CancelScope(deadline=until):
                await self._event.wait()
        self._event = trio.Event()


class Driver:
    """One member's Ready loop with its applier and its reads. All calls are from the event loop."""

    def __init__(
        self,
        core: Core,
        journal: Journal,
        database: Database,
        *,
        send: Callable[[int, Message], None],
        limits: Limits,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.commits = Commits(limits)
        self.reads = Reads(limits)
        self.clock = StateClock()
        self.applier = Applier(journal, database, on_executed=self._on_executed, on_applied=self._look_at_reads)
        self.status = CoreStatus("follower", journal.term, None, database.applied, journal.last_index, {}, 0, ())
        self._core = core
        self._journal = journal
        self._database = database
        self._send = send
        self._wall_ms = wall_ms
        self._bell = Bell()
        self._reads_bell = Bell()
        self._inbox: list[tuple[int, Message]] = []
        self._marked_at = 0.0  # when the journal is to be marked; infinity when it is
        self._answered = trio.Event()
        self._cut_below = 0
        self._cut_done = 0
        self._pace = Pace()
        self._disk_thread = trio.CapacityLimiter(1)

    @property
    def leads(self) -> bool:
        """Whether this member leads, as of its last step."""
        return self.status.state == "leader"

    def state_time_ms(self) -> int:
        """State time now, as far as this member knows."""
        now = trio.current_time()
        return self.clock.stamp(now, self._wall_ms()) if self.leads else self.clock.estimate(now)

    # ---- what happened outside

    def receive(self, slot: int, message: Message) -> None:
        """A member said something."""
        self._inbox.append((slot, message))
        self._bell.ring()

    def peer_changed(self, slot: int, connected: bool) -> None:
        """Messages to a member can be sent from now on, or no longer."""
        if connected:
            self._core.peer_connected(slot)
        else:
            self._core.peer_disconnected(slot)
        self._bell.ring()

    def wake(self) -> None:
        """Commands or reads were added."""
        self._bell.ring()

    def cut(self, below: int) -> None:
        """Drop whole segments of the journal below an index that is durable in the database and at all members."""
        if below > self._cut_below:
            self._cut_below = below
            self._bell.ring()

    async def wait_answered(self) -> None:
        """Return when no command is waiting or in the log unanswered."""
        while self.commits.pending:
            self._answered = trio.Event()
            await self._answered.wait()

    # ---- the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the member forever. Raises (in groups) DiskFailed, BrokenInvariant."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.applier.run)
            nursery.start_soon(self._answer_reads)
            task_status.started()
            while True:
                await self._bell.wait(min(self._core.next_wakeup(trio.current_time()), self._marked_at))
                with failing_disk():
                    await self._turn()

    async def _turn(self) -> None:
        now = trio.current_time()
        inbox, self._inbox = self._inbox, []
        proposals = self._proposals(now)

        ready = self._core.step(inbox=inbox, proposals=proposals, reads=int(self.reads.waiting), now=now)
        self._note(ready, now)
        for slot, message in ready.appends:
            self._send(slot, message)
        if ready.sync:
            await self._sync()
        for slot, message in ready.messages:
            self._send(slot, message)
        self.applier.commit_to(ready.status.commit)

        self._look_at_reads()
        await self._tend_journal()

    def _proposals(self, now: float) -> list[bytes]:
        room = ENTRIES_IN_FLIGHT_MAX - self.commits.entries_in_flight
        if room <= 0 or not self.commits.waiting:
            return []
        return self.commits.take(self.clock.stamp(now, self._wall_ms()), now, room)

    def _note(self, ready: Ready, now: float) -> None:
        """Take over what the step decided, before anything is awaited."""
        before, status = self.status, ready.status
        self.status = status
        changed = (before.state, before.term, before.leader) != (status.state, status.term, status.leader)
        if changed:
            _log.info("role_changed", role=status.state, term=status.term, leader=status.leader, commit=status.commit)
            self._change_role(before, status, now)
        self.commits.proposed(ready.proposed, status.leader)
        for place in ready.proposed:
            if place is not None:
                self.applier.hurry(place[0])
        if ready.read_round is not None:
            self.reads.asked(ready.read_round)
        elif self.reads.waiting:
            self.reads.lost(status.leader)
        for confirmed in ready.reads_confirmed:
            self.reads.confirmed(confirmed.round, confirmed.index)
            self.applier.hurry(confirmed.index)
        if ready.reads_confirmed and ready.sync:
            self._reads_bell.ring()  # they need not wait for this sync

    def _change_role(self, before: CoreStatus, status: CoreStatus, now: float) -> None:
        same_reign = before.term == status.term and before.state == status.state
        if before.state == "leader" and not same_reign:
            self.commits.lost(status.commit, status.leader)
            self._answered.set()
            self.reads.lost(status.leader)
        if status.state == "leader" and not same_reign:
            self.clock.lead(self._last_state_time_ms(), now, self._wall_ms())

    def _last_state_time_ms(self) -> int:
        """State time of the last batch in the log; they never fall along it."""
        for index in range(self._journal.last_index, self.applier.applied, -1):
            data = self._journal.entry(index).data
            if data:
                return _decode_batch(data).state_time_ms
        return self._database.state_time_ms

    async def _sync(self) -> None:
        self._marked_at = trio.current_time() + IDLE_S
        if self._pace.quick:
            self._pace.timed(self._journal.sync)
        else:
            await trio.to_thread.run_sync(self._pace.timed, self._journal.sync, limiter=self._disk_thread)

    async def _tend_journal(self) -> None:
        if self._marked_at <= trio.current_time():
            self._marked_at = float("inf")
            await trio.to_thread.run_sync(self._journal.mark_idle, limiter=self._disk_thread)
        if self._cut_below > self._cut_done:
            self._cut_done = self._cut_below
            await trio.to_thread.run_sync(self._journal.cut, self._cut_done, limiter=self._disk_thread)

    # ---- executed and applied

    def _on_executed(self, done: Sequence[Executed]) -> None:
        for entry in done:
            self.commits.executed(entry)
        if not self.commits.pending:
            self._answered.set()
        if self.commits.waiting:
            self._bell.ring()

    def _look_at_reads(self) -> None:
        if self.reads.confirmed_waiting and self._answer_some():
            self._reads_bell.ring()

    def _answer_some(self) -> bool:
        return self.reads.answer(self.applier.applied, trio.current_time(), self.state_time_ms(), self._database.answer)

    async def _answer_reads(self) -> None:
        """Goes on where a turn ended: long answers never hold the loop for long."""
        while True:
            await self._reads_bell.wait(float("inf"))
            with failing_disk():
                while self._answer_some():
                    await trio.lowlevel.checkpoint()
