"""Who a request is from, and who may do what."""

import base64
from typing import get_args

import pytest

from api.access.credentials import Authenticator
from api.access.decisions import ANONYMOUS, CLUSTER, Action, Context, Principal, decide, require
from api.operations.calls import Call
from cluster.errors import Refused

ROOT = Principal("A", "root")
AUTHENTICATOR = Authenticator("A", "s:e cret")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer A:s:e cret",
        "bearer   A:s:e cret ",
        "Basic " + base64.b64encode(b"A:s:e cret").decode(),
        "BASIC " + base64.b64encode(b"A:s:e cret").decode(),
    ],
)
def test_the_root_key_is_known_in_both_forms(header: str) -> None:
    assert AUTHENTICATOR.authenticate(header) == ROOT


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer A", "Bearer A:", "Bearer a:s:e cret", "Basic %", "Digest x", "é"]
)
def test_a_wrong_key_is_refused_and_never_anonymous(header: str) -> None:
    with pytest.raises(Refused) as refused:
        AUTHENTICATOR.authenticate(header)
    assert refused.value.code == "InvalidCredentials"
    assert "s:e" not in refused.value.message


def test_a_wrong_access_key_and_a_wrong_secret_are_told_alike() -> None:
    messages = set()
    for header in ("Bearer A:wrong", "Bearer wrong:s:e cret", "Bearer x"):
        with pytest.raises(Refused) as refused:
            AUTHENTICATOR.authenticate(header)
        messages.add(refused.value.message)
    assert len(messages) == 1


def test_nothing_is_allowed_that_is_not_said() -> None:
    actions: tuple[Action, ...] = get_args(Action.__value__)
    for action in actions:
        assert decide(ROOT, action, CLUSTER, Context())
        assert decide(ANONYMOUS, action, CLUSTER, Context()) is (action == "GetHealth")
    assert not decide(ROOT, "Nonsense", CLUSTER, Context())  # type: ignore[arg-type]
    with pytest.raises(Refused, match="needs a key"):
        require(ANONYMOUS, "GetObject", CLUSTER, Context())
    with pytest.raises(Refused, match="may not do"):
        require(ROOT, "Nonsense", CLUSTER, Context())  # type: ignore[arg-type]


def test_a_commit_key_is_scoped_to_all_that_makes_a_request_what_it_is() -> None:
    def key(principal: str = "A", idempotency: str = "k", **change: object) -> bytes | None:
        facts: dict[str, object] = {
            "operation": "Put",
            "bucket": "b",
            "key": "k",
            "content": (b"x", {"a": "b"}),
            "attempt": 0,
        }
        return Call(Principal(principal, "root"), 0, "", idempotency).commit_key(**{**facts, **change})  # type: ignore[arg-type]

    assert key() == key()
    assert len(key() or b"") == 16
    others = [
        key(principal="B"),
        key(idempotency="l"),
        *(key(**{name: "other"}) for name in ("operation", "bucket", "key", "content")),
        key(bucket="bk", key=""),
        key(attempt=1),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert Call(ROOT, 0, "").commit_key("Put", "b", "k", None) is None
