"""A simulated process of a member, which runs the real core, journal, state machine and turns.

The Ready loop is `metaraft.driver`'s in virtual time, the applier `metaraft.applier`'s, the notes and the cut
`metaraft.server`'s. Between each two of their steps, and at each call to the disk, it may die (`Member.reach`).
"""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chaos.sim.copies import CLUSTER_ID, MEMBER, PIECE_BYTES, Copies, Frame, database_of
from chaos.sim.database import Database
from chaos.sim.journal import WatchedJournal
from chaos.sim.judge import Violation
from chaos.sim.network import Channel, Stream
from cluster.errors import Corrupt, TrilithError, Unavailable
from cluster.frames import encode_error
from metaraft.applier import LINGER_S, SLICE_BYTES_MAX
from metaraft.commits import Executed, not_leader
from metaraft.core import BrokenInvariant, CoreStatus, Message, Ready, decode_message, encode_message
from metaraft.driver import IDLE_S
from metaraft.machine import UnknownMeaning
from metaraft.server import CUT_EVERY_S, NOTE_S
from metaraft.snapshot_install import finish
from metaraft.turns import Turns
from metaraft.wire import LeaderNote, MemberStatus, Method, decode_note, encode

if TYPE_CHECKING:
    from chaos.sim.member import Member
    from chaos.sim.world import World

JOURNAL = MEMBER / "journal"


class Crash(Exception):
    """The process dies here."""


class _Reply:
    """Where an answer goes."""

    def __init__(self, process: "Process", back: Stream, deliver: Callable[..., None], call: int) -> None:
        self._process = process
        self._back = back
        self._deliver = deliver
        self._call = call

    def ok(self, body: bytes) -> None:
        """Answer."""
        self._send(True, body)

    def error(self, error: TrilithError) -> None:
        """Refuse."""
        self._send(False, encode_error(error))

    def _send(self, ok: bool, body: bytes) -> None:
        self._process.member.cluster.network.send(self._back, len(body), self._deliver, self._call, ok, body)


class Process:
    """One life of a member."""

    world: "World"

    def __init__(self, member: "Member", life: int) -> None:
        self.member = member
        self.life = life
        cluster, world = member.cluster, member.world
        self.cluster, self.world, self.slot = cluster, world, member.slot
        self.journal = WatchedJournal.open(
            JOURNAL,
            cluster_id=CLUSTER_ID,
            slot=member.slot,
            incarnation=member.incarnation,
            limits=cluster.limits,
            disk=member.disk,
        )
        self.journal.begin(cluster.judge.twins[member.slot], cluster.judge)
        cluster.judge.opened(member.slot, self.journal)
        finish(MEMBER, self.journal, member.disk)
        if (database := database_of(member)) != member.database:
            member.take_copy(database)
        self.database = Database(member.rows, cluster.limits)
        self.core = cluster.engine(
            slot=member.slot,
            incarnation=member.incarnation,
            membership=cluster.seats,
            journal=self.journal,
            applied=self.database.applied,
            now=world.now,
            random=random.Random(world.random.getrandbits(64)),
            timings=cluster.timings,
            limits=cluster.limits,
        )
        self.turns = Turns(self.core, self.journal, self.database, cluster.limits)
        self.copies = Copies(self)
        self.channels: dict[int, Channel] = {}
        self.frozen: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.syncing = False
        """Whether a sync is under way."""
        self._inbox: list[tuple[int, str, Message]] = []
        self._turning = self._rung = self._applying = self._lingering = False
        self._timer = 0
        self._marked_at = 0.0
        self._commit = self.database.applied
        self._slices = 0
        self._safe_cut = self._cut_below = self._cut_done = 0
        self._cut_at = 0.0

    def described(self) -> str:
        """What it begins with."""
        journal = self.journal
        return (
            f"log {journal.first_index} to {journal.last_index}, term {journal.term}, vote {journal.voted_for}, "
            f"applied {self.database.applied}"
        )

    def begin(self) -> None:
        """Connect, and act."""
        for other in self.cluster.members.values():
            if other.slot != self.slot:
                self.channels[other.slot] = self.cluster.network.channel(
                    self.member, other, partial(self.run, self._peer_changed, other.slot)
                )
        self.ring()
        self.later(NOTE_S * self.world.random.random(), self._tend)

    def leave(self) -> None:
        """It is gone."""
        for channel in self.channels.values():
            self.cluster.network.forget(channel)
        self.cluster.network.gone(self.member, told=not self.member.power_fails)

    # ---- being a process: what happens to it

    def later(self, delay_s: float, what: Callable[..., None], *arguments: object) -> None:
        """Do something later, if it still lives."""
        self.world.at(delay_s, self.run, what, *arguments)

    def run(self, what: Callable[..., None], *arguments: object) -> None:
        """Do something now, or when the pause is over; or die of it."""
        member = self.member
        if member.process is not self:
            return
        if member.paused:
            self.frozen.append((what, arguments))
            return
        try:
            what(*arguments)
        except Crash:
            member.crash()
        except (OSError, Corrupt) as error:
            member.fail(error)
        except (BrokenInvariant, AssertionError, UnknownMeaning) as error:
            raise Violation("invariant", f"{member.name}: {type(error).__name__}: {error}") from error

    def thaw(self) -> None:
        """The pause is over: all that came meanwhile comes now."""
        frozen, self.frozen = self.frozen, []
        for what, arguments in frozen:
            self.later(0.0, what, *arguments)

    # ---- messages of members

    def _peer_changed(self, slot: int, connected: bool) -> None:
        if connected:
            self.core.peer_connected(slot)
        else:
            self.core.peer_disconnected(slot)
        self.ring()

    def _send(self, slot: int, message: Message) -> None:
        self.member.reach()
        self.cluster.judge.said(self.slot, slot, message)
        self.world.note(self.member.name, "to S{}: {}", slot, message)
        self._post(slot, Method.RAFT, encode_message(self.member.incarnation, message))

    def _post(self, slot: int, method: Method, body: bytes) -> None:
        to = self.cluster.members[slot]
        self.cluster.network.send(self.channels[slot].forth, len(body), to.hand_over, self.slot, method, body)

    def post_copy(self, slot: int, frame: Frame) -> None:
        """Send a frame about a copy."""
        self.member.reach()
        self.world.note(self.member.name, "to S{}: {}", slot, frame)
        to = self.cluster.members[slot]
        self.cluster.network.send(self.channels[slot].forth, PIECE_BYTES, to.hand_copy, self.slot, frame)

    def receive(self, sender: int, method: Method, body: bytes) -> None:
        """A frame of a member."""
        if method == Method.RAFT:
            incarnation, message = decode_message(body, self.cluster.limits.frame_bytes_max)
            self.world.note(self.member.name, "from S{}: {}", sender, message)
            self._inbox.append((sender, incarnation, message))
            self.ring()
            return
        note, status = decode_note(body), self.turns.status
        if note.term == status.term and sender == status.leader:
            self._safe_cut = max(self._safe_cut, note.safe_cut)
            self.turns.clock.heard(note.state_time_ms, self.world.now)
            self.copies.told(sender, needed=self.slot in note.need_copy)

    def _tend(self) -> None:
        status = self.turns.status
        if self.turns.leads:
            self._safe_cut = max(self._safe_cut, status.safe_cut)
            state_time_ms = self.turns.state_time_ms(self.world.now, self.member.wall_ms)
            note = encode(LeaderNote(status.term, status.safe_cut, state_time_ms, need_copy=status.needs_snapshot))
            for slot in self.channels:
                self._post(slot, Method.NOTE, note)
        below = max(self._safe_cut, self.journal.tail_from(self.cluster.tails[self.slot]))
        below = min(below, self.database.applied)
        if (hold := self.copies.hold) is not None:
            below = min(below, hold)
        due = self.journal.bytes > self.cluster.limits.journal_segment_bytes and self.world.now >= self._cut_at
        if due and below > self.journal.first_index:
            self._cut_at = self.world.now + CUT_EVERY_S
            self.member.reach()
            self._cut_below = max(self._cut_below, min(below, self.database.sync()))
            self.ring()
        self.later(NOTE_S, self._tend)

    # ---- calls of clients

    def call(
        self, back: Stream, deliver: Callable[..., None], call: int, method: Method, body: bytes, remaining_s: float
    ) -> None:
        """A client asks something."""
        turns, reply = self.turns, _Reply(self, back, deliver, call)
        deadline = self.world.now + remaining_s
        state_time_ms = turns.state_time_ms(self.world.now, self.member.wall_ms)
        if method == Method.STATUS:
            status = MemberStatus(self.slot, self.member.name, turns.status.state, state_time_ms=state_time_ms)
            reply.ok(encode(status))
        elif not turns.leads:
            reply.error(not_leader(turns.status.leader))
        elif method == Method.READ:
            if turns.reads.add(body, reply, deadline=deadline):
                self.ring()
        elif turns.commits.add(
            body,
            reply,
            deadline=deadline,
            state_time_ms=state_time_ms,
            level=self.database.level,
            level_max=0,
            refusal=Unavailable("NoSpace", "the disk is nearly full") if self.cluster.short_of_space else None,
        ):
            self.ring()

    # ---- the Ready loop (metaraft.driver)

    def ring(self) -> None:
        """Take a turn, now or after this one."""
        self._rung = True
        if not self._turning:
            self._turning = True
            self.later(0.0, self._turn)

    def _turn(self) -> None:
        self._rung = False
        inbox, self._inbox = self._inbox, []
        before = self.turns.status
        ready = self.turns.step(inbox, self.world.now, self.member.wall_ms)
        self._note(before, ready.status)
        self.cluster.judge.stepped(self.slot, self.life, ready.status, self.journal)
        if self._lingering and self.turns.hurry_to > self.database.applied:
            self._execute(self._slices)
        self.member.reach()
        for slot, message in ready.appends:
            self._send(slot, message)
        if ready.sync:
            self.syncing = True
            self._marked_at = self.world.now + IDLE_S
            self.later(self.member.sync_s * (0.5 + self.world.random.random()), self._sync, ready)
        else:
            self._synced(ready)

    def _note(self, before: CoreStatus, status: CoreStatus) -> None:
        if (before.state, before.term, before.leader) != (status.state, status.term, status.leader):
            self.world.note(
                self.member.name,
                "is {} of term {}, leader {}, commit {}, log up to {}",
                status.state,
                status.term,
                "unknown" if status.leader is None else f"S{status.leader}",
                status.commit,
                status.last_index,
            )

    def _sync(self, ready: Ready) -> None:
        self.member.reach()
        self.syncing = False
        if self.member.sync_fuse is not None:
            self.member.fuse, self.member.sync_fuse = self.member.sync_fuse, None
        self.journal.sync()
        self.member.reach()
        self._synced(ready)

    def _synced(self, ready: Ready) -> None:
        for slot, message in ready.messages:
            self._send(slot, message)
        self.member.reach()
        if ready.status.commit > self._commit:
            self._commit = ready.status.commit
            self._apply()
        self._answer()
        self._tend_journal()
        self._turning = False
        if self._rung:
            self.ring()
        else:
            self._set_timer()

    def _tend_journal(self) -> None:
        if self._marked_at <= self.world.now:
            self._marked_at = math.inf
            self.journal.mark_idle()
        if self._cut_below > self._cut_done:
            self._cut_done = self._cut_below
            self.journal.cut(self._cut_done)

    def _set_timer(self) -> None:
        self._timer += 1
        wake_at = min(self.core.next_wakeup(self.world.now), self._marked_at)
        if wake_at < math.inf:
            self.later(wake_at - self.world.now, self._on_timer, self._timer)

    def _on_timer(self, timer: int) -> None:
        if timer == self._timer:
            self.ring()

    # ---- the applier (metaraft.applier)

    def _apply(self) -> None:
        if self._applying or self.database.applied >= self._commit:
            return
        self._applying = self._lingering = True
        hurried = self.turns.hurry_to > self.database.applied
        self.later(0.0 if hurried else LINGER_S, self._execute, self._slices)

    def _execute(self, number: int) -> None:
        if number != self._slices:
            return
        self._slices += 1
        self._lingering = False
        entries = self.journal.entries(self.database.applied + 1, self._commit + 1, SLICE_BYTES_MAX)
        self.member.reach()
        results = self.database.execute(entries)
        self.cluster.judge.executed(self.slot, entries, results)
        self.member.reach()
        self.turns.executed(
            [Executed(entry.index, entry.term, each) for entry, each in zip(entries, results, strict=True)]
        )
        if self.turns.commits.waiting:
            self.ring()
        self.later(self.member.sync_s * self.world.random.random(), self._committed)

    def _committed(self) -> None:
        self.member.reach()
        self.database.commit()
        self.cluster.judge.applied(self.slot, self.database.applied, self.database.set_hash)
        self.member.reach()
        self._applying = False
        self._answer()
        self._apply()

    def _answer(self) -> None:
        self.turns.answer(self.database.applied, self.world.now, self.member.wall_ms, math.inf)
