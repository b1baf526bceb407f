"""What the data path needs of the metadata and of a node: the shapes of `MetaClient` and `ChunkClient`."""

from collections.abc import AsyncIterator, Buffer, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from chunkd.client import NodeStatus
from metaraft.commands import (
    Command,
)
from metaraft.queries import (
    Answer,
    Query,
)
from metaraft.results import (
    Result,
)


class Metadata(Protocol):
    """The replicated metadata. See `metaraft.client.MetaClient`."""

    async def commit(self, command: Command, *, deadline: float, trace_id: str = "") -> Result:
        """Commit a command through the log, exactly once."""

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Answer a query, linearizably."""


class TimedMetadata(Metadata, Protocol):
    """The same with its clock, which background work goes by."""

    @property
    def state_time_ms(self) -> int:
        """State time about now; 0 while it is not known."""


class Node(Protocol):
    """One chunk daemon and its disk. See `chunkd.client.ChunkClient`."""

    name: str
    disk_id: bytes
    zone: str
    weight: int

    @property
    def connected(self) -> bool:
        """The daemon is up, as far as its connection tells."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection."""

    async def put(
        self,
        chunk_id: bytes,
        hashes: bytes,
        data: Buffer,
        *,
        seen: int,
        deadline: float,
        trace_id: str = "",
        space: int = ...,
    ) -> None:
        """Store a chunk; returns when it is durable."""

    def get(
        self,
        chunk_id: bytes,
        offset: int,
        length: int,
        *,
        deadline: float,
        trace_id: str = "",
        space: int = ...,
        buffer: memoryview | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[memoryview]]:
        """Verified bytes of a range, in order, in pieces that lie in `buffer`."""

    async def renew(
        self, ids: Sequence[bytes], seen: int, *, deadline: float, trace_id: str = "", space: int = ...
    ) -> list[bool]:
        """Hold chunks for a writer that has read revision `seen`; False for those that are not there."""

    async def delete(
        self, ids: Sequence[bytes], horizon: int, *, deadline: float, trace_id: str = "", space: int = ...
    ) -> list[bool]:
        """Delete what was last put or renewed below a horizon; False for what was not."""

    async def list(
        self, after: bytes, limit: int, *, deadline: float, trace_id: str = "", space: int = ...
    ) -> tuple[tuple[bytes, ...], bool]:
        """Ids greater than `after` of the chunks that it has, in order, and whether there are more."""

    async def report(self, chunk_id: bytes, *, deadline: float, trace_id: str = "", space: int = ...) -> str:
        """A reader's hint that a copy is bad: the daemon's verdict after its own re-read."""

    async def status(self, *, deadline: float) -> NodeStatus:
        """The daemon and its disk."""

    async def present(self, boot: bytes, revision: int, *, deadline: float) -> None:
        """Tell a daemon that has started the present revision."""
