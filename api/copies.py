"""One range of one chunk, from whichever copies are good: verified bytes in order, each once.

Rules: holders are tried in the order of expected speed; one that is missing, corrupt, unreachable, or sends nothing
for `timings.slow_copy_s`, is passed over, and the next one goes on at the exact offset. A copy that failed at one
offset may serve another, so two copies with different bad blocks still make a whole. When all have failed at an
offset the holders are read again, once; then slow ones are waited for; then it is an error: Corrupt (NoGoodCopy) if
every copy was bad or missing, Unavailable (NoCopyReached) if one of them might be good.
"""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import trio

from api.layout import Segment
from api.nodes import Nodes
from api.peers import Node
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.limits import Timings
from cluster.log import get_logger

_log = get_logger("reader")

_GET_S = 300.0
"""Until when one get of at most 8 MiB must be over; a silent one is given up far earlier."""

type Fault = Literal["bad", "missing", "unreachable", "slow"]
type ReadHolders = Callable[[bytes], Awaitable[tuple[bytes, ...]]]


class Sink(Protocol):
    """Where bytes go. A piece is valid until the sink is asked for, or is ready for, the next one."""

    async def ready(self) -> bool:
        """Wait until the piece before is done with; False: the taker is slow, do not keep a connection for it."""

    async def done(self) -> None:
        """Wait until the piece before is done with, however long it takes."""

    async def take_soon(self, piece: memoryview) -> bool:
        """Hand over a piece; False: the taker is slow, it was not taken."""

    async def take(self, piece: memoryview) -> None:
        """Hand over a piece, however long it takes."""


class CopyReader:
    """Reads one segment, its pieces in one buffer. `read` is called once."""

    def __init__(
        self,
        segment: Segment,
        holders: tuple[bytes, ...],
        buffer: memoryview,
        *,
        nodes: Nodes,
        timings: Timings,
        space: int,
        trace_id: str,
        read_holders: ReadHolders,
        found_bad: Callable[[bytes, Node, Fault, str], None],
    ) -> None:
        self._chunk_id = segment.chunk_id
        self._offset = segment.offset
        self._end = segment.offset + segment.length
        self._holders = holders
        self._buffer = buffer
        self._nodes = nodes
        self._timings = timings
        self._space = space
        self._trace_id = trace_id
        self._read_holders = read_holders
        self._found_bad = found_bad
        self._failed: dict[bytes, Fault] = {}  # at the present offset
        self._failures: dict[bytes, int] = {}  # at any
        self._reasons: list[str] = []
        self._pending: memoryview | None = None
        self._asked_again = False
        self._answered = False

    async def read(self, sink: Sink) -> None:
        """Hand all bytes to the sink."""
        while self._offset < self._end:
            node, patient = await self._choose()
            await self._read_from(node, sink, patient=patient)
            if self._pending is not None:
                piece, self._pending = self._pending, None
                await sink.take(piece)
            if self._offset < self._end:
                await sink.done()

    async def _choose(self) -> tuple[Node, bool]:
        """The next holder, and whether to wait for it as long as it takes."""
        order = self._nodes.for_get(self._holders)
        fresh = [node for node in order if node.disk_id not in self._failed]
        if fresh:
            return min(fresh, key=lambda node: self._failures.get(node.disk_id, 0)), False
        if not self._asked_again:
            self._asked_again = True
            try:
                self._holders = await self._read_holders(self._chunk_id)
                self._answered = True
            except (Unavailable, OutcomeUnknown) as error:  # then those known must do
                self._reasons.append(f"holders: {error.message}")
            return await self._choose()
        slow = [node for node in order if self._failed[node.disk_id] == "slow"]
        if slow:
            return slow[0], True
        raise self._no_copy(len(order))

    def _no_copy(self, known: int) -> TrilithError:
        chunk = self._chunk_id.hex()
        reasons = "; ".join(self._reasons) or "it has no holder that is a node"
        _log.error("no_good_copy", chunk=chunk, offset=self._offset, reason=reasons, trace_id=self._trace_id)
        text = f"no copy of chunk {chunk} could be read at {self._offset}: {reasons}"
        faults = self._failed.values()
        if self._answered and known == len(self._holders) and all(fault in ("bad", "missing") for fault in faults):
            return Corrupt("NoGoodCopy", text)
        return Unavailable("NoCopyReached", text, retry_after_s=1.0)

    async def _read_from(self, node: Node, sink: Sink, *, patient: bool) -> None:
        """Read on from one holder until the end, its failure, or a taker too slow to keep a connection for."""
        try:
            with self._nodes.asking(node) as pace, trio.CancelScope() as patience:
                silence_s = float("inf") if patient else self._timings.slow_copy_s
                began = trio.current_time()
                patience.deadline = began + silence_s
                async with node.get(
                    self._chunk_id,
                    self._offset,
                    self._end - self._offset,
                    deadline=began + _GET_S,
                    trace_id=self._trace_id,
                    space=self._space,
                    buffer=self._buffer,
                ) as pieces:
                    first = True
                    while self._offset < self._end:
                        piece = await anext(pieces, None)
                        if piece is None:
                            raise Corrupt("ChunkShort", "it ended early")
                        patience.deadline = float("inf")
                        if first:
                            first = False
                            pace.took(trio.current_time() - began)
                        self._came(piece)
                        if self._offset == self._end or not await sink.take_soon(piece):
                            self._pending = piece
                            break
                        if not await sink.ready():
                            break
                        patience.deadline = trio.current_time() + silence_s
            if patience.cancelled_caught:
                self._pass_over(node, "slow", f"no byte for {self._timings.slow_copy_s:g} s")
        except Corrupt as error:
            self._pass_over(node, "bad", error.message)
        except Refused as error:
            self._pass_over(node, "missing", error.message)
        except TrilithError as error:
            self._pass_over(node, "unreachable", error.message)

    def _came(self, piece: memoryview) -> None:
        self._offset += len(piece)
        assert self._offset <= self._end, "a node gave more than it was asked for"
        self._failed.clear()
        self._reasons.clear()

    def _pass_over(self, node: Node, fault: Fault, reason: str) -> None:
        self._failed[node.disk_id] = fault
        self._failures[node.disk_id] = self._failures.get(node.disk_id, 0) + 1
        self._reasons.append(f"{node.name}: {fault}: {reason}")
        if fault in ("slow", "unreachable"):
            self._nodes.rest(node)
        self._found_bad(self._chunk_id, node, fault, reason)
