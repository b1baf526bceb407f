"""The chunk daemons as one API process sees them: connections, states, who gets a chunk, who is asked for one.

Rules: a node is up while its connection stands, and is looked at each `timings.reconnect_s`; a disk of the
configuration that the metadata does not know is registered; a daemon that has started is told the present revision (it
may delete nothing before); a disk that is registered, active and up gets chunks in the order of weighted rendezvous,
distinct failure zones first; one that has just failed, or is full, comes last. A write is not begun when too few disks
can take one by what their daemons said last: NoSpace if those that are full make the difference, else TooFewDisks.
Reads go to the least busy, fastest holder.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp2
from typing import Self

import trio

from api.peers import Metadata, Node
from api.space import SpaceView
from chunkd.client import ChunkClient, NodeStatus
from cluster.config import Config
from cluster.errors import TrilithError, Unavailable
from cluster.identity import NodeIdentity
from cluster.log import get_logger
from cluster.placement import place
from metaraft.commands import (
    RegisterDisk,
)
from metaraft.model import Disk, SpaceInfo

_log = get_logger("nodes")

_REST_S = 3.0
"""A node that failed or was silent comes last in the order for so long (chosen, not measured)."""

_QUICK_S = 0.001
"""Differences of latency below this do not matter; a holder that was never asked counts as this fast."""

_NEW_SHARE = 0.2
_FORGET_S = 10.0
"""A latency counts half after so long, so that a node that was slow once is asked again."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node for the operator: `status` is what it said last, None if it has never answered."""

    name: str
    disk_id: bytes
    zone: str
    connected: bool
    registered: bool
    status: NodeStatus | None


class _Pace:
    """How busy and how fast a node is, seen from here. What was seen long ago counts less and less."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._first_byte_s = 0.0
        self._at = 0.0

    def took(self, seconds: float) -> None:
        now = trio.current_time()
        known = self._first_byte_s * exp2((self._at - now) / _FORGET_S)
        self._first_byte_s = known + _NEW_SHARE * (seconds - known)
        self._at = now

    def cost(self, now: float) -> float:
        known = self._first_byte_s * exp2((self._at - now) / _FORGET_S)
        return (1 + self.in_flight) * max(known, _QUICK_S)


class Nodes:
    """All chunk daemons, by disk id."""

    def __init__(self, clients: Iterable[Node], meta: Metadata, config: Config) -> None:
        self._nodes = {client.disk_id: client for client in clients}
        self._meta = meta
        self._timings = config.timings
        self.space = SpaceView(meta, config)
        self._paces = {disk_id: _Pace() for disk_id in self._nodes}
        self._resting_until: dict[bytes, float] = {}
        self._status: dict[bytes, NodeStatus] = {}
        self._introduced: dict[bytes, bytes] = {}
        self._registered: set[bytes] = set()
        self._all_registered = trio.Event()

    @classmethod
    def of(cls, config: Config, me: NodeIdentity, meta: Metadata) -> Self:
        """The nodes of a configuration."""
        return cls([ChunkClient(node, config, me) for node in config.chunkd], meta, config)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all connections, and look after each node. Ready when the first attempts are under way."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes.values():
                nursery.start_soon(node.run)
                nursery.start_soon(self._look_after, node)
            task_status.started()

    async def wait_registered(self) -> None:
        """Wait until the metadata knows every disk of the configuration."""
        await self._all_registered.wait()

    def up(self) -> list[Node]:
        """The nodes whose connection stands."""
        return [node for node in self._nodes.values() if node.connected]

    def node(self, disk_id: bytes) -> Node | None:
        """The node with that disk, up or not."""
        return self._nodes.get(disk_id)

    def status(self) -> list[NodeState]:
        """Every node of the configuration, in its order."""
        return [
            NodeState(
                name=node.name,
                disk_id=disk_id,
                zone=node.zone,
                connected=node.connected,
                registered=disk_id in self._registered,
                status=self._status.get(disk_id),
            )
            for disk_id, node in self._nodes.items()
        ]

    def too_few(self, space: SpaceInfo, quorum: int) -> Unavailable | None:
        """Why no chunk can be stored on `quorum` disks now (NoSpace, TooFewDisks), or None. A daemon that has said
        nothing yet is taken at its best."""
        active = self._active(space)
        states = Counter(self._state(disk.disk_id) for disk in active)
        ok, full = states["ok"], states["full"]
        if ok >= quorum:
            return None
        bad = [f"{count} {state.replace('_', '-')}" for state, count in sorted(states.items()) if state != "ok"]
        text = f"{len(active)} disks are up{', of them ' + ', '.join(bad) if bad else ''}; a write needs {quorum}"
        if ok + full >= quorum:
            return Unavailable("NoSpace", text, retry_after_s=1.0)
        return Unavailable("TooFewDisks", text, retry_after_s=1.0)

    def for_put(self, chunk_id: bytes, space: SpaceInfo) -> list[Node]:
        """Who may get a chunk, in the order to try: registered, active, up; the full and the failing last."""
        order = [self._nodes[disk.disk_id] for disk in place(chunk_id, self._active(space))]
        return sorted(order, key=lambda node: self._is_resting(node.disk_id))

    def for_get(self, holders: Iterable[bytes]) -> list[Node]:
        """Who is asked for a chunk, in the order to try; holders that are not up, or have just failed, come last."""
        nodes = [self._nodes[disk_id] for disk_id in holders if disk_id in self._nodes]
        random.shuffle(nodes)
        now = trio.current_time()

        def cost(node: Node) -> tuple[bool, bool, float]:
            resting = self._resting_until.get(node.disk_id, 0.0) > now
            return not node.connected, resting, self._paces[node.disk_id].cost(now)

        return sorted(nodes, key=cost)

    def rest(self, node: Node) -> None:
        """It failed, or was silent: other nodes first for a while."""
        self._resting_until[node.disk_id] = trio.current_time() + _REST_S

    @contextmanager
    def asking(self, node: Node) -> Iterator[_Pace]:
        """A read from that node; note its time to the first byte with `took`."""
        pace = self._paces[node.disk_id]
        pace.in_flight += 1
        try:
            yield pace
        finally:
            pace.in_flight -= 1

    def _active(self, space: SpaceInfo) -> list[Disk]:
        return [disk for disk in space.disks if disk.state == "active" and self._is_up(disk.disk_id)]

    def _is_up(self, disk_id: bytes) -> bool:
        node = self._nodes.get(disk_id)
        return node is not None and node.connected

    def _state(self, disk_id: bytes) -> str:
        status = self._status.get(disk_id)
        return "ok" if status is None else status.state

    def _is_resting(self, disk_id: bytes) -> bool:
        if self._state(disk_id) != "ok":
            return True
        return self._resting_until.get(disk_id, 0.0) > trio.current_time()

    async def _look_after(self, node: Node) -> None:
        said = ""
        while True:
            began = trio.current_time()
            try:
                if node.disk_id not in self._registered:
                    await self._register(node)
                if node.connected:
                    await self._look(node)
                said = ""
            except TrilithError as error:
                if error.code != said:
                    _log.info("node_not_looked_after", node=node.name, code=error.code, reason=error.message)
                said = error.code
            await trio.sleep_until(began + self._timings.reconnect_s)

    async def _register(self, node: Node) -> None:
        """Add the disk unless it is known: what the metadata says of a known one wins over the configuration."""
        info = await self.space.read()
        if all(disk.disk_id != node.disk_id for disk in info.disks):
            disk = Disk(disk_id=node.disk_id, node=node.name, zone=node.zone, weight=node.weight)
            deadline = trio.current_time() + self._timings.metadata_deadline_s
            await self._meta.commit(RegisterDisk(disk), deadline=deadline)
            await self.space.read(since=trio.current_time())
            _log.info("disk_registered", node=node.name, disk=node.disk_id.hex(), zone=node.zone)
        self._registered.add(node.disk_id)
        if len(self._registered) == len(self._nodes):
            self._all_registered.set()

    async def _look(self, node: Node) -> None:
        try:
            status = await node.status(deadline=trio.current_time() + self._timings.connect_s)
        except TrilithError:  # a process that was stopped keeps its connection, and says nothing
            self.rest(node)
            raise
        before = self._status.get(node.disk_id)
        if before is None or before.state != status.state:
            _log.info("node_state", node=node.name, state=status.state, reason=status.reason)
        self._status[node.disk_id] = status
        if self._introduced.get(node.disk_id) != status.boot:
            info = await self.space.read(since=trio.current_time())
            deadline = trio.current_time() + self._timings.metadata_deadline_s
            await node.present(status.boot, info.revision, deadline=deadline)
            self._introduced[node.disk_id] = status.boot
