"""What members tell the leader of themselves, weighed: whether the metadata may grow, how far its level may be raised,
and whose clock differs. No I/O.

Rules:
* The newest report of each incarnation counts for `AGE_S_MAX`; an older one says nothing any more: its member is down.
* Only who has a slot is weighed. An old disk that returned is in nobody's way, and speaks for nobody.
* Commands that grow the metadata are refused while any member is short of disk space or holds too much log; which one
  is named. All commands are, while the space that any has allocated ahead is used up (`metaraft.room`).
* The level may be raised to what all members know, and only while all report.
"""

from cluster.errors import Unavailable
from cluster.limits import Limits
from metaraft.core_membership import Membership
from metaraft.wire import MemberReport

AGE_S_MAX = 5.0


class Reports:
    """What one member was told, and what follows of it. `weigh` decides."""

    def __init__(self, slot: int, limits: Limits) -> None:
        self._slot = slot
        self._limits = limits
        self._kept: dict[tuple[int, str], tuple[float, MemberReport, int]] = {}
        self.refusal: Unavailable | None = None
        """Why growing commands are refused, if they are."""
        self.refusal_of_all: Unavailable | None = None
        """Why no command is taken, deletes neither, if none is."""
        self.level_max = 0
        """What the level may be raised to; 0: not known."""
        self.skew_ms = 0
        """By how much the clock of the member is ahead whose clock differs most."""

    def heard(self, slot: int, report: MemberReport, now: float, wall_ms: int) -> None:
        """A report came in from a slot, when it was `wall_ms` here."""
        self._kept[slot, report.incarnation] = now, report, report.wall_ms - wall_ms

    def weigh(self, own: MemberReport, membership: Membership, now: float) -> None:
        """Decide anew, with this member's own report, by the seats in force."""
        self._kept = {
            (slot, incarnation): kept
            for (slot, incarnation), kept in self._kept.items()
            if now - kept[0] <= AGE_S_MAX and of_seat(membership, slot, kept[1])
        }
        reports = {slot: report for (slot, _), (_, report, _) in self._kept.items()} | {self._slot: own}
        all_reported = reports.keys() == membership.seats.keys()
        self.level_max = min(report.level for report in reports.values()) if all_reported else 0
        self.skew_ms = max((skew for _, _, skew in self._kept.values()), key=abs, default=0)
        self.refusal = next(filter(None, (self._refusal(slot, reports[slot]) for slot in sorted(reports))), None)

        full = (slot for slot in sorted(reports) if reports[slot].room_used_up)
        self.refusal_of_all = next((no_room(f"the metadata member in slot {slot}") for slot in full), None)

    def _refusal(self, slot: int, report: MemberReport) -> Unavailable | None:
        limits = self._limits
        if report.log_bytes > limits.log_bytes_max:
            return Unavailable(
                "LogFull",
                f"the log of slot {slot} has {report.log_bytes} bytes and cannot be cut; is a member down?",
                limit={"log_bytes_max": limits.log_bytes_max},
            )
        if report.short_of_space:
            return Unavailable(
                "NoSpace",
                f"the disk of the metadata member in slot {slot} is nearly full",
                limit={"free_bytes_min": limits.free_bytes_min, "free_percent_min": limits.free_percent_min},
            )
        return None


def no_room(who: str) -> Unavailable:
    """The refusal of every command: there is no room for what would be written of it."""
    return Unavailable(
        "NoSpace",
        f"the disk of {who} is full, and what was allocated ahead is used up: even deletes are refused until there is "
        "room on that disk, which no delete of objects makes; remove what else lies on it, or enlarge it",
    )


def of_seat(membership: Membership, slot: int, report: MemberReport) -> bool:
    """Whether a report is of who has the slot. A program that is older than the field does not say whose it is, and is
    believed: it is on its way to be upgraded."""
    return report.incarnation == "" or membership.seated(slot, report.incarnation)
