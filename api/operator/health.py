"""Health without a key: `/minio/health/live`, `/ready`, `/cluster` (the paths that MinIO's watchers know).

live: this process runs. ready: it can serve now. cluster: a majority of members commits and enough disks can take a
write, by what their daemons said last; else 503. One question to the quorum serves all who ask within a second, because
anybody may ask.
"""

from collections.abc import Callable

import trio

from api.access.decisions import ANONYMOUS, CLUSTER, Context, require
from api.messages import Request, Response
from api.nodes import Nodes
from api.operator.status import Process
from cluster.errors import TrilithError
from metaraft.client import MetaClient
from metaraft.model import SpaceInfo
from metaraft.queries import GetSpace, SpaceFound

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
        self._found: SpaceInfo | str = "not asked yet"

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
        found = await self._space()
        if isinstance(found, str):
            return _unhealthy(found)
        too_few = self._nodes.too_few(found, self._write_quorum)
        return Response(200) if too_few is None else _unhealthy(f"{too_few.message} ({too_few.code})")

    async def _space(self) -> SpaceInfo | str:
        """The disks as the metadata knows them, or why it does not answer."""
        async with self._lock:
            if self._clock() - self._asked_at > KEPT_S:
                try:
                    answer = await self._meta.read(GetSpace(), deadline=self._clock() + PROBE_S)
                    assert isinstance(answer, SpaceFound), answer
                    self._found = answer.space
                except TrilithError as error:
                    self._found = f"no quorum of members ({error.code})"
                self._asked_at = self._clock()
            return self._found


def _unhealthy(why: str) -> Response:
    return Response(503, (("x-unhealthy", why), ("retry-after", "1")))
