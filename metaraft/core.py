"""Raft as a step machine: messages, proposals and the time go in, what is to be synced and sent comes out.

    ready = core.step(inbox=..., proposals=..., reads=..., now=...)
    send(ready.appends)              # a leader's, before or during the sync
    await journal.sync()             # if ready.sync: entries, term and vote
    send(ready.messages)             # votes and answers: never before the sync
    apply(..., ready.status.commit)  # the journal's entries up to there: never before the sync

Rules:
* No I/O, no clock, no random source of its own: the same seed and the same steps give the same outcome.
* All of a step is synced before the next begins (checked): whatever the leader counts for itself is on its disk, and
  an answer never promises what a power cut could undo. Followers may have an entry before the leader's disk does: it
  counts there for them, and for the leader only from its next step on (Ongaro's dissertation, 10.2.1).
* `next_wakeup` says when to step again if nothing arrives. Nothing is polled.
* What is committed is an index: the entries lie in the journal, and who applies them reads them there.
* A `BrokenInvariant` from any call means that the process must end; a `LostEntries`, that it must never begin again.

The engine is PySyncObj behind `core_member`; this package's other modules know nothing of it. The shape of the loop is
that of etcd's raft (`doc.go`).
"""

import math
import random
from collections.abc import Sequence
from typing import Literal

import msgspec

from cluster.errors import Corrupt, TrilithError
from cluster.limits import Limits, Timings
from metaraft.core_elections import CANDIDATE, FOLLOWER, LEADER
from metaraft.core_library import clock
from metaraft.core_log import BrokenInvariant, Log, LostEntries
from metaraft.core_member import Member
from metaraft.core_membership import Admit, Change, Membership, Retire, Seat, refusal, transfer_refusal
from metaraft.core_messages import Message, decode_message, encode_message
from metaraft.core_reads import ReadRound, ReadRounds

__all__ = [
    "Admit",
    "BrokenInvariant",
    "Change",
    "Core",
    "CoreStatus",
    "LostEntries",
    "Membership",
    "Message",
    "ReadRound",
    "Ready",
    "Retire",
    "Seat",
    "decode_message",
    "encode_message",
]

type State = Literal["follower", "candidate", "leader"]

_STATES: dict[int, State] = {FOLLOWER: "follower", CANDIDATE: "candidate", LEADER: "leader"}


class CoreStatus(msgspec.Struct, frozen=True):
    """How a member stands after a step.

    `match` (at a leader) maps each other slot to the index its log is known to match up to. `safe_cut` (at a leader,
    else 0) is an index that every member has acknowledged and that is committed: none but a successor in its seat will
    ever ask for an entry below it. `needs_snapshot`: slots whose next entry was cut from this leader's log; nothing is
    sent to them but heartbeats. `membership`: the seats in force, committed or not. `transfer`: the slot that this
    leader hands over to; it takes no proposals meanwhile.
    """

    state: State
    term: int
    leader: int | None
    commit: int
    last_index: int
    match: dict[int, int]
    safe_cut: int
    needs_snapshot: tuple[int, ...]
    membership: Membership
    transfer: int | None = None


class Ready(msgspec.Struct, frozen=True):
    """What a step asks for. Send `appends`, sync the journal (if `sync`), then send `messages`, and apply what is
    committed (`status.commit`).

    `proposed` has for each proposal its (index, term), or None: this member does not lead, or hands over, and nothing
    was added; `changed` is the same for the change of members. Another term at its index, once that is committed, means
    that an entry never will be.
    `read_round` is the round that the reads asked in this step belong to, None if none were or this is no leader. It
    comes once later (or now) in `reads_confirmed`, with the index that its reads must see applied, unless leadership
    ends before.
    """

    appends: list[tuple[int, Message]]
    messages: list[tuple[int, Message]]
    sync: bool
    proposed: list[tuple[int, int] | None]
    read_round: int | None
    reads_confirmed: list[ReadRound]
    status: CoreStatus
    changed: tuple[int, int] | None = None


class Core:
    """One member: the incarnation that this process is, in one of a fixed set of slots."""

    def __init__(
        self,
        *,
        slot: int,
        incarnation: str,
        membership: Membership,
        journal: Log,
        applied: int,
        now: float,
        random: random.Random,
        timings: Timings,
        limits: Limits,
    ) -> None:
        """`applied` is the index that the state machine holds: the member starts with it as its commit index.
        `membership` is as of it.

        Raises ValueError for slots or timings that cannot work; Corrupt: JournalBehindState, StateBehindJournal.
        """
        reason = invalid_timings(timings)
        if reason is not None:
            raise ValueError(reason)
        if slot not in membership.seats or len(membership.seats) % 2 == 0:
            raise ValueError(f"slot {slot} is not one of an odd number of slots: {sorted(membership.seats)}")
        if applied > journal.last_index:
            raise Corrupt(
                "JournalBehindState",
                f"the state machine has applied {applied}, but the journal ends at {journal.last_index}",
            )
        if applied < journal.first_index - 1:
            raise Corrupt(
                "StateBehindJournal",
                f"the state machine has applied {applied}, but the journal begins at {journal.first_index}",
            )
        clock.now = now
        self._member = Member(
            slot=slot,
            incarnation=incarnation,
            membership=membership,
            log=journal,
            applied=applied,
            random=random,
            timings=timings,
            limits=limits,
        )
        self._alone = len(membership.seats) == 1
        self._log = journal
        self._reads = ReadRounds()
        self._safe_cut = 0

    @property
    def status(self) -> CoreStatus:
        """How the member stands now."""
        member, log = self._member, self._log
        leads = member.state == LEADER
        match: dict[int, int] = {}
        needs_snapshot: tuple[int, ...] = ()
        if leads:
            match = {slot: peer.match for slot, peer in member.peers.items()}
            needs_snapshot = tuple(slot for slot, peer in member.peers.items() if peer.needs_snapshot(log))
            self._safe_cut = max(self._safe_cut, min(member.commit, *match.values(), log.last_index))
        return CoreStatus(
            state=_STATES[member.state],
            term=member.term,
            leader=member.leader,
            commit=member.commit,
            last_index=log.last_index,
            match=match,
            safe_cut=self._safe_cut if leads else 0,
            needs_snapshot=needs_snapshot,
            membership=member.membership,
            transfer=member.transfer,
        )

    def peer_connected(self, slot: int) -> None:
        """Messages to the slot will be sent from now on, over a new connection. Step soon after."""
        self._member.connected(slot, True)

    def peer_disconnected(self, slot: int) -> None:
        """Messages to the slot cannot be sent; those that were may be lost."""
        self._member.connected(slot, False)

    def next_wakeup(self, now: float) -> float:
        """When to step at the latest, if nothing arrives before: `now` if at once, infinity if never."""
        member = self._member
        if self._alone and member.state == LEADER:
            return now if member.commit < self._log.last_index else math.inf
        return max(now, member.next_timer())

    def refusal(self, change: Change, now: float) -> TrilithError | None:
        """Why this member, which leads, does not propose the change now, or None."""
        clock.now = now
        return refusal(self._member.membership, change, self._member.standing())

    def hand_over(self, slot: int, now: float) -> TrilithError | None:
        """Begin to make a slot the leader in the place of this member, which leads; or why that cannot be now.

        It takes no proposals then until it follows, or gave up after the longest election timeout. Step soon after.
        """
        clock.now = now
        error = transfer_refusal(self._member.membership, slot, self._member.standing())
        if error is None:
            self._member.hand_over(slot)
        return error

    @property
    def sequence(self) -> int:
        """The highest number of an append that this member has sent."""
        return self._member.sequence

    def answered_without(self, slot: int, sequence: int) -> bool:
        """Whether this member, which leads, heard a majority without that slot answer appends numbered above."""
        return self._member.confirmed_since(sequence, without=slot)

    def lacking(self, now: float) -> dict[int, int]:
        """How many entries each other slot lacks that answered this member, which leads, of late."""
        clock.now = now
        return {slot: self._log.last_index - match for slot, match in self._member.standing().matches.items()}

    def step(
        self,
        *,
        inbox: Sequence[tuple[int, str, Message]],
        proposals: Sequence[bytes],
        reads: int,
        now: float,
        change: Change | None = None,
    ) -> Ready:
        """Take in (slot, incarnation, message) triples, timers, then proposals (not empty; one entry each), a change of
        members (as `refusal` allows) and reads."""
        if self._log.dirty:
            raise BrokenInvariant("a step began before all of the last one was synced")
        clock.now = now
        member, term, led = self._member, self._log.term, self._member.state == LEADER
        for slot, incarnation, message in inbox:
            member.receive(slot, incarnation, message)
        member.tick()
        leads = member.state == LEADER
        takes = leads and member.transfer is None
        proposed = [member.propose(data) if takes else None for data in proposals]
        changed = member.change(change) if takes and change and self.refusal(change, now) is None else None
        if led and (not leads or member.term != term):
            self._reads.lose()
        read_round = self._reads.ask() if leads and reads else None
        confirmed: list[ReadRound] = []
        messages, member.outbox.messages = member.outbox.messages, []
        if leads:
            if member.peers and member.term != term:
                raise BrokenInvariant(f"slot {member.slot} leads term {member.term}, which no disk has yet")
            began = self._advance_reads(confirmed)
            member.send_appends(to_all=began)
            if self._alone:
                self._advance_reads(confirmed)
        appends, member.outbox.messages = member.outbox.messages, []
        return Ready(
            appends=appends,
            messages=messages,
            sync=self._log.dirty,
            proposed=proposed,
            read_round=read_round,
            reads_confirmed=confirmed,
            status=self.status,
            changed=changed,
        )

    def _advance_reads(self, confirmed: list[ReadRound]) -> bool:
        """Confirm the open round if a majority has answered it; begin the next if there is one. True: it began."""
        reads, member = self._reads, self._member
        if reads.open is not None and member.confirmed_since(reads.after):
            confirmed.append(reads.confirm())
        if reads.waiting is not None and reads.open is None and member.may_read:
            reads.begin(member.commit, member.sequence)
            return True
        return False


def invalid_timings(timings: Timings) -> str | None:
    """Why no cluster can run with these timings, or None."""
    if not 0 < 3 * timings.heartbeat_s < timings.election_timeout_min_s < timings.election_timeout_max_s:
        return (
            f"heartbeat_s {timings.heartbeat_s}, election_timeout_min_s {timings.election_timeout_min_s} and "
            f"election_timeout_max_s {timings.election_timeout_max_s} must rise, the second above 3 heartbeats"
        )
    if timings.leader_fallback_s <= timings.heartbeat_s:
        return f"leader_fallback_s {timings.leader_fallback_s} must be above heartbeat_s {timings.heartbeat_s}"
    return None
