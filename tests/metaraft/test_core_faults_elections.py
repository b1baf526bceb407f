"""What PySyncObj 0.3.17 does in elections and with time, shown on the bare library, and not to happen behind the guard.

Each story is told twice: `bare` must fail in the way that is known, `guarded` must hold. The whole list of faults, with
the tests that cover each, is in `test_core_faults.py`.
"""

from cluster.limits import Timings
from metaraft.core_messages import Append, AppendAnswer, PreVote, PreVoteAnswer, RequestVote, TimeoutNow, VoteAnswer
from tests.metaraft.bare import (
    CANDIDATE,
    FOLLOWER,
    ROUND_S,
    Cluster,
    GuardedCluster,
    bare_cluster,
    drop,
    elect,
    node_of,
    settle,
)

# ---- no pre-vote


def _deaf(cluster: Cluster, deaf: int, duration_s: float) -> float:
    """One member hears nothing, and is heard. Returns the share of time in which the others had one leader."""
    elect(cluster, 0, 1, 2)
    cluster.release_elections()
    drop(cluster, *range(3))
    with_leader = 0
    steps = round(duration_s / 0.02)
    for _ in range(steps):
        cluster.now += 0.02
        for slot in range(3):
            cluster.tick(slot)
        for pair in [pair for pair in cluster.queues if pair[1] == deaf]:
            cluster.queues[pair].clear()
        for sender, to in list(cluster.queues):
            cluster.deliver(sender, to)
        with_leader += [cluster.leads(slot) for slot in (0, 1)].count(True) == 1
    return with_leader / steps


def test_bare_deaf_member_raises_term_after_term() -> None:
    with bare_cluster(3) as cluster:
        assert _deaf(cluster, 2, 60.0) < 0.99
        assert cluster.term(0) > 20


def test_guarded_deaf_member_disturbs_nobody() -> None:
    cluster = GuardedCluster(3)
    assert _deaf(cluster, 2, 60.0) == 1.0
    assert [cluster.term(slot) for slot in range(3)] == [1, 1, 1]


# ---- a leader that is heard and hears nobody


def _deaf_leader(cluster: Cluster, duration_s: float) -> float:
    """The leader hears nothing, and is heard. Returns how long it takes until another leads, at most that long."""
    elect(cluster, 0, 1, 2)
    cluster.release_elections()
    drop(cluster, *range(3))
    began = cluster.now
    while not (cluster.leads(1) or cluster.leads(2)) and cluster.now - began < duration_s:
        cluster.now += 0.02
        for slot in range(3):
            cluster.tick(slot)
        for sender, to in list(cluster.queues):
            if to == 0:
                cluster.queues[sender, to].clear()
            else:
                cluster.deliver(sender, to)
    return cluster.now - began


def test_bare_leader_that_hears_nobody_is_obeyed_on_and_on() -> None:
    with bare_cluster(3) as cluster:
        assert _deaf_leader(cluster, 25.0) >= 25.0


def test_guarded_leader_that_hears_nobody_steps_down_and_is_replaced_at_once() -> None:
    cluster = GuardedCluster(3)
    took = _deaf_leader(cluster, 25.0)
    assert took <= Timings().leader_fallback_s + 0.2  # and no election timeout after that
    assert {cluster.term(slot) for slot in (1, 2)} == {2}


def test_guarded_leader_that_steps_down_hands_over_to_whom_it_can_still_reach() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    settle(cluster, 0, 1, 2)
    cluster.cores[0].peer_disconnected(1)  # which has as much of the log, and would come first
    cluster.now += Timings().leader_fallback_s + Timings().heartbeat_s
    ready = cluster.step(0)
    assert ready.status.state == "follower"
    assert [slot for slot, message in (*ready.appends, *ready.messages) if isinstance(message, TimeoutNow)] == [2]


def test_guarded_pre_vote_is_refused_by_who_hears_a_leader_and_by_who_has_more() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.propose(0, 1)
    settle(cluster, 0, 1)  # 2 has the no-op alone
    drop(cluster, 2)
    asked = PreVote(1, 1, 3, 1)

    def answer(slot: int, request: PreVote) -> PreVoteAnswer:
        [(_, message)] = cluster.step(slot, inbox=((2, request),)).messages
        assert isinstance(message, PreVoteAnswer)
        return message

    assert not answer(1, asked).granted  # it has just heard from the leader
    cluster.now += Timings().election_timeout_min_s
    assert answer(1, asked) == PreVoteAnswer(1, 1, 1, True, "2.0")
    assert not answer(1, PreVote(1, 1, 2, 1)).granted  # a shorter log
    assert not answer(1, PreVote(1, 1, 9, 0)).granted  # an older one
    assert answer(1, PreVote(0, 1, 3, 1)) == PreVoteAnswer(1, 0, 1, False, "2.0")  # an older term: here is the newer
    assert cluster.term(1) == 1
    assert cluster.journals[1].voted_for == 0


# ---- two leaders, and reads without a majority


def _cut_off(cluster: Cluster) -> None:
    """0 leads and is cut off; the others elect 1, which commits a value that 0 does not know."""
    elect(cluster, 0, 1, 2)
    drop(cluster, 0)
    elect(cluster, 1, 2)
    cluster.propose(1, 7)
    settle(cluster, 1, 2)
    assert cluster.acknowledged == [7]


def test_bare_cut_off_leader_leads_on_and_reads_what_is_old() -> None:
    with bare_cluster(3) as cluster:
        _cut_off(cluster)
        settle(cluster, 0, rounds=round(25.0 / ROUND_S))
        assert cluster.leads(0)
        assert cluster.leads(1)
        assert cluster.values(0) == []  # all that a read can ask


def test_guarded_cut_off_leader_confirms_no_read_and_steps_down() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    asked = cluster.step(0, reads=1)
    drop(cluster, 0)
    assert asked.read_round is not None
    assert asked.reads_confirmed == []
    began = cluster.now
    while cluster.leads(0):
        cluster.now += 0.01
        ready = cluster.step(0)
        assert ready.reads_confirmed == []
    assert cluster.now - began <= Timings().leader_fallback_s + Timings().heartbeat_s
    assert cluster.step(0, reads=1).read_round is None
    drop(cluster, 0)
    elect(cluster, 0, 1, 2)
    asked_again = cluster.step(0, reads=1).read_round
    settle(cluster, 0, 1, 2)
    assert asked_again not in (None, asked.read_round)  # the one of before is lost: it is never confirmed


def test_guarded_reads_need_answers_to_what_was_sent_after_they_were_asked() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    drop(cluster, *range(3))
    cluster.propose(0, 1)
    cluster.deliver(0, 1)  # its answer is on its way when the reads are asked
    first = cluster.step(0, reads=3)
    assert [type(message) for _, message in first.appends] == [Append, Append]
    later = cluster.step(0, reads=1)
    assert later.read_round == (first.read_round or 0) + 1
    assert later.appends == later.messages == []  # one round at a time
    settle(cluster, 0, rounds=0)
    stale = cluster.queues[1, 0].popleft()
    assert cluster.step(0, inbox=((1, stale),)).reads_confirmed == []
    cluster.deliver(0, 1)
    inbox = tuple((1, message) for message in cluster.queues[1, 0])
    confirmed = cluster.step(0, inbox=inbox)
    assert [(read.round, read.index) for read in confirmed.reads_confirmed] == [(first.read_round, 2)]
    assert len(confirmed.appends) == 2  # the next round begins at once
    cluster.queues[1, 0].clear()
    cluster.deliver(0, 1)
    inbox = tuple((1, message) for message in cluster.queues[1, 0])
    confirmed = cluster.step(0, inbox=inbox)
    assert [(read.round, read.index) for read in confirmed.reads_confirmed] == [(later.read_round, 3)]


def test_guarded_new_leader_reads_only_after_its_own_entry_is_committed() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    drop(cluster, 0)
    cluster.now += 2.0
    cluster.campaign(1)
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)  # pre-votes
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)  # votes
    assert cluster.leads(1)
    asked = cluster.step(1, reads=1)
    heartbeat = Append(2, 10**6, 2, 2, 1)
    cluster.step(2, inbox=((1, heartbeat),))
    drop(cluster, 1)
    assert asked.read_round is not None
    assert asked.reads_confirmed == []
    assert cluster.step(1).reads_confirmed == []
    settled = [cluster.step(1).reads_confirmed]
    for _ in range(6):
        cluster.now += ROUND_S
        cluster.tick(1)
        cluster.deliver(1, 2)
        inbox = tuple((2, message) for message in cluster.queues[2, 1])
        cluster.queues[2, 1].clear()
        settled.append(cluster.step(1, inbox=inbox).reads_confirmed)
    [read] = [read for reads in settled for read in reads]
    assert (read.round, read.index) == (asked.read_round, 3)


# ---- votes are counted by message, from anybody (row 6)


def test_bare_candidate_is_elected_by_one_voter_twice_and_by_strangers() -> None:
    with bare_cluster(5) as cluster:
        cluster.campaign(0)
        vote = {"type": "response_vote", "term": 1}
        for _ in range(2):
            cluster.members[0].transport.receive(node_of(1), vote)
        assert cluster.leads(0)
        cluster.campaign(3)
        for name in (8, 9):
            cluster.members[3].transport.receive(node_of(name), {"type": "response_vote", "term": cluster.term(3)})
        assert cluster.leads(3)


def test_guarded_candidate_counts_members_once() -> None:
    cluster = GuardedCluster(5)
    cluster.campaign(0)
    granted = PreVoteAnswer(0, 0, 1, True)
    cluster.step(0, inbox=((1, granted), (1, granted), (8, granted), (9, granted)))
    assert cluster.term(0) == 0
    cluster.step(0, inbox=((2, granted),))
    assert cluster.term(0) == 1
    vote = VoteAnswer(1, True)
    cluster.step(0, inbox=((1, vote), (1, vote), (8, vote), (9, vote), (2, VoteAnswer(1, False))))
    assert cluster.cores[0].status.state == "candidate"
    cluster.step(0, inbox=((2, vote),))
    assert cluster.leads(0)


# ---- silence where an answer helps (row 7)


def test_bare_member_answers_no_repeated_and_no_stale_request() -> None:
    with bare_cluster(3) as cluster:
        request = {"type": "request_vote", "term": 5, "last_log_index": 1, "last_log_term": 0}
        for _ in range(3):
            cluster.members[1].transport.receive(node_of(0), request)
        cluster.members[1].transport.receive(node_of(2), {**request, "term": 4})
        heartbeat = {"type": "append_entries", "term": 4, "commit_index": 1, "prevLogIdx": 1, "prevLogTerm": 0}
        cluster.members[1].transport.receive(node_of(2), heartbeat)
        assert len(cluster.queues[1, 0]) == 1
        assert not cluster.queues[1, 2]


def test_guarded_member_answers_each_request_with_the_newest_term() -> None:
    cluster = GuardedCluster(3)
    request = RequestVote(5, 1, 0)
    for _ in range(3):
        assert cluster.step(1, inbox=((0, request),)).messages == [(0, VoteAnswer(5, True, "0.0"))]
    assert cluster.step(1, inbox=((2, request),)).messages == [(2, VoteAnswer(5, False, "2.0"))]
    assert cluster.step(1, inbox=((2, RequestVote(4, 1, 0)),)).messages == [(2, VoteAnswer(5, False, "2.0"))]
    stale = cluster.step(1, inbox=((2, Append(4, 77, 1, 1, 0)),)).messages
    assert stale == [(2, AppendAnswer(5, 77, False, 0, 0, "2.0"))]
    cluster.step(2, inbox=((1, stale[0][1]),))
    assert cluster.term(2) == 5


def test_guarded_candidate_asks_again_until_it_is_answered() -> None:
    cluster = GuardedCluster(3)
    cluster.campaign(0)
    drop(cluster, 0)  # the first requests are lost
    cluster.now += Timings().heartbeat_s
    cluster.tick(0)
    cluster.deliver(0, 1)
    cluster.deliver(1, 0)
    drop(cluster, 0)
    cluster.now += Timings().heartbeat_s
    cluster.tick(0)
    assert cluster.queues[0, 1][-1] == RequestVote(1, 1, 0)
    cluster.deliver(0, 1)
    cluster.deliver(1, 0)
    assert cluster.leads(0)


# ---- a leader that steps down campaigns at once (row 17)


def test_bare_leader_that_steps_down_raises_the_term_in_its_next_tick() -> None:
    with bare_cluster(3, leaderFallbackTimeout=2.0) as cluster:
        elect(cluster, 0, 1, 2)
        cluster.release_elections()
        cluster.now += 3.0
        cluster.tick(0)
        assert cluster.members[0]._SyncObj__raftState == FOLLOWER
        cluster.tick(0)
        assert cluster.members[0]._SyncObj__raftState == CANDIDATE
        assert cluster.term(0) == 2


def test_guarded_leader_that_steps_down_waits_and_asks_first() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    cluster.release_elections()
    cluster.now += 3.0
    cluster.tick(0)
    assert cluster.cores[0].status.state == "follower"
    drop(cluster, 0)
    cluster.tick(0)
    assert not cluster.queues[0, 1]
    waits = cluster.cores[0].next_wakeup(cluster.now)
    assert Timings().election_timeout_min_s <= waits - cluster.now <= Timings().election_timeout_max_s
    cluster.now = waits
    cluster.tick(0)
    assert [type(message) for message in cluster.queues[0, 1]] == [PreVote]
    assert cluster.term(0) == 1


# ---- the timer is looked at before the inbox is read; all is applied in one tick (row 20)


def test_bare_member_campaigns_while_its_leaders_heartbeat_waits_unread() -> None:
    with bare_cluster(3) as cluster:
        elect(cluster, 0, 1, 2)
        drop(cluster, *range(3))
        cluster.release_elections()
        cluster.now += 5.0  # the process stood still
        cluster.tick(0)
        heartbeat = {"type": "append_entries", "term": 1, "commit_index": 2, "prevLogIdx": 2, "prevLogTerm": 1}
        cluster.arrived[1].append((0, heartbeat))
        cluster.tick(1)
        assert cluster.term(1) == 2


def test_guarded_member_reads_its_inbox_first() -> None:
    cluster = GuardedCluster(3)
    elect(cluster, 0, 1, 2)
    drop(cluster, *range(3))
    cluster.release_elections()
    cluster.now += 5.0
    ready = cluster.step(1, inbox=((0, Append(1, 10**6, 2, 2, 1)),))
    assert [type(message) for _, message in ready.messages] == [AppendAnswer]
    assert cluster.cores[1].status.leader == 0


def _backlog(cluster: Cluster, entries: int) -> None:
    """0 leads and has entries that it may commit as soon as it hears 1's answers."""
    elect(cluster, 0, 1, 2)
    drop(cluster, *range(3))
    for value in range(entries):
        cluster.propose(0, value)
    settle(cluster, 0, rounds=1)
    cluster.deliver(0, 1)


def test_bare_member_applies_its_whole_backlog_in_one_tick() -> None:
    with bare_cluster(3, appendEntriesBatchSizeBytes=2**20) as cluster:
        _backlog(cluster, 5000)
        cluster.deliver(1, 0)
        cluster.tick(0)
        assert len(cluster.values(0)) == 5000


def test_guarded_member_commits_its_backlog_as_an_index_and_has_nothing_to_do_for_it() -> None:
    cluster = GuardedCluster(3)
    _backlog(cluster, 5000)
    while cluster.queues[1, 0]:
        cluster.deliver(1, 0)
        cluster.deliver(0, 1)
    assert cluster.values(0) == list(range(5000))
    assert cluster.cores[0].next_wakeup(cluster.now) > cluster.now
