"""A run that is told to end (SIGTERM) ends in order: what it started is ended too."""

import signal
from collections.abc import Awaitable, Callable

import trio


class Ended(Exception):
    """This process was told to end before the run was over."""


async def unless_ended[T](conduct: Callable[[], Awaitable[T]]) -> T:
    """What `conduct` comes to. It is cancelled if this process is told to end. Raises Ended."""
    found: list[T] = []

    async def wait_for_end() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_end)
        found.append(await conduct())
        nursery.cancel_scope.cancel()
    if not found:
        raise Ended
    return found[0]
