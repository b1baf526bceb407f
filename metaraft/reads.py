"""Linearizable reads at the leader (ReadIndex; Ongaro's dissertation, 6.4): who waits for what. No I/O.

A read waits, then belongs to a round of the core, which confirms that this member still led after the read came and
gives the index that was committed by then; it is answered once that index is applied here. All reads that wait when
a round begins share it. A round lost with leadership, and a read past its deadline, did not happen: retry anywhere.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cluster.errors import TrilithError, Unavailable
from cluster.limits import Limits
from metaraft.commits import Reply, not_leader, overloaded
from metaraft.wire import IndexAnswer, ReadAnswer, encode

TURN_S = 0.004
"""How long answering may hold the event loop at a time: far below a heartbeat (chosen)."""


class _Read(NamedTuple):
    ask: bytes | None  # None: the index itself is asked for
    deadline: float
    reply: Reply


class Reads:
    """The leader's reads: waiting, then in a round, then confirmed, then answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: list[_Read] = []
        self._rounds: dict[int, list[_Read]] = {}
        self._confirmed: deque[tuple[int, _Read]] = deque()
        self._pending = 0

    @property
    def waiting(self) -> bool:
        """Whether reads wait for a round to begin."""
        return bool(self._waiting)

    @property
    def confirmed_waiting(self) -> bool:
        """Whether confirmed reads wait for apply or for their turn."""
        return bool(self._confirmed)

    def add(self, ask: bytes | None, reply: Reply, *, deadline: float) -> bool:
        """Take a read in, or refuse it at once (False). Without `ask` it is answered by its index."""
        if self._pending >= self._limits.reads_pending_max:
            reply.error(overloaded("reads_pending_max", self._limits.reads_pending_max))
            return False
        self._pending += 1
        self._waiting.append(_Read(ask, deadline, reply))
        return True

    def asked(self, round_id: int) -> None:
        """A round of the core began for all that waited."""
        self._rounds.setdefault(round_id, []).extend(self._waiting)
        self._waiting = []

    def confirmed(self, round_id: int, index: int) -> None:
        """A majority answered the round: its reads may see the state of `index`, or any later one."""
        for read in self._rounds.pop(round_id, ()):
            self._confirmed.append((index, read))

    def lost(self, leader: int | None) -> None:
        """Leadership ended: rounds that were not confirmed never will be. Confirmed reads stay good."""
        error = not_leader(leader)
        for read in self._waiting:
            self._fail(read, error)
        self._waiting = []
        for reads in self._rounds.values():
            for read in reads:
                self._fail(read, error)
        self._rounds = {}

    def answer(
        self, applied: int, now: float, state_time_ms: int, look: Callable[[bytes], bytes], turn_s: float = TURN_S
    ) -> bool:
        """Answer confirmed reads whose index is applied, for about `turn_s`. True: more could be answered."""
        confirmed = self._confirmed
        stop = time.perf_counter() + turn_s
        while confirmed and confirmed[0][0] <= applied:
            index, read = confirmed.popleft()
            if read.deadline <= now:
                self._fail(read, Unavailable("DeadlineExceeded", "the deadline passed before it was answered"))
                continue
            self._pending -= 1
            if read.ask is None:
                read.reply.ok(encode(IndexAnswer(index)))
                continue
            try:
                found = look(read.ask)
            except TrilithError as error:
                if error.kind == "corrupt":  # this member's copy is bad, another's is not
                    read.reply.error(Unavailable("MemberFailed", "this member's database is corrupt; it ends"))
                    raise
                read.reply.error(error)
                continue
            read.reply.ok(encode(ReadAnswer(state_time_ms, msgspec.Raw(found))))
            if time.perf_counter() > stop:
                return bool(confirmed) and confirmed[0][0] <= applied
        return False

    def _fail(self, read: _Read, error: TrilithError) -> None:
        self._pending -= 1
        read.reply.error(error)
