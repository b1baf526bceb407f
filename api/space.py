"""An API's view of its space: revision, horizon, disks, as the metadata last told.

The view may be a little old: a revision that was read is a true lower bound of the present one, which is all that
`seen` means (an acknowledgement under an old `seen` is refused at the commit at worst), and which disks count is
decided at the commit. Readers that wait share one query, and each waits no longer than it may: where nobody answers,
those in front do not use up the time of those behind.
"""

import trio

from api.peers import Metadata
from cluster.config import Config
from cluster.errors import Unavailable
from metaraft.model import SpaceInfo
from metaraft.queries import (
    GetSpace,
    SpaceFound,
)

METADATA_SHARE = 0.9
"""Of `metadata_deadline_s`, for the metadata of one request: the refusal must have arrived within the whole."""


class SpaceView:
    """The space, read again when it is older than `timings.space_age_s`."""

    def __init__(self, meta: Metadata, config: Config) -> None:
        self._meta = meta
        self._timings = config.timings
        self._info: SpaceInfo | None = None
        self._read_at = float("-inf")
        self._lock = trio.Lock()

    async def read(self, *, since: float | None = None, deadline: float | None = None, trace_id: str = "") -> SpaceInfo:
        """The space as of `since` (trio clock) or later; by default as of at most `space_age_s` ago.

        Raises Unavailable when the metadata does not answer before `deadline` (by default, that of a request made now).
        """
        now = trio.current_time()
        oldest = now - self._timings.space_age_s if since is None else since
        if deadline is None:
            deadline = now + METADATA_SHARE * self._timings.metadata_deadline_s
        if (known := self._known(oldest)) is not None:
            return known
        with trio.move_on_at(deadline) as waiting:
            await self._lock.acquire()
        if waiting.cancelled_caught:
            raise Unavailable("NoQuorum", "no leader answered before the deadline; others waited for it as well")
        try:
            if (known := self._known(oldest)) is not None:
                return known
            began = trio.current_time()
            found = await self._meta.read(GetSpace(), deadline=deadline, trace_id=trace_id)
            assert isinstance(found, SpaceFound)
            self._info, self._read_at = found.space, began
            return found.space
        finally:
            self._lock.release()

    def _known(self, oldest: float) -> SpaceInfo | None:
        return self._info if self._read_at >= oldest else None
