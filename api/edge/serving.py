"""Serve an ASGI application on listening sockets until told to stop, then let requests end.

The object port is served by the edge of our own; Hypercorn, made strict, serves the operator port, and is the second
server on which the object application is tested.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import trio
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from api.edge.bounds import Connections, Listener, Stream
from api.edge.connection import Connection
from api.edge.hypercorn_server import hypercorn_handler, server_config

type Server = Literal["edge", "hypercorn"]


async def serve(
    server: Server,
    app: ASGIFramework,
    listeners: Sequence[Listener],
    connections: Connections,
    ids: Iterator[str],
    *,
    stopping: trio.Event,
    graceful_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping`; requests under way then have `graceful_s` to end, and idle connections none."""
    config = server_config()
    lifespan = Lifespan(wrap_app(app, config.wsgi_max_body_size, "asgi"), config, {})
    context = WorkerContext(None)

    async def by_edge(stream: Stream) -> None:
        await Connection(stream, app, connections, ids, stopping).run()

    handle = by_edge if server == "edge" else hypercorn_handler(app, connections, ids, context)
    async with trio.open_nursery() as around:
        await around.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as requests:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(_accept, listeners, handle, requests)
                accepting.start_soon(connections.watch)
                task_status.started()
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.close_idle()
            requests.cancel_scope.deadline = trio.current_time() + graceful_s
        await lifespan.wait_for_shutdown()
        around.cancel_scope.cancel()


async def _accept(
    listeners: Sequence[Listener], handle: Callable[[Stream], Awaitable[None]], requests: trio.Nursery
) -> None:
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            # serve_listeners waits a moment when the process is out of file descriptors, instead of failing
            nursery.start_soon(partial(trio.serve_listeners, handle, [listener], handler_nursery=requests))
