"""Health without a key: `/minio/health/live`, `/ready`, `/cluster` (the paths that MinIO's watchers know).

live: this process runs. ready: it can serve now. cluster: a majority of members commits and enough disks for a write
are up; else 503. One question to the quorum serves all who ask within a second, because anybody may ask.
"""

from collections.abc import Callable

import trio

from api.access.decisions import ANONYMOUS, CLUSTER, Context, require
from api.messages import Request, Response
from api.nodes import Nodes
from api.operator.status import Process
from cluster.errors import TrilithError
from metaraft.client import MetaClient
from metaraft.queries import (
    GetSpace,
)

KEPT_S = 1.0
PROBE_S = 3.0


class HealthHandlers:
    """Answers the health endpoints."""

    def __init__(
        self, meta: MetaClient, nodes: Nodes, process: Process, write_quorum: int, clock: Callable[[], float]
    ) -> None:
        self._meta = meta
        self._nodes = nodes
        self._process = process
        self._write_quorum = write_quorum
        self._clock = clock
        self._lock = trio.Lock()
        self._asked_at = float("-inf")
        self._trouble = "not asked yet"

    async def live(self, request: Request) -> Response:
        """200 as long as the process answers."""
        require(ANONYMOUS, "GetHealth", CLUSTER, Context(request.client))
        return Response(200)

    async def ready(self, request: Request) -> Response:
        """200 when this process has found its cluster and can serve, else 503."""
        require(ANONYMOUS, "GetHealth", CLUSTER, Context(request.client))
        if not self._process.bucket_made.is_set():
            return _unhealthy("this process has not reached a quorum since its start")
        return await self.cluster(request)

    async def cluster(self, request: Request) -> Response:
        """200 when writes are possible, else 503 with the reason in a header."""
        require(ANONYMOUS, "GetHealth", CLUSTER, Context(request.client))
        trouble = await self._metadata_trouble()
        up = len(self._nodes.up())
        if not trouble and up < self._write_quorum:
            trouble = f"{up} chunk daemons are up; a write needs {self._write_quorum}"
        return _unhealthy(trouble) if trouble else Response(200)

    async def _metadata_trouble(self) -> str:
        async with self._lock:
            if self._clock() - self._asked_at > KEPT_S:
                try:
                    await self._meta.read(GetSpace(), deadline=self._clock() + PROBE_S)
                    self._trouble = ""
                except TrilithError as error:
                    self._trouble = f"no quorum of members ({error.code})"
                self._asked_at = self._clock()
            return self._trouble


def _unhealthy(why: str) -> Response:
    return Response(503, (("x-unhealthy", why), ("retry-after", "1")))
