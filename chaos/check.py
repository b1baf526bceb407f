"""Is a history of one register per key linearizable? The search of Wing and Gong with Lowe's memory of states.

(J. Wing, C. Gong: Testing and Verifying Concurrent Objects, 1993; G. Lowe: Testing for Linearizability, 2016.)
An operation without an end may be placed anywhere after its beginning, or nowhere. A search over the bound
is reported as undecided, which callers count as a failure. Two shortcuts keep the search small and change no verdict: a
put without an end whose value nobody saw can be left out, and a get that may come next and saw the present value does.
"""

import math
from collections.abc import Sequence
from typing import Literal

from chaos.history import ABSENT, Operation

type Verdict = Literal["linearizable", "violated", "undecided"]

STATES_MAX = 500_000


def check_key(operations: Sequence[Operation], *, states_max: int = STATES_MAX) -> Verdict:
    """Judge all operations on one key, which had no object before the first."""
    seen_values = {operation.value for operation in operations if operation.kind == "get"}
    counted = [
        operation
        for operation in operations
        if operation.end is not None or operation.kind != "put" or operation.value in seen_values
    ]
    ordered = sorted(counted, key=lambda operation: operation.begin)
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
        match operation.kind:
            case "get":
                if operation.value == value:
                    return [(done | 1 << index, value)]
            case "put":
                found.append((done | 1 << index, operation.value))
            case "delete":
                found.append((done | 1 << index, ABSENT))
    return found
