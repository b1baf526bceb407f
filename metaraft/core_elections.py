"""Elections: who may ask for votes, who gives one, and which count. One layer over PySyncObj's own class.

What stays the library's: states, terms and votes, the campaign and its count. What is replaced, and why:
* its election begins by raising the term: a pre-vote comes first;
* it counts votes per message, from anybody: voters only, each once, by the incarnation that has the seat;
* it obeys whoever has a newer term: who heard a leader of late does not, unless that leader hands over;
* it keeps silent to whom it refuses its vote: who asks learns the newest term;
* a stepping-down leader campaigns at once: its election timer starts anew.

Source: pysyncobj 0.3.17, `syncobj.py`; Ongaro and Ousterhout (2014); Ongaro's dissertation, 3.10, 4.2.3 and 9.6.
"""

import math
import random

from pysyncobj.node import Node

from cluster.limits import Limits, Timings
from metaraft.core_library import LibraryJournal, Outbox, clock, configuration, syncobj
from metaraft.core_log import Log
from metaraft.core_membership import Membership, Seats
from metaraft.core_messages import Message, PreVote, PreVoteAnswer, RequestVote, TimeoutNow, VoteAnswer
from metaraft.core_peers import Peer

FOLLOWER = syncobj._RAFT_STATE.FOLLOWER
CANDIDATE = syncobj._RAFT_STATE.CANDIDATE
LEADER = syncobj._RAFT_STATE.LEADER

_CAMPAIGN_NOW = -1.0
_TIMER_SLACK_S = 1e-6  # the library's clock advances while it is read


class Elector(syncobj.SyncObj):
    """A member as far as elections go. All times are those of the step; all that it says goes to `outbox`."""

    def __init__(
        self,
        *,
        slot: int,
        incarnation: str,
        membership: Membership,
        log: Log,
        applied: int,
        random: random.Random,
        timings: Timings,
        limits: Limits,
    ) -> None:
        self.slot = slot
        self.log = log
        self.outbox = Outbox()
        self.peers = {other: Peer(other) for other in sorted(membership.seats) if other != slot}
        self.seats = Seats(membership, log, applied)
        self._incarnation = incarnation
        self._majority = membership.majority
        self._nodes = {other: Node(other) for other in self.peers}
        self._random = random
        self._timings = timings
        self._limits = limits
        self._heard_leader = -math.inf
        self._votes: set[int] = set()
        self._pre_votes: set[int] | None = None
        self._pre_vote_round = 0
        self._canvass_at = 0.0
        self._transferred = False
        journal = LibraryJournal(log, applied)
        super().__init__(Node(slot), list(self._nodes.values()), configuration(journal, timings), transport=self.outbox)
        self._take_seats()

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
    def membership(self) -> Membership:
        """The seats in force."""
        return self.seats.current

    def _leader_is_there(self) -> bool:
        """Whether there was a leader less than the shortest election timeout ago."""
        return self.state == LEADER or clock.now - self._heard_leader < self._timings.election_timeout_min_s

    def _last(self) -> tuple[int, int]:
        """Index and term of the last entry."""
        return self.log.last_index, self._SyncObj__getCurrentLogTerm()

    def _up_to_date(self, last_index: int, last_term: int) -> bool:
        mine, my_term = self._last()
        return (last_term, last_index) >= (my_term, mine)

    # ---- the seats

    def _take_seats(self) -> None:
        """The seats in force changed. What was known of a slot's former incarnation is nothing worth."""
        seats = self.membership.seats
        self._seated = self.membership.seated(self.slot, self._incarnation)
        self._is_voter = self.membership.votes(self.slot, self._incarnation)
        self._voters = {slot: peer for slot, peer in self.peers.items() if seats[slot].voter}
        for slot, peer in self.peers.items():
            if peer.incarnation != seats[slot].incarnation:
                peer.incarnation = seats[slot].incarnation
                peer.follow(self.log.last_index)
                self._SyncObj__lastResponseTime[self._nodes[slot]] = -math.inf

    # ---- asking for votes

    def _maybe_begin_pre_vote(self) -> None:
        if not _CAMPAIGN_NOW < self._SyncObj__raftElectionDeadline <= clock.now + _TIMER_SLACK_S:
            return
        self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftLeader = None
        if not self._is_voter or not self._SyncObj__connectedToAnyone():
            return
        self._pre_vote_round += 1
        self._pre_votes = {self.slot}
        self._canvass_at = 0.0
        self._count_pre_votes()

    def _count_pre_votes(self) -> None:
        if self._pre_votes is not None and len(self._pre_votes) >= self._majority:
            self._campaign(transferred=False)

    def _campaign(self, *, transferred: bool) -> None:
        """Have the library campaign in this step's tick."""
        self._pre_votes = None
        self._votes = {self.slot}
        self._canvass_at = 0.0
        self._transferred = transferred
        self._SyncObj__raftElectionDeadline = _CAMPAIGN_NOW

    def _cancel_pre_vote(self) -> None:
        self._pre_votes = None
        self._cancel_campaign()

    def _cancel_campaign(self) -> None:
        """End what `_campaign` began, if the library has not (it does not while nobody can be reached)."""
        if self._SyncObj__raftElectionDeadline == _CAMPAIGN_NOW:
            self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()

    def _canvass(self) -> None:
        """Ask those that have not answered, again and again: requests and answers get lost."""
        if clock.now + _TIMER_SLACK_S < self._canvass_at:
            return
        request: Message
        if self._pre_votes is not None:
            asked = self._pre_votes
            request = PreVote(self.term, self._pre_vote_round, *self._last())
        elif self.state == CANDIDATE:
            asked = self._votes
            request = RequestVote(self.term, *self._last(), self._transferred)
        else:
            return
        self._canvass_at = clock.now + self._timings.heartbeat_s
        for peer in self.peers.values():
            if peer.connected and peer.slot not in asked:
                self.outbox.post(peer.slot, request)

    def _on_pre_vote_answer(self, slot: int, answer: PreVoteAnswer) -> None:
        if answer.term > self.term:
            self._adopt(answer.term)
            return
        mine = (answer.asked_term, answer.round) == (self.term, self._pre_vote_round)
        if mine and answer.granted and self._pre_votes is not None and slot in self._voters:
            self._pre_votes.add(slot)
            self._count_pre_votes()

    def _on_vote_answer(self, node: Node, answer: VoteAnswer) -> None:
        if answer.term > self.term:
            self._adopt(answer.term)
            return
        mine = answer.term == self.term and self.state == CANDIDATE
        if mine and answer.granted and node.id in self._voters and node.id not in self._votes:
            self._votes.add(node.id)
            super()._SyncObj__onMessageReceived(node, {"type": "response_vote", "term": answer.term})

    def _on_timeout_now(self, slot: int, message: TimeoutNow) -> None:
        if message.term == self.term and slot == self.leader and self._is_voter:
            self._campaign(transferred=True)

    # ---- being asked

    def _on_pre_vote(self, slot: int, asked: PreVote) -> None:
        granted = (
            asked.term >= self.term
            and self._seated
            and not self._leader_is_there()
            and self._up_to_date(asked.last_index, asked.last_term)
        )
        self.outbox.post(slot, PreVoteAnswer(self.term, asked.term, asked.round, granted, self.outbox.asker))

    def _on_request_vote(self, node: Node, message: RequestVote) -> None:
        if not self._seated or (message.term > self.term and self._leader_is_there() and not message.transfer):
            return
        if message.term > self.term:
            self._cancel_pre_vote()
        request = {
            "type": "request_vote",
            "term": message.term,
            "last_log_index": message.last_index,
            "last_log_term": message.last_term,
        }
        super()._SyncObj__onMessageReceived(node, request)
        given = VoteAnswer(message.term, True, self.outbox.asker)
        answered = self.outbox.messages and self.outbox.messages[-1] == (node.id, given)
        if not answered:  # the library keeps silent to whom it refuses, and to whom it has given its vote already
            voted = (message.term, node.id) == (self.term, self._SyncObj__votedForNodeId)
            # (looked at again: the slot may be another incarnation's than when it got the vote)
            granted = voted and self._up_to_date(message.last_index, message.last_term)
            self.outbox.post(node.id, VoteAnswer(self.term, granted, self.outbox.asker))

    def _adopt(self, term: int) -> None:
        """A newer term was seen."""
        self._cancel_pre_vote()
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    # ---- what the library calls

    def _SyncObj__setState(self, state: int) -> None:  # noqa: N802
        if self.state == LEADER and state != LEADER:
            self._SyncObj__raftElectionDeadline = clock.now + self._SyncObj__generateRaftTimeout()
        super()._SyncObj__setState(state)

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return self._random.uniform(self._timings.election_timeout_min_s, self._timings.election_timeout_max_s)

    def _SyncObj__connectedToAnyone(self) -> bool:  # noqa: N802
        return not self.peers or any(peer.connected for peer in self.peers.values())

    def _SyncObj__getCurrentLogIndex(self) -> int:  # noqa: N802
        return self.log.last_index

    def _SyncObj__getCurrentLogTerm(self) -> int:  # noqa: N802
        return self.log.term_at(self.log.last_index) or 0
