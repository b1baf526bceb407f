"""Is a history of one register per key linearizable? The search of Wing and Gong with Lowe's memory of states.

(J. Wing, C. Gong: Testing and Verifying Concurrent Objects, 1993; G. Lowe: Testing for Linearizability, 2016.)
An operation without an end may be placed anywhere after its beginning, or nowhere. A search over the bound
is reported as undecided, which callers count as a failure. Two shortcuts keep the search small and change no verdict: a
put without an end whose value nobody can have seen is left out, and what may come next, changes nothing and fits the
present value (a get that saw it, a refusal because of it) does come next.
"""

import math
from collections.abc import Sequence
from typing import Literal

from chaos.history import ABSENT, Operation

type Verdict = Literal["linearizable", "violated", "undecided"]

STATES_MAX = 500_000


def check_key(operations: Sequence[Operation], *, states_max: int = STATES_MAX) -> Verdict:
    """Judge all operations on one key, which had no object before the first."""
    ordered = sorted(_that_count(operations), key=lambda operation: operation.begin)
    ends = [math.inf if operation.end is None else operation.end for operation in ordered]
    must = sum(1 << index for index, operation in enumerate(ordered) if operation.end is not None)
    seen: set[tuple[int, int]] = set()
    stack: list[tuple[int, int]] = [(0, ABSENT)]
    while stack:
        done, value = stack.pop()
        if done & must == must:
            return "linearizable"
        if (done, value) in seen:
            continue
        seen.add((done, value))
        if len(seen) > states_max:
            return "undecided"
        stack += _next_states(ordered, ends, done, value)
    return "violated"


def _that_count(operations: Sequence[Operation]) -> Sequence[Operation]:
    """All but the puts without an end that nothing else depends on. A refusal may be due to any value, and a put over
    an expected value saw that one."""
    if any(operation.kind == "refused" for operation in operations):
        return operations
    seen_values = {operation.value for operation in operations if operation.kind == "get"}
    seen_values |= {operation.expected for operation in operations if operation.expected is not None}
    return [
        operation
        for operation in operations
        if operation.end is not None or operation.kind != "put" or operation.value in seen_values
    ]


def _next_states(ordered: Sequence[Operation], ends: Sequence[float], done: int, value: int) -> list[tuple[int, int]]:
    """States after one more operation that may come first among those not placed yet."""
    limit = math.inf
    found: list[tuple[int, int]] = []
    for index, operation in enumerate(ordered):
        if done >> index & 1:
            continue
        if operation.begin > limit:
            break
        limit = min(limit, ends[index])
    for index, operation in enumerate(ordered):
        if operation.begin > limit:
            break
        if done >> index & 1:
            continue
        after = done | 1 << index
        if operation.kind == "put":
            if operation.expected is None or operation.expected == value:
                found.append((after, operation.value))
        elif operation.kind == "delete":
            found.append((after, ABSENT))
        elif (operation.value == value) if operation.kind == "get" else (operation.expected != value):
            return [(after, value)]
    return found
