"""Space allocated ahead for journal and database, and what is still taken in when no more of it can be had. No I/O.

Rules:
* Each of the two keeps a piece of `piece` bytes ahead, one more as soon as less than half of one is left: also while
  the disk is short of space, but only where it has two pieces free. So as much is left to the others on that disk
  (logs, notes, a copy) as is taken, and the last bytes never.
* When less than a quarter of a piece is left (`used_up`) the leader refuses every command, deletes too. That quarter
  is for what is under way then: two entries at the leader, and at a follower what comes until its next report, a
  second later. What would not fit in it is not taken into the log: a follower drops the append, as a network might, and
  gets it again; a leader refuses the commands that wait.
* The last sixteenth is for what a cluster needs to be led and mended, at the leader: votes, the first entry of a
  leader, marks, and changes of members, which are some hundred bytes each and come one at a time. A follower that has
  no more room than that takes nothing, as if it were down. A member whose disk cannot be given room is replaced.
"""

from collections.abc import Iterable
from typing import NamedTuple

from metaraft.core_messages import Append, Message
from metaraft.journal_records import RECORD_BYTES

SMALL_BYTES_MAX = 4096
"""Entries of an append that may be no more than the first of a leader and a change of members."""


class Room(NamedTuple):
    """What is `left` of the space allocated ahead, which is had by the `piece`."""

    left: int
    piece: int

    @property
    def wanted(self) -> bool:
        """Whether one more piece should be had."""
        return self.left < self.piece // 2

    @property
    def used_up(self) -> bool:
        """Whether commands are to be refused."""
        return self.left < self.piece // 4

    @property
    def reserve(self) -> int:
        """What no command may take."""
        return self.piece // 16


def may_take(free: int, size: int) -> bool:
    """Whether `size` bytes may be allocated ahead on a disk that has `free`."""
    return free >= 2 * size


def bytes_of(message: Message) -> int:
    """What a message puts into the journal, votes apart."""
    if not isinstance(message, Append):
        return 0
    return sum(RECORD_BYTES + len(data) for _, data in message.entries)


def fitting(inbox: Iterable[tuple[int, str, Message]], journal: Room, database: Room) -> list[tuple[int, str, Message]]:
    """The messages that may be taken in where no more room can be had; the others count as lost on their way."""
    left, taken = journal.left - journal.reserve, []
    for slot, incarnation, message in inbox:
        size = bytes_of(message)
        if size > 0:
            if size > left or database.left < database.reserve or (database.used_up and size > SMALL_BYTES_MAX):
                continue
            left -= size
        taken.append((slot, incarnation, message))
    return taken
