"""A simulated member's machine: disk, clock and rows, what outlives a process on it, and how a process dies there."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.sim import copies
from chaos.sim.database import Database, Rows
from chaos.sim.disk import MemoryDisk
from chaos.sim.judge import Violation
from chaos.sim.process import JOURNAL, Crash, Process
from cluster.errors import Corrupt, Unavailable
from metaraft.journal import Journal
from metaraft.wire import Method

if TYPE_CHECKING:
    from chaos.sim.cluster import Cluster

SECTOR_BYTES = 512

SYNC_CALLS = (1, 2, 2, 3, 5)
"""The call to the disk at which a process dies in its sync: most syncs make two, a write and an fdatasync."""

RESTART_S = 0.5
"""After how long, on average, a process that died is started again (a supervisor waits 0.2 s, then longer)."""


def incarnation_of(slot: int) -> str:
    """The first incarnation of a slot."""
    return f"{slot:032x}"


class Member:
    """A slot's machine: what outlives a process."""

    def __init__(self, cluster: "Cluster", slot: int) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.slot = self.host = slot
        self.name = f"S{slot}"
        self.incarnation = incarnation_of(slot)
        self.disk = MemoryDisk()
        self.rows: Rows = Database.create()
        self.database = bytes(copies.NAME_BYTES).hex()
        """Which copy the rows began as, by its name; zeros: as they were founded."""
        self.copies: dict[str, copies.Copy] = {}
        """The copies on the disk, by name."""
        self.process: Process | None = None
        self.lives = 0
        self.paused = False
        self.fuse: int | None = None
        """After how many places that may be the last the process dies."""
        self.sync_fuse: int | None = None
        """At which call to the disk of its next sync it dies."""
        self.dies_again = False
        """Whether the machine dies in the first sync of the process after the one that dies so."""
        self.power_fails = False
        """Whether the machine dies with it."""
        self.sync_s = 0.001
        self.wall_offset_ms = 0
        self.fsyncs_fail = self.full = False
        self.rotten: tuple[Path, int] | None = None
        """A bit that has turned, in which file."""
        Journal.create(JOURNAL, cluster_id=copies.CLUSTER_ID, slot=slot, incarnation=self.incarnation, disk=self.disk)
        copies.found(self, bytes.fromhex(self.database))

    @property
    def life(self) -> int:
        """Number of the process that answers here; 0: none does."""
        return 0 if self.process is None or self.paused else self.process.life

    @property
    def wall_ms(self) -> int:
        """This machine's wall clock."""
        return self.world.wall_ms + self.wall_offset_ms

    def start(self) -> None:
        """Begin a process on what the disk kept, unless it cannot begin."""
        if self.process is not None:
            return
        self.lives += 1
        self.disk.on_call = self._on_call
        try:
            process = Process(self, self.lives)
        except Crash:
            self.crash()
        except (OSError, Unavailable) as error:  # Unavailable: a full disk, on which it may be tried again
            self.fail(error)
        except Corrupt as error:
            if self.rotten is None:
                raise Violation("durability", f"{self.name} cannot start after a crash: {error}") from error
            self.cluster.count("rot found at a start")
            self.fail(error)
        else:
            if self.rotten is not None:
                raise Violation("durability", f"{self.name} starts, though bit {self.rotten[1]} has turned")
            self.process = process
            self.world.note(self.name, "starts: {}", process.described())
            process.begin()

    def take_copy(self, name: str) -> None:
        """The disk has another database than before."""
        copy = self.copies[name]
        self.database, self.rows = name, Rows.of(copy.rows)
        self.cluster.count("copies installed")
        self.cluster.judge.applied(self.slot, copy.copied.index, copy.rows.set_hash)

    def begin_anew(self, process: Process) -> None:
        """The process has marked a copy and ended itself; its supervisor starts it again at once."""
        if self.process is process:
            self.end(power_cut=False)
            self.world.at(0.0, self.start)

    def mend(self) -> None:
        """Somebody mends the disk, if it is rotten, and starts the process, if there is none."""
        if self.rotten is not None:
            self.disk.turn(*self.rotten)
            self.rotten = None
        self.start()

    def crash(self) -> None:
        """The process dies at a place that was chosen for it; somebody starts it again."""
        self._leave()
        self.world.at(self.world.spread(RESTART_S), self._start_again)

    def _start_again(self) -> None:
        self.start()
        if self.dies_again and self.process is not None:
            self.dies_again = False
            self.sync_fuse, self.power_fails = 1, True

    def end(self, *, power_cut: bool) -> None:
        """The process dies, and maybe the machine with it."""
        self.power_fails = power_cut
        self._leave()

    def fail(self, error: Exception) -> None:
        """The disk failed the process, which ended itself."""
        self.cluster.judge.counts["processes ended by their disk"] += 1
        self.world.note(self.name, "ends itself: {}", error)
        self.power_fails = False
        self._leave()

    def _leave(self) -> None:
        process, self.process = self.process, None
        self.fuse, self.sync_fuse, self.paused = None, None, False
        source = self.world.random
        if process is not None:
            self._interrupt(process)
        self.disk.on_call = lambda name: None
        if process is not None:
            lost = process.database.end(source, power_cut=self.power_fails)
            self.world.note(self.name, "dies{}, {} transactions lost", " by a power cut" * self.power_fails, lost)
            process.leave()
        else:
            self.rows.take_back(self.rows.changes)
            self.rows.changes = []
        if self.power_fails:
            self.disk.tear(SECTOR_BYTES)
            keeps, tears = source.choice((0.0, 0.5, 0.9, 1.0)), source.choice((0.1, 0.5))
            names = [at for at in range(len(self.disk.names_pending)) if self.world.chance(keeps)]
            self.disk = self.disk.power_cut(lambda length: self._kept(length, keeps, tears), names)
        else:
            self.disk = self.disk.kill()

    def _interrupt(self, process: Process) -> None:
        """A sync takes its time, and what dies meanwhile has made some of its calls to the disk."""
        if process.syncing:
            self.fuse = self.world.random.choice(SYNC_CALLS)
            with contextlib.suppress(Crash, OSError):
                process.journal.sync()
            self.fuse = None

    def _kept(self, length: int, keeps: float, tears: float) -> int:
        """How many bytes of a piece of a write survive: of those that do not tear all or none."""
        if self.world.chance(tears):
            return self.world.random.randint(0, length)
        return length if self.world.chance(keeps) else 0

    def resume(self) -> None:
        """A pause is over."""
        if self.paused:
            self.paused = False
            self.world.note(self.name, "goes on")
            if self.process is not None:
                self.process.thaw()

    def hand_over(self, life: int, sender: int, method: Method, body: bytes) -> None:
        """A frame of a member arrives at the process of that life."""
        if self.process is not None and self.process.life == life:
            self.process.run(self.process.receive, sender, method, body)

    def hand_copy(self, life: int, sender: int, frame: copies.Frame) -> None:
        """A frame about a copy arrives at the process of that life."""
        if self.process is not None and self.process.life == life:
            self.process.run(self.process.copies.receive, sender, frame)

    def call(self, life: int, *arguments: object) -> None:
        """A client's call arrives at the process of that life."""
        if self.process is not None and self.process.life == life:
            self.process.run(self.process.call, *arguments)

    def reach(self) -> None:
        """A place between two steps. Raises Crash if this is where the process dies."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                raise Crash

    def _on_call(self, name: str) -> None:
        """The process calls its disk."""
        self.reach()
        if self.fsyncs_fail and name == "fdatasync":
            self.fsyncs_fail = False
            raise OSError(5, "Input/output error")
        if self.full and name in ("allocate", "create", "write"):
            raise OSError(28, "No space left on device")
