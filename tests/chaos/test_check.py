"""The checker against small histories whose verdict is known, and against brute force."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import payload
from chaos.check import check_key
from chaos.history import ABSENT, Operation


def op(kind: str, value: int, begin: float, end: float | None, expected: int | None = None) -> Operation:
    return Operation(kind, "k", value, begin, end, 0, expected)  # type: ignore[arg-type]  # test shorthand


def test_read_after_an_acknowledged_write_must_see_it() -> None:
    assert check_key([op("put", 1, 0, 1), op("get", 1, 2, 3)]) == "linearizable"
    assert check_key([op("put", 1, 0, 1), op("get", ABSENT, 2, 3)]) == "violated"


def test_stale_read_after_a_newer_read_is_a_violation() -> None:
    history = [op("put", 1, 0, 1), op("put", 2, 2, 10), op("get", 2, 3, 4), op("get", 1, 5, 6)]
    assert check_key(history) == "violated"


def test_unknown_write_may_happen_late_or_never() -> None:
    assert check_key([op("put", 1, 0, None), op("get", ABSENT, 1, 2), op("get", 1, 3, 4)]) == "linearizable"
    assert check_key([op("put", 1, 0, None), op("get", ABSENT, 1, 2)]) == "linearizable"


def test_value_that_nobody_wrote_is_a_violation() -> None:
    assert check_key([op("put", 1, 0, None), op("get", 7, 1, 2)]) == "violated"


def test_of_two_clients_that_make_one_object_only_one_may_succeed() -> None:
    both = [op("put", 1, 0, 3, ABSENT), op("put", 2, 1, 4, ABSENT)]
    assert check_key(both) == "violated"
    assert check_key([both[0], op("refused", 2, 1, 4, ABSENT), op("get", 1, 5, 6)]) == "linearizable"
    assert check_key([op("refused", 1, 0, 3, ABSENT), op("refused", 2, 1, 4, ABSENT)]) == "violated"


def test_replacement_of_what_is_no_longer_there_is_a_violation() -> None:
    history = [op("put", 1, 0, 1), op("put", 2, 2, 3)]
    assert check_key([*history, op("put", 3, 4, 5, 2)]) == "linearizable"
    assert check_key([*history, op("put", 3, 4, 5, 1)]) == "violated"
    assert check_key([*history, op("refused", 3, 4, 5, 2)]) == "violated"


def test_a_refusal_may_be_due_to_a_write_whose_answer_was_lost() -> None:
    assert check_key([op("put", 1, 0, None), op("refused", 2, 1, 2, ABSENT)]) == "linearizable"


def test_search_over_its_bound_is_undecided_never_passed() -> None:
    history = [op("put", n, 0, 100) for n in range(1, 14)] + [op("get", 99, 0, 100)]
    assert check_key(history, states_max=50) == "undecided"


def brute(operations: list[Operation]) -> bool:
    known = [o for o in operations if o.end is not None]
    unknown = [o for o in operations if o.end is None]
    for extra in itertools.chain.from_iterable(itertools.combinations(unknown, n) for n in range(len(unknown) + 1)):
        for order in itertools.permutations([*known, *extra]):
            if any(
                later.end is not None and later.end < earlier.begin
                for place, earlier in enumerate(order)
                for later in order[place + 1 :]
            ):
                continue
            value, good = ABSENT, True
            for operation in order:
                if operation.kind == "get":
                    good = good and operation.value == value
                elif operation.kind == "refused":
                    good = good and operation.expected != value
                else:
                    good = good and operation.expected in (None, value)
                    value = operation.value if operation.kind == "put" else ABSENT
            if good:
                return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["put", "delete", "get", "refused"]))
        value = number + 1 if kind in ("put", "refused") else draw(st.integers(0, 4)) if kind == "get" else ABSENT
        begin = draw(st.integers(0, 8))
        end = None if kind in ("put", "delete") and draw(st.booleans()) else begin + draw(st.integers(1, 6))
        conditional = kind == "refused" or (kind == "put" and draw(st.booleans()))
        found.append(op(kind, value, begin, end, draw(st.integers(0, 4)) if conditional else None))
    return found


@settings(max_examples=800)
@given(histories())
def test_verdict_equals_brute_force(history: list[Operation]) -> None:
    assert (check_key(history) == "linearizable") == brute(history)


def test_payload_knows_itself_and_notices_any_change() -> None:
    body = payload.make("key", 3, 5000)
    assert payload.read("key", body) == 3
    assert payload.read("other", body) is None
    assert payload.read("key", body[:-1]) is None
    assert payload.read("key", body[:900] + bytes([body[900] ^ 1]) + body[901:]) is None


def test_many_lost_answers_are_judged_quickly() -> None:
    history = [op("put", n, n, None) for n in range(1, 40)]
    history += [op("put", 100 + n, 50 + n, 50.5 + n) for n in range(20)]
    history += [op("get", 100 + n, 50.6 + n, 50.9 + n) for n in range(20)]
    assert check_key(history, states_max=2000) == "linearizable"
    assert check_key([*history, op("get", 100, 80, 81)], states_max=2000) == "violated"


def test_many_lost_answers_among_refusals_are_judged_quickly() -> None:
    history = [op("put", n, n, None) for n in range(1, 60)] + [op("delete", ABSENT, n, None) for n in range(60)]
    history += [op("refused", 100 + n, 50 + n, 50.5 + n, ABSENT) for n in range(20)]
    history += [op("get", ABSENT, 50.6 + n, 50.9 + n) for n in range(20)]
    assert check_key(history, states_max=5000) == "linearizable"
    assert check_key([*history, op("get", 200, 80, 81)], states_max=50000) == "violated"
