"""What clients did to the store and what they were told: the record that the checker judges.

Each operation is on one key. A write carries a value number, unique in its key; a read tells which it saw (0: no
object); a listing is a read of each key in its range. Times are of one monotonic clock. An operation whose outcome the
client was not told has no end: it may have happened at any time after its beginning, or never.
"""

from dataclasses import dataclass, field
from typing import Literal

ABSENT = 0

type Kind = Literal["put", "delete", "get", "refused"]


@dataclass(slots=True)
class Operation:
    """One call. `end` None: the outcome is not known.

    A put with `expected` may only take the place of that value (ABSENT: it may only make the object). If the store said
    that it is not there, the call was `refused`: it saw another value than the expected one, and changed nothing.
    """

    kind: Kind
    key: str
    value: int
    begin: float
    end: float | None = None
    who: int = 0
    expected: int | None = None


@dataclass
class History:
    """All operations by key, and what was seen that no history can explain."""

    operations: dict[str, list[Operation]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def begin(self, kind: Kind, key: str, value: int, now: float, who: int, expected: int | None = None) -> Operation:
        """Note that a call begins; it counts unless `forget` is called."""
        operation = Operation(kind, key, value, now, None, who, expected)
        self.operations.setdefault(key, []).append(operation)
        return operation

    def forget(self, operation: Operation) -> None:
        """The call certainly had no effect and told nothing."""
        operations = self.operations[operation.key]
        del operations[next(place for place, known in enumerate(operations) if known is operation)]

    def count(self, what: str) -> None:
        """Count an outcome."""
        self.counts[what] = self.counts.get(what, 0) + 1
