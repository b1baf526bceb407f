"""What counts as lost: an acknowledged write, the last for certain, that is not read any more."""

from chaos.history import ABSENT, Operation
from chaos.load import Load
from chaos.verdict import judge, lost
from cluster.cli.access import Access


def load_with(*operations: Operation) -> Load:
    load = Load(Access("http://127.0.0.1:1", "a", "s"), clients=1, keys=1, seed=1)
    load.history.operations["k"] = list(operations)
    return load


def put(value: int, begin: float, end: float | None) -> Operation:
    return Operation("put", "k", value, begin, end)


def get(value: int, begin: float, end: float | None) -> Operation:
    return Operation("get", "k", value, begin, end)


def test_an_acknowledged_write_that_is_gone_is_lost_and_a_violation() -> None:
    load = load_with(put(1, 0, 1), put(2, 2, 3), get(1, 4, 5))
    assert lost(load) == 1
    assert len(judge(load)) == 1


def test_a_write_without_an_answer_a_later_one_and_a_read_that_was_cut_off_lose_nothing() -> None:
    assert lost(load_with(put(1, 0, 1), put(2, 2, None), get(1, 4, 5))) == 0
    assert lost(load_with(put(1, 0, 3), put(2, 2, 4), get(1, 5, 6))) == 0
    assert lost(load_with(put(1, 0, 1), get(ABSENT, 4, None))) == 0


def test_what_a_get_was_never_told_is_a_violation() -> None:
    load = load_with(put(1, 0, 1))
    load.history.violations.append("GET k: wrong bytes, 3 of them")
    assert judge(load) == ["GET k: wrong bytes, 3 of them"]
