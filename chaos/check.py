"""Is a history of one register per key linearizable? The search of Wing and Gong with Lowe's memory of states.

(J. Wing, C. Gong: Testing and Verifying Concurrent Objects, 1993; G. Lowe: Testing for Linearizability, 2016.)
An operation without an end may be placed anywhere after its beginning, or nowhere. A search over the bound
is reported as undecided, which callers count as a failure. Some shortcuts keep the search small and change no verdict:

* What may come next, changes nothing and fits the present value (a get that saw it, a refusal because of it) does.
* A *blind* put has no end, no condition, and a value that nobody saw or expected. Without refusals, blind puts are left
  out. With them, one may be why: but they are all alike, so of those that may come next only the first is tried.
* Deletes without an end are all alike too.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from chaos.history import ABSENT, Operation

type Verdict = Literal["linearizable", "violated", "undecided"]

STATES_MAX = 500_000


_BLIND = -1  # the value of each blind put


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


def _that_count(operations: Sequence[Operation]) -> list[Operation]:
    """All operations, the blind puts of them marked as such, or left out."""
    named = {operation.value for operation in operations if operation.kind == "get"}
    named |= {operation.expected for operation in operations if operation.expected is not None}
    refusals = any(operation.kind == "refused" for operation in operations)
    counted = []
    for operation in operations:
        if operation.kind != "put" or operation.end is not None or operation.value in named:
            counted.append(operation)
        elif refusals:
            blind = operation.expected is None
            counted.append(replace(operation, value=_BLIND) if blind else operation)
    return counted


def _next_states(ordered: Sequence[Operation], ends: Sequence[float], done: int, value: int) -> list[tuple[int, int]]:
    """States after one more operation that may come first among those not placed yet."""
    limit = math.inf
    candidates: list[int] = []
    for index, operation in enumerate(ordered):
        if done >> index & 1:
            continue
        if operation.begin > limit:
            break
        limit = min(limit, ends[index])
        candidates.append(index)
    found: list[tuple[int, int]] = []
    alike = {value}  # values that one without an end need not make any more
    for index in candidates:
        operation = ordered[index]
        after = done | 1 << index
        if operation.begin > limit:
            break
        if operation.kind in ("get", "refused"):
            if _fits(operation, value):
                return [(after, value)]
        elif operation.expected in (None, value):
            made = operation.value if operation.kind == "put" else ABSENT
            if operation.end is not None or made not in alike:
                found.append((after, made))
            if operation.end is None:
                alike.add(made)
    return found


def _fits(operation: Operation, value: int) -> bool:
    """Whether a get, or a refusal, is explained by this value."""
    return operation.value == value if operation.kind == "get" else operation.expected != value
