"""The edge on a real socket, around handlers of a test; and a client that says exactly the bytes it is given."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from api.edge.asgi import ObjectPort
from api.edge.bounds import Connections
from api.edge.identifiers import request_ids
from api.edge.serving import Server, serve
from api.edge.sockets import bind
from api.messages import Request, Response
from api.native.errors import error_response
from cluster.limits import Limits

type Handler = Callable[[Request], Awaitable[Response]]


async def echo(request: Request) -> Response:
    """Reads the whole body and answers its size."""
    size = 0
    async for piece in request.body:
        size += len(piece)
    return Response(200, body=b"%s %d" % (request.path, size))


@dataclass
class Edge:
    """A running edge. `seen` has every request that reached the handler."""

    port: int
    seen: list[Request]
    connections: Connections
    stopping: trio.Event
    app: ObjectPort

    async def connect(self, source: str = "127.0.0.1") -> trio.SocketStream:
        """A connection to it."""
        connection = trio.socket.socket()
        await connection.bind((source, 0))
        await connection.connect(("127.0.0.1", self.port))
        return trio.SocketStream(connection)

    async def say(self, raw: bytes) -> bytes:
        """Send these bytes on a new connection and read until the server closes it."""
        stream = await self.connect()
        async with stream:
            await stream.send_all(raw)
            return await read_to_end(stream)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """All bytes until the peer closes."""
    answer = b""
    with trio.fail_after(20):
        try:
            while piece := await stream.receive_some(65536):
                answer += piece
        except trio.BrokenResourceError:
            return answer + b"<reset>"
    return answer


async def read_answer(stream: trio.SocketStream) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length: status, headers, body."""
    data = b""
    with trio.fail_after(20):
        while b"\r\n\r\n" not in data:
            piece = await stream.receive_some(65536)
            assert piece, data
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(headers.get("content-length", "0")):
            piece = await stream.receive_some(65536)
            assert piece, body
            body += piece
    return int(lines[0].split()[1]), headers, body


def with_lifespan(app: ObjectPort) -> Any:
    """The port as a whole ASGI application."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return

    return asgi


@asynccontextmanager
async def edge(
    handler: Handler = echo, *, server: Server = "edge", graceful_s: float = 5, **limits: float
) -> AsyncIterator[Edge]:
    """An edge around a handler, with some limits changed."""
    values = Limits(**limits)  # type: ignore[arg-type]
    seen: list[Request] = []

    async def answer(request: Request) -> Response:
        seen.append(request)
        return await handler(request)

    ids = request_ids()
    app = ObjectPort(
        answer, lambda error, request_id, _scope: error_response(error, request_id), values, ids, deadline_s=5
    )
    connections = Connections(values)
    bound = bind("127.0.0.1:0", shared=False)
    stopping = trio.Event()

    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        start = partial(serve, stopping=stopping, graceful_s=graceful_s)
        await nursery.start(start, server, with_lifespan(app), [listener], connections, ids)
        yield Edge(bound.getsockname()[1], seen, connections, stopping, app)
        stopping.set()
        for connection in list(connections.open):
            connection.close_if_idle()
        nursery.cancel_scope.deadline = trio.current_time() + 5
