"""Bodies under the clock: what stands still or trickles is ended, a slow handler is not the client's fault."""

from typing import Any

import pytest
import trio
import trio.testing

from api.edge.asgi import AsgiBody
from cluster.errors import Refused
from cluster.limits import Limits


def body(pieces: list[tuple[float, bytes]], **limits: Any) -> AsgiBody:
    """A body whose pieces come after so many seconds each; then nothing."""
    left = list(pieces)

    async def receive() -> Any:
        if not left:
            await trio.sleep_forever()
        pause, data = left.pop(0)
        await trio.sleep(pause)
        return {"type": "http.request", "body": data, "more_body": bool(left) or data != b""}

    return AsgiBody(receive, Limits(**limits), empty=False)


async def read(found: AsgiBody, *, pause: float = 0) -> bytes:
    data = b""
    async for piece in found:
        data += piece
        await trio.sleep(pause)
    return data


async def test_a_body_that_comes_in_time_is_read(autojump_clock: trio.testing.MockClock) -> None:
    assert await read(body([(29, b"a"), (29, bytes(100_000)), (29, b"")])) == b"a" + bytes(100_000)


async def test_nothing_for_thirty_seconds_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(Refused) as refused:
        await read(body([(1, b"a")]))
    assert refused.value.code == "RequestTimeout"
    assert refused.value.limit == {"body_idle_s": 30.0}


async def test_two_bytes_a_second_end_it_after_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(Refused) as refused:
        await read(body([(0.5, b"a")] * 1_000))
    assert refused.value.limit == {"body_rate_bytes_per_s_min": 1024}
    assert 60 <= trio.current_time() - began <= 62


async def test_time_that_the_handler_takes_does_not_count(autojump_clock: trio.testing.MockClock) -> None:
    pieces = [(0.001, b"a")] * 50 + [(0.0, b"")]
    assert await read(body(pieces), pause=100) == b"a" * 50


async def test_a_client_that_goes_away_is_not_an_end(autojump_clock: trio.testing.MockClock) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(Refused) as refused:
        await read(AsgiBody(receive, Limits(), empty=False))
    assert refused.value.code == "IncompleteBody"
