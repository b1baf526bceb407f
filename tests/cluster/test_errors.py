"""Errors: four kinds, and what they say survives the wire."""

import copy
import pickle

import msgspec
import pytest

from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable, WireError, from_wire

KINDS = [Refused, Unavailable, OutcomeUnknown, Corrupt]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_as_itself(kind: type[TrilithError]) -> None:
    sent = kind("Code", "what was wrong", retry_after_s=2.0, limit={"bytes_max": 1}, detail={"slot": "3"})
    received = from_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(sent.to_wire()), type=WireError))
    assert type(received) is kind
    for name in ("code", "message", "retry_after_s", "limit", "detail"):
        assert getattr(received, name) == getattr(sent, name)
    assert str(received) == "what was wrong"


def test_the_kinds_are_distinct() -> None:
    assert len({kind.kind for kind in KINDS}) == 4
    for kind in KINDS:
        assert [other for other in KINDS if issubclass(kind, other)] == [kind]


def test_another_kind_is_no_error_of_ours() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(["panic", "Code", "what"]), type=WireError)


def test_errors_are_never_pickled() -> None:
    for action in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="never pickled"):
            action(Refused("Code", "what"))
