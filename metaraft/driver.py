"""The Ready loop: one task that steps the core, syncs the journal, sends, and hands over what is committed.

Rules:
* Votes and answers leave after the journal's sync, a leader's appends before it; nothing is answered before it is
  committed and executed (DESIGN 3.1).
* What is made of a step is decided in `metaraft.turns`, without I/O.
* It wakes on events only: a message, a command, a read, something applied, a timer. It never polls.
* The database has a task of its own, `metaraft.applier`; a disk that is slow is waited for in threads.
* What would not fit in the room made ahead, where no more can be had, is not stepped with (`metaraft.room`).
* A disk that fails ends the process: `DiskFailed` comes out of `run` (in exception groups).

The shape is that of etcd's raft (doc.go).
"""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from cluster.limits import Limits
from cluster.log import get_logger
from metaraft import applier, turns
from metaraft.applier import Applier, failing_disk
from metaraft.commits import BATCH_BYTES_MIN, Executed, Reply, not_leader
from metaraft.core import Change, Core, CoreStatus, Membership, Message, Ready
from metaraft.journal import Journal
from metaraft.journal_records import RECORD_BYTES, Entry
from metaraft.pace import Pace
from metaraft.reports import no_room
from metaraft.room import Room, bytes_of, fitting
from metaraft.turns import ENTRIES_IN_FLIGHT_MAX, Turns

IDLE_S = 0.04
"""A journal that was not written to for this long is marked (DESIGN 3.2: within 50 ms)."""

_log = get_logger("driver")


class Database(applier.Database[Entry], turns.Database, Protocol):
    """What the driver needs of the store."""

    @property
    def room(self) -> Room:
        """The space allocated behind the last page."""

    def make_room(self) -> None:
        """Allocate more of it, if less than half is left (blocking)."""


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
        on_seats: Callable[[Membership], None] = lambda _seats: None,
    ) -> None:
        """`on_seats` is told the seats in force when they changed."""
        self._turns = Turns(core, journal, database, limits)
        self.commits = self._turns.commits
        self.reads = self._turns.reads
        self.clock = self._turns.clock
        self.applier = Applier(journal, database, on_executed=self._on_executed, on_applied=self._look_at_reads)
        self._core = core
        self._journal = journal
        self._database = database
        self._limits = limits
        self._send = send
        self._wall_ms = wall_ms
        self._on_seats = on_seats
        self._bell = Bell()
        self._reads_bell = Bell()
        self._inbox: list[tuple[int, str, Message]] = []
        self._marked_at = 0.0  # when the journal is to be marked; infinity when it is
        self._answered = trio.Event()
        self._cut_below = 0
        self._cut_done = 0
        self._pace = Pace()
        self._disk_thread = trio.CapacityLimiter(1)

    @property
    def status(self) -> CoreStatus:
        """How the core stood after its last step."""
        return self._turns.status

    @property
    def leads(self) -> bool:
        """Whether this member leads, as of its last step."""
        return self._turns.leads

    def state_time_ms(self) -> int:
        """State time now, as far as this member knows."""
        return self._turns.state_time_ms(trio.current_time(), self._wall_ms())

    # ---- what happened outside

    def receive(self, slot: int, incarnation: str, message: Message) -> None:
        """An incarnation of a slot said something."""
        self._inbox.append((slot, incarnation, message))
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

    def change_members(self, change: Change, reply: Reply) -> None:
        """Have a change of members proposed, if this member leads."""
        if self.leads:
            self._turns.changes.change(change, reply, trio.current_time())
            self._bell.ring()
        else:
            reply.error(not_leader(self.status.leader))

    def move_leader(self, slot: int, reply: Reply) -> None:
        """Have another slot lead, if this member leads."""
        if self.leads:
            self._turns.changes.move(slot, reply, trio.current_time())
            self._bell.ring()
        else:
            reply.error(not_leader(self.status.leader))

    def lacking(self) -> dict[int, int]:
        """At the leader: how many entries each other slot lacks that answered of late."""
        return self._core.lacking(trio.current_time()) if self.leads else {}

    @property
    def first_index(self) -> int:
        """The log is kept from here on, or a little before: what a cut takes that is under way is gone already."""
        cutting = self._cut_below if self._cut_below > self._cut_done else 0
        return max(self._journal.first_index, cutting)

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
        inbox, self._inbox = self._inbox, []
        inbox = await self._admitted(inbox)
        before = self.status

        ready = self._turns.step(inbox, trio.current_time(), self._wall_ms())
        self._note(before, ready)
        for slot, message in ready.appends:
            self._send(slot, message)
        if ready.sync:
            await self._sync()
        for slot, message in ready.messages:
            self._send(slot, message)
        self.applier.commit_to(ready.status.commit)

        self._look_at_reads()
        await self._tend_journal()

    async def _admitted(self, inbox: list[tuple[int, str, Message]]) -> list[tuple[int, str, Message]]:
        """What there is room for, of what is to be taken into the log; the commands that wait are refused else."""
        while not self._has_room(need := self._needed(inbox)):
            if not await trio.to_thread.run_sync(self._make_room, need, limiter=self._disk_thread):
                break
            # There is room for what waited; more commands may wait by now.
        else:
            return inbox
        self.commits.refuse_waiting(no_room("the metadata member that leads"))
        return fitting(inbox, self._journal.room, self._database.room)

    def _needed(self, inbox: list[tuple[int, str, Message]]) -> int:
        need = sum(bytes_of(message) for _, _, message in inbox)
        if self.commits.waiting:
            need += ENTRIES_IN_FLIGHT_MAX * (RECORD_BYTES + BATCH_BYTES_MIN)
            need += min(self.commits.waiting_bytes, ENTRIES_IN_FLIGHT_MAX * self._limits.entry_bytes_max)
        return need

    def _has_room(self, need: int) -> bool:
        if need == 0:
            return True
        journal = self._journal.room
        return journal.left - journal.reserve >= need and not (journal.used_up or self._database.room.used_up)

    def _make_room(self, need: int) -> bool:
        self._journal.make_room(need + self._journal.room.reserve)
        self._database.make_room()
        return self._has_room(need)

    def _note(self, before: CoreStatus, ready: Ready) -> None:
        """Tell of what the step decided, before anything is awaited."""
        status = ready.status
        if (before.state, before.term, before.leader) != (status.state, status.term, status.leader):
            _log.info("role_changed", role=status.state, term=status.term, leader=status.leader, commit=status.commit)
            self._answered.set()
        if before.membership is not status.membership:
            self._on_seats(status.membership)
        self.applier.hurry(self._turns.hurry_to)
        if ready.reads_confirmed and ready.sync:
            self._reads_bell.ring()  # they need not wait for this sync

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
            below = self._cut_below
            if await trio.to_thread.run_sync(self._journal.cut, below, 1, limiter=self._disk_thread):
                self._bell.ring()  # one segment a turn: a disk takes its time to free many, and messages wait
            else:
                self._cut_done = below

    # ---- executed and applied

    def _on_executed(self, done: Iterable[Executed]) -> None:
        self._turns.executed(done)
        if not self.commits.pending:
            self._answered.set()
        if self.commits.waiting:
            self._bell.ring()

    def _look_at_reads(self) -> None:
        if self._answer_some():
            self._reads_bell.ring()

    def _answer_some(self) -> bool:
        return self._turns.answer(self.applier.applied, trio.current_time(), self._wall_ms())

    async def _answer_reads(self) -> None:
        """Goes on where a turn ended: long answers never hold the loop for long."""
        while True:
            await self._reads_bell.wait(float("inf"))
            with failing_disk():
                while self._answer_some():
                    await trio.lowlevel.checkpoint()
