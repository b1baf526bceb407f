"""Pieces of bytes from the task that fetches them to the task that sends them on, one at a time.

A piece that was taken belongs to the taker until it asks for the next one; the giver can see whether it has asked.
"""

import trio


class Handoff:
    """One giver, one taker, which iterates over it."""

    def __init__(self) -> None:
        self._piece: memoryview | None = None
        self._ended = False
        self._error: Exception | None = None
        self._asked = trio.Event()
        self._given = trio.Event()

    @property
    def is_asked(self) -> bool:
        """Giver: the taker waits for a piece; `give` will not wait."""
        return self._asked.is_set()

    async def asked(self) -> None:
        """Giver: wait until the taker waits for a piece, and so has done with the one before."""
        await self._asked.wait()

    async def give(self, piece: memoryview) -> None:
        """Giver: hand over a piece when it is asked for. Cancelled: it was not handed over."""
        await self._asked.wait()
        self._asked = trio.Event()
        self._piece = piece
        self._given.set()

    def end(self, error: Exception | None = None) -> None:
        """Giver: nothing follows but this error."""
        self._ended = True
        self._error = error
        self._given.set()

    async def first(self) -> None:
        """Taker: wait until there is something to take; raises the giver's error if there never will be."""
        self._asked.set()
        await self._given.wait()
        if self._piece is None and self._error is not None:
            raise self._error

    def __aiter__(self) -> "Handoff":
        return self

    async def __anext__(self) -> memoryview:
        """Taker: the next piece; raises the giver's error. It is valid until the next one is asked for."""
        if not self._given.is_set():
            self._asked.set()
            await self._given.wait()
        piece, self._piece = self._piece, None
        if piece is None:
            assert self._ended, "woken without a piece"
            raise self._error or StopAsyncIteration
        if not self._ended:
            self._given = trio.Event()
        return piece


def handed(data: bytes) -> Handoff:
    """All bytes at once, and the end."""
    handoff = Handoff()
    handoff._piece = memoryview(data) if data else None
    handoff.end()
    return handoff
