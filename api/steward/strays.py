"""Strays: copies on a disk that no row names. They are looked for, and deleted when they are old enough.

A write that ended before its commit leaves some, and so does one whose last copies came when nobody was there any more
to tell; a chunk that was condemned, and came back without one of its disks, leaves that disk's. So this walks what each
daemon has, and asks the metadata for each.

Why a copy that a row names, or will, is never deleted as a stray: that no row names the disk for it is read together
with the space's horizon H, which is in force then. A row names the disk later only by an acknowledgement with a
`seen >= H` (a commit or a late holder with another is void), and the daemon deletes only names whose every
acknowledgement had a `seen < H`. The upload of a writer that is still at it is renewed and so kept, and one that was
not renewed in time is told to put again. A daemon on another disk than the one that was asked about refuses.
"""

import trio

from api.nodes import Nodes
from api.peers import Metadata, Node
from api.steward.politeness import polite
from cluster.errors import TrilithError
from cluster.limits import Timings
from cluster.log import get_logger
from metaraft.queries import FindStrays, StraysFound

PAGE = 500
"""Names in one step (chosen): some milliseconds of a daemon's time and of the leader's."""

HORIZONS = 4
"""A disk is walked once in so many times `timings.horizon_s` (chosen): nothing younger than that is deleted anyway."""

_log = get_logger("steward")


class Strays:
    """Walks over all disks."""

    def __init__(self, meta: Metadata, nodes: Nodes, timings: Timings) -> None:
        self._meta = meta
        self._nodes = nodes
        self._timings = timings

    async def run(self) -> None:
        """Walk again and again. A daemon that is down, or fails, is left for the next time."""
        wait_s = self._timings.horizon_s
        while True:
            await trio.sleep(wait_s)
            wait_s = HORIZONS * self._timings.horizon_s
            for node in self._nodes.up():
                try:
                    deleted = await self.sweep(node)
                except TrilithError as error:
                    _log.warning("strays_not_deleted", node=node.name, code=error.code, reason=error.message)
                else:
                    if deleted:
                        _log.info("strays_deleted", node=node.name, copies=deleted)

    async def sweep(self, node: Node) -> int:
        """Walk over one disk; how many copies were deleted. Raises what daemon and metadata raise."""
        deleted = 0
        after, more = b"", True
        while more:
            async with polite():
                ids, more = await node.list(after, PAGE, deadline=self._deadline())
                if ids:
                    after = ids[-1]
                    deleted += await self._delete(node, ids)
        return deleted

    async def _delete(self, node: Node, ids: tuple[bytes, ...]) -> int:
        found = await self._meta.read(FindStrays(node.disk_id, ids), deadline=self._deadline())
        assert isinstance(found, StraysFound)
        if not found.chunk_ids:
            return 0
        return sum(await node.delete(found.chunk_ids, found.horizon, deadline=self._deadline()))

    def _deadline(self) -> float:
        return trio.current_time() + self._timings.metadata_deadline_s
