"""Answers to calls that may take long: they begin before their outcome is known, so that no client gives up waiting.

A call that ends soon is answered as any other. After BEGIN_S the answer begins, with 200 and the XML declaration, goes
on with white space, and ends in the result, or in an `Error` document that clients look for (S3:
CompleteMultipartUpload, CopyObject). The work runs in a task of its own, which outlives the handler; it is cancelled
when the client is gone.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import trio

from api.messages import Response
from api.s3 import xml
from api.s3.errors import error_response
from api.s3.exchange import Exchange
from cluster.errors import OutcomeUnknown, TrilithError

BEGIN_S = 10.0
"""Errors in this time have their own status; clients give up after 60 s of silence or more (chosen)."""

SPACE_S = 5.0
"""One space each (chosen)."""

_XML = ("content-type", "application/xml")

type Work = Callable[[], Awaitable[Response]]


class LongAnswers:
    """Runs the work of calls that may take long. `run` must run."""

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what is begun, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def answer(self, exchange: Exchange, work: Work) -> Response:
        """The answer that the work gives, or one that begins now and ends with it.

        Raises what the work raises in its first seconds. Cancelled, or left by the client, it cancels the work.
        """
        assert self._nursery is not None, "run must run"
        running = _Running(work)
        self._nursery.start_soon(running.run)
        try:
            await running.wait(BEGIN_S)
        except trio.Cancelled:
            running.cancel()
            raise
        if running.ended:
            return running.outcome()

        def failed(error: TrilithError) -> Response:
            resource = exchange.request.path.decode("latin-1")
            return error_response(error, exchange.request.request_id, self._host_id, resource)

        return Response(200, (_XML,), stream=lambda: _stream(running, failed))


class _Running:
    """Work that is under way."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._found: Response | Exception = OutcomeUnknown(
            "Interrupted", "the server ended before the work was done; it may or may not have been completed"
        )

    async def run(self) -> None:
        """Do the work; never raises what it does."""
        try:
            with self._scope:
                self._found = await self._work()
        except Exception as error:  # noqa: BLE001 - raised where the outcome is asked for: the request fails, not the process
            self._found = error
        finally:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """There is an outcome."""
        return self._ended.is_set()

    async def wait(self, most_s: float = math.inf) -> None:
        """Wait for the end, at most so long."""
        with trio.move_on_after(most_s):
            await self._ended.wait()

    def outcome(self) -> Response:
        """What the work gave. Raises what it raised."""
        if isinstance(self._found, Response):
            return self._found
        raise self._found

    def cancel(self) -> None:
        """Give it up."""
        self._scope.cancel()


@asynccontextmanager
async def _stream(running: _Running, failed: Callable[[TrilithError], Response]) -> AsyncIterator[AsyncIterator[bytes]]:
    try:
        async with aclosing(_pieces(running, failed)) as pieces:
            yield pieces
    finally:
        running.cancel()


async def _pieces(running: _Running, failed: Callable[[TrilithError], Response]) -> AsyncGenerator[bytes]:
    declaration = xml.DECLARATION.encode()
    yield declaration
    while not running.ended:
        await running.wait(SPACE_S)
        if not running.ended:
            yield b" "
    try:
        response = running.outcome()
    except TrilithError as error:
        response = failed(error)
    yield response.body.removeprefix(declaration)
