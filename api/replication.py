"""One chunk on its way to its disks.

It is sent to N nodes at once; the next in the order replaces one that fails; it is stored once W of them have fsynced
it in this request. What is still on its way then is a laggard: it may go on while nobody needs its buffer, and is
dropped, to be repaired later, when somebody does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from api.budget import Buffer
from api.nodes import Nodes
from api.peers import Node
from cluster.errors import TrilithError, Unavailable
from cluster.log import get_logger
from metaraft.commands import (
    Ack,
    StoredChunk,
)
from metaraft.model import Copies

_log = get_logger("writer")


@dataclass(frozen=True, slots=True)
class NamedChunk:
    """A chunk's id, hash list and bytes."""

    chunk_id: bytes
    hashes: bytes
    buffer: Buffer
    size: int


class Replication:
    """A chunk's way to W of N disks. `acks` maps disk id to the `seen` it was stored under.

    Its tasks run in `nursery` and hold the buffer; `changed` is called when it is stored, and when its last task ends.
    """

    def __init__(
        self,
        chunk: NamedChunk,
        scheme: Copies,
        order: Iterable[Node],
        *,
        nodes: Nodes,
        nursery: trio.Nursery,
        seen: int,
        space: int,
        deadline: float,
        trace_id: str,
        changed: Callable[["Replication"], None],
    ) -> None:
        self.chunk_id = chunk.chunk_id
        self.size = chunk.size
        self.acks: dict[bytes, int] = {}
        self.on_ack: Callable[[Replication, bytes], None] | None = None
        self.failure: Unavailable | None = None
        self._chunk: NamedChunk | None = chunk
        self._scheme = scheme
        self._order = list(order)
        self._nodes = nodes
        self._nursery = nursery
        self._seen = seen
        self._space = space
        self._deadline = deadline
        self._trace_id = trace_id
        self._changed = changed
        self._running: dict[bytes, trio.CancelScope] = {}
        self._errors: list[str] = []
        self._full = 0
        self._decided = trio.Event()

    def start(self) -> None:
        """Send to the first N. Takes a use of the buffer of its own."""
        assert self._chunk is not None
        self._chunk.buffer.keep()
        self._go_on()

    async def stored(self) -> None:
        """Wait until W disks have it. Raises Unavailable (NoSpace, TooFewDisks) when that cannot be any more."""
        await self._decided.wait()
        if self.failure is not None:
            raise self.failure

    @property
    def lagging(self) -> bool:
        """It is stored, and copies of it are still on their way."""
        return self._decided.is_set() and bool(self._running)

    def drop(self) -> None:
        """Give up what is still on its way."""
        self._order.clear()
        for scope in self._running.values():
            scope.cancel()

    def as_stored(self) -> StoredChunk:
        """The chunk with all acknowledgements known now."""
        acks = tuple(Ack(disk_id=disk_id, seen=seen) for disk_id, seen in self.acks.items())
        return StoredChunk(chunk_id=self.chunk_id, size=self.size, acks=acks)

    def _go_on(self) -> None:
        """Start what is missing, decide what can be decided, let the buffer go when nothing runs."""
        while len(self.acks) + len(self._running) < self._scheme.n and self._order:
            self._start_put(self._order.pop(0))
        decided = self._decided.is_set()
        if not decided and len(self.acks) >= self._scheme.write_quorum:
            self._decided.set()
        elif not decided and len(self.acks) + len(self._running) < self._scheme.write_quorum:
            self.failure = self._too_few()
            self._decided.set()
            self.drop()
        if not self._running and self._chunk is not None:
            self._chunk.buffer.release()
            self._chunk = None
        if (not decided and self._decided.is_set()) or self._chunk is None:
            self._changed(self)

    def _too_few(self) -> Unavailable:
        reasons = "; ".join(self._errors) or "no other disk is up"
        text = f"a chunk is stored on {len(self.acks)} of the {self._scheme.write_quorum} disks it needs: {reasons}"
        with_room = len(self.acks) + len(self._running) + self._full  # so many, had those that are full had room
        full = with_room >= self._scheme.write_quorum
        return Unavailable("NoSpace" if full else "TooFewDisks", text, retry_after_s=1.0)

    def _start_put(self, node: Node) -> None:
        self._running[node.disk_id] = scope = trio.CancelScope()
        self._nursery.start_soon(self._put, node, scope)

    async def _put(self, node: Node, scope: trio.CancelScope) -> None:
        assert self._chunk is not None
        chunk = self._chunk
        acked = failed = False  # neither: cancelled
        try:
            with scope:
                acked = await self._try_put(node, chunk)
                failed = not acked
        finally:
            del self._running[node.disk_id]
            if acked:
                self.acks[node.disk_id] = self._seen
            elif not failed:
                self._order.clear()
            self._go_on()
        if acked and self.on_ack is not None:
            self.on_ack(self, node.disk_id)

    async def _try_put(self, node: Node, chunk: NamedChunk) -> bool:
        """Whether the node has made the chunk durable; what went wrong is noted."""
        try:
            await node.put(
                chunk.chunk_id,
                chunk.hashes,
                chunk.buffer.view[: chunk.size],
                seen=self._seen,
                deadline=self._deadline,
                trace_id=self._trace_id,
                space=self._space,
            )
        except TrilithError as error:
            self._nodes.rest(node)
            self._errors.append(f"{node.name}: {error.code}: {error.message}")
            self._full += error.code == "DiskFull"
            _log.warning(
                "put_failed", node=node.name, chunk=chunk.chunk_id.hex(), code=error.code, reason=error.message
            )
            return False
        except Exception as error:  # noqa: BLE001 - a bug met by one copy must not end all requests of the process
            self._errors.append(f"{node.name}: {type(error).__name__}")
            _log.error("put_failed", node=node.name, chunk=chunk.chunk_id.hex(), exc_info=error)
            return False
        return True
