"""One member: its journal, database, core and Ready loop behind the RPC service "metaraft".

Rules: commands and reads are taken straight from the read loop, without a task each; only the leader takes them.
Growing commands are refused while any member is short of disk space or holds too much log (deletes pass), and all while
the room that any has allocated ahead is used up (changes of members pass: who cannot be given room is replaced). Each
second the leader tells its followers how far the log may be cut and what time it is, and they tell it how they stand. A
member whose rows are found to differ from the others' ends (`Differs`).
"""

import os
import random
import secrets
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import trio

from cluster.config import Address, Config, MemberConfig
from cluster.errors import Refused, Unavailable
from cluster.frames import FrameError
from cluster.identity import NodeIdentity
from cluster.limits import Limits
from cluster.log import get_logger
from cluster.rpc import Channel, Reply, Request, Service, serve
from metaraft.addresses import dial_address, listen_address, write_listen
from metaraft.applier import DiskFailed, failing_disk
from metaraft.backup.sending import Backups
from metaraft.callers import Callers
from metaraft.commits import not_leader
from metaraft.comparing import Comparing, Differs
from metaraft.condemned import condemn, condemn_rotten
from metaraft.core import Core, LostEntries, Message, decode_message, encode_message
from metaraft.driver import Driver
from metaraft.journal import Journal
from metaraft.journal_disk import Disk
from metaraft.reports import Reports, of_seat
from metaraft.room import may_take
from metaraft.rows import LEVEL
from metaraft.seating import Seating, first_seats
from metaraft.snapshot_fetching import Fetcher
from metaraft.snapshot_install import finish
from metaraft.snapshot_serving import Copies
from metaraft.store import Origin, Store
from metaraft.walking import keep_walking
from metaraft.wire import (
    ASK_BYTES_MAX,
    SERVICE,
    LeaderNote,
    MemberReport,
    MemberStatus,
    Method,
    decode_note,
    decode_report,
    encode,
)

NOTE_S = 1.0
"""How often members tell each other what Raft does not."""

SKEW_MS_MAX = 2000
"""Wall clocks of members that differ by more raise an alarm (chosen)."""

CUT_EVERY_S = 2.0
"""At most this often is the log cut: it costs a sync of the database."""

_log = get_logger("metaraft")


def journal_directory(config: Config, node: MemberConfig) -> Path:
    """Where a member's journal lies."""
    return config.path(node.directory) / "journal"


def store_directory(config: Config, node: MemberConfig) -> Path:
    """Where a member's database lies."""
    return config.path(node.directory) / "store"


def prepare(
    config: Config, node: MemberConfig, origin: Origin | None = None, *, incarnation: str = "", listen: str = ""
) -> None:
    """Make the journal and database of a new member: of the first incarnation, or of a successor in its slot, which may
    `listen` elsewhere. Blocking. Raises Refused if there is one, OSError; as `origin`."""
    directory = config.path(node.directory)
    if (directory / "journal").exists() or (directory / "store").exists():
        raise Refused("MemberExists", f"{directory} holds a member already; a new one would forget its votes")
    directory.mkdir(parents=True, exist_ok=True)
    if listen:
        write_listen(directory, listen)
    Store.create(
        store_directory(config, node),
        cluster_id=config.cluster_id,
        limits=config.limits,
        origin=origin,
        first_seats=first_seats(config),
    )
    Journal.create(
        journal_directory(config, node),
        cluster_id=config.cluster_id,
        slot=node.slot,
        incarnation=incarnation or node.incarnation,
    )


def wall_ms() -> int:
    """The wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Member:
    """One member in this process. Opening blocks; `run` serves; `close` gives the files back."""

    def __init__(
        self,
        config: Config,
        node: MemberConfig,
        me: NodeIdentity,
        *,
        open_journal: Callable[..., Journal] = Journal.open,
        random: random.Random | None = None,
    ) -> None:
        """Opens journal and database, blocking. Raises Refused (no member here), Corrupt, OSError."""
        self._config = config
        self._node = node
        self._me = me
        self._limits: Limits = config.limits
        self._directory = config.path(node.directory)
        self._random = random
        self._since_ms = wall_ms()
        self._callers = Callers(config)
        self._reports = Reports(node.slot, config.limits)
        self._safe_cut = 0
        self._cut_at = 0.0
        self._skewed = False
        self._draining = False
        self._channels: dict[int, Channel] = {}
        self._walked_ms = 0
        self._comparing = Comparing(node.slot, [member.slot for member in config.member])
        self.journal = open_journal(
            journal_directory(config, node),
            cluster_id=config.cluster_id,
            slot=node.slot,
            limits=config.limits,
        )
        try:
            finish(self._directory, self.journal, Disk())
            self.store = Store.open(
                store_directory(config, node),
                cluster_id=config.cluster_id,
                limits=config.limits,
                first_seats=first_seats(config),
            )
        except BaseException:
            self.journal.close()
            raise
        self._space = self._measured_space()
        self._make_room()
        self.copying = trio.Lock()
        """Held while a copy of the database is made."""
        self._backups = Backups(self.store, self._directory, node.name, config.limits, self.copying, self._callers)
        self._seating = Seating(
            config, node, self.journal.incarnation, self.store, self._channels, callers=self._callers
        )
        self._copies = Copies(
            self.store,
            self._directory,
            config.limits,
            copying=self.copying,
            slot_of=self._callers.slot,
            leads=lambda: self.driver.leads,
            first_index=lambda: self.driver.first_index,
            match=lambda slot: self.driver.status.match.get(slot, 0),
        )
        self._fetcher = Fetcher(self._directory, self.journal, cluster_id=config.cluster_id, call=self._call)

    def close(self) -> None:
        """Give journal and database back. Nothing may run any more."""
        self.store.close()
        self.journal.close()

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with its address.

        Raises (in groups) DiskFailed, BrokenInvariant, LostEntries, Differs, Retired; BeginAnew: a copy of the database
        is to be installed.
        """
        config, node = self._config, self._node
        with failing_disk():  # a journal and a database that do not fit each other are no better than a bad disk
            core = Core(
                slot=node.slot,
                incarnation=self.journal.incarnation,
                membership=self.store.membership,
                journal=self.journal,
                applied=self.store.applied,
                now=trio.current_time(),
                random=self._random or random.Random(secrets.randbits(64)),  # noqa: S311 - election timers, no secret
                timings=config.timings,
                limits=config.limits,
            )
        self.driver = Driver(
            core,
            self.journal,
            self.store,
            send=self._send,
            limits=config.limits,
            wall_ms=wall_ms,
            on_seats=self._seating.seated,
        )
        copies = self._copies
        service = Service(
            SERVICE,
            handlers={
                Method.STATUS: self._status,
                Method.COPY_OFFER: copies.offer,
                Method.COPY_READ: copies.read,
                Method.COPY_DONE: copies.done,
            },
            inline={
                Method.COMMIT: self._commit,
                Method.READ: self._read,
                Method.INDEX: self._index,
                **self._seating.handlers(self.driver),
            },
            one_way={
                Method.RAFT: self._of_members(self._raft),
                Method.NOTE: self._of_members(self._note),
                Method.REPORT: self._of_members(self._report),
            },
            transfers={Method.COPY: self._backups.send},
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._drive)
                for other in config.member:
                    if other.slot != node.slot:
                        channel = self._channel(other)
                        self._channels[other.slot] = channel
                        await nursery.start(channel.run)
                listen = listen_address(config, node)
                listening = await nursery.start(
                    partial(serve, service, listen, self._me, config.limits, config.timings)
                )
                nursery.start_soon(self._tend)
                nursery.start_soon(self._walk)
                nursery.start_soon(copies.run)
                nursery.start_soon(self._fetcher.run)
                nursery.start_soon(self._seating.ask)
                task_status.started(listening)
        except* DiskFailed as failures:  # whoever found it: a read, an apply, the walk, a copy
            condemn_rotten(store_directory(config, node), failures)
            raise

    async def _drive(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self.driver.run(task_status=task_status)
        except* LostEntries:
            why = "its log lacks entries that it had acknowledged"
            condemn(store_directory(self._config, self._node), why)
            raise

    async def _walk(self) -> None:
        await keep_walking(self.store.background, self._config.timings.walk_every_s, self._note_walk)

    def _note_walk(self) -> None:
        self._walked_ms = wall_ms()

    async def drain(self, seconds: float) -> None:
        """Take no more commands, and let those under way be answered, for `seconds` at most."""
        self._draining = True
        with trio.move_on_after(seconds):
            await self.driver.wait_answered()

    def _channel(self, other: MemberConfig) -> Channel:
        return Channel(
            dial_address(self._config, other, self.driver.status.membership),
            other.name,
            SERVICE,
            self._me,
            self._config.limits,
            self._config.timings,
            on_change=partial(self.driver.peer_changed, other.slot),
        )

    # ---- between members

    def _send(self, slot: int, message: Message) -> None:
        self._channels[slot].post_nowait(Method.RAFT, encode_message(self.journal.incarnation, message))

    async def _call(self, slot: int, method: Method, body: bytes, deadline: float) -> bytes:
        return await self._channels[slot].call(method, body, deadline=deadline)

    def _of_members(self, take: Callable[[int, bytes], None]) -> Callable[[Request], None]:
        """A handler of messages from members; whoever else sends one, or one that cannot be, is cut off."""

        def handle(request: Request) -> None:
            slot = self._callers.member(request.peer)
            if slot is None:
                raise FrameError(f"{request.peer.name} is no member and cannot speak as one")
            try:
                take(slot, request.body)
            except (Refused, msgspec.MsgspecError) as error:
                raise FrameError(f"{request.peer.name}: {error}") from error

        return handle

    def _raft(self, slot: int, body: bytes) -> None:
        self.driver.receive(slot, *decode_message(body, self._limits.frame_bytes_max))

    def _note(self, slot: int, body: bytes) -> None:
        note, status = decode_note(body), self.driver.status
        if note.term == status.term and slot == status.leader:
            self._safe_cut = max(self._safe_cut, note.safe_cut)
            self.driver.clock.heard(note.state_time_ms, trio.current_time())
            self._comparing.told(note.dispute, slot)
            self._fetcher.told(slot, needed=self._node.slot in note.need_copy)

    def _report(self, slot: int, body: bytes) -> None:
        report, membership = decode_report(body), self.driver.status.membership
        self._reports.heard(slot, report, trio.current_time(), wall_ms())
        if report.room_used_up:
            self._weigh(self._own_report())  # at once: what is taken in meanwhile comes out of the last of it
        if slot in membership.voters and of_seat(membership, slot, report):  # a copy of our rows is no second witness
            self._comparing.heard(slot, report.points, trio.current_time())

    async def _tend(self) -> None:
        """Each second: room, who is short of space, what the others should know, whose rows differ, and the cut."""
        while True:
            await trio.to_thread.run_sync(self._make_room)
            self._space = await trio.to_thread.run_sync(self._measured_space)
            status, driver, report = self.driver.status, self.driver, self._own_report()
            self._comparing.heard(self._node.slot, report.points, trio.current_time())
            if driver.leads:
                self._safe_cut = max(self._safe_cut, status.safe_cut)
                dispute = self._comparing.decide(trio.current_time())
                note = encode(
                    LeaderNote(status.term, status.safe_cut, driver.state_time_ms(), dispute, status.needs_snapshot)
                )
                for channel in self._channels.values():
                    channel.post_nowait(Method.NOTE, note)
            elif status.leader is not None:
                self._channels[status.leader].post_nowait(Method.REPORT, encode(report))
            if (difference := self._comparing.verdict()) is not None:
                if difference.certain:
                    condemn(store_directory(self._config, self._node), difference.text)
                raise Differs(difference.text)
            self._weigh(report)
            await self._maybe_cut(report.log_bytes)
            await trio.sleep(NOTE_S)

    def _own_report(self) -> MemberReport:
        journal = self.journal
        with failing_disk():
            room = journal.room  # used up for a moment, too, while a new segment is begun
            used_up = self.store.room.used_up or (room.used_up and not may_take(self._space[0], room.piece))
        short, points = self._short_of_space(), self.store.points
        return MemberReport(journal.bytes, short, wall_ms(), LEVEL, points, journal.incarnation, used_up)

    def _weigh(self, own: MemberReport) -> None:
        reports = self._reports
        before = reports.refusal, reports.refusal_of_all
        reports.weigh(own, self.driver.status.membership, trio.current_time())
        after = reports.refusal, reports.refusal_of_all
        self.driver.commits.short = reports.refusal is not None
        if (before[0] is None) != (after[0] is None):
            _log.warning("growth_refused" if after[0] else "growth_allowed", reason=str(after[0] or ""))
        if (before[1] is None) != (after[1] is None):
            _log.warning("commands_refused" if after[1] else "commands_allowed", reason=str(after[1] or ""))
        if reports.refusal_of_all is not None:
            self.driver.commits.refuse_waiting(reports.refusal_of_all)
        skewed = abs(reports.skew_ms) > SKEW_MS_MAX
        if skewed != self._skewed:
            self._skewed = skewed
            _log.warning("clocks_differ" if skewed else "clocks_agree", skew_ms=reports.skew_ms)

    def _short_of_space(self) -> bool:
        free, total = self._space
        return free < self._limits.free_bytes_min or free * 100 < total * self._limits.free_percent_min

    def _measured_space(self) -> tuple[int, int]:
        """Bytes free and in total where the member lies. Blocking: a disk that hangs is waited for in a thread."""
        with failing_disk():
            found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def _make_room(self) -> None:
        """Until growing commands are refused everywhere, those under way have where to go (blocking)."""
        with failing_disk():
            self.journal.make_room()
            self.store.make_room()

    async def _maybe_cut(self, log_bytes: int) -> None:
        """Drop log that this member's database holds durably: what every member has acknowledged, and, whoever lags,
        what is beyond the tail; but nothing that goes on where a copy ends which is on its way."""
        now = trio.current_time()
        below = max(self._safe_cut, self.journal.tail_from(self._limits.journal_tail_bytes))
        below = self._held(min(below, self.driver.applier.applied))
        due = log_bytes > self._limits.journal_segment_bytes and now >= self._cut_at
        if not due or below <= self.journal.first_index:
            return
        self._cut_at = now + CUT_EVERY_S
        with failing_disk():
            durable = await trio.to_thread.run_sync(self.store.sync)
        self.driver.cut(self._held(min(below, durable)))  # a copy may have been offered meanwhile

    def _held(self, below: int) -> int:
        hold = self._copies.hold
        return below if hold is None else min(below, hold)

    # ---- for clients

    def _commit(self, request: Request, reply: Reply) -> None:
        self._callers.refuse_chunk_daemons(request)
        driver = self.driver
        if self._draining:
            reply.error(Unavailable("ShuttingDown", "this member is ending"))
        elif not driver.leads:
            reply.error(not_leader(driver.status.leader))
        elif (refusal := self._reports.refusal_of_all) is not None:
            reply.error(refusal)
        elif driver.commits.add(
            request.body,
            reply,
            deadline=request.deadline,
            state_time_ms=driver.state_time_ms(),
            level=self.store.level,
            level_max=self._reports.level_max if self._callers.operates(request.peer) else None,
            refusal=self._reports.refusal,
        ):
            driver.wake()

    def _read(self, request: Request, reply: Reply) -> None:
        self._callers.refuse_chunk_daemons(request)
        driver = self.driver
        if len(request.body) > ASK_BYTES_MAX:
            reply.error(
                Refused(
                    "AskTooLarge",
                    f"the query has {len(request.body)} bytes; at most {ASK_BYTES_MAX} are allowed",
                    limit={"ask_bytes_max": ASK_BYTES_MAX},
                )
            )
        elif not driver.leads:
            reply.error(not_leader(driver.status.leader))
        elif driver.reads.add(request.body, reply, deadline=request.deadline):
            driver.wake()

    def _index(self, request: Request, reply: Reply) -> None:
        self._callers.refuse_chunk_daemons(request)
        driver = self.driver
        if not driver.leads:
            reply.error(not_leader(driver.status.leader))
        elif driver.reads.add(None, reply, deadline=request.deadline):
            driver.wake()

    async def _status(self, _request: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        status, refusal = self.driver.status, self._reports.refusal_of_all or self._reports.refusal
        facts = self.store.facts()
        return encode(
            MemberStatus(
                slot=self._node.slot,
                name=self._node.name,
                role=status.state,
                term=status.term,
                leader=status.leader,
                commit=status.commit,
                applied=facts.applied,
                last_index=status.last_index,
                revision=facts.revision,
                set_hash=facts.set_hash,
                log_bytes=self.journal.bytes,
                free_bytes=self._space[0],
                state_time_ms=self.driver.state_time_ms(),
                version=version("trilith"),
                pid=os.getpid(),
                since_ms=self._since_ms,
                level=facts.level,
                refusal=refusal.code if refusal else "",
                skew_ms=self._reports.skew_ms,
                compared=self._comparing.compared,
                differing=self._comparing.differing() if self.driver.leads else {},
                rows=facts.rows,
                walk_rows=self.store.background.rows,
                walked_ms=self._walked_ms,
            )
        )
