"""The Raft engine: PySyncObj's own class, with the methods overridden that are the fault.

What stays the library's: states, terms and votes, the election and its count, the rule of commitment, stepping down,
the apply loop. What is replaced, and why:
* its handler of appends truncates entries that match, and its answers carry no term: `core_log.take`;
* its way of sending appends goes back with each answer, has no limit, and ends in dumps: `core_peers.Peer`;
* its election begins by raising the term: a pre-vote comes first;
* it counts votes per message, from anybody: members only, each once;
* a stepping-down leader campaigns at once: its election timer starts anew;
* a new leader's no-op could be committed by its own vote before any sync: it is added after the tick;
* its application of commands unpickles them: here they are only handed out.

Source: pysyncobj 0.3.17, `syncobj.py`; Ongaro and Ousterhout (2014); Ongaro's dissertation, 9.6.
"""

import random
from typing import Any

from pysyncobj.node import Node

from cluster.limits import Limits, Timings
from metaraft.core_library import LibraryJournal, Outbox, clock, configuration, syncobj
from metaraft.core_log import Accepted, BrokenInvariant, Log, take
from metaraft.core_messages import (
    Append,
    AppendAnswer,
    Message,
    PreVote,
    PreVoteAnswer,
    RequestVote,
    VoteAnswer,
)
from metaraft.core_peers import Peer
from metaraft.journal_records import Entry

FOLLOWER = syncobj._RAFT_STATE.FOLLOWER
CANDIDATE = syncobj._RAFT_STATE.CANDIDATE
LEADER = syncobj._RAFT_STATE.LEADER

_APPLY_ENTRIES_MAX = 1024
_CAMPAIGN_NOW = -1.0
_TIMER_SLACK_S = 1e-6  # the library's clock advances while it is read


class Member(syncobj.SyncObj):
    """One member's engine. All times are those of the step; all that it says goes to `outbox`."""

    def __init__(
        self,
        *,
        slot: int,
        slots: tuple[int, ...],
        log: Log,
        applied: int,
        random: random.Random,
        timings: Timings,
        limits: Limits,
    ) -> None:
        self.slot = slot
        self.log = log
        self.outbox = Outbox()
        self.peers = {other: Peer(other) for other in sorted(slots) if other != slot}
        self.committed: list[Entry] = []
        self.heartbeat_due = False
        self.leadership_lost = False
        self.sequence = 0
        self._nodes = {other: Node(other) for other in self.peers}
        self._random = random
        self._timings = timings
        self._limits = limits
        self._majority = len(slots) // 2 + 1
        self._heard_leader = -timings.election_timeout_min_s + clock.now
        self._votes: set[int] = set()
        self._pre_votes: set[int] | None = None
        self._pre_vote_round = 0
        self._canvass_at = 0.0
        self._won_term: int | None = None
        self._noop_index = 0
        journal = LibraryJournal(log, applied)
        super().__init__(Node(slot), list(self._nodes.values()), configuration(journal, timings), transport=self.outbox)
        self._SyncObj__raftLastApplied = applied

    # ---- facts

    @property
    def state(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER."""
        return self._SyncObj__raftState

    @property
    def term(self) -> int:
        """Current term."""
        return self._SyncObj__raftCurrentTerm

    @property
    def leader(self) -> int | None:
        """The slot known to lead in this term."""
        node = self._SyncObj__raftLeader
        return None if node is None else node.id

    @property
    def commit(self) -> int:
        """Commit index."""
        return self._SyncObj__raftCommitIndex

    @property
    def handed_out(self) -> int:
        """Index up to which committed entries were handed out to be applied."""
        return self._SyncObj__raftLastApplied

    @property
    def may_read(self) -> bool:
        """Whether this leader knows all that was committed before it: an entry of its own term is."""
        return self.state == LEADER and self.commit >= self._noop_index

    def confirmed_since(self, sequence: int) -> bool:
        """Whether a majority, this leader included, answered appends numbered above `sequence`."""
        return 1 + sum(peer.confirmed > sequence for peer in self.peers.values()) >= self._majority

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
        if not connected:
            self.outbox.disconnect(self._nodes[slot])
            return
        self.outbox.connect(self._nodes[slot])
        peer.reconnected(self.log.last_index)
        self._canvass_at = 0.0

    # ---- one step, in its order

    def receive(self, slot: int, message: Message) -> None:
        """Take one message in; one that is not from a member is dropped."""
        node = self._nodes.get(slot)
        if node is not None:
            self._SyncObj__onMessageReceived(node, message)

    def tick(self) -> None:
        """Timers, campaign, commitment, stepping down, and the next slice of what is to be applied."""
        if self.state == LEADER:
            self._advance_commit()
        elif _CAMPAIGN_NOW < self._SyncObj__raftElectionDeadline <= clock.now + _TIMER_SLACK_S:
            self._begin_pre_vote()
        if self.handed_out < self.log.first_index - 1:  # who cut the log has applied what is gone
            self._SyncObj__raftLastApplied = self.log.first_index - 1
        self.doTick(0.0)
        if self._SyncObj__raftElectionDeadline == _CAMPAIGN_NOW:  # nobody can be reached
            self._cancel_pre_vote()
        if self._won_term is not None:
            if self._won_term == self.term and self.state == CANDIDATE:
                self._lead()
            self._won_term = None
        if self.state != LEADER:
            self._canvass()

    def propose(self, data: bytes) -> tuple[int, int]:
        """Add an entry as the leader."""
        assert self.state == LEADER
        index = self.log.last_index + 1
        self.log.add(index, self.term, data)
        return index, self.term

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

    # ---- elections

    def _begin_pre_vote(self) -> None:
        self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftLeader = None
        if not self._SyncObj__connectedToAnyone():
            return
        self._pre_vote_round += 1
        self._pre_votes = {self.slot}
        self._canvass_at = 0.0
        self._count_pre_votes()

    def _count_pre_votes(self) -> None:
        if self._pre_votes is not None and len(self._pre_votes) >= self._majority:
            self._pre_votes = None
            self._votes = {self.slot}
            self._canvass_at = clock.now + self._timings.heartbeat_s
            self._SyncObj__raftElectionDeadline = _CAMPAIGN_NOW

    def _cancel_pre_vote(self) -> None:
        self._pre_votes = None
        if self._SyncObj__raftElectionDeadline == _CAMPAIGN_NOW:
            self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()

    def _canvass(self) -> None:
        """Ask those again that have not answered: requests and answers get lost."""
        if clock.now < self._canvass_at:
            return
        last_index = self.log.last_index
        last_term = self.log.term_at(last_index) or 0
        request: Message
        if self._pre_votes is not None:
            asked = self._pre_votes
            request = PreVote(self.term, self._pre_vote_round, last_index, last_term)
        elif self.state == CANDIDATE:
            asked = self._votes
            request = RequestVote(self.term, last_index, last_term)
        else:
            return
        self._canvass_at = clock.now + self._timings.heartbeat_s
        for peer in self.peers.values():
            if peer.connected and peer.slot not in asked:
                self.outbox.post(peer.slot, request)

    def _up_to_date(self, last_index: int, last_term: int) -> bool:
        mine = self.log.last_index
        return (last_term, last_index) >= (self.log.term_at(mine) or 0, mine)

    def _adopt(self, term: int) -> None:
        """A newer term was seen."""
        self._cancel_pre_vote()
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    # ---- messages

    def _SyncObj__onMessageReceived(self, node: Node, message: Message) -> None:  # noqa: N802
        slot: int = node.id
        match message:
            case Append():
                self._on_append(node, message)
            case AppendAnswer():
                self._on_append_answer(node, message)
            case PreVote(term, number, last_index, last_term):
                granted = (
                    term >= self.term
                    and self.state != LEADER
                    and clock.now - self._heard_leader >= self._timings.election_timeout_min_s
                    and self._up_to_date(last_index, last_term)
                )
                self.outbox.post(slot, PreVoteAnswer(self.term, term, number, granted))
            case PreVoteAnswer(term, asked_term, number, granted):
                if term > self.term:
                    self._adopt(term)
                elif granted and asked_term == self.term and number == self._pre_vote_round and self._pre_votes:
                    self._pre_votes.add(slot)
                    self._count_pre_votes()
            case RequestVote():
                self._on_request_vote(node, message)
            case VoteAnswer(term, granted):
                if term > self.term:
                    self._adopt(term)
                elif granted and term == self.term and self.state == CANDIDATE and slot not in self._votes:
                    self._votes.add(slot)
                    super()._SyncObj__onMessageReceived(node, {"type": "response_vote", "term": term})

    def _on_request_vote(self, node: Node, message: RequestVote) -> None:
        if message.term > self.term:
            self._cancel_pre_vote()
        request = {
            "type": "request_vote",
            "term": message.term,
            "last_log_index": message.last_index,
            "last_log_term": message.last_term,
        }
        super()._SyncObj__onMessageReceived(node, request)
        answered = self.outbox.messages and self.outbox.messages[-1] == (node.id, VoteAnswer(message.term, True))
        if not answered:  # the library keeps silent to whom it refuses, and to whom it has given its vote already
            voted = message.term == self.term and self._SyncObj__votedForNodeId == node.id
            self.outbox.post(node.id, VoteAnswer(self.term, voted))

    def _on_append(self, node: Node, message: Append) -> None:
        if message.term < self.term:
            self.outbox.post(node.id, AppendAnswer(self.term, message.sequence, False, 0))
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
            self._SyncObj__raftCommitIndex = max(self.commit, min(message.commit, taken.index))
            answer = AppendAnswer(self.term, message.sequence, True, taken.index)
        else:
            answer = AppendAnswer(self.term, message.sequence, False, taken.index, taken.term)
        self.outbox.post(node.id, answer)

    def _on_append_answer(self, node: Node, message: AppendAnswer) -> None:
        if message.term > self.term:
            self._adopt(message.term)
            return
        if message.term < self.term or self.state != LEADER:
            return
        peer = self.peers[node.id]
        if peer.answered(message, self.log):
            self._SyncObj__lastResponseTime[node] = clock.now
            self._SyncObj__raftNextIndex[node] = peer.next
            if peer.match >= self._noop_index:  # below it nothing may be committed by counting
                self._SyncObj__raftMatchIndex[node] = peer.match

    # ---- leading

    def _advance_commit(self) -> None:
        """The library's rule, without its walk over the log: a majority has it, and it is of this term.

        The leader itself counts with its last index: a step begins with all of it synced.
        """
        matches = sorted([self.log.last_index, *(peer.match for peer in self.peers.values())])
        index = matches[len(matches) - self._majority]
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

    def _SyncObj__setState(self, state: int) -> None:  # noqa: N802
        if self.state == LEADER and state != LEADER:
            self.leadership_lost = True
            self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()
        super()._SyncObj__setState(state)

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return self._random.uniform(self._timings.election_timeout_min_s, self._timings.election_timeout_max_s)

    def _SyncObj__getCurrentLogIndex(self) -> int:  # noqa: N802
        return self.log.last_index

    def _SyncObj__getCurrentLogTerm(self) -> int:  # noqa: N802
        return self.log.term_at(self.log.last_index) or 0

    def _SyncObj__getEntries(  # noqa: N802
        self, first: int, count: int | None = None, bytes_max: int | None = None
    ) -> list[tuple[Entry, int, int]]:
        """A bounded slice of the log: where the library has a command, the entry itself stands."""
        stop = min(self.log.last_index + 1, first + min(count or _APPLY_ENTRIES_MAX, _APPLY_ENTRIES_MAX))
        if stop <= first:
            return []
        entries = self.log.entries(first, stop, bytes_max or self._limits.append_bytes_max)
        return [(entry, entry.index, entry.term) for entry in entries]

    def _checkCommandsToApply(self) -> None:  # noqa: N802
        """Nothing: commands come by `propose`, and are never forwarded."""

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        """Nothing: the log is cut by its owner, and no dump is made."""

    def _SyncObj__doApplyCommand(self, entry: Any) -> None:  # noqa: N802
        self.committed.append(entry)
