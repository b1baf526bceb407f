"""Commands at the leader: one entry for all that wait, and each waiter is told the truth."""

import msgspec
import pytest

from cluster.errors import Unavailable
from cluster.limits import Limits
from metaraft.commands import (
    CreateBucket,
    Envelope,
    RaiseLevel,
    SetBucketSetting,
)
from metaraft.commits import SHORT_COMMANDS_MAX, Commits, Executed
from metaraft.model import Copies
from metaraft.results import (
    Done,
)
from metaraft.wire import NOT_AFTER_AHEAD_MS_MAX, decode_commit_answer, encode
from tests.metaraft.replies import Kept, batch_of, envelope

FAR = 1e9


def add(
    commits: Commits,
    body: bytes,
    *,
    deadline: float = FAR,
    level_max: int | None = 1,
    refusal: Unavailable | None = None,
) -> Kept:
    reply = Kept()
    commits.add(body, reply, deadline=deadline, state_time_ms=500, level=1, level_max=level_max, refusal=refusal)
    return reply


def result(revision: int) -> bytes:
    return encode(Done(revision))


def test_all_that_waits_becomes_one_entry_and_each_gets_its_own_result() -> None:
    commits = Commits(Limits())
    bodies = [envelope(number) for number in range(3)]
    replies = [add(commits, body) for body in bodies]
    (data,) = commits.take(777, 0.0, 9)
    assert batch_of(data) == (777, bodies)
    commits.proposed([(5, 2)], 1)
    assert commits.entries_in_flight == 1
    commits.executed(Executed(5, 2, [result(10), result(11), result(12)]))
    assert [reply.result for reply in replies] == [Done(10), Done(11), Done(12)]
    assert [decode_commit_answer(reply.body or b"").state_time_ms for reply in replies] == [777] * 3
    assert commits.pending == commits.entries_in_flight == 0


def test_an_entry_is_bounded_and_what_does_not_fit_goes_into_the_next() -> None:
    commits = Commits(Limits(entry_bytes_max=10_000))
    for number in range(25):
        add(commits, envelope(number, 1000))
    first, second = commits.take(1, 0.0, 2)
    assert len(first) <= 10_000
    assert len(second) <= 10_000
    commits.proposed([(5, 1), (6, 1)], 1)
    (third,) = commits.take(1, 0.0, 9)
    assert sum(len(batch_of(data)[1]) for data in (first, second, third)) == 25


def test_another_leaders_entry_in_its_place_means_that_it_did_not_happen() -> None:
    commits = Commits(Limits())
    reply = add(commits, envelope())
    commits.take(1, 0.0, 9)
    commits.proposed([(5, 2)], 1)
    commits.executed(Executed(5, 3, [result(1), result(2)]))
    assert reply.said == ("unavailable", "LeadershipLost")


def test_what_is_lost_with_leadership_depends_on_where_it_was() -> None:
    commits = Commits(Limits())
    committed = add(commits, envelope(1))
    commits.take(1, 0.0, 9)
    commits.proposed([(5, 2)], 1)
    in_log = add(commits, envelope(2))
    commits.take(1, 0.0, 9)
    commits.proposed([(6, 2)], 1)
    waiting = add(commits, envelope(3))
    commits.lost(5, leader=3)
    assert in_log.said == ("outcome_unknown", "LeadershipLost")
    assert waiting.said == ("unavailable", "NotLeader")
    assert waiting.failure is not None
    assert waiting.failure.detail == {"leader": "3"}
    assert committed.open
    commits.executed(Executed(5, 2, [result(9)]))
    assert committed.result == Done(9)
    assert commits.pending == 0


def test_a_batch_that_the_core_refused_is_in_no_log() -> None:
    commits = Commits(Limits())
    reply = add(commits, envelope())
    commits.take(1, 0.0, 9)
    commits.proposed([None], None)
    assert reply.said == ("unavailable", "NotLeader")
    assert reply.failure is not None
    assert reply.failure.detail == {}


def test_commands_past_their_deadline_are_not_proposed() -> None:
    commits = Commits(Limits())
    late, good = add(commits, envelope(1), deadline=5.0), add(commits, envelope(2), deadline=7.0)
    (data,) = commits.take(1, 6.0, 9)
    assert late.said == ("unavailable", "DeadlineExceeded")
    assert batch_of(data)[1] == [envelope(2)]
    commits.proposed([(5, 1)], 1)
    assert good.open
    assert commits.pending == 1


def test_only_so_many_commands_and_bytes_wait() -> None:
    commits = Commits(Limits(proposals_pending_max=2))
    replies = [add(commits, envelope(number)) for number in range(3)]
    assert [reply.open for reply in replies] == [True, True, False]
    assert replies[2].said == ("unavailable", "Overloaded")
    commits = Commits(Limits(proposals_pending_bytes_max=3000))
    replies = [add(commits, envelope(number, 1000)) for number in range(3)]
    assert [reply.open for reply in replies] == [True, True, False]
    commits.take(1, 0.0, 9)
    commits.proposed([(5, 1)], 1)
    assert add(commits, envelope(9, 1000)).open


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BadCommand"),
        (b"\xc1", "BadCommand"),
        (encode([1, 1, b"k" * 16, 1, {"type": "no_such"}]), "BadCommand"),
        (encode([1, 1, b"short", 1, {"type": "touch"}]), "BadCommand"),
        (envelope(version=0), "UnknownVersion"),
        (envelope(version=2), "UnknownVersion"),
        (envelope(not_after_ms=501 + NOT_AFTER_AHEAD_MS_MAX), "BadCommand"),
        (envelope(padding=2_000_000), "CommandTooLarge"),
        (encode(Envelope(1, 1, b"k" * 16, 1000, RaiseLevel(2))), "UnknownLevel"),
    ],
)
def test_what_apply_could_not_obey_never_enters_the_log(body: bytes, code: str) -> None:
    commits = Commits(Limits())
    assert add(commits, body).said == ("refused", code)
    assert not commits.waiting
    assert commits.pending == 0


def test_the_level_is_raised_by_operators_alone() -> None:
    commits = Commits(Limits())
    for level in (1, 2):
        body = encode(Envelope(1, 1, b"k" * 16, 1000, RaiseLevel(level)))
        assert add(commits, body, level_max=None).said == ("refused", "NotAnOperator")
        assert add(commits, body, level_max=2).open


def test_while_space_is_short_only_what_does_not_grow_passes() -> None:
    commits = Commits(Limits())
    full = Unavailable("LogFull", "full")
    grows = encode(Envelope(1, 1, b"k" * 16, 1000, CreateBucket("b", "o", Copies(3))))
    assert add(commits, grows, refusal=full).said == ("unavailable", "LogFull")
    assert add(commits, envelope(), refusal=full).open
    assert add(commits, grows).open


def test_while_space_is_short_an_entry_holds_few_commands() -> None:
    commits = Commits(Limits())
    commits.short = True
    for number in range(SHORT_COMMANDS_MAX + 1):
        add(commits, envelope(number))
    first, second = commits.take(1, 0.0, 2)
    assert [len(batch_of(data)[1]) for data in (first, second)] == [SHORT_COMMANDS_MAX, 1]


def test_what_waits_when_the_room_is_used_up_is_refused_and_did_not_happen() -> None:
    commits = Commits(Limits())
    replies = [add(commits, envelope(number)) for number in range(3)]
    commits.refuse_waiting(Unavailable("NoSpace", "full"))
    assert [reply.said for reply in replies] == [("unavailable", "NoSpace")] * 3
    assert (commits.pending, commits.waiting_bytes, commits.take(1, 0.0, 2)) == (0, 0, [])


def test_while_space_is_short_a_setting_is_removed_and_not_written() -> None:
    commits = Commits(Limits())
    full = Unavailable("NoSpace", "full")
    writes, removes = (
        encode(Envelope(1, 1, b"k" * 16, 1000, SetBucketSetting("b", "cors", value))) for value in (b"rules", None)
    )
    assert add(commits, writes, refusal=full).said == ("unavailable", "NoSpace")
    assert add(commits, removes, refusal=full).open


def test_envelopes_travel_on_as_they_came() -> None:
    commits = Commits(Limits())
    body = msgspec.msgpack.encode([1, 1, b"k" * 16, 1000, {"type": "touch", "padding": b"x", "later": 1}])
    add(commits, body)
    (data,) = commits.take(1, 0.0, 9)
    assert batch_of(data)[1] == [body]
