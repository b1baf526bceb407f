"""Acknowledgements that came after their commit: batched, one command per `timings.late_holders_s` and API process.

They are worth having, not needed: W were in the commit. So the queue is bounded, and what cannot be told is dropped and
left to repair.
"""

from collections import deque

import trio

from api.peers import Metadata
from cluster.config import Config
from cluster.errors import TrilithError
from cluster.log import get_logger
from metaraft.commands import (
    AddHolders,
    StoredChunk,
)
from metaraft.model import Scheme

_log = get_logger("late_holders")

_BATCH_MAX = 1000
_QUEUE_MAX = 10_000
_TRIES = 3


class LateHolders:
    """Collects late holders and tells the metadata."""

    def __init__(self, meta: Metadata, config: Config) -> None:
        self._meta = meta
        self._timings = config.timings
        self._queue: deque[tuple[Scheme, StoredChunk]] = deque()
        self._some = trio.Event()

    def add(self, scheme: Scheme, chunk: StoredChunk) -> None:
        """Note a chunk's further acknowledgements. When the queue is full they are dropped."""
        if len(self._queue) >= _QUEUE_MAX:
            _log.warning("late_holders_dropped", chunk=chunk.chunk_id.hex(), queued=len(self._queue))
            return
        self._queue.append((scheme, chunk))
        self._some.set()

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            await self._some.wait()
            await trio.sleep(self._timings.late_holders_s)
            batch = self._take()
            if batch is None:
                self._some = trio.Event()
            else:
                await self._tell(batch)

    def _take(self) -> AddHolders | None:
        """The next command: chunks of one scheme."""
        if not self._queue:
            return None
        scheme = self._queue[0][0]
        chunks: list[StoredChunk] = []
        while self._queue and self._queue[0][0] == scheme and len(chunks) < _BATCH_MAX:
            chunks.append(self._queue.popleft()[1])
        return AddHolders(scheme=scheme, chunks=tuple(chunks))

    async def _tell(self, batch: AddHolders) -> None:
        for _ in range(_TRIES):
            try:
                await self._meta.commit(batch, deadline=trio.current_time() + self._timings.metadata_deadline_s)
            except TrilithError as error:
                _log.info("late_holders_not_told", chunks=len(batch.chunks), code=error.code, reason=error.message)
                await trio.sleep(self._timings.reconnect_s)
            else:
                return
        _log.warning("late_holders_dropped", chunks=len(batch.chunks))
