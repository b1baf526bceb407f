"""The journal's plain twin: what a member must find, as a list of states, one per change."""

from pathlib import Path
from typing import NamedTuple

from chaos.sim.disk import MemoryDisk
from cluster.limits import Limits
from metaraft.journal import Entry, Journal

FOLDER = Path("/member/journal")
OWNER = {"cluster_id": "a-cluster", "slot": 2, "incarnation": "0123456789abcdef" * 2}
LIMITS = Limits(journal_segment_bytes=900, journal_cache_bytes=500)


class State(NamedTuple):
    """Log, term and vote after some change."""

    log: tuple[tuple[int, int, bytes], ...]
    term: int
    voted_for: int | None


FRESH = State(((1, 0, b""),), 0, None)


def create(disk: MemoryDisk) -> None:
    """The journal of a new member on that disk."""
    Journal.create(FOLDER, cluster_id="a-cluster", slot=2, incarnation=str(OWNER["incarnation"]), disk=disk)


def open_on(disk: MemoryDisk, limits: Limits = LIMITS) -> Journal:
    """Opens the journal that is on that disk."""
    incarnation = str(OWNER["incarnation"])
    return Journal.open(FOLDER, cluster_id="a-cluster", slot=2, incarnation=incarnation, limits=limits, disk=disk)


def state_of(journal: Journal) -> State:
    """All that the journal says."""
    entries = journal.entries(journal.first_index, journal.last_index + 1, 1 << 30)
    assert [entry.term for entry in entries] == [journal.term_at(entry.index) for entry in entries]
    return State(tuple((entry.index, entry.term, entry.data) for entry in entries), journal.term, journal.voted_for)


def same(found: State, wanted: State) -> bool:
    """The found log may begin later, where it was cut; all else is equal."""
    first = found.log[0][0]
    return found == wanted._replace(log=tuple(entry for entry in wanted.log if entry[0] >= first))


class Twin:
    """A journal and the states it went through. `synced` and `marked` are how many of them are certain."""

    def __init__(self, disk: MemoryDisk | None = None, limits: Limits = LIMITS) -> None:
        self.disk = disk or MemoryDisk()
        if disk is None:
            create(self.disk)
        self.journal = open_on(self.disk, limits)
        self.states = [FRESH if disk is None else state_of(self.journal)]
        self.synced = self.marked = 0

    @property
    def state(self) -> State:
        """The newest state."""
        return self.states[-1]

    def add(self, data: bytes) -> None:
        """Adds an entry of the current term."""
        index = self.journal.last_index + 1
        self.journal.add(index, self.state.term, data)
        self.states.append(self.state._replace(log=(*self.state.log, (index, self.state.term, data))))

    def truncate_from(self, index: int) -> None:
        """Voids entries."""
        self.journal.truncate_from(index)
        self.states.append(self.state._replace(log=tuple(entry for entry in self.state.log if entry[0] < index)))

    def reset(self, index: int, term: int) -> None:
        """Begins the log anew."""
        self.journal.reset(index, term)
        self.states.append(self.state._replace(log=((index, term, b""),)))

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Sets term and vote."""
        self.journal.set_term(term, voted_for)
        self.states.append(self.state._replace(term=term, voted_for=voted_for))

    def sync(self) -> None:
        """Makes all of it certain."""
        before, self.marked = self.synced, self.synced
        try:
            self.journal.sync()
        except OSError:
            self.marked = before
            raise
        self.synced = len(self.states) - 1

    def mark_idle(self) -> None:
        """Vouches for the last sync."""
        self.journal.mark_idle()
        self.marked = self.synced

    def certain(self, found: State) -> bool:
        """The found state is one that the journal went through, with everything synced in it."""
        return any(same(found, state) for state in self.states[self.synced :])


def history(twin: Twin) -> None:
    """A short life with all that can be in one: votes, a conflict that reaches into an older segment, a cut."""
    twin.set_term(1, None)
    twin.set_term(1, 2)
    for at in range(6):
        twin.add(bytes([at]) * (90 + at))
    twin.sync()
    twin.add(b"")
    twin.mark_idle()
    twin.sync()
    twin.mark_idle()
    for at in range(5):
        twin.add(b"lost %d" % at * 9)
        twin.sync()
    twin.set_term(4, 1)
    twin.truncate_from(5)
    twin.add(b"other" * 10)
    twin.sync()
    for at in range(6):
        twin.add(b"more %d" % at * 12)
        twin.add(b"and %d" % at)
        twin.sync()
    twin.journal.cut(5)
    twin.set_term(6, None)
    twin.add(b"last of an older batch")
    twin.sync()
    twin.add(b"first of the last batch")
    twin.add(b"last of all" * 7)
    twin.sync()


def history_with_resets(twin: Twin) -> None:
    """A life in which the log begins anew: in a batch of its own, among others, over a conflict, and then is cut."""
    twin.set_term(3, 1)
    for at in range(6):
        twin.add(bytes([at]) * 150)
        twin.sync()
    twin.reset(20, 2)
    twin.sync()
    twin.journal.cut(20)
    twin.add(b"first behind it")
    twin.sync()
    for at in range(8):
        twin.add(b"more %d" % at * 20)
        twin.sync()
    twin.truncate_from(23)
    twin.add(b"never synced by itself" * 9)
    twin.reset(24, 3)
    twin.set_term(7, None)
    twin.add(b"of the same batch")
    twin.sync()
    twin.mark_idle()
    twin.journal.cut(24)
    twin.reset(1 << 40, 7)
    twin.add(b"far away" * 90)
    twin.sync()
    twin.journal.cut(1 << 40)


def entry(index: int, term: int, data: bytes) -> Entry:
    """An entry, spelled short."""
    return Entry(index, term, data)
