"""`GET /status`: the cluster as JSON, as this API process sees it.

Every member is asked at once and answers for itself, so it works without a quorum and is not linearizable. Needs
the root key.
"""

import os
import time
from collections.abc import Callable

import msgspec
import trio

from api.access.credentials import Authenticator
from api.access.decisions import CLUSTER, Context, require
from api.messages import Request, Response
from api.nodes import Nodes, NodeState
from cluster.config import Config
from metaraft.client import MemberStatus, MetaClient

encode = msgspec.json.Encoder().encode


class MemberFacts(msgspec.Struct):
    """A metadata member. Hashes of rows are equal at equal `applied`; `compared` is the newest index at which a
    majority was found to be so. The walk that is under way has read `walk_rows`; `walked_ms` is the wall clock at
    the end of the last one. `error`: why it does not answer, or why its rows are wrong."""

    name: str
    slot: int
    up: bool
    role: str
    term: int
    commit: int
    applied: int
    last_index: int
    revision: int
    set_hash: str
    log_bytes: int
    bytes_free: int
    pid: int
    refusal: str
    skew_ms: int
    compared: int
    rows: int
    walk_rows: int
    walked_ms: int
    error: str


class ChunkdFacts(msgspec.Struct):
    """A chunk daemon and its disk."""

    name: str
    up: bool
    disk_id: str
    zone: str
    registered: bool
    state: str
    reason: str
    chunks: int
    bytes_total: int
    bytes_free: int
    bad: int


class ApiFacts(msgspec.Struct):
    """This process."""

    name: str
    pid: int
    up_s: float
    requests_in_flight: int
    connections: int


class StatusFacts(msgspec.Struct):
    """The whole answer. `ready`: the default bucket is there and each configured disk is registered.

    `state`: `ok`; `degraded` when anything is down or refuses; `unavailable` without a leader or with fewer disks
    than a write needs.
    """

    cluster_id: str
    state: str
    ready: bool
    leader: str | None
    term: int
    state_time_ms: int
    members: list[MemberFacts]
    chunkds: list[ChunkdFacts]
    api: ApiFacts


class Process:
    """What this process knows of itself; filled in by its composition."""

    def __init__(self, name: str, in_flight: Callable[[], int], connections: Callable[[], int]) -> None:
        self._name = name
        self._since = time.monotonic()
        self._in_flight = in_flight
        self._connections = connections
        self.bucket_made = trio.Event()

    def facts(self) -> ApiFacts:
        """Its facts now."""
        up_s = round(time.monotonic() - self._since, 1)
        return ApiFacts(self._name, os.getpid(), up_s, self._in_flight(), self._connections())


class StatusHandler:
    """Answers `GET /status`."""

    def __init__(
        self, config: Config, meta: MetaClient, nodes: Nodes, authenticator: Authenticator, process: Process
    ) -> None:
        self._config = config
        self._meta = meta
        self._nodes = nodes
        self._authenticator = authenticator
        self._process = process

    async def get(self, request: Request) -> Response:
        """The status. Raises Refused (Unauthorized, InvalidCredentials, AccessDenied)."""
        principal = await self._authenticator.authenticate(
            request.headers.get("authorization"), deadline=request.deadline, trace_id=request.request_id
        )
        require(principal, "GetStatus", CLUSTER, Context(request.client))
        facts = self._facts(await self._meta.status())
        body = encode(facts)
        return Response(
            200, (("content-type", "application/json"), ("cache-control", "no-store")), body, length=len(body)
        )

    def _facts(self, members: list[MemberStatus]) -> StatusFacts:
        chunkds = [_chunkd(state) for state in self._nodes.status()]
        leaders = sorted((member for member in members if member.role == "leader"), key=lambda member: member.term)
        leader = leaders[-1] if leaders else None
        up = sum(chunkd.up for chunkd in chunkds)
        if leader is None or up < self._config.copies // 2 + 1:
            state = "unavailable"
        elif (
            up < len(chunkds)
            or any(chunkd.state != "ok" for chunkd in chunkds)
            or any(member.role == "unreachable" or member.refusal for member in members)
            or leader.differing
        ):
            state = "degraded"
        else:
            state = "ok"
        return StatusFacts(
            cluster_id=self._config.cluster_id,
            state=state,
            ready=self._process.bucket_made.is_set() and all(chunkd.registered for chunkd in chunkds),
            leader=None if leader is None else leader.name,
            term=max((member.term for member in members), default=0),
            state_time_ms=max((member.state_time_ms for member in members), default=0),
            members=[_member(member, {} if leader is None else leader.differing) for member in members],
            chunkds=chunkds,
            api=self._process.facts(),
        )


def _member(status: MemberStatus, differing: dict[int, str]) -> MemberFacts:
    return MemberFacts(
        name=status.name,
        slot=status.slot,
        up=status.role != "unreachable",
        role=status.role,
        term=status.term,
        commit=status.commit,
        applied=status.applied,
        last_index=status.last_index,
        revision=status.revision,
        set_hash=status.set_hash,
        log_bytes=status.log_bytes,
        bytes_free=status.free_bytes,
        pid=status.pid,
        refusal=status.refusal,
        skew_ms=status.skew_ms,
        compared=status.compared,
        rows=status.rows,
        walk_rows=status.walk_rows,
        walked_ms=status.walked_ms,
        error=differing.get(status.slot, status.error),
    )


def _chunkd(state: NodeState) -> ChunkdFacts:
    status = state.status if state.connected else None
    return ChunkdFacts(
        name=state.name,
        up=state.connected,
        disk_id=state.disk_id.hex(),
        zone=state.zone,
        registered=state.registered,
        state="down" if not state.connected else "starting" if status is None else status.state,
        reason="" if status is None else status.reason,
        chunks=0 if status is None else status.chunks,
        bytes_total=0 if status is None else status.bytes_total,
        bytes_free=0 if status is None else status.bytes_free,
        bad=0 if status is None else len(status.bad),
    )
