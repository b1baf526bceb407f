"""The bridge from ASGI to requests and responses as values, for every object and bucket call.

It goes around Quart: a body is pulled piece by piece from the server and pushed piece by piece into it, so both
directions have back-pressure. A body that stands still or trickles is ended here, and only the time in which the
client was waited for counts. What is over the cap on requests in flight is refused before anything is read.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, HTTPScope

from api.edge.bounds import HAS_BODY_BYTES, ClientGone
from api.edge.request_log import RequestLog
from api.messages import Request, Response, parse_headers
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.limits import Limits
from cluster.log import get_logger

RATE_WINDOW_S = 60.0
"""The minimum rate of a body is measured over this."""

type Answer = Callable[[Request], Awaitable[Response]]
type ErrorAnswer = Callable[[TrilithError, str, HTTPScope], Response]

_log = get_logger("http")


class AsgiBody:
    """A request's body as an async iterator. Raises Refused (RequestTimeout, IncompleteBody)."""

    __slots__ = ("_here", "_limits", "_more", "_receive", "_received", "_waited", "total")

    def __init__(
        self, receive: ASGIReceiveCallable, limits: Limits, *, empty: bool, here: Callable[[], bool] | None = None
    ) -> None:
        self._here = here
        self._receive = receive
        self._limits = limits
        self._more = not empty
        self._waited = 0.0
        self._received = 0
        self.total = 0

    def __aiter__(self) -> "AsgiBody":
        return self

    async def __anext__(self) -> bytes:
        while self._more:
            if self._here is not None and self._here():  # no wait, so no timer
                data = self._taken(await self._receive())
                self._received += len(data)
                self.total += len(data)
                if data:
                    return data
                continue
            began = trio.current_time()
            with trio.move_on_after(self._limits.body_idle_s) as scope:
                message = await self._receive()
            if scope.cancelled_caught:
                raise _too_slow(
                    f"no byte of the body came for {self._limits.body_idle_s:g} s",
                    {"body_idle_s": self._limits.body_idle_s},
                )
            data = self._taken(message)
            self._measure(len(data), trio.current_time() - began)
            if data:
                return data
        raise StopAsyncIteration

    def _taken(self, message: ASGIReceiveEvent) -> bytes:
        if message["type"] != "http.request":
            self._more = False
            raise Refused("IncompleteBody", f"the connection ended after {self.total} bytes of the body")
        self._more = message["more_body"]
        return message["body"]

    def _measure(self, size: int, waited: float) -> None:
        self.total += size
        self._received += size
        self._waited += waited
        if self._waited >= RATE_WINDOW_S:
            least = self._limits.body_rate_bytes_per_s_min
            if self._received < least * self._waited:
                raise _too_slow(
                    f"the body came with less than {least} bytes per second over {RATE_WINDOW_S:g} s",
                    {"body_rate_bytes_per_s_min": least},
                )
            self._waited, self._received = 0.0, 0


class ObjectPort:
    """An ASGI application around one `answer(Request)`."""

    def __init__(
        self,
        answer: Answer,
        error_answer: ErrorAnswer,
        limits: Limits,
        ids: Iterator[str],
        *,
        deadline_s: float,
    ) -> None:
        self._answer = answer
        self._error_answer = error_answer
        self._limits = limits
        self._ids = ids
        self._deadline_s = deadline_s
        self._request_log = RequestLog()
        self.in_flight = 0

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """One request."""
        began = trio.current_time()
        request_id = next(self._ids)
        exchange = _Exchange(scope, send, request_id)
        self.in_flight += 1
        try:
            if self.in_flight > self._limits.requests_in_flight_max:
                raise _too_many(self._limits.requests_in_flight_max)
            request = self._request(scope, receive, request_id, began)
            await exchange.respond(await self._answer(request))
        except TrilithError as error:
            await self._failed(exchange, error)
        except ClientGone:
            exchange.status = 499
            raise
        except Exception:  # noqa: BLE001 - a failing request ends here, with its traceback in the log
            _log.exception("handler failed", request_id=request_id)
            await self._failed(exchange, _our_own())
        finally:
            self.in_flight -= 1
            self._request_log.request(
                request_id,
                scope["method"],
                scope["raw_path"],
                exchange.status,
                exchange.sent,
                trio.current_time() - began,
                exchange.code,
            )

    async def _failed(self, exchange: "_Exchange", error: TrilithError) -> None:
        if exchange.started:  # a part of the body is out: only a broken connection says that the rest is wrong
            _log.error("download broken off", request_id=exchange.request_id, code=error.code, reason=error.message)
            exchange.status = 599
            raise ClientGone(error.code) from error
        await exchange.respond(self._error_answer(error, exchange.request_id, exchange.scope))

    def _request(self, scope: HTTPScope, receive: ASGIReceiveCallable, request_id: str, began: float) -> Request:
        headers = parse_headers(scope["headers"])
        length: int | None = int(headers.get("content-length", "0"))
        if "transfer-encoding" in headers:
            length = None
        client = scope["client"]
        extensions: dict[str, Any] = scope["extensions"]
        return Request(
            method=scope["method"],
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=headers,
            body=AsgiBody(receive, self._limits, empty=length == 0, here=extensions.get(HAS_BODY_BYTES)),
            length=length,
            client=client[0] if client else "",
            request_id=request_id,
            deadline=began + self._deadline_s,
            scheme=scope["scheme"],
        )


class _Exchange:
    """One answer on its way out, and its line in the log."""

    __slots__ = ("_send", "code", "request_id", "scope", "sent", "started", "status")

    def __init__(self, scope: HTTPScope, send: ASGISendCallable, request_id: str) -> None:
        self.scope = scope
        self._send = send
        self.request_id = request_id
        self.started = False
        self.status = 0
        self.sent = 0
        self.code = ""

    async def respond(self, response: Response) -> None:
        if response.stream is None or self.scope["method"] == "HEAD":
            await self._start(response)
            await self._body(response.body, more=False)
            return
        async with response.stream() as pieces:
            async for piece in pieces:  # the head leaves only when the first bytes are there, verified
                if not self.started:
                    await self._start(response)
                await self._body(piece, more=True)
            if not self.started:
                await self._start(response)
            await self._body(b"", more=False)

    async def _start(self, response: Response) -> None:
        self.status = response.status
        self.code = response.error_code
        headers = [(name.encode(), value.encode()) for name, value in response.headers]
        headers.append((b"x-request-id", self.request_id.encode()))
        if response.length is not None:
            headers.append((b"content-length", b"%d" % response.length))
        elif response.stream is None and response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(response.body)))
        self.started = response.stream is not None
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def _body(self, data: Any, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.sent += len(data)


def _our_own() -> Unavailable:
    return Unavailable("InternalError", "the request failed for a reason of the server's own; see its log")


def _too_slow(message: str, limit: dict[str, int | float | str]) -> Refused:
    return Refused("RequestTimeout", message, limit=limit)


def _too_many(most: int) -> Unavailable:
    return Unavailable(
        "SlowDown", f"{most} requests are under way; try again", limit={"requests_in_flight_max": most}, retry_after_s=1
    )
