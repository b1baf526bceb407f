"""Planted faults: each takes one rule away, and the simulator must notice.

A mutant replaces an attribute while its context lasts, for all simulated members, and says what it breaks and where the
fault is known from: a row of the table of what the bare library does wrong (`library #N`), or the rule's source. They
are planted in the product's code. Two rules are kept by code around LMDB and threads, for which the simulator has
stand-ins: their faults are planted in `chaos.sim.database`, and show only that the judge sees what comes of them;
docs/simulation.md names the tests of the product's own code.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from pysyncobj.node import Node

from chaos.sim.database import _APPLIED_KEY, Database
from cluster.errors import TrilithError
from metaraft import attempts, commits, core_log, core_member, journal, journal_segments, machine, snapshot_install
from metaraft.core import Core, Ready
from metaraft.core_elections import CANDIDATE, LEADER, Elector
from metaraft.core_library import LibraryJournal, clock
from metaraft.core_log import Accepted, Conflict, Log
from metaraft.core_member import Member
from metaraft.core_messages import Append, AppendAnswer, Message, PreVote, RequestVote, VoteAnswer
from metaraft.core_peers import Peer
from metaraft.journal_disk import Disk
from metaraft.journal_records import RecordKind

type Wrap = Callable[[Any], Any]
"""Makes the faulty attribute of the right one."""


class Mutant(NamedTuple):
    """One planted fault: its name, what it breaks, where such a fault is known from, and how it is planted."""

    name: str
    breaks: str
    source: str
    owner: Any
    attribute: str
    wrap: Wrap
    also: tuple[tuple[Any, str, Wrap], ...] = ()
    """What else is replaced, where more than one rule keeps the fault away."""

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The fault is in the code while this lasts."""
        with contextlib.ExitStack() as stack:
            for owner, attribute, wrap in ((self.owner, self.attribute, self.wrap), *self.also):
                right = vars(owner)[attribute]
                stack.callback(setattr, owner, attribute, right)
                setattr(owner, attribute, wrap(right))
            yield


def _instead(wrong: Any) -> Wrap:
    return lambda _: wrong


# ---- the log


def _truncates_what_matches(log: Log, append: Append, committed: int) -> Accepted | Conflict:
    conflict = core_log._conflict(log, append, committed)
    if conflict is not None:
        return conflict
    if log.last_index > append.prev_index:
        log.truncate_from(append.prev_index + 1)
    for index, (term, data) in enumerate(append.entries, append.prev_index + 1):
        log.add(index, term, data)
    return Accepted(append.prev_index + len(append.entries))


def _compares_indices_alone(log: Log, append: Append, _committed: int) -> Accepted | Conflict:
    if append.prev_index > log.last_index:
        return Conflict(log.last_index, log.term_at(log.last_index) or 0)
    for index, (term, data) in enumerate(append.entries, append.prev_index + 1):
        if index > log.last_index:
            log.add(index, term, data)
    return Accepted(append.prev_index + len(append.entries))


def _commits_what_was_not_checked(right: Any) -> Any:
    def on_append(self: Member, node: Node, message: Append) -> None:
        right(self, node, message)
        if message.term == self.term:
            self._SyncObj__raftCommitIndex = max(self.commit, min(message.commit, self.log.last_index))

    return on_append


def _takes_answers_of_any_term(self: Member, node: Node, message: AppendAnswer) -> None:
    if message.term > self.term:
        self._adopt(message.term)
        return
    if self.state != LEADER:
        return
    peer = self.peers[node.id]
    if message.accepted:
        peer.match = max(peer.match, message.index)
        peer.next = max(peer.next, peer.match + 1)
        peer.probing = False
    peer.answered(message, self.log)
    self._SyncObj__lastResponseTime[node] = clock.now


def _forgets_the_hint(right: Any) -> Any:
    def answered(self: Peer, answer: AppendAnswer, log: Log) -> bool:
        counts: bool = right(self, answer, log)
        if not answer.accepted:
            self._probe(log.last_index + 1)
        return counts

    return answered


def _commits_by_counting(self: Member) -> None:
    matches = sorted([self.log.last_index, *(peer.match for peer in self._voters.values())], reverse=True)
    index = matches[self._majority - 1]
    if index > self.commit:
        self._SyncObj__raftCommitIndex = index


def _commits_alone(self: Member) -> None:
    if self.log.last_index >= self._noop_index:
        self._SyncObj__raftCommitIndex = max(self.commit, self.log.last_index)


def _counts_itself_before_its_sync(right: Any) -> Any:
    def propose(self: Member, data: bytes) -> tuple[int, int]:
        place: tuple[int, int] = right(self, data)
        self._advance_commit()
        return place

    return propose


def _restores_the_end_as_commit(self: LibraryJournal) -> int:
    return self._log.last_index


# ---- elections and reads


def _counts_votes_by_message(self: Elector, node: Node, answer: VoteAnswer) -> None:
    if answer.granted and answer.term == self.term and self.state == CANDIDATE:
        super(Elector, self)._SyncObj__onMessageReceived(node, {"type": "response_vote", "term": answer.term})


def _takes_logs_for_long(right: Any) -> Any:
    """Both comparisons must go: who is refused in the pre-vote never campaigns, so a vote alone that does not compare
    breaks little; and with the pre-vote's alone gone, whose log is shorter campaigns, and the vote refuses it."""

    def receive(self: Member, node: Node, message: Message) -> None:
        if isinstance(message, PreVote | RequestVote):
            message = msgspec.structs.replace(message, last_index=1 << 60, last_term=1 << 60)
        right(self, node, message)

    return receive


def _forgets_its_vote(right: Any) -> Any:
    def record(self: journal.Journal, kind: RecordKind, index: int, term: int, data: bytes = b"") -> int:
        at: int = right(self, kind, 0 if kind == RecordKind.VOTE else index, term, data)
        return at

    return record


# ---- journal and database


def _acknowledges_before_the_sync(right: Any) -> Any:
    def step(self: Core, **given: Any) -> Ready:
        ready: Ready = right(self, **given)
        return msgspec.structs.replace(ready, appends=[*ready.appends, *ready.messages], messages=[])

    return step


def _trusts_the_page_cache(disk: Disk, segment: journal_segments.Segment, _room: int) -> None:
    segment.fd = disk.open(segment.path)
    segment.allocated = disk.size(segment.fd)


def _leaves_the_torn_tail(right: Any) -> Any:
    def rewrite(disk: Disk, segment: journal_segments.Segment, room: int) -> None:
        fd = disk.open(segment.path)
        used = len(disk.read(fd, disk.size(fd), 0).rstrip(b"\0"))
        disk.close(fd)
        end, segment.end = segment.end, max(segment.end, used)
        if segment.end == end:
            right(disk, segment, room)
            return
        _trusts_the_page_cache(disk, segment, room)
        assert segment.fd is not None
        disk.fdatasync(segment.fd)

    return rewrite


def _ignores_a_failed_sync(right: Any) -> Any:
    def write(self: journal.Journal, batch: Any) -> None:
        with contextlib.suppress(OSError):
            right(self, batch)

    return write


def _applies_the_last_entry_again(right: Any) -> Any:
    """In the simulator's database: `metaraft.store` keeps rows and applied index together by a transaction of LMDB."""

    def open_again(self: Database, rows: Any, limits: Any) -> None:
        applied = int.from_bytes(rows.get(_APPLIED_KEY) or b"", "big")
        rows.put(_APPLIED_KEY, max(applied - 1, min(applied, 1)).to_bytes(8, "big"))
        right(self, rows, limits)

    return open_again


def _begins_anew_anywhere(right: Any) -> Any:
    """The journal's own refusal must go too: with it alone a member that takes such a copy does not start, and has lost
    nothing."""

    def reset(self: journal.Journal, index: int, term: int) -> None:
        if self.first_index < index <= self.last_index:
            self.truncate_from(index)
        right(self, index, term)

    return reset


def _says_synced_without(self: Database) -> int:
    """In the simulator's database: what `metaraft.server` asks for before a cut is a sync of LMDB."""
    return self.applied


# ---- commands


def _denies_what_is_uncertain(self: commits.Commits, commit: int, leader: int | None) -> None:
    waiting = [reply for _, _, reply in self._waiting]
    self._waiting.clear()
    self._waiting_bytes = 0
    self._fail(waiting, commits.not_leader(leader))
    for index in [index for index in self._in_flight if index > commit]:
        self._fail(self._in_flight.pop(index).replies, commits.not_leader(leader))


def _denies_what_it_sent(right: Any) -> Any:
    def final(self: attempts.Attempts, error: TrilithError | None) -> TrilithError:
        self.may_have_happened = False
        told: TrilithError = right(self, error)
        return told

    return final


MUTANTS = (
    Mutant(
        "truncates what matches",
        "a follower drops entries that match the leader's before it adds them again",
        "library, follower truncates matching entries",
        core_member,
        "take",
        _instead(_truncates_what_matches),
    ),
    Mutant(
        "acks without term",
        "a leader counts answers to another term's appends",
        "library, next_node_idx has no term",
        Member,
        "_on_append_answer",
        _instead(_takes_answers_of_any_term),
    ),
    Mutant(
        "commits unchecked",
        "an append that does not follow the log still advances the commit index",
        "library #1",
        Member,
        "_on_append",
        _commits_what_was_not_checked,
    ),
    Mutant(
        "forgets the hint",
        "refusals of pipelined appends overwrite where the logs may meet",
        "library #5",
        Peer,
        "answered",
        _forgets_the_hint,
    ),
    Mutant(
        "counts votes by message",
        "the same vote, arriving twice, counts twice",
        "library #6",
        Elector,
        "_on_vote_answer",
        _instead(_counts_votes_by_message),
    ),
    Mutant(
        "restores too high a commit",
        "after a restart all of the log counts as committed",
        "library #8",
        LibraryJournal,
        "getRaftCommitIndex",
        _instead(_restores_the_end_as_commit),
    ),
    Mutant(
        "counts itself unsynced",
        "a leader counts its own entry before it is on its disk",
        "library #8 and #18",
        Member,
        "propose",
        _counts_itself_before_its_sync,
    ),
    Mutant(
        "acks before the sync",
        "answers and votes leave before what they promise is on the disk",
        "Raft, figure 2: respond after updating stable storage",
        Core,
        "step",
        _acknowledges_before_the_sync,
    ),
    Mutant(
        "applies twice",
        "after a restart the last applied entry is applied once more",
        "library #9",
        Database,
        "__init__",
        _applies_the_last_entry_again,
    ),
    Mutant(
        "reads at a deposed leader",
        "reads are answered without asking a majority who leads",
        "library, no ReadIndex",
        Member,
        "confirmed_since",
        _instead(lambda *_: True),
    ),
    Mutant(
        "reads before its no-op",
        "a new leader answers reads before an entry of its own term is committed",
        "Ongaro's dissertation, 6.4",
        Member,
        "may_read",
        _instead(property(lambda self: self.state == LEADER)),
    ),
    Mutant(
        "forgets its vote",
        "the vote is not in the record of the term that is synced",
        "Raft, figure 2: votedFor is persistent",
        journal.Journal,
        "_record",
        _forgets_its_vote,
    ),
    Mutant(
        "trusts the page cache",
        "a restart takes what it reads for synced",
        "'Can Applications Recover from fsync Failures?' (ATC 2020)",
        journal_segments,
        "_rewrite",
        _instead(_trusts_the_page_cache),
    ),
    Mutant(
        "ignores a failed sync",
        "a write or fsync that fails is taken for done",
        "the same",
        journal.Journal,
        "_write",
        _ignores_a_failed_sync,
    ),
    Mutant(
        "leaves the torn tail",
        "records are added behind the torn end of a segment",
        "the journal's format",
        journal_segments,
        "_rewrite",
        _leaves_the_torn_tail,
    ),
    Mutant(
        "cuts what no database holds",
        "the log is cut below what is applied, not below what is durable",
        "library #3",
        Database,
        "sync",
        _instead(_says_synced_without),
    ),
    Mutant(
        "installs an older snapshot",
        "a copy of the database is taken though the member's own log goes beyond it",
        "library #2",
        snapshot_install,
        "require_beyond",
        _instead(lambda *_: None),
        ((journal.Journal, "reset", _begins_anew_anywhere),),
    ),
    Mutant(
        "answers before a commit",
        "a leader commits what only itself has",
        "Raft, 5.3",
        Member,
        "_advance_commit",
        _instead(_commits_alone),
    ),
    Mutant(
        "commits old terms by counting",
        "a leader commits entries of earlier terms by counting who has them",
        "Raft, figure 8",
        Member,
        "_advance_commit",
        _instead(_commits_by_counting),
    ),
    Mutant(
        "compares indices alone",
        "a follower does not compare the terms of entries",
        "Raft, 5.3",
        core_member,
        "take",
        _instead(_compares_indices_alone),
    ),
    Mutant(
        "votes for shorter logs",
        "votes and pre-votes are given without comparing the logs",
        "Raft, 5.4.1",
        Member,
        "_SyncObj__onMessageReceived",
        _takes_logs_for_long,
    ),
    Mutant(
        "forgets results",
        "no result is kept, so a repeated command is done again",
        "Ongaro's dissertation, 6.3",
        machine.Machine,
        "_keep",
        _instead(lambda *_: None),
    ),
    Mutant(
        "leader denies the uncertain",
        "a deposed leader says of commands in its log that they did not happen",
        "library #16",
        commits.Commits,
        "lost",
        _instead(_denies_what_is_uncertain),
    ),
    Mutant(
        "client denies the uncertain",
        "a client that got no answer says that its command did not happen",
        "library #16",
        attempts.Attempts,
        "_final",
        _denies_what_it_sent,
    ),
)
