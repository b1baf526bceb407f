"""The bare library cut off from the machine: its clock, its sockets, and a model of its files.

`library` is a private copy of `pysyncobj.syncobj`, as shipped but for these ends.
Source: pysyncobj 0.3.17, `journal.py` and `serializer.py`.
"""

import importlib
import random
from collections.abc import Callable
from typing import Any

from chaos.sim.bare_judge import BareJudge, Entry
from chaos.sim.world import World
from metaraft.core_library import private_copy

WRITEBACK_S, COMMIT_S = 30.0, 5.0
"""How old what a power cut leaves of a file may be: dirty pages, and a rename that replaced a file."""

READING_S = 1e-4
"""How long work takes between two readings of its clock: a leader that waits for a dump spins for a whole period."""


class Clock:
    """The library's clock: that of the world, which advances while a tick works."""

    now = 0.0

    def __call__(self) -> float:
        """The time now, never twice the same."""
        self.now += READING_S
        return self.now


class _NoPoller:
    def poll(self, _: float) -> None:
        """What has come is read before the tick."""


class _NoResolver:
    def setTimeouts(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass

    def setPreferredAddrFamily(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass


clock = Clock()


library: Any = private_copy(
    {
        "monotonicTime": clock,
        "createJournal": lambda journal: journal,
        "createPoller": lambda _: _NoPoller(),
        "globalDnsResolver": _NoResolver,
        "PIPE_NOTIFIER_ENABLED": False,
    }
)
MemoryJournal: Any = importlib.import_module("pysyncobj.journal").MemoryJournal
Serializer: Any = importlib.import_module("pysyncobj.serializer").Serializer
Transport: Any = importlib.import_module("pysyncobj.transport").Transport


class File[T]:
    """A file that is written and never synced."""

    def __init__(self, content: T, age_s: float) -> None:
        self.content = content
        self._age_s = age_s
        self._versions = [(0.0, content)]

    def write(self, now: float, content: T) -> None:
        self.content = content
        self._versions.append((now, content))

    def lose(self, now: float, source: random.Random) -> None:
        """The power fails: it is as at some moment."""
        moment = now - self._age_s * source.random()
        self.content = next(content for at, content in reversed(self._versions) if at <= moment or at == 0.0)
        self._versions = [(0.0, self.content)]


class BareDisk:
    """What outlives a process."""

    def __init__(self) -> None:
        self.log: File[tuple[Entry, ...]] = File((), WRITEBACK_S)
        self.meta: File[tuple[int, int | None, int]] = File((0, None, 1), COMMIT_S)
        self.dump: File[bytes | None] = File(None, COMMIT_S)

    def lose(self, now: float, source: random.Random) -> None:
        """The power fails."""
        for file in (self.log, self.meta, self.dump):
            file.lose(now, source)


class BareJournal(MemoryJournal):  # type: ignore[misc]
    """The library's journal in memory with the effects that `FileJournal` has on its two files."""

    def __init__(self, disk: BareDisk, judge: BareJudge, world: World) -> None:
        super().__init__()
        self._disk, self._judge, self._world = disk, judge, world
        for entry in disk.log.content:
            super().add(*entry)
        self._term, self._voted_for, self._commit = disk.meta.content

    def all(self) -> list[Entry]:
        """The log."""
        return [self[place] for place in range(len(self))]

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._judge.added((command, idx, term), self[-1] if len(self) else None)
        super().add(command, idx, term)
        self._written()

    def clear(self) -> None:
        super().clear()
        self._written()

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 (the library's names)
        super().deleteEntriesFrom(entryFrom)
        self._written()

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 (the library's names)
        super().deleteEntriesTo(entryTo)
        self._written()

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:  # noqa: N802, N803
        self._term, self._voted_for = term, votedForNodeId
        self._write_meta()

    def getCurrentTerm(self) -> int:  # noqa: N802 (the library's name)
        return self._term

    def getVotedForNodeId(self) -> int | None:  # noqa: N802 (the library's name)
        return self._voted_for

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        self._commit = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802 (the library's name)
        return self._commit

    def onOneSecondTimer(self) -> None:  # noqa: N802 (the library's name)
        self._write_meta()

    def _write_meta(self) -> None:
        self._disk.meta.write(self._world.now, (self._term, self._voted_for, self._commit))

    def _written(self) -> None:
        self._disk.log.write(self._world.now, tuple(self.all()))


class Dumps(Serializer):  # type: ignore[misc]
    """The library's serializer, whose one file is the disk's."""

    def __init__(self, disk: BareDisk, now: Callable[[], float]) -> None:
        super().__init__(None, 1 << 16, False, None, None, None)
        self._disk, self._now = disk, now
        self._Serializer__inMemorySerializedData = disk.dump.content

    def serialize(self, data: Any, id: int) -> None:
        super().serialize(data, id)
        self._keep()

    def setTransmissionData(self, data: Any) -> bool:  # noqa: N802 (the library's name)
        whole = bool(super().setTransmissionData(data))
        if whole:
            self._keep()
        return whole

    def _keep(self) -> None:
        self._disk.dump.write(self._now(), self._Serializer__inMemorySerializedData)
