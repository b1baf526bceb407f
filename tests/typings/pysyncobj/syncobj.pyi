from collections.abc import Callable, Iterable
from typing import Any

from .config import SyncObjConf
from .node import Node
from .transport import Transport

pickle: Any
random: Any
monotonicTime: Callable[[], float]
createJournal: Callable[[Any], Any]

class _RAFT_STATE:
    FOLLOWER: int
    CANDIDATE: int
    LEADER: int

class _COMMAND_TYPE:
    REGULAR: int
    NO_OP: int
    MEMBERSHIP: int
    VERSION: int

class SyncObj:
    _poller: Any
    _SyncObj__raftState: int
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: Any
    _SyncObj__votesCount: int
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftLog: Any
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftNextIndex: dict[Node, int]
    _SyncObj__raftMatchIndex: dict[Node, int]
    _SyncObj__lastResponseTime: dict[Node, float]
    _SyncObj__newAppendEntriesTime: float
    def __init__(
        self,
        selfNode: Node,
        otherNodes: Iterable[Node],
        conf: SyncObjConf | None = None,
        consumers: Any = None,
        nodeClass: Any = ...,
        transport: Transport | None = None,
        transportClass: Any = ...,
    ) -> None: ...
    def doTick(self, timeToWait: float = 0.0) -> None: ...
    def destroy(self) -> None: ...
    def _applyCommand(
        self, command: bytes, callback: Callable[[Any, int], None] | None, commandType: int | None = None
    ) -> None: ...
    def _isLeader(self) -> bool: ...
    def _SyncObj__connectedToAnyone(self) -> bool: ...
    def _SyncObj__onMessageReceived(self, node: Node, message: Any) -> None: ...
    def _SyncObj__onBecomeLeader(self) -> None: ...
    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: Any) -> None: ...
    def _SyncObj__setState(self, newState: int) -> None: ...
    def _SyncObj__sendAppendEntries(self) -> None: ...
    def _SyncObj__generateRaftTimeout(self) -> float: ...
    def _SyncObj__doApplyCommand(self, command: Any) -> Any: ...

def replicated[F: Callable[..., Any]](func: F) -> Callable[..., Any]: ...

class SyncObjException(Exception): ...
