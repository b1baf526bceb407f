"""The chunks of one upload between their first byte and the commit: who has acknowledged them, under which `seen`.

Rules: until the commit they are renewed each `timings.renew_s`, and again when the commit says `put again`; the
acknowledgements that a commit carried are not told twice, those that come later are told as late holders.
"""

import trio

from api.late_holders import LateHolders
from api.nodes import Nodes
from api.peers import Node
from api.replication import Replication
from cluster.errors import TrilithError, Unavailable
from cluster.limits import Timings
from cluster.log import get_logger
from metaraft.commands import (
    Ack,
    StoredChunk,
)
from metaraft.model import Copies, SpaceInfo

_log = get_logger("writer")

_RENEW_MAX = 1000
"""Ids in one call."""


class Holding:
    """An upload's chunks, each id once."""

    def __init__(
        self, nodes: Nodes, late: LateHolders, timings: Timings, *, scheme: Copies, space: int, trace_id: str
    ) -> None:
        self._nodes = nodes
        self._late = late
        self._timings = timings
        self._scheme = scheme
        self._space = space
        self._trace_id = trace_id
        self._chunks: dict[bytes, Replication] = {}
        self._told: dict[bytes, frozenset[bytes]] = {}
        self.info: SpaceInfo | None = None

    def find(self, chunk_id: bytes) -> Replication | None:
        """The chunk if this upload has it already."""
        return self._chunks.get(chunk_id)

    def add(self, replication: Replication) -> None:
        """One more chunk, under way."""
        self._chunks[replication.chunk_id] = replication

    def chunks(self) -> tuple[StoredChunk, ...]:
        """All chunks with all acknowledgements known now, for a commit."""
        self._told = {chunk_id: frozenset(chunk.acks) for chunk_id, chunk in self._chunks.items()}
        return tuple(chunk.as_stored() for chunk in self._chunks.values())

    def laggards(self) -> list[Replication]:
        """The chunks that are stored while copies are still on their way, oldest first."""
        return [chunk for chunk in self._chunks.values() if chunk.lagging]

    def committed(self) -> None:
        """The last `chunks()` is in the metadata: tell what came since, and what comes."""
        for chunk_id, chunk in self._chunks.items():
            for disk_id in chunk.acks.keys() - self._told.get(chunk_id, frozenset()):
                self._tell(chunk, disk_id)
            chunk.on_ack = self._tell

    def drop(self) -> None:
        """Give up what is still on its way."""
        for chunk in self._chunks.values():
            chunk.drop()

    async def read_space(self, *, since: float | None = None, deadline: float | None = None) -> SpaceInfo:
        """The space as of `since`, or of about now: later puts carry its revision."""
        self.info = await self._nodes.space.read(since=since, deadline=deadline, trace_id=self._trace_id)
        return self.info

    async def renew_forever(self) -> None:
        """Renew each `timings.renew_s`. A renewal that fails changes nothing: the commit decides what it meant."""
        while True:
            await trio.sleep(self._timings.renew_s)
            try:
                await self._renew()
            except TrilithError as error:
                _log.info("renew_failed", code=error.code, reason=error.message, trace_id=self._trace_id)

    async def put_again(self) -> None:
        """Renew every chunk under the present revision; acknowledgements that were not renewed no longer count.

        Raises Unavailable (PutAgain) if a chunk has fewer than W then: its bytes are gone from here.
        """
        info, renewed = await self._renew()
        for chunk_id, chunk in self._chunks.items():
            acks = dict.fromkeys(renewed.get(chunk_id, ()), info.revision)
            if len(acks) < self._scheme.write_quorum:
                text = (
                    f"{len(acks)} of {self._scheme.write_quorum} disks still held a chunk of this upload; send it again"
                )
                raise Unavailable("PutAgain", text, retry_after_s=1.0)
            chunk.acks = acks

    async def _renew(self) -> tuple[SpaceInfo, dict[bytes, set[bytes]]]:
        """Renew all; the revision it was done under, and per chunk the disks that renewed it."""
        info = await self.read_space(since=trio.current_time())
        ids_of: dict[bytes, list[bytes]] = {}
        for chunk_id, chunk in self._chunks.items():
            for disk_id in chunk.acks:
                ids_of.setdefault(disk_id, []).append(chunk_id)
        renewed: dict[bytes, set[bytes]] = {}
        async with trio.open_nursery() as nursery:
            for disk_id, ids in ids_of.items():
                node = self._nodes.node(disk_id)
                assert node is not None, "a disk acknowledged that is no node"
                nursery.start_soon(self._renew_at, node, ids, info.revision, renewed)
        return info, renewed

    async def _renew_at(self, node: Node, ids: list[bytes], seen: int, renewed: dict[bytes, set[bytes]]) -> None:
        for start in range(0, len(ids), _RENEW_MAX):
            some = ids[start : start + _RENEW_MAX]
            deadline = trio.current_time() + self._timings.metadata_deadline_s
            try:
                answers = await node.renew(some, seen, deadline=deadline, trace_id=self._trace_id, space=self._space)
            except TrilithError as error:
                _log.warning("renew_failed", node=node.name, code=error.code, reason=error.message)
                return
            for chunk_id, there in zip(some, answers, strict=True):
                if there:
                    renewed.setdefault(chunk_id, set()).add(node.disk_id)
                    self._chunks[chunk_id].acks[node.disk_id] = seen

    def _tell(self, chunk: Replication, disk_id: bytes) -> None:
        ack = Ack(disk_id=disk_id, seen=chunk.acks[disk_id])
        self._late.add(self._scheme, StoredChunk(chunk_id=chunk.chunk_id, size=chunk.size, acks=(ack,)))
