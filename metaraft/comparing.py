"""Do all members hold the same rows? The points that they tell each other, and who must stop when they differ. Pure.

Rules:
* A **point** is an index of the log and the set hash right after the entry there. Points lie at the same entries at
  every member, however it cuts the log into transactions: at the first entry of each second of state time.
* Followers tell the leader their newest points each second; the leader tells all of a **dispute**: an index at which
  two hashes are known. Each member judges itself by the dispute and by its own point there, never by an opinion.
* Equal hashes of a majority of the slots are right. Without such a majority the leader's hash stands, because what it
  serves is what clients have seen: whoever differs from it stops. That is decided only when all slots are known, or
  when the others had time to tell theirs.
* What is remembered is bounded: a member that lags is compared again when it has caught up.

The set hash follows each change of a row, so it tells of commands that had another effect here, and of a row that was
altered and then written or removed. A row that was altered and is left alone since is found by the walk
(`metaraft.walking`).
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

POINT_MS = 1000
"""State time between points: a flush of the counters in a second costs nothing (chosen)."""

POINTS_TOLD = 8
"""Newest points in a report: some may be lost, or be of a second that the leader has not applied yet (chosen)."""

POINTS_KEPT = 64
"""Points remembered: how far members may be apart, in seconds of writes, and still be compared (chosen)."""

WAIT_S = 5.0
"""How long a dispute between fewer than a majority of equals waits for those that have not told theirs (chosen)."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """The set hash of the rows right after an entry."""

    index: int
    set_hash: bytes


class Dispute(msgspec.Struct, frozen=True, array_like=True):
    """Different hashes at one index, by slot."""

    index: int
    hashes: dict[int, bytes]

    def stands(self, leader: int, majority: int) -> bytes | None:
        """The hash that is held to be right: a majority's, else the leader's. None: there is neither."""
        if not self.hashes:
            return None
        most, count = Counter(self.hashes.values()).most_common(1)[0]
        return most if count >= majority else self.hashes.get(leader)


class Difference(NamedTuple):
    """A difference in words; `certain`: a majority says so."""

    text: str
    certain: bool


class Differs(Exception):
    """This member's rows are not those of the others: end the process, and do not start it again."""


class Comparing:
    """What one member knows of everybody's points."""

    def __init__(self, slot: int, slots: Collection[int]) -> None:
        self._slot = slot
        self._slots = frozenset(slots)
        self._majority = len(self._slots) // 2 + 1
        self._known: dict[int, dict[int, bytes]] = {}
        self._differs_since: dict[int, float] = {}
        self._dispute: tuple[Dispute, bytes] | None = None
        self.compared = 0
        """Newest index at which a majority of the slots is known to have equal rows, as far as this member was told."""

    def heard(self, slot: int, points: Iterable[Point], now: float) -> None:
        """A member's newest points, or this one's own."""
        for point in points:
            hashes = self._known.setdefault(point.index, {})
            hashes[slot] = point.set_hash
            if len(set(hashes.values())) > 1:
                self._differs_since.setdefault(point.index, now)
            elif len(hashes) >= self._majority:
                self.compared = max(self.compared, point.index)
        for index in sorted(self._known)[:-POINTS_KEPT]:
            del self._known[index]
            self._differs_since.pop(index, None)

    def decide(self, now: float) -> Dispute | None:
        """At the leader: the newest dispute that can be judged now. It is also remembered, as `told` does."""
        for index in sorted(self._differs_since, reverse=True):
            hashes = self._known[index]
            most = max(Counter(hashes.values()).values())
            waited = now - self._differs_since[index] >= WAIT_S
            if most >= self._majority or len(hashes) == len(self._slots) or waited:
                dispute = Dispute(index, dict(hashes))
                self.told(dispute, self._slot)
                return dispute
        return None

    def told(self, dispute: Dispute | None, leader: int) -> None:
        """What the leader says is in dispute."""
        right = None if dispute is None else dispute.stands(leader, self._majority)
        if dispute is not None and right is not None:
            self._dispute = (dispute, right)

    def verdict(self) -> Difference | None:
        """Why this member must stop, or None. Its own point decides, not what another says that it is."""
        if self._dispute is None:
            return None
        dispute, right = self._dispute
        mine = self._known.get(dispute.index, {}).get(self._slot)
        if mine is None or mine == right:
            return None
        return difference(dispute, self._slot, mine, right, self._majority)

    def differing(self) -> dict[int, str]:
        """At the leader, by slot: what is wrong with the members that differ, until they are seen to agree again."""
        if self._dispute is None:
            return {}
        dispute, right = self._dispute
        return {
            slot: difference(dispute, slot, found, right, self._majority).text
            for slot, found in sorted(dispute.hashes.items())
            if found != right and not self._agrees_after(slot, dispute.index)
        }

    def _agrees_after(self, slot: int, index: int) -> bool:
        mine = self._slot
        later = (hashes for at, hashes in self._known.items() if at > index and slot in hashes and mine in hashes)
        return any(hashes[slot] == hashes[mine] for hashes in later)


def difference(dispute: Dispute, slot: int, found: bytes, right: bytes, majority: int) -> Difference:
    """How a slot's rows differ from those that are held to be right."""
    equal = [at for at, theirs in sorted(dispute.hashes.items()) if theirs == right and at != slot]
    whose = f"slot{'s' if len(equal) > 1 else ''} {' and '.join(map(str, equal))}"
    certain = len(equal) >= majority
    doubt = "" if certain else "; no majority is equal, so the leader's stand, and may be the wrong ones"
    text = (
        f"the rows of slot {slot} differ: at index {dispute.index} their set hash is {found.hex()}, "
        f"that of {whose} is {right.hex()}{doubt}"
    )
    return Difference(text, certain)
