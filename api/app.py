"""The composition: operations over the data path, dialects over the operations, Quart around all, two ASGI apps.

Object and bucket calls go by the raw bridge inside the Quart app, because Quart's request body is an unbounded buffer
and its response timeout cuts long downloads; so do the operator's calls that have a body. Everything small is a Quart
route: health on both ports, status on the operator's.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import quart
import trio
from hypercorn.typing import HTTPScope
from quart_trio import QuartTrio

from api.access.credentials import Authenticator
from api.access.gate import Gate
from api.access.keys import Keyring
from api.budget import Budget
from api.edge.asgi import ObjectPort
from api.edge.bounds import Connections
from api.edge.identifiers import request_ids
from api.edge.request_log import RequestLog
from api.front import Front, host_of
from api.messages import Request, Response, parse_headers
from api.native.composition import compose_native
from api.native.cursors import Cursors
from api.native.errors import error_response
from api.nodes import Nodes
from api.operations.composition import Operations
from api.operations.users import Users
from api.operator import users as operator_users
from api.operator.health import HealthHandlers
from api.operator.status import Process, StatusHandler
from api.reader import Reader
from api.s3.address import bucket_of_host
from api.s3.composition import S3, compose_s3
from api.space import METADATA_SHARE
from api.writer import Writer
from cluster.config import Config
from cluster.errors import Refused, TrilithError
from cluster.identity import Credentials, NodeIdentity
from cluster.sealing import Sealer
from metaraft.client import MetaClient
from metaraft.model import Copies

HEALTH = "/minio/health/"

type Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Apps:
    """What one API process serves, and what must run for it."""

    object: QuartTrio
    operator: QuartTrio
    meta: MetaClient
    nodes: Nodes
    writer: Writer
    reader: Reader
    operations: Operations
    s3: S3
    process: Process
    connections: Connections
    operator_connections: Connections
    ids: Iterator[str]


class ObjectApp(QuartTrio):
    """The object port's app: health by Quart, all else by the raw bridge. A host that names a bucket has no health: any
    path is a key of that bucket."""

    port: ObjectPort
    domains: tuple[str, ...]

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI connection."""
        if scope["type"] == "http" and not self._is_health(scope):
            await self.port(scope, receive, send)
        else:
            await super().asgi_app(scope, receive, send)

    def _is_health(self, scope: HTTPScope) -> bool:
        is_path = scope["raw_path"].startswith(HEALTH.encode())
        return is_path and bucket_of_host(host_of(scope), self.domains) is None


class OperatorApp(QuartTrio):
    """The operator port's app: users by the raw bridge, all else by Quart."""

    port: ObjectPort

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI connection."""
        if scope["type"] == "http" and scope["raw_path"].startswith(operator_users.PREFIXES):
            await self.port(scope, receive, send)
        else:
            await super().asgi_app(scope, receive, send)


def compose(config: Config, name: str, me: NodeIdentity, root: Credentials, cluster_key: bytes) -> Apps:
    """All parts of one API process, connected; nothing runs yet."""
    clock = trio.current_time
    limits, timings = config.limits, config.timings
    deadline_s = METADATA_SHARE * timings.metadata_deadline_s
    scheme = Copies(config.copies)
    ids = request_ids()
    meta = MetaClient(config, me)
    nodes = Nodes.of(config, me, meta)
    budget = Budget(limits, wait_s=timings.memory_wait_s)
    writer = Writer(nodes, meta, budget, config)
    reader = Reader(nodes, meta, budget, config)
    operations = Operations.over(meta, writer, reader, scheme=scheme, limits=limits, clock=clock, commit_s=deadline_s)
    sealer = Sealer(cluster_key)
    keyring = Keyring(meta, sealer, root, clock)
    authenticator, gate = Authenticator(keyring), Gate(operations.buckets)
    cursors = Cursors(root.secret_key.encode())
    native = compose_native(config, operations, authenticator, gate, cursors)
    s3 = compose_s3(config, name, operations, keyring, gate)
    front = Front(native, s3.dialect, config.s3.domains)
    port = ObjectPort(front.answer, front.error, limits, ids, deadline_s=deadline_s)
    connections, operator_connections = Connections(limits), Connections(limits)
    process = Process(name, lambda: port.in_flight, lambda: len(connections.open))
    health = HealthHandlers(meta, nodes, process, scheme.write_quorum, clock)
    status = StatusHandler(config, meta, nodes, authenticator, process)
    object_app = ObjectApp("api.object")
    object_app.port = port
    object_app.domains = config.s3.domains
    users = operator_users.UserHandlers(authenticator, Users(meta, keyring, sealer, root.access_key), limits)
    operator_app = OperatorApp("api.operator")
    operator_app.port = ObjectPort(
        users.answer,
        lambda error, request_id, _scope: error_response(error, request_id),
        limits,
        ids,
        deadline_s=deadline_s,
    )
    request_log = RequestLog()
    for app in (object_app, operator_app):
        app.config["MAX_CONTENT_LENGTH"] = limits.json_body_bytes_max
        for path, answer in (("live", health.live), ("ready", health.ready), ("cluster", health.cluster)):
            _route(app, HEALTH + path, answer, ids, deadline_s, request_log)
        app.register_error_handler(404, _missing(authenticator, ids, deadline_s, request_log))
        app.register_error_handler(405, _missing(authenticator, ids, deadline_s, request_log))
    _route(operator_app, "/status", status.get, ids, deadline_s, request_log)
    return Apps(
        object_app,
        operator_app,
        meta,
        nodes,
        writer,
        reader,
        operations,
        s3,
        process,
        connections,
        operator_connections,
        ids,
    )


def _route(
    app: QuartTrio, path: str, answer: Answer, ids: Iterator[str], deadline_s: float, request_log: RequestLog
) -> None:
    async def view() -> quart.Response:
        request_id, began = next(ids), trio.current_time()
        try:
            response = await answer(_request(request_id, deadline_s))
        except TrilithError as error:
            response = error_response(error, request_id)
        if response.status >= 400:  # watchers ask all the time: what is well is not logged
            _log_request(request_log, request_id, response, trio.current_time() - began)
        return _quart_response(response, request_id)

    app.add_url_rule(path, endpoint=path, view_func=view, methods=["GET"])


def _missing(
    authenticator: Authenticator, ids: Iterator[str], deadline_s: float, request_log: RequestLog
) -> Callable[[Exception], Awaitable[quart.Response]]:
    """The answer to a path or method that there is not: 401 without a key, as everywhere."""

    async def answer(_error: Exception) -> quart.Response:
        request_id, began = next(ids), trio.current_time()
        try:
            principal = await authenticator.authenticate(
                quart.request.headers.get("authorization"),
                deadline=trio.current_time() + deadline_s,
                trace_id=request_id,
            )
            if principal.kind == "anonymous":
                raise Refused("Unauthorized", "this needs a key: Authorization: Bearer ACCESS:SECRET, or HTTP Basic")
            path = quart.request.path[:200]
            raise Refused("NoSuchPath", f"there is nothing for {quart.request.method} at {path!r}")
        except TrilithError as error:
            response = error_response(error, request_id)
            _log_request(request_log, request_id, response, trio.current_time() - began)
            return _quart_response(response, request_id)

    return answer


class _NoBody:
    def __aiter__(self) -> "_NoBody":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def _request(request_id: str, deadline_s: float) -> Request:
    scope: HTTPScope = quart.request.scope  # type: ignore[assignment]  # of a request it is no websocket's
    client = scope["client"]
    return Request(
        method=scope["method"],
        path=scope["raw_path"],
        query=scope["query_string"],
        headers=parse_headers(scope["headers"]),
        body=_NoBody(),
        length=0,
        client=client[0] if client else "",
        request_id=request_id,
        deadline=trio.current_time() + deadline_s,
    )


def _log_request(request_log: RequestLog, request_id: str, response: Response, seconds: float) -> None:
    scope: HTTPScope = quart.request.scope  # type: ignore[assignment]  # of a request it is no websocket's
    size = len(response.body)
    method, path = scope["method"], scope["raw_path"]
    request_log.request(request_id, method, path, response.status, size, seconds, response.error_code)


def _quart_response(response: Response, request_id: str) -> quart.Response:
    headers = {**dict(response.headers), "x-request-id": request_id}
    return quart.Response(response.body, status=response.status, headers=headers)
