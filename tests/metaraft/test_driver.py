"""The Ready loop keeps its order: synced before anything is promised, executed before it is answered, applied before it
is read, and no wait for a slow database; with a real core and journal, and two members that agree to everything."""

import random
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from cluster.errors import Corrupt
from cluster.limits import Limits, Timings
from metaraft.applier import INLINE_BYTES_MAX, SLICE_ENTRIES_MAX, Applier, DiskFailed
from metaraft.commands import (
    Batch,
    Touch,
)
from metaraft.core import Core, Membership, Message, Seat
from metaraft.core_messages import Append, AppendAnswer, PreVote, PreVoteAnswer, RequestVote, VoteAnswer
from metaraft.driver import Driver
from metaraft.journal import Entry, Journal
from metaraft.pace import INLINE_S_MAX
from metaraft.results import (
    Done,
)
from metaraft.room import Room
from metaraft.wire import encode
from tests.metaraft.members import PATIENCE_S
from tests.metaraft.replies import Kept, envelope

QUICK = Timings(election_timeout_min_s=0.1, election_timeout_max_s=0.2, heartbeat_s=0.02, leader_fallback_s=30.0)
OWNER = {"cluster_id": "c", "slot": 1, "incarnation": "i"}
WALL_MS = 1_700_000_000_000

_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class WatchedJournal(Journal):
    """Tells when it was marked."""

    marked: threading.Event

    def mark_idle(self) -> None:
        """Mark, and tell."""
        super().mark_idle()
        self.marked.set()


class GatedDatabase:
    """Answers `Done` with the entry's index; executes and commits only while its gates are open, on a slow disk."""

    commit_s = 2 * INLINE_S_MAX

    def __init__(self) -> None:
        self.applied = 0
        self.state_time_ms = 0
        self.room = Room(1 << 20, 1 << 20)
        self.rooms_asked = 0
        self.calls: list[int] = []
        self.threads: list[threading.Thread] = []
        self.gate = threading.Event()
        self.commit_gate = threading.Event()
        self.open_gates()
        self.failure: Exception | None = None

    def open_gates(self) -> None:
        """Let everything pass."""
        self.gate.set()
        self.commit_gate.set()

    def make_room(self) -> None:
        """There is none."""
        self.rooms_asked += 1

    def execute(self, entries: Sequence[Entry]) -> list[list[bytes]]:
        """Execute when the gate opens."""
        assert self.gate.wait(PATIENCE_S)
        self.threads.append(threading.current_thread())
        self._executed = self.applied
        if self.failure is not None:
            raise self.failure
        results = []
        for entry in entries:
            assert entry.index == self._executed + 1
            envelopes = _decode_batch(entry.data).envelopes if entry.data else ()
            results.append([encode(Done(entry.index))] * len(envelopes))
            self._executed = entry.index
        self.calls.append(len(entries))
        return results

    def commit(self) -> None:
        """Commit when the gate opens."""
        assert self.threads[-1] is threading.current_thread()
        assert self.commit_gate.wait(PATIENCE_S)
        time.sleep(self.commit_s)
        self.applied = self._executed

    def answer(self, ask: bytes) -> bytes:
        """The index that is applied."""
        return encode([ask, self.applied])


class World:
    """A driver in slot 1 of 3, and members in slots 2 and 3 that agree to all that is sent."""

    def __init__(self, driver: Driver, journal: WatchedJournal, database: GatedDatabase) -> None:
        self.driver = driver
        self.journal = journal
        self.database = database
        self.sent = 0
        self.early = 0
        self.heard = trio.Event()

    def answer(self, slot: int, message: Message) -> None:
        """What slot 2 or 3 says to a message."""
        early = self.journal.dirty
        assert isinstance(message, Append) or not early, "no promise leaves before the journal is synced"
        self.early += early
        self.sent += 1
        self.heard.set()
        match message:
            case PreVote(term, number):
                self.driver.receive(slot, "i", PreVoteAnswer(term, term, number, True, "i"))
            case RequestVote(term):
                self.driver.receive(slot, "i", VoteAnswer(term, True, "i"))
            case Append(term, sequence, _, prev_index, _, entries):
                self.driver.receive(slot, "i", AppendAnswer(term, sequence, True, prev_index + len(entries), 0, "i"))
            case _:
                raise AssertionError(message)

    def commit(self, number: int = 1) -> Kept:
        """Hand a command in."""
        reply = Kept()
        body = envelope(number, not_after_ms=WALL_MS)
        time_ms = self.driver.state_time_ms()
        taken = self.driver.commits.add(
            body, reply, deadline=1e9, state_time_ms=time_ms, level=1, level_max=1, refusal=None
        )
        assert taken
        self.driver.wake()
        return reply

    async def hear(self, messages: int) -> None:
        """Wait until so many more messages left."""
        goal = self.sent + messages
        while self.sent < goal:
            self.heard = trio.Event()
            await self.heard.wait()


@asynccontextmanager
async def leading(folder: Path) -> AsyncIterator[World]:
    """A world whose driver leads."""
    Journal.create(folder / "j", **OWNER)  # type: ignore[arg-type]
    journal = WatchedJournal.open(folder / "j", **OWNER, limits=Limits())  # type: ignore[arg-type]
    journal.marked = threading.Event()
    database = GatedDatabase()
    core = Core(
        slot=1,
        incarnation="i",
        membership=Membership({slot: Seat("i") for slot in (1, 2, 3)}),
        journal=journal,
        applied=0,
        now=trio.current_time(),
        random=random.Random(1),
        timings=QUICK,
        limits=Limits(),
    )
    driver = Driver(
        core,
        journal,
        database,
        send=lambda *said: world.answer(*said),  # noqa: PLW0108 - the world is made below
        limits=Limits(),
        wall_ms=lambda: WALL_MS,
    )
    world = World(driver, journal, database)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(driver.run)
            driver.peer_changed(2, True)
            driver.peer_changed(3, True)
            with trio.fail_after(PATIENCE_S):
                while not driver.leads:
                    await world.hear(1)
                yield world
            nursery.cancel_scope.cancel()
    finally:
        database.open_gates()
        journal.close()


async def answered(*replies: Kept) -> None:
    while any(reply.open for reply in replies):  # noqa: ASYNC110 - a reply tells nobody
        await trio.sleep(0.002)


async def test_without_room_commands_are_refused_and_with_room_again_they_are_taken(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await answered(world.commit())
        last, plenty = world.journal.last_index, world.database.room
        world.database.room = Room(plenty.piece // 4 - 1, plenty.piece)
        refused = world.commit(2)
        await answered(refused)
        assert refused.said == ("unavailable", "NoSpace")
        assert (world.database.rooms_asked, world.journal.last_index) == (1, last)
        assert world.driver.leads
        world.database.room = plenty
        await answered(taken := world.commit(3))
        assert taken.result == Done(last + 1)


async def test_what_a_cut_takes_is_gone_from_when_it_is_asked_for(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await answered(*(world.commit(number) for number in range(1, 5)))
        assert world.driver.first_index == 1
        world.driver.cut(4)
        assert world.driver.first_index == 4
        while world.driver.first_index == 4:  # noqa: ASYNC110 - a cut tells nobody; all is in one segment, which stays
            await trio.sleep(0.002)
        assert world.driver.first_index == world.journal.first_index == 1


async def settled(world: World) -> None:
    """All that is in the log is applied."""
    while world.database.applied < world.driver.status.last_index:  # noqa: ASYNC110 - a database tells nobody
        await trio.sleep(0.002)


async def test_a_command_is_answered_when_it_is_executed_and_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await settled(world)
        world.database.gate.clear()
        world.database.commit_gate.clear()
        reply = world.commit()
        await world.hear(20)  # appends of the command, then heartbeats, while the database is stuck
        assert reply.open
        world.database.gate.set()
        await answered(reply)
        assert isinstance(reply.result, Done)
        assert world.database.applied < world.driver.status.commit
        await world.hear(20)
        world.database.commit_gate.set()


async def test_appends_leave_before_the_sync(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        before = world.early
        await answered(world.commit())
        assert world.early - before == 2


async def test_commands_that_come_while_one_is_applied_become_one_entry(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await answered(world.commit(1))
        before = world.driver.status.last_index
        world.database.gate.clear()
        replies = [world.commit(number) for number in range(2, 4)]
        await world.hear(4)
        replies += [world.commit(number) for number in range(4, 40)]
        await world.hear(4)
        world.database.gate.set()
        await answered(*replies)
        assert world.driver.status.last_index - before <= 4


async def test_state_time_is_stamped_by_the_leader_and_rises(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await answered(world.commit(1))
        await answered(world.commit(2))
        journal = world.journal
        entries = journal.entries(2, journal.last_index + 1, 1 << 20)
        stamps = [_decode_batch(entry.data).state_time_ms for entry in entries if entry.data]
        assert len(stamps) == 2
        assert WALL_MS <= stamps[0] <= stamps[1] < WALL_MS + PATIENCE_S * 1000


async def test_a_read_sees_what_was_committed_before_it_and_waits_for_apply(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        await answered(world.commit(1))
        await settled(world)
        world.database.commit_gate.clear()
        command, read = world.commit(2), Kept()
        await answered(command)  # its transaction is not done
        index = world.driver.status.commit
        world.driver.reads.add(b"?", read, deadline=1e9)
        world.driver.wake()
        await world.hear(20)
        assert read.open
        world.database.commit_gate.set()
        await answered(read)
        assert read.body is not None
        _, (_, applied) = msgspec.msgpack.decode(read.body)
        assert applied >= index


async def test_an_idle_journal_is_marked(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        world.journal.marked.clear()
        await answered(world.commit())
        assert await trio.to_thread.run_sync(world.journal.marked.wait, PATIENCE_S)


@pytest.mark.parametrize("failure", [OSError(5, "EIO"), Corrupt("RowRot", "a row is rotten")])
async def test_a_database_that_fails_ends_the_driver(tmp_path: Path, failure: Exception) -> None:
    with pytest.RaisesGroup(DiskFailed, flatten_subgroups=True):
        async with leading(tmp_path) as world:
            world.database.failure = failure
            reply = world.commit()
            await trio.sleep_forever()
    assert reply.open


class Progress:
    """How far an applier has come, for who waits for it."""

    def __init__(self) -> None:
        self._moved = trio.Event()

    def applied(self) -> None:
        """Something more was applied."""
        self._moved.set()

    async def until(self, applier: Applier[Entry], index: int) -> None:
        """Wait for `index`."""
        while applier.applied < index:
            self._moved = trio.Event()
            await self._moved.wait()


class ListLog:
    """A log in a list."""

    def __init__(self, size: int) -> None:
        self._entries = [Entry(index, 1, encode(Batch(1, (msgspec.Raw(encode(Touch())),)))) for index in range(1, size)]

    def make_long(self, index: int) -> None:
        """Let one entry be long."""
        entry = self._entries[index - 1]
        envelope = msgspec.Raw(encode(Touch(padding=bytes(INLINE_BYTES_MAX))))
        self._entries[index - 1] = Entry(entry.index, entry.term, encode(Batch(1, (envelope,))))

    def entries(self, start: int, stop: int, bytes_max: int) -> list[Entry]:
        """All of them."""
        assert bytes_max > 0
        return self._entries[start - 1 : stop - 1]


async def test_where_nobody_waits_entries_are_gathered_into_one_transaction(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    database, progress = GatedDatabase(), Progress()
    applier = Applier(ListLog(10), database, on_executed=lambda _: None, on_applied=progress.applied, linger_s=100.0)
    nursery.start_soon(applier.run)
    for index in range(1, 6):
        applier.commit_to(index)
        await trio.sleep(10.0)
    assert database.calls == []
    await progress.until(applier, 5)
    assert database.calls == [5]


async def test_a_long_backlog_of_small_entries_is_applied_in_slices(nursery: trio.Nursery) -> None:
    database, progress = GatedDatabase(), Progress()
    count = 3 * SLICE_ENTRIES_MAX + 10
    log = ListLog(count + 1)
    applier = Applier(log, database, on_executed=lambda _: None, on_applied=progress.applied, linger_s=0.0)
    nursery.start_soon(applier.run)
    applier.commit_to(count)
    with trio.fail_after(PATIENCE_S):
        await progress.until(applier, count)
    assert database.calls == [SLICE_ENTRIES_MAX] * 3 + [10]


async def test_where_somebody_waits_nothing_lingers(nursery: trio.Nursery) -> None:
    database, progress = GatedDatabase(), Progress()
    applier = Applier(ListLog(10), database, on_executed=lambda _: None, on_applied=progress.applied, linger_s=1e6)
    nursery.start_soon(applier.run)
    applier.commit_to(1)
    await trio.testing.wait_all_tasks_blocked()
    assert database.calls == []
    applier.hurry(2)
    with trio.fail_after(PATIENCE_S):
        await progress.until(applier, 1)
        applier.commit_to(2)
        await progress.until(applier, 2)


async def test_a_quick_disk_is_waited_for_on_the_event_loop_if_the_slice_is_short(nursery: trio.Nursery) -> None:
    database, progress, here = GatedDatabase(), Progress(), threading.current_thread()
    database.commit_s = 0.0
    log = ListLog(100)
    log.make_long(61)
    applier = Applier(log, database, on_executed=lambda _: None, on_applied=progress.applied, linger_s=0.0)
    nursery.start_soon(applier.run)
    with trio.fail_after(PATIENCE_S):
        for index in range(1, 61):
            applier.commit_to(index)
            await progress.until(applier, index)
        assert database.threads[0] is not here  # nothing is known of the disk yet
        assert database.threads[-1] is here
        applier.commit_to(61)
        await progress.until(applier, 61)
        assert database.threads[-1] is not here
        database.commit_s = 20 * INLINE_S_MAX
        for index in range(62, 70):
            applier.commit_to(index)
            await progress.until(applier, index)
        assert database.threads[-1] is not here
