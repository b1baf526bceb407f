"""One API process from start to end: sockets, what must run, the default bucket, and an end in order."""

import ctypes
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import trio
from quart_trio import QuartTrio

from api.access.decisions import Principal
from api.app import Apps, compose
from api.edge.bounds import Connections, Listener, tls_context
from api.edge.serving import Server, serve
from api.edge.sockets import address_of, bind
from api.operations.buckets import Buckets
from api.operations.calls import Call
from cluster.config import ApiConfig, Config
from cluster.errors import Refused, TrilithError
from cluster.exits import RoleExit
from cluster.identity import Credentials, NodeIdentity
from cluster.log import get_logger
from cluster.ports import check_exposure
from cluster.process import tell_ready
from metaraft.model import DEFAULT_BUCKET

_log = get_logger("api")

_GRACEFUL_SHARE = 0.6
"""Of `shutdown_s`, for requests under way; the rest is for leaving."""

_HARD_SHARE = 0.9
"""Of `shutdown_s`, after which the process ends whatever hangs, before the supervisor kills it."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)


@dataclass(frozen=True, slots=True)
class Ports:
    """The two listening sockets."""

    object: socket.socket
    operator: socket.socket


def open_ports(config: Config, node: ApiConfig, *, shared: bool) -> Ports:
    """Bind both. `shared`: somebody holds the ports for this process. Raises Refused, with nothing left open."""

    def shares(which: Callable[[ApiConfig], str]) -> bool:
        listen = which(node)
        return shared or (not listen.endswith(":0") and sum(which(other) == listen for other in config.api) > 1)

    for listen in (node.object_listen, node.operator_listen):
        check_exposure(node, listen)
    with ExitStack() as undo:
        object_socket = undo.enter_context(bind(node.object_listen, shared=shares(lambda api: api.object_listen)))
        operator_socket = bind(node.operator_listen, shared=shares(lambda api: api.operator_listen))
        undo.pop_all()
    return Ports(object_socket, operator_socket)


def tune_process() -> None:
    """Keep freed memory for use again (page faults dominate the cost of buffers), and let the collector pass over
    what lives as long as the process."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
        libc.mallopt(_M_TOP_PAD, 4 * 1024 * 1024)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def run_role(
    config: Config, node: ApiConfig, me: NodeIdentity, credentials: Credentials, cluster_key: bytes, ports: Ports
) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_await_signal, stopping, config.timings.shutdown_s)
        await run_api(config, node, me, credentials, cluster_key, ports, stopping)
        nursery.cancel_scope.cancel()


async def run_api(
    config: Config,
    node: ApiConfig,
    me: NodeIdentity,
    credentials: Credentials,
    cluster_key: bytes,
    ports: Ports,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[Apps] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on both ports until `stopping`, then let requests end; ready when both ports serve."""
    apps = compose(config, node.name, me, credentials, cluster_key)
    graceful_s = _GRACEFUL_SHARE * config.timings.shutdown_s
    tls = tls_context(node.tls_cert, node.tls_key) if node.tls_cert else None

    def listeners(bound: socket.socket) -> Sequence[Listener]:
        plain = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        return [plain] if tls is None else [trio.SSLListener(plain, tls, https_compatible=True)]

    async with trio.open_nursery() as beneath:
        await beneath.start(apps.meta.run)
        await beneath.start(apps.nodes.run)
        await beneath.start(apps.writer.run)
        await beneath.start(apps.reader.run)
        await beneath.start(apps.s3.answers.run)
        beneath.start_soon(make_default_bucket, apps, credentials.access_key, config)
        async with trio.open_nursery() as serving:
            served: tuple[tuple[Server, QuartTrio, socket.socket, Connections], ...] = (
                ("edge", apps.object, ports.object, apps.connections),
                ("hypercorn", apps.operator, ports.operator, apps.operator_connections),
            )
            for server, app, bound, connections in served:
                start = partial(serve, stopping=stopping, graceful_s=graceful_s)
                await serving.start(start, server, app, listeners(bound), connections, apps.ids)
            scheme = "http" if tls is None else "https"
            _log.info(
                "ready",
                object=f"{scheme}://{address_of(ports.object)}",
                operator=f"{scheme}://{address_of(ports.operator)}",
                pid=os.getpid(),
            )
            tell_ready()
            task_status.started(apps)
        beneath.cancel_scope.cancel()


async def make_default_bucket(apps: Apps, owner: str, config: Config) -> None:
    """Make the bucket `default` as soon as there is a quorum; it may be there, and then nothing is done."""
    timings = config.timings
    said = ""
    while True:
        began = trio.current_time()
        call = Call(Principal(owner, "root"), began + timings.metadata_deadline_s, next(apps.ids))
        try:
            await _have_bucket(apps.operations.buckets, call)
        except TrilithError as error:
            if error.code != said:
                _log.info("no default bucket yet", code=error.code, reason=error.message)
            said = error.code
        else:
            apps.process.bucket_made.set()
            return
        await trio.sleep_until(began + timings.reconnect_s)


async def _have_bucket(buckets: Buckets, call: Call) -> None:
    try:
        await buckets.find(DEFAULT_BUCKET, call)
    except Refused as error:
        if error.code != "NoSuchBucket":
            raise
    else:
        return
    try:
        await buckets.create(DEFAULT_BUCKET, call)
    except Refused as error:
        if error.code != "BucketAlreadyExists":
            raise


async def _await_signal(
    stopping: trio.Event, shutdown_s: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            _log.info("stopping", signal=signal.Signals(number).name)
            last = threading.Timer(_HARD_SHARE * shutdown_s, os._exit, (RoleExit.INTERNAL,))
            last.daemon = True
            last.start()
            stopping.set()
            return
