"""Who counts: the seats of a cluster, and their changes, which are entries of the log. Pure.

Rules:
* The slots are fixed when the cluster is made: 1, 3 or 5. A majority is one of all slots, counted among the seats that
  vote, so two majorities always share a slot, whatever was changed between them.
* A seat belongs to an **incarnation**: one life of a member's disk. `Retire` gives it to a successor, which is fed and
  counts for nobody; `Admit` lets that one vote. What a disk forgot is thereby never asked of it.
* A change is in force from when it is appended until it is truncated. A leader appends one at a time, the one before it
  and an entry of its own term being committed; it retires neither itself nor whom a majority cannot do without.
* A vote and an acknowledgement count if they come from the seat's incarnation. A request is answered to whoever was not
  retired from its slot for good, which is when that is committed: who is asked may know the newest seats later than who
  asks (Ongaro, 4.1), or hold a change that never came about. For the same reason a learner answers requests for its
  vote, as in etcd's raft: it may be admitted without knowing it yet.

Source: Ongaro's dissertation, 4.1 to 4.2; his 'bug in single-server membership changes' (raft-dev, 2015) for the entry
of the leader's own term.
"""

from collections.abc import Mapping

import msgspec

from cluster.errors import UNDECODABLE, Refused, TrilithError, Unavailable
from metaraft.core_log import BrokenInvariant, Log
from metaraft.core_messages import Append

CHANGE = b"\xc1"
"""First byte of a change's data. No msgpack value begins with it, so no batch of commands does."""

LAG_MAX = 64
"""A member that lacks more entries than this is neither admitted nor made the leader (chosen: two or three syncs)."""

RETIRED_KEPT = 16
"""Incarnations of a slot that are remembered as retired (chosen); an older one is a stranger, and counts no more."""

INCARNATION_DIGITS = 32

_SCAN_BYTES = 4 << 20


def is_incarnation(text: str) -> bool:
    """Whether a folder can have it: hex digits, as many as `INCARNATION_DIGITS`."""
    return len(text) == INCARNATION_DIGITS and not set(text) - set("0123456789abcdef")


class Seat(msgspec.Struct, frozen=True, array_like=True):
    """Whose a slot is. `address`: where it is dialled, if not where the configuration says. `retired`: who had it."""

    incarnation: str
    voter: bool = True
    address: str = ""
    retired: tuple[str, ...] = ()


class Retire(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The slot's incarnation counts no more; `successor` has its seat, without a vote, at `address` if not empty."""

    slot: int
    successor: str
    address: str = ""


class Admit(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The incarnation votes in the slot."""

    slot: int
    incarnation: str


type Change = Retire | Admit


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """All seats by slot, as of the entry `index` that changed them last; 0: as they were made."""

    seats: dict[int, Seat]
    index: int = 0

    @property
    def majority(self) -> int:
        """How many votes decide."""
        return len(self.seats) // 2 + 1

    @property
    def voters(self) -> frozenset[int]:
        """The slots that vote."""
        return frozenset(slot for slot, seat in self.seats.items() if seat.voter)

    def seated(self, slot: int, incarnation: str) -> bool:
        """Whether the slot is this incarnation's, with or without a vote."""
        return self.seats[slot].incarnation == incarnation

    def votes(self, slot: int, incarnation: str) -> bool:
        """Whether the incarnation has the slot, and votes."""
        return self.seated(slot, incarnation) and self.seats[slot].voter

    def changed(self, change: Change, index: int) -> "Membership":
        """The seats from the entry `index` on. A change that does not fit them changes none."""
        seat = self.seats.get(change.slot)
        match change:
            case Retire(slot, successor, address) if seat is not None and successor != seat.incarnation:
                retired = (*seat.retired, seat.incarnation)[-RETIRED_KEPT:]
                new = Seat(successor, False, address or seat.address, retired)
            case Admit(slot, incarnation) if seat is not None and incarnation == seat.incarnation:
                new = msgspec.structs.replace(seat, voter=True)
            case _:
                return Membership(self.seats, index)
        return Membership(self.seats | {slot: new}, index)


NOBODY = Membership({})
"""No seats at all: those of rows that belong to no member."""

_encode = msgspec.msgpack.Encoder().encode
_decode: msgspec.msgpack.Decoder[Change] = msgspec.msgpack.Decoder(Change)


def encode_change(change: Change) -> bytes:
    """The change as the data of an entry."""
    return CHANGE + _encode(change)


def is_batch(data: bytes) -> bool:
    """Whether an entry's data are commands: neither a leader's first entry, which is empty, nor a change."""
    return data[:1] not in (b"", CHANGE)


def decode_change(data: bytes) -> Change:
    """The change in an entry whose data begins with `CHANGE`. Raises BrokenInvariant for one that is not known here."""
    try:
        return _decode.decode(memoryview(data)[1:])
    except UNDECODABLE as error:
        raise BrokenInvariant(f"a change of members cannot be read by this program: {error}") from error


class Seats:
    """The membership in force at one member: as of what it has applied, and changed by what its log has beyond that."""

    def __init__(self, membership: Membership, log: Log, applied: int) -> None:
        self._history: list[tuple[int, Membership]] = [(0, membership)]  # with the term of the entry that made it
        start = applied + 1
        while start <= log.last_index:
            for entry in log.entries(start, log.last_index + 1, _SCAN_BYTES):
                self.appended(entry.index, entry.term, entry.data)
                start = entry.index + 1

    @property
    def current(self) -> Membership:
        """The seats in force."""
        return self._history[-1][1]

    def committed(self, commit: int) -> Membership:
        """The newest seats that no truncation can undo."""
        return next(seats for _, seats in reversed(self._history) if seats.index <= commit)

    def appended(self, index: int, term: int, data: bytes) -> None:
        """An entry was added to the log."""
        if data[:1] == CHANGE:
            self._history.append((term, self.current.changed(decode_change(data), index)))

    def followed(self, log: Log, append: Append, commit: int) -> None:
        """An append was taken into the log: it may have truncated changes, and brought others."""
        history = self._history
        while len(history) > 1 and history[1][1].index <= commit:
            del history[0]
        while len(history) > 1 and log.term_at(self.current.index) != history[-1][0]:
            history.pop()
        for index, (term, data) in enumerate(append.entries, append.prev_index + 1):
            if data[:1] == CHANGE and index > self.current.index:
                self.appended(index, term, data)


class Standing(msgspec.Struct, frozen=True):
    """What a leader knows when it is asked for a change: itself, what is committed, and for each other slot that has
    answered it of late the index up to which that one's log matches. `began`: an entry of its own term is committed."""

    leader: int
    began: bool
    commit: int
    last_index: int
    matches: Mapping[int, int]


def refusal(membership: Membership, change: Change, standing: Standing) -> TrilithError | None:
    """Why a leader must not append this change now, or None."""
    slot, seat = change.slot, membership.seats.get(change.slot)
    if seat is None:
        return Refused("NoSuchSlot", f"there is no slot {slot}; the slots are {sorted(membership.seats)}")
    if not standing.began or membership.index > standing.commit:
        return Unavailable("ChangeUnderWay", "an earlier change, or this leader's first entry, is not committed yet")
    if isinstance(change, Admit):
        if not membership.seated(slot, change.incarnation):
            return Refused("NotSeated", f"slot {slot} is of incarnation {seat.incarnation}, not {change.incarnation}")
        if standing.matches.get(slot, 0) < membership.index:
            return Unavailable("NotCaughtUp", f"slot {slot} is not there, or lacks its own seat's entry")
        return _lagging(slot, standing)
    if len(membership.seats) == 1:
        return Refused("LastMember", "a cluster of one slot has nobody to be replaced from")
    if slot == standing.leader:
        return Refused("RetiresLeader", f"slot {slot} leads; move the leader first")
    if change.successor in (seat.incarnation, *seat.retired):
        return Refused("UsedIncarnation", f"incarnation {change.successor} has, or had, slot {slot} already")
    left = membership.voters - {slot}
    there = left & {standing.leader, *standing.matches}
    if len(there) >= membership.majority:
        return None
    kind = Refused if len(left) < membership.majority else Unavailable  # who is silent may come back
    return kind(
        "CostsQuorum",
        f"without slot {slot} only {sorted(there)} of the voters {sorted(left)} answer; "
        f"{membership.majority} of {len(membership.seats)} slots are needed",
    )


def transfer_refusal(membership: Membership, slot: int, standing: Standing) -> TrilithError | None:
    """Why a leader cannot hand over to this slot now, or None."""
    if slot not in membership.seats:
        return Refused("NoSuchSlot", f"there is no slot {slot}; the slots are {sorted(membership.seats)}")
    if slot == standing.leader:
        return Refused("LeadsAlready", f"slot {slot} leads already")
    if slot not in membership.voters:
        return Refused("NoVoter", f"slot {slot} does not vote; it must be admitted first")
    return _lagging(slot, standing)


def _lagging(slot: int, standing: Standing) -> TrilithError | None:
    match = standing.matches.get(slot)
    if match is None or standing.last_index - match > LAG_MAX:
        lacks = "does not answer" if match is None else f"lacks {standing.last_index - match} entries"
        return Unavailable("NotCaughtUp", f"slot {slot} {lacks}; at most {LAG_MAX} may be missing")
    return None
