"""The Raft engine: PySyncObj's own class, with the methods overridden that are the fault.

What stays the library's: stepping down, and what `core_elections` leaves it.
What is replaced, and why:
* its handler of appends truncates entries that match, and its answers carry no term: `core_log.take`;
* its way of sending appends goes back with each answer, has no limit, and ends in dumps: `core_peers.Peer`;
* a new leader's no-op could be committed by its own vote before any sync: it is added after the tick;
* its commitment walks the log for each step, and its application of commands unpickles them: here an index rises, and
  who applies reads the log up to it;
* its changes of members are not used: `core_membership`.

Source: pysyncobj 0.3.17, `syncobj.py`; Ongaro and Ousterhout (2014); Ongaro's dissertation, 3.10 and 4.
"""

from pysyncobj.node import Node

from metaraft.core_elections import CANDIDATE, FOLLOWER, LEADER, Elector
from metaraft.core_library import clock
from metaraft.core_log import Accepted, BrokenInvariant, LostEntries, take
from metaraft.core_membership import Change, Standing, encode_change
from metaraft.core_messages import (
    Append,
    AppendAnswer,
    Forgot,
    Message,
    PreVote,
    PreVoteAnswer,
    RequestVote,
    TimeoutNow,
    VoteAnswer,
    asker_of,
)
from metaraft.core_peers import Peer


class Member(Elector):
    """One member's engine: elections, and what follows of them."""

    sequence = 0
    """The highest number of an append that was sent."""
    heartbeat_due = False
    transfer: int | None = None
    """The slot that leadership is being handed to."""
    _transfer_until = 0.0
    _won_term: int | None = None
    _noop_index = 0

    # ---- facts

    @property
    def commit(self) -> int:
        """Commit index."""
        return self._SyncObj__raftCommitIndex

    @property
    def may_read(self) -> bool:
        """Whether this leader knows all that was committed before it: an entry of its own term is."""
        return self.state == LEADER and self.commit >= self._noop_index

    def confirmed_since(self, sequence: int, *, without: int | None = None) -> bool:
        """Whether a majority, this leader included (and a slot perhaps not), answered appends numbered above it."""
        answered = (slot for slot, peer in self._voters.items() if peer.confirmed > sequence and slot != without)
        return 1 + sum(1 for _ in answered) >= self._majority

    def standing(self) -> Standing:
        """How this leader stands, for who asks it to change members."""
        of_late = clock.now - self._timings.election_timeout_max_s
        matches = {slot: peer.match for slot, peer in self.peers.items() if peer.heard_at >= of_late}
        return Standing(self.slot, self.may_read, self.commit, self.log.last_index, matches)

    def next_timer(self) -> float:
        """When the next timer runs out, if nothing else happens."""
        if self.state == LEADER:
            return self._SyncObj__newAppendEntriesTime
        if self._pre_votes is not None or self.state == CANDIDATE:
            return min(self._canvass_at, self._SyncObj__raftElectionDeadline)
        return self._SyncObj__raftElectionDeadline

    # ---- connections

    def connected(self, slot: int, connected: bool) -> None:
        """A member can be reached, or no longer."""
        peer = self.peers[slot]
        peer.connected = connected
        if connected:
            peer.reconnected(self.log.last_index)
            self._canvass_at = 0.0

    # ---- one step, in its order

    def receive(self, slot: int, incarnation: str, message: Message) -> None:
        """Take one message in, but for: any from no member or a retired one, and an answer that is for another
        incarnation, or not from the one that has the seat."""
        node, asker = self._nodes.get(slot), asker_of(message)
        if node is None or incarnation in self.seats.committed(self.commit).seats[slot].retired:
            return
        if asker is None or (asker == self._incarnation and self.membership.seated(slot, incarnation)):
            self.outbox.asker = incarnation
            self._SyncObj__onMessageReceived(node, message)

    def tick(self) -> None:
        """Timers, campaign, commitment, and stepping down."""
        if self.state == LEADER:
            self._advance_commit()
            if clock.now >= self._transfer_until:
                self.transfer = None
        else:
            self._maybe_begin_pre_vote()
        led = self.state == LEADER
        self.doTick(0.0)
        if led and self.state != LEADER:
            self._resign()
        self._cancel_campaign()
        if self._won_term is not None:
            if self._won_term == self.term and self.state == CANDIDATE:
                self._lead()
            self._won_term = None
        if self.state != LEADER:
            self.transfer = None
            self._canvass()

    def propose(self, data: bytes) -> tuple[int, int]:
        """Add an entry as the leader."""
        assert self.state == LEADER
        index = self.log.last_index + 1
        self.log.add(index, self.term, data)
        return index, self.term

    def change(self, change: Change) -> tuple[int, int]:
        """Add a change of members as the leader: in force at once."""
        data = encode_change(change)
        place = self.propose(data)
        self.seats.appended(*place, data)
        self._take_seats()
        return place

    def hand_over(self, slot: int) -> None:
        """Make a voter the leader: it is told to campaign once it has all of the log. Given up after a while."""
        self.transfer = slot
        self._transfer_until = clock.now + self._timings.election_timeout_max_s

    def _resign(self) -> None:
        """Nobody answered for too long, and this leader has stepped down. It may be heard all the same: then the voter
        in reach that has most of the log need not wait until it has heard nothing for an election timeout."""
        reachable = (peer for peer in self._voters.values() if peer.connected)
        heir = max(reachable, key=lambda peer: (peer.match, -peer.slot), default=None)
        if heir is not None:
            self.outbox.post(heir.slot, TimeoutNow(self.term))

    def send_appends(self, *, to_all: bool) -> None:
        """Send followers what they lack, and, if a heartbeat is due or `to_all`, something to each."""
        to_all = to_all or self.heartbeat_due
        self.heartbeat_due = False
        batches: dict[int, tuple[tuple[tuple[int, bytes], ...], int]] = {}
        for peer in self.peers.values():
            if not peer.connected:
                continue
            if peer.needs_snapshot(self.log):
                if to_all or peer.greet:
                    self._append(peer, self.log.last_index, (), 0)
                continue
            sent = False
            while peer.next <= self.log.last_index and peer.room():
                batch = batches.get(peer.next)
                if batch is None:
                    entries = self.log.entries(peer.next, self.log.last_index + 1, self._limits.append_bytes_max)
                    batch = tuple((e.term, e.data) for e in entries), sum(len(e.data) for e in entries)
                    batches[peer.next] = batch
                self._append(peer, peer.next - 1, *batch)
                sent = True
            if not sent and (to_all or peer.greet):
                self._append(peer, peer.next - 1, (), 0)
            if peer.slot == self.transfer and peer.match == self.log.last_index:
                self.outbox.post(peer.slot, TimeoutNow(self.term))

    # ---- messages

    def _SyncObj__onMessageReceived(self, node: Node, message: Message) -> None:  # noqa: N802
        match message:
            case Append():
                self._on_append(node, message)
            case AppendAnswer():
                self._on_append_answer(node, message)
            case PreVote():
                self._on_pre_vote(node.id, message)
            case PreVoteAnswer():
                self._on_pre_vote_answer(node.id, message)
            case RequestVote():
                self._on_request_vote(node, message)
            case VoteAnswer():
                self._on_vote_answer(node, message)
            case TimeoutNow():
                self._on_timeout_now(node.id, message)
            case Forgot():
                self._on_forgot(node.id, message)

    def _on_append(self, node: Node, message: Append) -> None:
        asker = self.outbox.asker
        if message.term < self.term:
            self.outbox.post(node.id, AppendAnswer(self.term, message.sequence, False, 0, 0, asker))
            return
        if message.term > self.term:
            self._adopt(message.term)
        if self.state == LEADER or self.leader not in (None, node.id):
            raise BrokenInvariant(f"slot {node.id} leads term {message.term}, and so does slot {self.leader}")
        self._pre_votes = None
        self._heard_leader = clock.now
        self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftLeader = node
        self._SyncObj__setState(FOLLOWER)
        taken = take(self.log, message, self.commit)
        if isinstance(taken, Accepted):
            before = self.membership
            self.seats.followed(self.log, message, self.commit)
            if self.membership is not before:
                self._take_seats()
            self._SyncObj__raftCommitIndex = max(self.commit, min(message.commit, taken.index))
            self.outbox.post(node.id, AppendAnswer(self.term, message.sequence, True, taken.index, 0, asker))
        else:
            self.outbox.post(node.id, AppendAnswer(self.term, message.sequence, False, taken.index, taken.term, asker))

    def _on_append_answer(self, node: Node, message: AppendAnswer) -> None:
        if message.term > self.term:
            self._adopt(message.term)
            return
        if message.term < self.term or self.state != LEADER:
            return
        peer = self.peers[node.id]
        if peer.answered(message, self.log):
            peer.heard_at = clock.now
            if node.id in self._voters:
                self._SyncObj__lastResponseTime[node] = clock.now
            if peer.forgot:
                match_term = self.log.term_at(peer.match) or 0
                self.outbox.post(node.id, Forgot(self.term, peer.incarnation, peer.match, match_term))

    def _on_forgot(self, slot: int, message: Forgot) -> None:
        """In one term a follower's log only grows, as far as it matches: what is missing of it was lost on the disk."""
        if (message.term, slot, message.incarnation) != (self.term, self.leader, self._incarnation):
            return
        kept = self.log.term_at(message.index)
        other = message.index_term != 0 and kept not in (None, message.index_term)  # 0: the leader has it no more
        if message.index > self.log.last_index or other:
            raise LostEntries(
                f"slot {self.slot} had acknowledged entry {message.index}, which its log up to {self.log.last_index} "
                "lacks: its folder was set back to an older copy, or its disk lost what was synced"
            )

    # ---- leading

    def _advance_commit(self) -> None:
        """A majority has it, and it is of this term: below the no-op nothing is committed by counting (figure 8).

        The leader itself counts with its last index: a step begins with all of it synced. The library's own rule finds
        nothing beyond: it counts by matches that it is never told.
        """
        matches = sorted([self.log.last_index, *(peer.match for peer in self._voters.values())], reverse=True)
        index = matches[self._majority - 1] if len(matches) >= self._majority else 0
        if index >= self._noop_index and index > self.commit:
            self._SyncObj__raftCommitIndex = index

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        self._won_term = self.term

    def _lead(self) -> None:
        self._cancel_pre_vote()
        for peer in self.peers.values():
            peer.follow(self.log.last_index)
        self._noop_index = self.log.last_index + 1
        super()._SyncObj__onBecomeLeader()

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        self._SyncObj__newAppendEntriesTime = clock.now + self._timings.heartbeat_s
        self.heartbeat_due = True

    def _append(self, peer: Peer, prev: int, entries: tuple[tuple[int, bytes], ...], size: int) -> None:
        self.sequence += 1
        prev_term = self.log.term_at(prev)
        assert prev_term is not None, prev
        peer.sent(self.sequence, prev, prev + len(entries), size)
        self.outbox.post(peer.slot, Append(self.term, self.sequence, self.commit, prev, prev_term, entries))

    # ---- what the library calls

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """Nothing: who applies reads the journal. (False: no appends are due for it.)"""
        return False

    def _checkCommandsToApply(self) -> None:  # noqa: N802
        """Nothing: commands come by `propose`, and are never forwarded."""

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        """Nothing: the log is cut by its owner, and no dump is made."""
