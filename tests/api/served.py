"""The object port of a whole cluster on a real socket, for clients that block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from api.edge.serving import serve
from api.edge.sockets import bind
from cluster.cli.access import Access
from tests.api.whole import ACCESS, SECRET, Whole


@asynccontextmanager
async def served(cluster: Whole) -> AsyncIterator[Access]:
    """Where it is, and root's key."""
    bound = bind("127.0.0.1:0", shared=False)
    apps = cluster.apps
    stopping = trio.Event()
    start = partial(serve, stopping=stopping, graceful_s=5)
    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        await nursery.start(start, "edge", apps.object, [listener], apps.connections, apps.ids)
        yield Access(f"http://127.0.0.1:{bound.getsockname()[1]}", ACCESS, SECRET)
        nursery.cancel_scope.cancel()
