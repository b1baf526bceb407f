"""Answers that begin before their outcome is known, on a clock that does not wait."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from api.access.decisions import ANONYMOUS
from api.messages import Request, Response
from api.operations.calls import Call
from api.s3.authentication import SignedPayload
from api.s3.body import open_body
from api.s3.exchange import Exchange
from api.s3.payload import payload_of
from api.s3.table import BY_NAME
from api.s3.waiting import BEGIN_S, SPACE_S, LongAnswers
from api.s3.xml import DECLARATION, document
from cluster.errors import OutcomeUnknown, Refused
from tests.api.s3.storing import Pieces

RESULT = Response(200, (("etag", '"x"'),), document("Result", ["done"]))


def exchange() -> Exchange:
    """A request that takes long."""
    request = Request("POST", b"/b/k", b"", {}, Pieces([]), 0, "", "id-1", 0.0)
    call = Call(ANONYMOUS, 0.0, "id-1")
    payload = SignedPayload(open_body(request, payload_of({}), None))
    return Exchange(request, BY_NAME["CompleteMultipartUpload"], "b", "k", {}, call, payload)


@asynccontextmanager
async def answering() -> AsyncIterator[LongAnswers]:
    async with trio.open_nursery() as nursery:
        answers = LongAnswers("host-1")
        await nursery.start(answers.run)
        yield answers
        nursery.cancel_scope.cancel()


def taking(seconds: float, outcome: Response | Exception = RESULT) -> Callable[[], Awaitable[Response]]:
    async def work() -> Response:
        await trio.sleep(seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return work


async def pieces_of(response: Response) -> list[tuple[float, bytes]]:
    """What comes, and when."""
    assert response.stream is not None
    async with response.stream() as pieces:
        return [(trio.current_time(), bytes(piece)) async for piece in pieces]


async def test_work_that_ends_soon_is_answered_as_any_other(autojump_clock: trio.testing.MockClock) -> None:
    async with answering() as answers:
        assert await answers.answer(exchange(), taking(BEGIN_S - 1)) == RESULT


async def test_an_error_that_comes_early_keeps_its_status(autojump_clock: trio.testing.MockClock) -> None:
    async with answering() as answers:
        with pytest.raises(Refused, match="no such"):
            await answers.answer(exchange(), taking(BEGIN_S - 1, Refused("NoSuchUpload", "no such upload")))


async def test_long_work_is_answered_by_white_space_and_then_its_result(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with answering() as answers:
        began = trio.current_time()
        response = await answers.answer(exchange(), taking(BEGIN_S + 2.5 * SPACE_S))
        assert (response.status, response.length) == (200, None)
        found = await pieces_of(response)
    times = [time - began for time, _ in found]
    assert times == pytest.approx([BEGIN_S, BEGIN_S + SPACE_S, BEGIN_S + 2 * SPACE_S, BEGIN_S + 2.5 * SPACE_S])
    body = b"".join(piece for _, piece in found)
    assert body == DECLARATION.encode() + b"  " + RESULT.body.removeprefix(DECLARATION.encode())


async def test_an_error_that_comes_late_is_the_document_behind_the_white_space(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with answering() as answers:
        response = await answers.answer(exchange(), taking(BEGIN_S + 1, Refused("InvalidPart", "part 3 is not there")))
        body = b"".join(piece for _, piece in await pieces_of(response))
    assert body.startswith(DECLARATION.encode() + b"<Error><Code>InvalidPart</Code><Message>part 3 is not there<")
    assert b"<Resource>/b/k</Resource><RequestId>id-1</RequestId><HostId>host-1</HostId></Error>" in body
    assert body.count(b"<?xml") == 1


async def test_a_defect_of_ours_breaks_the_answer_off(autojump_clock: trio.testing.MockClock) -> None:
    async with answering() as answers:
        response = await answers.answer(exchange(), taking(BEGIN_S + 1, KeyError("ours")))
        with pytest.raises(KeyError):
            await pieces_of(response)


async def test_a_client_that_goes_away_ends_the_work(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[str] = []

    async def work() -> Response:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with answering() as answers:
        with trio.move_on_after(1):
            await answers.answer(exchange(), work)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["cancelled"]
        response = await answers.answer(exchange(), work)
        assert response.stream is not None
        async with response.stream() as pieces:
            await anext(pieces)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["cancelled"] * 2


async def test_the_end_of_the_server_is_an_outcome_that_is_not_known(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        answers = LongAnswers("host-1")
        running = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            with running:
                await answers.run(task_status=task_status)

        await nursery.start(run)

        async def stop() -> None:
            await trio.sleep(1)
            running.cancel()

        nursery.start_soon(stop)
        with pytest.raises(OutcomeUnknown):
            await answers.answer(exchange(), taking(5))
