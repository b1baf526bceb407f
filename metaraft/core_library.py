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

from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from cluster.limits import Timings
from metaraft.core_log import BrokenInvariant, Log
from metaraft.core_messages import Message, VoteAnswer

__all__ = ["Clock", "LibraryJournal", "Outbox", "clock", "configuration", "syncobj"]

VERSION_KNOWN = "0.3.17"

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


class _Nothing:
    """In the place of the serializer of dumps, the poller and the name resolver: there is nothing for them to do."""

    def __init__(self, *_: object) -> None:
        pass

    def poll(self, timeout: float) -> None:
        pass

    def setTimeouts(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass

    def setPreferredAddrFamily(self, *_: object) -> None:  # noqa: N802 (the library's name)
        pass


clock = Clock()


def private_copy(replaced: dict[str, Any]) -> ModuleType:
    """The library's module of its own state machine, made anew, with some of its names replaced."""
    spec = importlib.util.find_spec("pysyncobj.syncobj")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in replaced.items():
        assert hasattr(module, name), name
        setattr(module, name, value)
    return module


if TYPE_CHECKING:
    from pysyncobj import syncobj as syncobj  # noqa: PLC0414 - exported
else:
    syncobj = private_copy(
        {
            "monotonicTime": clock,
            "pickle": _NoPickle(),
            "createJournal": lambda journal: journal,
            "createPoller": _Nothing,
            "Serializer": _Nothing,
            "globalDnsResolver": _Nothing,
            "PIPE_NOTIFIER_ENABLED": False,
        }
    )


class LibraryJournal:
    """The journal as the library asks it. (For the last entry it asks its own methods, which `core_elections` has.)"""

    def __init__(self, log: Log, applied: int) -> None:
        self._log = log
        self._applied = applied

    def __len__(self) -> int:
        return self._log.last_index - self._log.first_index + 1

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

    def getRaftCommitIndex(self) -> int:  # noqa: N802 (the library's name)
        """At a start, what is applied is what is known to be committed."""
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


def configuration(journal: LibraryJournal, timings: Timings) -> SyncObjConf:
    """The library's settings: none of its own threads. (It refuses times that do not fit each other.)"""
    return SyncObjConf(
        autoTick=False,
        journalFile=journal,
        raftMinTimeout=timings.election_timeout_min_s,
        raftMaxTimeout=timings.election_timeout_max_s,
        appendEntriesPeriod=timings.heartbeat_s,
        leaderFallbackTimeout=timings.leader_fallback_s,
        connectionTimeout=timings.election_timeout_max_s,
    )
