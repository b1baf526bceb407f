"""Copies of the database between simulated members: who has lost the log that it needs fetches the leader's rows.

What the leader decides is `metaraft.snapshot_serving`'s, what the member does `metaraft.snapshot_fetching`'s, in
virtual time: rows as of one entry, in pieces, which may be lost and are asked for again. A file of rows holds here the
name of a copy, whose rows the machine knows. All that makes it the database of the next process is the product's own,
on the simulated disk: the marker (`snapshot_install.mark`), and what the start does about it (`finish`).
"""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.errors import Refused
from metaraft import snapshot_install
from metaraft.journal_disk import write_all
from metaraft.memory_rows import MemoryRows
from metaraft.snapshot_copy import Copied
from metaraft.snapshot_fetching import RETRY_S
from metaraft.snapshot_holds import Holds
from metaraft.store import DATA_FILE

if TYPE_CHECKING:
    from chaos.sim.member import Member
    from chaos.sim.process import Process
    from chaos.sim.world import World

CLUSTER_ID = "simulated"
MEMBER = Path("/member")
DATABASE = MEMBER / "store" / DATA_FILE

NAME_BYTES = 8

MAKE_S, VERIFY_S, LEAVE_S = 0.2, 0.1, 0.03
"""How long, on average, it takes to make a copy, to verify one, and for a process to end that has marked it (chosen:
most of what takes longer in fact, so that others act meanwhile)."""

PIECES = 4
PIECE_BYTES = 2000


class Copy(NamedTuple):
    """Rows as of an entry."""

    copied: Copied
    rows: MemoryRows


class Wanted(NamedTuple):
    """COPY_OFFER: a copy is wanted that goes beyond `last_index`."""

    last_index: int


class Offered(NamedTuple):
    """Its answer."""

    copy: Copy


class Ask(NamedTuple):
    """COPY_READ: a piece of a copy is wanted; none any more (COPY_DONE), if its number is that of pieces."""

    name: str
    number: int


class Piece(NamedTuple):
    """Its answer."""

    name: str
    number: int


type Frame = Wanted | Offered | Ask | Piece


class Copies:
    """Both sides of one process."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self._world: World = process.world
        # as the leader
        self._holds = Holds()
        self._copy: Copy | None = None
        self._from: int | None = None
        # as who lags
        self.part: Copy | None = None
        """What is being fetched."""
        self._have = 0
        self._needed = self._looking = self._heard = False
        self._leader = 0

    @property
    def hold(self) -> int | None:
        """From where on the log is kept for who installs a copy."""
        process = self._process
        if not process.turns.leads:
            return None
        return self._holds.lowest(self._world.now, lambda slot: process.turns.status.match.get(slot, 0))

    def receive(self, sender: int, frame: Frame) -> None:
        """A frame of a member."""
        match frame:
            case Wanted(last_index):
                self._wanted(sender, last_index)
            case Ask(name, number):
                self._asked(sender, name, number)
            case Offered(copy):
                self._offered(copy)
            case Piece(name, number):
                self._piece(name, number)

    # ---- the leader's side

    def _wanted(self, slot: int, last_index: int) -> None:
        process, copy = self._process, self._copy
        if not process.turns.leads:
            return
        if copy is not None and copy.copied.index > last_index and copy.copied.index >= process.journal.first_index:
            self._holds.use(slot, copy.copied.index, self._world.now)
            process.post_copy(slot, Offered(copy))
        elif process.database.applied > last_index:
            if self._from is None:
                self._from = process.database.applied
                process.later(self._world.spread(MAKE_S), self._made, self._copied())
            self._holds.use(slot, self._from, self._world.now)

    def _copied(self) -> Copy:
        """The rows now: one read transaction sees all that is committed, and nothing that comes while it lasts."""
        process = self._process
        rows, index = process.database.committed_rows(), process.database.applied
        term = process.journal.term_at(index)
        assert term is not None, "the log is never cut beyond what is applied"
        name = process.cluster.judge.counts["copies begun"] = process.cluster.judge.counts["copies begun"] + 1
        size = PIECES * PIECE_BYTES
        return Copy(Copied(CLUSTER_ID, index, term, f"{rows.set_hash:x}", size, f"{name:0{2 * NAME_BYTES}x}"), rows)

    def _made(self, copy: Copy) -> None:
        self._copy, self._from = copy, None
        self._process.cluster.count("copies made")

    def _asked(self, slot: int, name: str, number: int) -> None:
        copy = self._copy
        if copy is not None and copy.copied.blake3 == name:
            self._holds.use(slot, copy.copied.index, self._world.now)
            if number < PIECES:
                self._process.post_copy(slot, Piece(name, number))

    # ---- the lagging member's side

    def told(self, leader: int, *, needed: bool) -> None:
        """The leader's note says whether this member needs a copy."""
        self._leader, self._needed = leader, needed
        if needed and not self._looking:
            self._look()

    def _look(self) -> None:
        """Ask, and ask again if nothing came."""
        self._looking = self._needed
        if not self._needed:
            return
        if not self._heard:
            self._process.post_copy(self._leader, Wanted(self._process.journal.last_index))
        self._heard = False
        self._process.later(RETRY_S, self._look)

    def _offered(self, copy: Copy) -> None:
        if not self._needed:
            return
        process = self._process
        try:
            snapshot_install.require_beyond(copy.copied, process.journal)
            if self.part is None or self.part.copied != copy.copied:
                self._begin(copy)
        except Refused:
            self.part = None
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
        self._heard = True
        process.post_copy(self._leader, Ask(copy.copied.blake3, self._have))

    def _begin(self, copy: Copy) -> None:
        disk = self._process.member.disk
        self.part, self._have = None, 0
        descriptor = disk.create(snapshot_install.next_file(MEMBER))
        write_all(disk, descriptor, bytes.fromhex(copy.copied.blake3), 0)
        disk.close(descriptor)
        self.part = copy

    def _piece(self, name: str, number: int) -> None:
        if self.part is None or (self.part.copied.blake3, self._have) != (name, number):
            return
        self._heard = True
        self._have += 1
        if self._have < PIECES:
            self._process.post_copy(self._leader, Ask(name, self._have))
        else:
            self._process.later(self._world.spread(VERIFY_S), self._verified, self.part)

    def _verified(self, copy: Copy) -> None:
        """All of it is there. Mark it, and end."""
        process, disk = self._process, self._process.member.disk
        if self.part is not copy:
            return
        descriptor = disk.open(snapshot_install.next_file(MEMBER))
        disk.fsync(descriptor)
        disk.close(descriptor)
        process.post_copy(self._leader, Ask(copy.copied.blake3, PIECES))
        self.part = None
        if not self._needed:
            return
        process.member.copies[copy.copied.blake3] = copy
        try:
            snapshot_install.mark(MEMBER, copy.copied, process.journal, disk)
        except Refused:
            process.cluster.count("copies refused at the mark")
            return
        self._world.note(process.member.name, "marks a copy of entry {}", copy.copied.index)
        process.later(self._world.spread(LEAVE_S), process.member.begin_anew, process)


def found(member: "Member", name: bytes) -> None:
    """Make the file of a new member's database, synced."""
    disk = member.disk
    descriptor = disk.create(DATABASE)
    write_all(disk, descriptor, name, 0)
    disk.fsync(descriptor)
    disk.close(descriptor)
    disk.sync_directory(DATABASE.parent)


def database_of(member: "Member") -> str:
    """The name of the copy that is the member's database."""
    descriptor = member.disk.open(DATABASE)
    name = member.disk.read(descriptor, NAME_BYTES, 0)
    member.disk.close(descriptor)
    return name.hex()
