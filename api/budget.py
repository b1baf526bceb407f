"""One process-wide memory budget for bytes on their way: chunk buffers of uploads, pieces of downloads.

Rules: what is lent never exceeds `limits.transfer_memory_bytes_max`; a wait for memory is bounded and ends in
Unavailable (SlowDown); waiters are served in order. No deadlock: a small buffer takes an upload's first bytes, so that
a slow client does not hold 8 MiB for them, and is what a download must have; small buffers take at most half of the
budget. Pieces are for downloads while there is plenty, and take at most a quarter. The rest is for whole-chunk buffers,
whose holders need no more memory to finish.

Buffers are anonymous mappings that are used again: page faults dominate the cost of fresh ones (measured: up to ten
times), and a mapping that is let go returns to the system whatever the allocator does.
"""

import mmap
from collections import OrderedDict
from collections.abc import Callable

import outcome
import trio

from cluster.errors import Refused, Unavailable
from cluster.limits import CHUNK_BYTES, KIB, MIB, Limits

SMALL_BYTES = 256 * KIB
"""Size of a small buffer: a slow client's bytes, an object of a few blocks (chosen, not measured)."""

PIECE_BYTES = MIB
"""Size of a piece: a quarter of the small buffer's cost per byte (measured), and what daemons send at once."""

_SPARE_BYTES_MAX = 64 * MIB
"""Kept for use again when nobody needs them; more is returned to the system."""


class Buffer:
    """A loan of memory: `view` until the last of its users has released it.

    The one who acquired it is its first user; `keep` adds one. Memory is mapped when `view` is first asked for, so a
    loan may also stand for bytes that lie elsewhere.
    """

    __slots__ = ("_budget", "_memory", "_users", "_view", "size")

    def __init__(self, budget: "Budget", size: int) -> None:
        self.size = size
        self._budget = budget
        self._users = 1
        self._memory: mmap.mmap | None = None
        self._view: memoryview | None = None

    @property
    def view(self) -> memoryview:
        """The memory; its contents are anything at first."""
        if self._view is None:
            self._memory = self._budget._map(self.size)
            self._view = memoryview(self._memory)
        return self._view

    def keep(self) -> "Buffer":
        """Count one more user."""
        assert self._users > 0, "a buffer that was given back is used again"
        self._users += 1
        return self

    def release(self) -> None:
        """One user less; the last one gives the memory back, and must not touch `view` any more."""
        assert self._users > 0, "a buffer is released more often than it was kept"
        self._users -= 1
        if not self._users:
            memory, self._memory, self._view = self._memory, None, None
            self._budget._returned(self.size, memory)


class _Kind:
    """The buffers of one size: how much of it may be lent, what is spare, who waits."""

    def __init__(self, size: int, bytes_max: int) -> None:
        self.size = size
        self.bytes_max = bytes_max
        self.lent = 0
        self.spare: list[mmap.mmap] = []
        self.waiting: OrderedDict[trio.lowlevel.Task, None] = OrderedDict()


class Budget:
    """The budget of one process. Not thread-safe: one trio run. Raises Refused (BadConfig) if it is too small."""

    def __init__(self, limits: Limits, *, wait_s: float) -> None:
        total = limits.transfer_memory_bytes_max
        if total < 2 * CHUNK_BYTES:
            text = f"limits.transfer_memory_bytes_max is {total}; two chunks ({2 * CHUNK_BYTES}) are the least"
            raise Refused("BadConfig", text)
        self._wait_s = wait_s
        self._total = total
        self._small = _Kind(SMALL_BYTES, total // 2)
        self._large = _Kind(CHUNK_BYTES, total)
        self._piece = _Kind(PIECE_BYTES, total // 4)
        self._kinds = {kind.size: kind for kind in (self._small, self._piece, self._large)}
        self._reclaim: list[Callable[[], None]] = []

    @property
    def lent_bytes(self) -> int:
        """Bytes that are lent now."""
        return self._small.lent + self._piece.lent + self._large.lent

    @property
    def waiting(self) -> int:
        """How many wait for a whole-chunk buffer."""
        return len(self._large.waiting)

    def on_shortage(self, reclaim: Callable[[], None]) -> None:
        """`reclaim` is called each time somebody begins to wait for a whole-chunk buffer."""
        self._reclaim.append(reclaim)

    async def acquire(self, size: int) -> Buffer:
        """A buffer of SMALL_BYTES, PIECE_BYTES or CHUNK_BYTES, the caller its one user.

        Raises Unavailable (SlowDown) if there was none for the waiting time.
        """
        kind = self._kinds[size]
        if not kind.waiting and self._has_room(kind):
            return self._lend(kind)
        task = trio.lowlevel.current_task()
        kind.waiting[task] = None
        for reclaim in self._reclaim if kind is self._large else ():
            reclaim()

        def abort(_raise: object) -> trio.lowlevel.Abort:
            del kind.waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        lent: Buffer | None = None
        with trio.move_on_after(self._wait_s):
            lent = await trio.lowlevel.wait_task_rescheduled(abort)
        if lent is None:
            raise Unavailable(
                "SlowDown",
                f"all {self._total} bytes of transfer memory were in use for {self._wait_s:g} s",
                retry_after_s=1.0,
                limit={"transfer_memory_bytes_max": self._total},
            )
        return lent

    def maybe_acquire_nowait(self, size: int) -> Buffer | None:
        """A buffer if there is one at once and nobody waits."""
        kind = self._kinds[size]
        return self._lend(kind) if not kind.waiting and self._has_room(kind) else None

    def _has_room(self, kind: _Kind) -> bool:
        return kind.lent + kind.size <= kind.bytes_max and self.lent_bytes + kind.size <= self._total

    def _lend(self, kind: _Kind) -> Buffer:
        kind.lent += kind.size
        for each in self._kinds.values():
            while each.spare and self.lent_bytes + self._spare_bytes() - kind.size * bool(kind.spare) > self._total:
                each.spare.pop()
        return Buffer(self, kind.size)

    def _map(self, size: int) -> mmap.mmap:
        spare = self._kinds[size].spare
        return spare.pop() if spare else mmap.mmap(-1, size)

    def _spare_bytes(self) -> int:
        return sum(len(kind.spare) * kind.size for kind in self._kinds.values())

    def _returned(self, size: int, memory: mmap.mmap | None) -> None:
        kind = self._kinds[size]
        kind.lent -= size
        if memory is not None and self._spare_bytes() + size <= _SPARE_BYTES_MAX:
            kind.spare.append(memory)
        for waiting in (self._large, self._small, self._piece):  # whole chunks first: who holds one can finish
            while waiting.waiting and self._has_room(waiting):
                task, _ = waiting.waiting.popitem(last=False)
                trio.lowlevel.reschedule(task, outcome.Value(self._lend(waiting)))
