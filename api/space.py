"""An API's view of its space: revision, horizon, disks, as the metadata last told.

The view may be a little old: a revision that was read is a true lower bound of the present one, which is all that
`seen` means (an acknowledgement under an old `seen` is refused at the commit at worst), and which disks count is
decided at the commit. Waiting readers share one query.
"""

import trio

from api.peers import Metadata
from cluster.config import Config
from metaraft.model import SpaceInfo
from metaraft.queries import (
    GetSpace,
    SpaceFound,
)


class SpaceView:
    """The space, read again when it is older than `timings.space_age_s`."""

    def __init__(self, meta: Metadata, config: Config) -> None:
        self._meta = meta
        self._timings = config.timings
        self._info: SpaceInfo | None = None
        self._read_at = float("-inf")
        self._lock = trio.Lock()

    async def read(self, *, since: float | None = None, trace_id: str = "") -> SpaceInfo:
        """The space as of `since` (trio clock) or later; by default as of at most `space_age_s` ago.

        Raises Unavailable when the metadata does not answer.
        """
        oldest = trio.current_time() - self._timings.space_age_s if since is None else since
        if self._info is not None and self._read_at >= oldest:
            return self._info
        async with self._lock:
            if self._info is not None and self._read_at >= oldest:
                return self._info
            began = trio.current_time()
            found = await self._meta.read(
                GetSpace(), deadline=began + self._timings.metadata_deadline_s, trace_id=trace_id
            )
            assert isinstance(found, SpaceFound)
            self._info, self._read_at = found.space, began
            return found.space
