"""What becomes of a change of members, or of the leader, that was asked of a leader: told once, and truly."""

from cluster.errors import OutcomeUnknown, Unavailable
from metaraft.changes import CONFIRM_S, Changes
from metaraft.commits import Executed
from metaraft.core import Admit, Ready, Retire
from metaraft.core_messages import AppendAnswer
from tests.metaraft.bare import GuardedCluster, elect
from tests.metaraft.replies import Kept


class Leader:
    """Slot 0 of three, which leads, and what was asked of it."""

    def __init__(self) -> None:
        self.cluster = GuardedCluster(3)
        elect(self.cluster, 0, 1, 2)
        self.changes = Changes(self.cluster.cores[0])
        self._told = len(self.cluster.committed[0])

    def retire(self, slot: int = 2) -> Kept:
        """Ask for a retirement."""
        reply = Kept()
        self.changes.change(Retire(slot, f"{slot}.1"), reply, self.cluster.now)
        return reply

    def move(self, slot: int) -> Kept:
        """Ask for another leader."""
        reply = Kept()
        self.changes.move(slot, reply, self.cluster.now)
        return reply

    def turn(self) -> Ready:
        """A turn of the Ready loop."""
        due = self.changes.due(self.cluster.now)
        ready = self.cluster.step(0, change=due)
        self.changes.proposed(due, ready.changed, ready.status)
        self._execute()
        return ready

    def _execute(self) -> None:
        for entry in self.cluster.committed[0][self._told :]:
            self._told += 1
            self.changes.executed(Executed(entry.index, entry.term, ()))

    def rounds(self, count: int, *others: int) -> None:
        """Turns, and what the others say to them."""
        for _ in range(count):
            self.cluster.now += 0.11
            self.turn()
            for other in others:
                self.cluster.deliver(0, other)
                answers = tuple((other, message) for message in self.cluster.queues[other, 0])
                self.cluster.queues[other, 0].clear()
                due = self.changes.due(self.cluster.now)
                ready = self.cluster.step(0, inbox=answers, change=due)
                self.changes.proposed(due, ready.changed, ready.status)
                self._execute()


def failure(reply: Kept) -> Unavailable | OutcomeUnknown:
    """What it was refused by."""
    assert isinstance(reply.failure, Unavailable | OutcomeUnknown)
    return reply.failure


def test_a_change_is_answered_when_it_is_executed() -> None:
    leader = Leader()
    reply = leader.retire()
    assert leader.turn().changed is None  # nobody has answered since
    assert reply.open
    leader.rounds(4, 1)
    assert reply.body == b""
    assert not leader.cluster.cores[0].status.membership.seats[2].voter


def test_a_slot_is_not_retired_while_those_that_would_be_left_are_silent() -> None:
    leader = Leader()
    before = leader.cluster.journals[0].last_index
    reply = leader.retire()  # slot 1 was heard a moment ago, and is dead now
    leader.rounds(int(CONFIRM_S / 0.11) + 1, 2)
    assert failure(reply).code == "CostsQuorum"
    assert leader.cluster.journals[0].last_index == before
    assert leader.cluster.leads(0)


def test_changes_and_moves_are_asked_one_at_a_time() -> None:
    leader = Leader()
    first, second = leader.retire(2), leader.retire(1)
    assert first.open
    assert failure(second).code == "ChangeUnderWay"
    assert str(second.failure) == "the retirement of slot 1 was not begun: the retirement of slot 2 is under way"
    leader.rounds(4, 1)
    assert not first.open
    moved, again, retired = leader.move(1), leader.move(1), leader.retire(1)
    assert moved.open
    assert failure(again).code == "ChangeUnderWay"
    assert failure(retired).code == "ChangeUnderWay"
    assert str(retired.failure) == "the retirement of slot 1 was not begun: a move of the leader is under way"


def test_what_may_not_be_when_its_turn_comes_is_refused_for_its_own_reason() -> None:
    leader = Leader()
    reply = Kept()
    seat = leader.cluster.cores[0].status.membership.seats[2].incarnation
    leader.rounds(2, 1, 2)
    leader.rounds(10, 1)  # slot 2 was not heard since
    leader.changes.change(Admit(2, seat), reply, leader.cluster.now)
    leader.rounds(2, 1)
    assert failure(reply).code == "NotCaughtUp"
    assert leader.cluster.leads(0)


def test_a_change_that_the_core_did_not_take_and_no_longer_refuses_is_to_be_asked_for_again() -> None:
    leader = Leader()
    reply = leader.retire()
    leader.rounds(1)
    leader.changes.proposed(Retire(2, "2.1"), None, leader.cluster.cores[0].status)
    assert failure(reply).code == "ChangeUnderWay"
    assert leader.retire().open


def _in_the_log(leader: Leader) -> tuple[Kept, tuple[int, int]]:
    """A retirement that the leader has appended and nobody else has."""
    reply = leader.retire()
    leader.cluster.now += 0.11
    leader.turn()
    leader.cluster.deliver(0, 1)
    leader.cluster.step(0, inbox=tuple((1, message) for message in leader.cluster.queues[1, 0]))
    leader.cluster.queues[1, 0].clear()
    place = leader.turn().changed
    assert place is not None
    assert reply.open
    return reply, place


def test_a_change_in_the_log_of_a_leader_that_is_deposed_may_have_happened() -> None:
    leader = Leader()
    reply, _ = _in_the_log(leader)
    leader.cluster.step(0, inbox=((1, AppendAnswer(9, 1, False, 0)),))  # there is a newer term
    leader.turn()
    error = failure(reply)
    assert isinstance(error, OutcomeUnknown)
    assert error.code == "LeadershipLost"


def test_a_change_whose_place_another_entry_has_did_not_happen() -> None:
    leader = Leader()
    reply, (index, term) = _in_the_log(leader)
    leader.changes.executed(Executed(index - 1, term, ()))
    assert reply.open
    leader.changes.executed(Executed(index, term + 1, ()))
    assert isinstance(failure(reply), Unavailable)


def test_a_move_is_answered_when_another_leads() -> None:
    leader = Leader()
    cluster = leader.cluster
    reply = leader.move(2)
    assert leader.changes.moving
    leader.turn()
    cluster.deliver(0, 2)
    asked = tuple((2, message) for message in cluster.queues[2, 0])
    ready = cluster.step(0, inbox=asked)
    leader.changes.proposed(None, None, ready.status)
    assert reply.body == b""
    assert not leader.changes.moving


def test_a_move_that_does_not_come_about_is_said_to_have_failed() -> None:
    leader = Leader()
    reply = leader.move(2)
    leader.rounds(12, 1)
    assert failure(reply).code == "NotMoved"
    assert not leader.changes.moving
    assert leader.cluster.leads(0)
