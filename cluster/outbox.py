"""A connection's way out: frames queue here, and everything that queued in a turn leaves in one send.

Rules: the queue is bounded in bytes; a frame that no send has taken yet can be withdrawn, which is how a caller knows
that its request certainly did not leave; a peer that takes nothing for `stall_s` breaks the connection.
"""

import trio
from outcome import Value

from cluster.links import Link

_BATCH_BYTES = 1024 * 1024
"""Joined for one send: what a send has taken can no longer be withdrawn."""


class Outbox:
    """The queue and its writer task, `run`. `put` never waits."""

    def __init__(self, link: Link, bytes_max: int, stall_s: float) -> None:
        self.bytes = 0
        """Queued, and taken by a send that has not ended."""
        self.bytes_max = bytes_max
        self._link = link
        self._stall_s = stall_s
        self._queued: dict[int, bytes] = {}
        self._tickets = 0
        self._rest: memoryview | None = None
        self._sleeper: trio.lowlevel.Task | None = None
        self.broken: trio.BrokenResourceError | None = None
        """Why the connection is of no more use."""
        self._room = trio.lowlevel.ParkingLot()

    def put(self, frame: bytes) -> int:
        """Queue a frame; a `flush` must follow. The ticket is for `withdraw`."""
        self._tickets = ticket = self._tickets + 1
        self._queued[ticket] = frame
        self.bytes += len(frame)
        return ticket

    def withdraw(self, ticket: int) -> bool:
        """Take a frame back. False: a send has taken it."""
        frame = self._queued.pop(ticket, None)
        if frame is None:
            return False
        self.bytes -= len(frame)
        return True

    def full(self, size: int) -> bool:
        """No room for `size` bytes more. An empty queue always has room for one frame."""
        return self.bytes + size > self.bytes_max and self.bytes > 0

    def flush(self) -> None:
        """Send now what can be sent without waiting; the writer does the rest. Never raises."""
        if self._rest is None and self._queued and self.broken is None:
            rest = self._take()
            try:
                size = self._link.send_nowait(rest)
            except trio.BrokenResourceError as error:
                self.fail(error)
                return
            if self._sent(rest, size) and not self._queued and not self._link.unsent:
                return
        self.wake()

    def fail(self, error: trio.BrokenResourceError) -> None:
        """End the writer, and with it the connection."""
        if self.broken is None:
            self.broken = error
        self.wake()

    def wake(self) -> None:
        """Let the writer send in its next turn, with all that comes before it."""
        sleeper = self._sleeper
        if sleeper is not None:
            self._sleeper = None
            trio.lowlevel.reschedule(sleeper, Value(None))

    async def wait_room(self, size: int) -> None:
        """Wait until there is room for `size` bytes; does not wait on a broken connection. No checkpoint if it has."""
        while self.full(size) and self.broken is None:
            await self._room.park()

    async def run(self) -> None:
        """Write until cancelled. Raises BrokenResourceError when the connection is of no more use."""
        try:
            while True:
                while self._rest is None and not self._queued and not self._link.unsent and self.broken is None:
                    await self._sleep()
                if self.broken is not None:
                    raise self.broken
                with trio.move_on_after(self._stall_s) as scope:
                    await self._send()
                if scope.cancelled_caught:
                    raise trio.BrokenResourceError(f"the peer took nothing for {self._stall_s} s")
        except trio.BrokenResourceError as error:
            self.broken = error
            raise
        finally:
            self._room.unpark_all()

    async def _send(self) -> None:
        rest = self._rest
        if rest is None and self._queued:
            rest = self._take()
        if rest is None:
            await self._link.drain()
        else:
            self._sent(rest, await self._link.send_some(rest))

    def _take(self) -> memoryview:
        """The next batch; from now on it counts as sent."""
        queued = self._queued
        if self.bytes <= _BATCH_BYTES:
            batch = b"".join(queued.values()) if len(queued) > 1 else next(iter(queued.values()))
            queued.clear()
        else:
            frames, size = [], 0
            while queued and size < _BATCH_BYTES:
                frame = queued.pop(next(iter(queued)))
                frames.append(frame)
                size += len(frame)
            batch = b"".join(frames)
        self._rest = memoryview(batch)
        return self._rest

    def _sent(self, rest: memoryview, size: int) -> bool:
        """True: the batch is out."""
        self.bytes -= size
        self._rest = rest[size:] if size < len(rest) else None
        if self._room:
            self._room.unpark_all()
        return self._rest is None

    async def _sleep(self) -> None:
        self._sleeper = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
