"""The client side of small calls: one multiplexed connection to one peer, kept up.

Rules: a call that was not sent fails with Unavailable, one that was sent and got no answer with OutcomeUnknown, and no
other call on the connection is touched by that; a cancelled call sends CANCEL, or leaves the queue if it was still in
it; calls in flight and bytes queued are bounded, and over the bound a call is refused at once.
"""

from collections.abc import Callable
from contextlib import suppress
from math import inf

import trio
from outcome import Error, Value

from cluster.config import Address
from cluster.errors import OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    FrameParser,
    Kind,
    decode_error,
    encode,
    remaining_ms,
    trace_bytes,
)
from cluster.hello import greet, lost
from cluster.identity import NodeIdentity
from cluster.limits import Limits, Timings
from cluster.links import Link
from cluster.log import get_logger
from cluster.outbox import Outbox
from cluster.sockets import dial

_FIRST_RETRY_S = 0.05
_REQUEST_IDS = 2**32

_log = get_logger("rpc")


class Channel:
    """Calls to one peer. `run` connects, again and again; calls fail at once while it is not connected.

    `on_change` is told True when a connection is ready and False when it is gone. `failure` says why the last
    attempt or connection ended.
    """

    def __init__(
        self,
        dial: Address,
        peer: str,
        service: str,
        me: NodeIdentity,
        limits: Limits,
        timings: Timings,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self.peer = peer
        self.failure: str | None = None
        self._dial = dial
        self._service = service
        self._me = me
        self._limits = limits
        self._timings = timings
        self._on_change = on_change
        self._line: _Line | None = None
        self._up = trio.Event()
        self._attempting = trio.CancelScope()

    @property
    def connected(self) -> bool:
        """A connection is ready for calls."""
        return self._line is not None

    def redial(self, dial: Address) -> None:
        """Connect there from now on. A connection to elsewhere ends, and with it the calls on it."""
        if dial != self._dial:
            self._dial = dial
            self._attempting.cancel()

    def silent_s(self) -> float:
        """How long nothing has come while an answer is owed; 0 if none is."""
        line = self._line
        return trio.current_time() - line.heard_at if line is not None and line.calls else 0.0

    @property
    def owed(self) -> bool:
        """Calls await their answers."""
        return self._line is not None and bool(self._line.calls)

    def give_up(self) -> None:
        """End all calls in flight, as if their deadlines had passed now."""
        if self._line is not None:
            for call in list(self._line.calls.values()):
                call.expire()

    async def wait_connected(self) -> None:
        """Wait until a connection is ready (it may be gone again when the caller runs)."""
        await self._up.wait()

    @property
    def dial(self) -> Address:
        """Where it connects."""
        return self._dial

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection up until cancelled; started at once."""
        task_status.started()
        delay = _FIRST_RETRY_S
        while True:
            failure = "it is dialled elsewhere from now on"
            with trio.CancelScope() as self._attempting:
                failure = await self._attempt()
            if self._up.is_set():  # it had worked
                self._up = trio.Event()
                delay = _FIRST_RETRY_S
            if failure != self.failure:
                self.failure = failure
                _log.info("peer_unreachable", peer=self.peer, address=str(self._dial), reason=failure)
            await trio.sleep(delay)
            delay = min(delay * 2, self._timings.reconnect_s)

    async def call(self, method: int, body: bytes, *, deadline: float, trace_id: str = "", space: int = 1) -> bytes:
        """Ask and wait for the answer, until `deadline` (trio's clock).

        Raises what the peer raised; Unavailable (NotConnected, Overloaded, DeadlineExceeded) if the request was
        certainly not sent; OutcomeUnknown (ConnectionLost, DeadlineExceeded) if it was sent and no answer came;
        Refused (FrameTooLarge). A cancel is passed on to the peer.
        """
        line = self._line
        if line is None:
            await trio.lowlevel.checkpoint()
            raise lost(self.peer, sent=False, reason=self.failure or "not tried yet")
        return await _Call(line, deadline).run(method, body, trace_bytes(trace_id), space)

    def post_nowait(self, method: int, body: bytes) -> bool:
        """Send a message that has no answer. False: not connected, queue full or too long; it was dropped."""
        line = self._line
        if line is None or len(body) > self._limits.frame_bytes_max or line.outbox.full(HEADER_BYTES + len(body)):
            return False
        line.outbox.put(encode(Kind.ONE_WAY, method, 0, body))
        line.outbox.flush()
        return True

    async def _attempt(self) -> str:
        """Connect once and stay until the connection ends; says why it did."""
        try:
            with trio.fail_after(self._timings.connect_s):
                link = await dial(self._dial, self.peer, self._me)
                try:
                    await greet(link, self._service, "mux", self.peer, self._me)
                except BaseException:
                    link.close()
                    raise
        except TrilithError as error:
            return error.message
        except trio.TooSlowError:
            return f"no connection within {self._timings.connect_s} s"
        line = _Line(link, self.peer, self._limits, self._timings)
        self._line = line
        try:
            self._up.set()
            self._changed(True)
            _log.info("peer_connected", peer=self.peer, address=str(self._dial))
            self.failure = None
            return await line.run()
        finally:
            self._line = None
            self._changed(False)

    def _changed(self, connected: bool) -> None:
        if self._on_change is not None:
            self._on_change(connected)


class _Line:
    """One connection: frames out, answers in, and the calls that wait."""

    def __init__(self, link: Link, peer: str, limits: Limits, timings: Timings) -> None:
        self.peer = peer
        self.limits = limits
        self.outbox = Outbox(link, limits.rpc_send_queue_bytes_max, timings.transfer_idle_s)
        self.calls: dict[int, _Call] = {}
        self.heard_at = trio.current_time()
        self._link = link
        self._last_id = 0
        self._next_deadline = inf
        self._alarm = trio.CancelScope()

    def next_id(self) -> int:
        """An id that no call in flight has."""
        while True:
            self._last_id = (self._last_id + 1) % _REQUEST_IDS
            if self._last_id not in self.calls:
                return self._last_id

    async def run(self) -> str:
        """Until the connection ends; says why. No call waits on it afterwards."""
        reason = "closed"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch_deadlines)
                reason = await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._link.close()
            for call in list(self.calls.values()):
                call.lost(reason)
        return reason

    def watch(self, deadline: float) -> None:
        """Have the calls looked at when this deadline passes."""
        if deadline < self._next_deadline:
            self._next_deadline = self._alarm.deadline = deadline

    async def _watch_deadlines(self) -> None:
        """One alarm for all calls: a cancel scope for each costs more than the rest of the call."""
        while True:
            with trio.CancelScope(deadline=self._next_deadline) as self._alarm:
                await trio.sleep_forever()
            now = trio.current_time()
            for call in [call for call in self.calls.values() if call.deadline <= now]:
                call.expire()
            self._next_deadline = min((call.deadline for call in self.calls.values()), default=inf)

    async def _write(self) -> None:
        with suppress(trio.BrokenResourceError):  # the reader says why
            await self.outbox.run()
        self._link.close()

    async def _read(self) -> str:
        parser = FrameParser(self.limits.frame_bytes_max)
        try:
            while data := memoryview(await self._link.receive()):
                self.heard_at = trio.current_time()
                for frame in parser.feed(data):
                    self._receive(frame)
        except (trio.BrokenResourceError, FrameError) as error:
            return str(self.outbox.broken or error)
        return f"{self.peer} closed the connection"

    def _receive(self, frame: Frame) -> None:
        if frame.kind == Kind.RESPONSE:
            answer: Value[bytes] | Error = Value(frame.body)
        elif frame.kind == Kind.ERROR:
            answer = Error(decode_error(frame.body))
        else:
            raise FrameError(f"a server sent a frame of kind {frame.kind}")
        call = self.calls.pop(frame.request_id, None)
        if call is not None:  # else it was cancelled meanwhile
            trio.lowlevel.reschedule(call.task, answer)


class _Call:
    """One call in flight."""

    __slots__ = ("_line", "_request_id", "_ticket", "deadline", "task")

    def __init__(self, line: _Line, deadline: float) -> None:
        self._line = line
        self.deadline = deadline

    async def run(self, method: int, body: bytes, trace: bytes, space: int) -> bytes:
        line = self._line
        others = len(line.calls)
        ms = remaining_ms(self.deadline - trio.current_time())
        refused = self._refusal(others, len(body), ms)
        if refused is not None:
            await trio.lowlevel.checkpoint()
            raise refused
        self._request_id = request_id = line.next_id()
        self.task = trio.lowlevel.current_task()
        frame = encode(Kind.REQUEST, method, request_id, body, remaining_ms=ms, trace=trace, space=space)
        self._ticket = line.outbox.put(frame)
        line.calls[request_id] = self
        line.watch(self.deadline)
        if others:
            line.outbox.wake()  # others come and go: let their frames and this one leave together
        else:
            line.outbox.flush()
        return await trio.lowlevel.wait_task_rescheduled(self._abort)  # type: ignore[no-any-return]

    def lost(self, reason: str) -> None:
        """The connection ended."""
        sent = self._leave()
        trio.lowlevel.reschedule(self.task, Error(lost(self._line.peer, sent=sent, reason=reason)))

    def expire(self) -> None:
        """The deadline has passed."""
        peer = self._line.peer
        error: TrilithError
        if self._give_up():
            error = OutcomeUnknown("DeadlineExceeded", f"{peer} did not answer before the deadline")
        else:
            error = _too_late(peer)
        trio.lowlevel.reschedule(self.task, Error(error))

    def _refusal(self, others: int, size: int, ms: int) -> TrilithError | None:
        line = self._line
        limits = line.limits
        if size > limits.frame_bytes_max:
            return Refused(
                "FrameTooLarge",
                f"a request of {size} bytes is longer than frame_bytes_max",
                limit={"frame_bytes_max": limits.frame_bytes_max},
            )
        if ms == 0:
            return _too_late(line.peer)
        if others >= limits.rpc_requests_in_flight_max:
            limit: dict[str, int | float | str] = {"rpc_requests_in_flight_max": limits.rpc_requests_in_flight_max}
        elif line.outbox.full(HEADER_BYTES + size):
            limit = {"rpc_send_queue_bytes_max": limits.rpc_send_queue_bytes_max}
        else:
            return None
        return Unavailable("Overloaded", f"too much is under way to {line.peer}", retry_after_s=1.0, limit=limit)

    def _leave(self) -> bool:
        """Wait no more. True: the request was sent."""
        line = self._line
        del line.calls[self._request_id]
        return not line.outbox.withdraw(self._ticket)

    def _give_up(self) -> bool:
        """Wait no more, and tell the peer. True: the request was sent."""
        sent = self._leave()
        if sent:
            outbox = self._line.outbox
            outbox.put(encode(Kind.CANCEL, 0, self._request_id))
            outbox.wake()
        return sent

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._give_up()
        return trio.lowlevel.Abort.SUCCEEDED


def _too_late(peer: str) -> Unavailable:
    return Unavailable("DeadlineExceeded", f"the deadline passed before the request to {peer} was sent")
