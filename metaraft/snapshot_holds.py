"""For whom a leader keeps its log behind a copy. Pure.

Rules: from a copy's beginning on, for each slot that asks for it, nothing that follows its entry is cut, until that
slot is known to have what it goes up to, or was not heard of for a while.
"""

from collections.abc import Callable

KEEP_S = 60.0
"""How long copy and log are kept for a member that is not heard of (chosen)."""


class Holds:
    """Which copies are used by whom."""

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._held: dict[int, tuple[int, float]] = {}  # slot -> (index its copy goes up to, until when)

    def use(self, slot: int, index: int, now: float) -> None:
        """A slot's member asked for a copy of no earlier entry."""
        self._held[slot] = index, now + self._keep_s

    def lowest(self, now: float, match: Callable[[int], int]) -> int | None:
        """The index to keep the log from; None: no copy asks for any. `match` says up to where a slot is known to have
        the log."""
        held = self._held.items()
        return min((index for slot, (index, until) in held if now < until and match(slot) < index), default=None)
