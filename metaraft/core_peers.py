"""A leader's view of one follower: what it has, what is on its way, and what to send next. Pure.

Rules:
* Probing: where the logs meet is not known; one append with entries at a time. Replicating: appends are pipelined,
  boundedly. Nothing has a timer of its own: each heartbeat follows the last entry sent, so its answer either confirms
  all that went before (answers were lost) or is a conflict (appends were lost), and that starts the resending.
* An answer counts only if its number is that of an append still open; the first conflict closes all that are, so the
  conflicts of appends that were pipelined behind it change nothing.
* `match` only rises, and never beyond what the answered append covered.
"""

import math
from collections import deque
from typing import NamedTuple

from metaraft.core_log import Log, last_index_with
from metaraft.core_messages import AppendAnswer

APPENDS_MAX = 32
"""Appends with entries on their way to one follower (chosen: 32 batches hide any loopback or rack latency)."""

BYTES_MAX = 8 << 20
"""Bytes of entries on their way to one follower: two appends of the largest size."""

OPEN_MAX = 4 * APPENDS_MAX
"""Appends whose answers are still expected, heartbeats included; the oldest are given up."""


class Sent(NamedTuple):
    """An append that is not answered yet: it covers the indices from `prev` to `last`."""

    sequence: int
    prev: int
    last: int
    size: int


class Peer:
    """What the leader knows of a follower in this term."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.incarnation = ""
        self.connected = False
        self.match = 0
        self.next = 0
        self.probing = True
        self.greet = True
        """Whether it should hear from the leader at once."""
        self.confirmed = 0
        """Highest number of an append that it answered in this term."""
        self.heard_at = -math.inf
        """When it last answered in this term."""
        self.forgot = False
        """Whether its last answer refused what it had accepted in this term."""
        self._open: deque[Sent] = deque()
        self._with_entries = 0
        self._bytes = 0

    def follow(self, last_index: int) -> None:
        """A term of leadership began, or another incarnation has the slot."""
        self.match = 0
        self.confirmed = 0
        self.heard_at = -math.inf
        self._probe(last_index + 1)

    def reconnected(self, last_index: int) -> None:
        """A new connection: what was on its way is lost."""
        self._probe(self.match + 1 if self.match else last_index + 1)

    def room(self) -> bool:
        """Whether entries may be sent to it now."""
        if self.probing:
            return self._with_entries == 0
        return self._with_entries < APPENDS_MAX and self._bytes < BYTES_MAX

    def needs_snapshot(self, log: Log) -> bool:
        """Whether the entries it needs next were cut from the log."""
        return self.next - 1 < log.first_index

    def sent(self, sequence: int, prev: int, last: int, size: int) -> None:
        """An append went out."""
        self.greet = False
        self._open.append(Sent(sequence, prev, last, size))
        if last > prev:
            self._with_entries += 1
            self._bytes += size
            if not self.probing:
                self.next = last + 1
        if len(self._open) > OPEN_MAX:
            self._close()

    def answered(self, answer: AppendAnswer, log: Log) -> bool:
        """Take an answer of this term in. False: it answers nothing that is open, and changed nothing."""
        sent = next((sent for sent in self._open if sent.sequence == answer.sequence), None)
        if sent is None or (answer.accepted and answer.index != sent.last):
            return False
        while self._open and self._open[0].sequence <= answer.sequence:
            self._close()
        self.confirmed = max(self.confirmed, answer.sequence)
        self.forgot = not answer.accepted and (sent.prev <= self.match or answer.index < self.match)
        if answer.accepted:
            self.match = max(self.match, answer.index)
            self.next = max(self.next, self.match + 1)
            self.probing = False
        elif sent.prev > self.match:
            self._probe(self._meeting_point(sent, answer, log) + 1)
            self.greet = not self.needs_snapshot(log)  # without a copy it has nothing new to hear before a heartbeat
        return True

    def _meeting_point(self, sent: Sent, answer: AppendAnswer, log: Log) -> int:
        """Where the logs may meet: below the refused append's `prev`, not below what is known to match."""
        found = last_index_with(log, min(answer.index, sent.prev), answer.hint_term)
        if found is None:  # cut away, or nothing in common: below all that is kept
            found = min(answer.index, log.first_index - 1)
        return max(self.match, min(found, sent.prev - 1))

    def _probe(self, next_index: int) -> None:
        self.next = next_index
        self.probing = True
        self.greet = True
        self._open.clear()
        self._with_entries = 0
        self._bytes = 0

    def _close(self) -> None:
        sent = self._open.popleft()
        if sent.last > sent.prev:
            self._with_entries -= 1
            self._bytes -= sent.size
