"""What members tell of themselves is weighed for who has the slots, and for nobody else."""

import msgspec

from cluster.limits import Limits
from metaraft.core_membership import Membership, Seat
from metaraft.reports import AGE_S_MAX, Reports
from metaraft.wire import MemberReport

SEATS = Membership({slot: Seat(f"{slot}.1", retired=(f"{slot}.0",)) for slot in (1, 2, 3)})
LIMITS = Limits()


def report(
    incarnation: str,
    *,
    level: int = 7,
    short: bool = False,
    log_bytes: int = 0,
    wall_ms: int = 0,
    used_up: bool = False,
) -> MemberReport:
    """A report."""
    return MemberReport(log_bytes, short, wall_ms, level, (), incarnation, used_up)


def weighed(*told: MemberReport, now: float = 0.0) -> Reports:
    """What slot 1 makes of reports that slots 2, 3, 2, 3, ... sent at 0."""
    reports = Reports(1, LIMITS)
    for number, one in enumerate(told):
        reports.heard(2 + number % 2, one, 0.0, 0)
    reports.weigh(report("1.1"), SEATS, now)
    return reports


def code(reports: Reports) -> str:
    """Why growth is refused."""
    return reports.refusal.code if reports.refusal else ""


def test_growth_is_refused_while_any_member_is_short_of_space_or_has_too_much_log() -> None:
    assert code(weighed(report("2.1"), report("3.1"))) == ""
    assert code(weighed(report("2.1", short=True), report("3.1"))) == "NoSpace"
    full = weighed(report("2.1"), report("3.1", log_bytes=LIMITS.log_bytes_max + 1))
    assert code(full) == "LogFull"
    assert "slot 3" in str(full.refusal)


def test_every_command_is_refused_while_the_room_of_any_member_is_used_up() -> None:
    assert weighed(report("2.1", short=True), report("3.1")).refusal_of_all is None
    told = report("2.1"), report("3.1", short=True, used_up=True)
    refusal = weighed(*told).refusal_of_all
    assert refusal is not None
    assert (refusal.code, "slot 3" in str(refusal), "even deletes" in str(refusal)) == ("NoSpace", True, True)
    assert weighed(*told, now=AGE_S_MAX + 0.1).refusal_of_all is None
    retired = report("3.0", used_up=True)
    assert weighed(report("2.1"), report("3.1"), report("2.1"), retired).refusal_of_all is None


def test_the_level_may_be_raised_to_what_all_know_while_all_report() -> None:
    assert weighed(report("2.1", level=6), report("3.1", level=8)).level_max == 6
    assert weighed(report("2.1")).level_max == 0


def test_what_is_old_says_nothing() -> None:
    told = report("2.1", short=True, wall_ms=10_000), report("3.1")
    assert code(weighed(*told, now=AGE_S_MAX)) == "NoSpace"
    late = weighed(*told, now=AGE_S_MAX + 0.1)
    assert (code(late), late.level_max, late.skew_ms) == ("", 0, 0)


def test_an_old_disk_that_returned_neither_speaks_for_its_slot_nor_silences_who_has_it() -> None:
    stranger = report("2.0", short=True, level=1, wall_ms=60_000)
    beside = weighed(report("2.1", level=6), report("3.1"), stranger)
    assert (code(beside), beside.level_max, beside.skew_ms) == ("", 6, 0)
    alone = weighed(stranger, report("3.1"))
    assert (code(alone), alone.level_max) == ("", 0)


def test_seats_that_change_are_weighed_by_at_once() -> None:
    reports = Reports(1, LIMITS)
    reports.heard(2, report("2.1", short=True), 0.0, 0)
    reports.weigh(report("1.1"), SEATS, 0.0)
    assert code(reports) == "NoSpace"
    successor = Membership(SEATS.seats | {2: Seat("2.2", False, retired=("2.0", "2.1"))}, 9)
    reports.weigh(report("1.1"), successor, 1.0)
    assert code(reports) == ""


def test_a_program_from_before_the_incarnation_was_told_is_believed() -> None:
    before = msgspec.msgpack.decode(msgspec.msgpack.encode([1, True, 0, 6, []]), type=MemberReport)
    assert (before.incarnation, before.room_used_up) == ("", False)
    assert code(weighed(before, report("3.1"))) == "NoSpace"


def test_the_clock_that_differs_most_is_told_with_its_sign() -> None:
    assert weighed(report("2.1", wall_ms=40), report("3.1", wall_ms=-50)).skew_ms == -50
