"""PySyncObj without its clock, randomness, files, sockets and pickle: what stands between the library and the core.

`syncobj` here is a private copy of the module `pysyncobj.syncobj`, so that what is replaced in it is replaced for the
core alone. Replaced are the clock (set by each step), pickle (raises), the journal (ours is handed in), the dump
serializer, the poller and the name resolver (do nothing: no dump is made, no socket exists).

Source: PySyncObj 0.3.17; another version is refused at import, because private methods are overridden.
"""

import _socket
import importlib.util
import math
import socket
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from pysyncobj.config import SERIALIZER_STATE, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from cluster.limits import Timings
from metaraft.core_log import BrokenInvariant, Log
from metaraft.core_messages import Message, VoteAnswer

VERSION_KNOWN = "0.3.17"
NEVER = 1 << 62

if VERSION != VERSION_KNOWN:
    raise ImportError(f"pysyncobj is {VERSION}; the core overrides private methods of {VERSION_KNOWN} and needs that")


# Importing the library puts a function for Windows in the place of this one, for the whole process.
socket.inet_ntop = _socket.inet_ntop


class Clock:
    """The library's clock: stands at the step's time, and advances a hair at each reading so that no loop hangs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time now, never twice the same."""
        self.now = math.nextafter(self.now, math.inf)
        return self.now


class _NoPickle:
    """In the place of pickle: whoever reaches it has found a hole."""

    def __getattr__(self, name: str) -> NoReturn:
        raise BrokenInvariant(f"pickle.{name} was reached; nothing from a network or a disk is ever unpickled")


class _NoDumps:
    """In the place of the serializer of full dumps: there are none."""

    def __init__(self, *_: object) -> None:
        pass

    def checkSerializing(self) -> tuple[int, None]:  # noqa: N802 (the library's name)
        return SERIALIZER_STATE.NOT_SERIALIZING, None


class _NoPoller:
    """In the place of the poller: there are no sockets."""

    def poll(self, timeout: float) -> None:
        pass


class _NoResolver:
    """In the place of the name resolver: there are no names."""

    def setTimeouts(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass

    def setPreferredAddrFamily(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass


__all__ = ["Clock", "LibraryJournal", "Outbox", "clock", "configuration", "syncobj"]

clock = Clock()


def _private_copy() -> ModuleType:
    spec = importlib.util.find_spec("pysyncobj.syncobj")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    replaced: dict[str, Any] = {
        "monotonicTime": clock,
        "pickle": _NoPickle(),
        "createJournal": lambda journal: journal,
        "createPoller": lambda _: _NoPoller(),
        "Serializer": _NoDumps,
        "globalDnsResolver": _NoResolver,
        "PIPE_NOTIFIER_ENABLED": False,
    }
    for name, value in replaced.items():
        assert hasattr(module, name), name
        setattr(module, name, value)
    return module


if TYPE_CHECKING:
    from pysyncobj import syncobj
else:
    syncobj = _private_copy()


class LibraryJournal:
    """The journal as the library asks it: positions count from the first entry kept, an entry is (_, index, term)."""

    def __init__(self, log: Log, applied: int) -> None:
        self._log = log
        self._applied = applied

    def __len__(self) -> int:
        return self._log.last_index - self._log.first_index + 1

    def __getitem__(self, position: int) -> tuple[bytes, int, int]:
        index = (self._log.first_index if position >= 0 else self._log.last_index + 1) + position
        return b"", index, self._log.term_at(index) or 0

    def add(self, command: bytes, index: int, term: int) -> None:
        """Only the library's own no-op comes this way, and rests as empty data."""
        if command != bytes([syncobj._COMMAND_TYPE.NO_OP]):
            raise BrokenInvariant(f"the library itself adds the entry {index} of term {term}, which is no no-op")
        self._log.add(index, term, b"")

    def setCurrentTerm(self, term: int, voted_for: int | None) -> None:  # noqa: N802 (the library's name)
        self._log.set_term(term, voted_for)

    def getCurrentTerm(self) -> int:  # noqa: N802 (the library's name)
        return self._log.term

    def getVotedForNodeId(self) -> int | None:  # noqa: N802 (the library's name)
        return self._log.voted_for

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 (the library's name)
        """Not kept: at a start, what is applied is what is known to be committed."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802 (the library's name)
        return self._applied

    def onOneSecondTimer(self) -> None:  # noqa: N802 (the library's name)
        pass


class Outbox(Transport):
    """The library's transport: keeps what is to be sent until the step is over. No address, no socket."""

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.messages: list[tuple[int, Message]] = []
        self.asker = ""
        """The incarnation whose message is being taken in."""

    def post(self, slot: int, message: Message) -> None:
        """Send, after the step and its sync."""
        self.messages.append((slot, message))

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Send one of the library's own messages: a vote. (The member asks for votes itself, and asks again.)"""
        match message:
            case {"type": "request_vote"}:
                pass
            case {"type": "response_vote", "term": term}:
                self.post(node.id, VoteAnswer(term, True, self.asker))
            case _:
                raise BrokenInvariant(f"the library sends a {message.get('type')!r}, which the core does not use")
        return True

    def connect(self, node: Node) -> None:
        """Tell the library that a member can be reached."""
        self._onNodeConnected(node)

    def disconnect(self, node: Node) -> None:
        """Tell the library that a member cannot be reached."""
        self._onNodeDisconnected(node)


def configuration(journal: LibraryJournal, timings: Timings) -> SyncObjConf:
    """The library's settings: nothing of its own threads, files, dumps, batching by timer, or membership changes."""
    return SyncObjConf(
        autoTick=False,
        journalFile=journal,
        raftMinTimeout=timings.election_timeout_min_s,
        raftMaxTimeout=timings.election_timeout_max_s,
        appendEntriesPeriod=timings.heartbeat_s,
        leaderFallbackTimeout=timings.leader_fallback_s,
        connectionTimeout=timings.election_timeout_max_s,
        appendEntriesUseBatch=True,
        dynamicMembershipChange=False,
        fullDumpFile=None,
        logCompactionMinEntries=NEVER,
        logCompactionMinTime=NEVER,
        commandsWaitLeader=False,
        password=None,
    )
