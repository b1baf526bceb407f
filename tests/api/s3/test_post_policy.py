"""Policies of HTML forms: what they allow is what they say, and nothing besides."""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.s3.post_policy import POLICY_BYTES_MAX, Policy, SizeRange, parse_policy
from cluster.errors import Refused

NOW = 1_000_000_000.0
LATER = "2001-09-09T01:46:41Z"
"""One second after NOW."""

CONDITIONS: list[Any] = [
    {"bucket": "b"},
    ["starts-with", "$key", "foo"],
    {"acl": "private"},
    ["starts-with", "$Content-Type", "text/plain"],
    ["content-length-range", 0, 1024],
]
FIELDS = {"key": "foo.txt", "acl": "private", "content-type": "text/plain"}


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def policy(*conditions: Any, expiration: str = LATER) -> Policy:
    return parse_policy(encoded({"expiration": expiration, "conditions": list(conditions)}))


def check(found: Policy, fields: Mapping[str, str], bucket: str = "b", now: float = NOW) -> None:
    found.check(fields, bucket=bucket, now=now)


def denied(found: Policy, fields: Mapping[str, str], bucket: str = "b", now: float = NOW) -> str:
    with pytest.raises(Refused) as caught:
        check(found, fields, bucket, now)
    assert caught.value.code == "AccessDenied"
    prefix = "Invalid according to Policy: "
    assert caught.value.message.startswith(prefix)
    return caught.value.message.removeprefix(prefix)


def invalid(policy_b64: str) -> str:
    with pytest.raises(Refused) as caught:
        parse_policy(policy_b64)
    assert caught.value.code == "InvalidPolicyDocument"
    return caught.value.message.removeprefix("Invalid Policy: ")


def test_a_form_that_fulfils_its_policy_is_allowed() -> None:
    check(policy(*CONDITIONS), FIELDS)


def test_the_fields_that_sign_the_file_and_ignored_ones_need_no_condition() -> None:
    exempt = dict.fromkeys(("policy", "signature", "awsaccesskeyid", "x-amz-signature", "file", "x-ignore-foo"), "x")
    check(policy(*CONDITIONS), {**FIELDS, **exempt, "x-amz-checksum-sha256": "x", "x-amz-checksum-algorithm": "SHA256"})


@pytest.mark.parametrize("name", ["x-amz-meta-foo", "success_action_status", "x-amz-credential", "bucket2", "tagging"])
def test_a_field_that_no_condition_names_is_refused(name: str) -> None:
    assert denied(policy(*CONDITIONS), {**FIELDS, name: "1"}) == f"Extra input fields: {name}"


def test_all_fields_that_no_condition_names_are_told() -> None:
    assert denied(policy(*CONDITIONS), {**FIELDS, "z": "1", "a": "2"}) == "Extra input fields: a, z"


def test_a_policy_is_good_for_the_bucket_that_it_names_and_no_other() -> None:
    failed = 'Policy Condition failed: ["eq", "$bucket", "b"]'
    assert denied(policy(*CONDITIONS), FIELDS, "other") == failed
    assert denied(policy(*CONDITIONS), {**FIELDS, "bucket": "b"}, "other") == failed
    check(policy(*CONDITIONS), {**FIELDS, "bucket": "b"})
    assert denied(policy(*CONDITIONS[1:]), FIELDS) == "Extra input fields: bucket"


@pytest.mark.parametrize("missing", range(1, 4))
def test_a_policy_without_a_condition_for_a_field_does_not_allow_it(missing: int) -> None:
    conditions = [each for number, each in enumerate(CONDITIONS) if number != missing]
    assert denied(policy(*conditions), FIELDS).startswith("Extra input fields: ")


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ({"x": "a"}, "a", True),
        ({"x": "a"}, "A", False),
        ({"x": "a"}, "ab", False),
        ({"X": "a"}, "a", True),
        (["eq", "$x", "a"], "a", True),
        (["EQ", "$X", "a"], "a", True),
        (["eq", "$x", ""], "", True),
        (["eq", "$x", ""], "a", False),
        (["eq", "$x", ""], None, False),
        (["eq", "$x", "a"], None, False),
        (["starts-with", "$x", "a"], "ab", True),
        (["StArTs-WiTh", "$X", "a"], "ab", True),
        (["starts-with", "$x", "a"], "Ab", False),
        (["starts-with", "$x", "a"], "ba", False),
        (["starts-with", "$x", "a"], None, False),
        (["starts-with", "$x", ""], "anything", True),
        (["starts-with", "$x", ""], None, True),
        (["starts-with", "$x", "a"], "a,b", True),
        (["eq", "$x", "\\$foo"], "\\$foo", True),
        (["eq", "$x", "\\$foo"], "$foo", False),
        (["starts-with", "$Content-Type", "image/"], "image/jpg, image/png,image/gif", True),
        (["starts-with", "$Content-Type", "image/"], "image/jpg,text/plain", False),
        (["eq", "$content-type", "image/jpg,text/plain"], "image/jpg,text/plain", True),
    ],
)
def test_a_condition_holds_for_the_values_that_it_names(condition: Any, value: str | None, holds: bool) -> None:
    name = "content-type" if "ontent-" in str(condition) or "content-" in str(condition) else "x"
    fields = {} if value is None else {name: value}
    found = policy({"bucket": "b"}, condition)
    if holds:
        check(found, fields)
    else:
        shown = condition if isinstance(condition, list) else ["eq", f"${next(iter(condition))}", "a"]
        assert denied(found, fields) == f"Policy Condition failed: {json.dumps(shown)}"


def test_all_conditions_on_a_field_must_hold() -> None:
    found = policy({"bucket": "b"}, ["starts-with", "$key", "a"], ["eq", "$key", "ab"])
    check(found, {"key": "ab"})
    assert denied(found, {"key": "ac"}) == 'Policy Condition failed: ["eq", "$key", "ab"]'


def test_a_policy_ends_at_its_expiration() -> None:
    check(policy(*CONDITIONS), FIELDS, now=NOW + 0.9)
    assert denied(policy(*CONDITIONS), FIELDS, now=NOW + 1) == "Policy expired."
    assert denied(policy(*CONDITIONS, expiration="2001-09-09T01:46:40.000Z"), FIELDS) == "Policy expired."
    check(policy(*CONDITIONS, expiration="2001-09-09T01:46:40.5Z"), FIELDS)


@pytest.mark.parametrize(
    "expiration",
    ["", "tomorrow", "2001-09-09 01:46:41+00:00", "2001-09-09T01:46:41+02:00", "2001-13-09T01:46:41Z", 1, None],
)
def test_an_expiration_is_a_time_in_iso_8601_and_gmt(expiration: object) -> None:
    text = invalid(encoded({"expiration": expiration, "conditions": CONDITIONS}))
    assert text.startswith("Invalid 'expiration' value: ")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"conditions": []}, "Policy missing expiration."),
        ({"expiration": LATER}, "Policy missing conditions."),
        ({"expiration": LATER, "CONDITIONS": CONDITIONS}, "Unexpected: 'conditions'"),
        ({"EXPIRATION": LATER, "conditions": CONDITIONS}, "Unexpected: 'expiration'"),
        ({"Version": "1", "Statement": []}, "Unexpected: 'version'"),
        ({"expiration": LATER, "conditions": {}}, "Invalid 'conditions' value: must be a List."),
        ([], "it must be an Object."),
    ],
)
def test_a_policy_has_an_expiration_and_conditions_and_nothing_else(document: object, text: str) -> None:
    assert invalid(encoded(document)) == text


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ({}, "Simple-Conditions must have exactly one property"),
        ({"acl": "private", "key": "k"}, "Simple-Conditions must have exactly one property"),
        ({"Content-Length": 6199034}, "value must be a string"),
        ({"acl": None}, "value must be a string"),
        ([], "missing operation identifier"),
        (["like", "$key", "a"], "unknown operation 'like'"),
        (["eq", "$key"], "wrong number of arguments"),
        (["eq", "$key", "a", "b"], "wrong number of arguments"),
        (["eq", "$key", 1], "Invalid JSON"),
        ([1, "$key", "a"], "Invalid JSON"),
        (["content-length-range", 0], "wrong number of arguments"),
        (["content-length-range", -1, 0], "Invalid JSON"),
        (["content-length-range", 0, 512.0], "Invalid JSON"),
        (["content-length-range", 0, True], "Invalid JSON"),
        (["content-length-range", 0, None], "Invalid JSON"),
        ("key", "must be a List or Object"),
        (None, "must be a List or Object"),
    ],
)
def test_a_condition_that_is_none_is_refused(condition: object, text: str) -> None:
    assert text in invalid(encoded({"expiration": LATER, "conditions": [condition]}))


@pytest.mark.parametrize("condition", [["content-length-range", "test", "10"], ["eq", "key", "a"]])
def test_a_condition_that_nothing_fulfils_fails(condition: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        policy({"bucket": "b"}, condition)
    assert caught.value.code == "AccessDenied"
    assert caught.value.message == f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"expiration": }', b"\xff", b'"\xff"', b"[" * 15_000, b'{"a": ' * 2_000, b"{'a': 1}", b"NaN"]
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    invalid(base64.b64encode(raw).decode())


@pytest.mark.parametrize("text", ["", "!", "e30", "e30==", "é", "A" * (POLICY_BYTES_MAX + 1)])
def test_what_is_no_base64_is_refused(text: str) -> None:
    invalid(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_conditions_are_read_or_refused(conditions: object) -> None:
    with suppress(Refused):
        assert isinstance(parse_policy(encoded({"expiration": LATER, "conditions": conditions})), Policy)


# ---- sizes


def test_a_range_has_both_its_ends() -> None:
    for condition in (["content-length-range", 5, 10], ["content-length-range", "5", "10"]):
        found = policy(condition).size_range
        assert found == SizeRange(5, 10)
        found.check(5)
        found.check(10)
        for size, code, name, bound in ((4, "EntityTooSmall", "Min", "5"), (11, "EntityTooLarge", "Max", "10")):
            with pytest.raises(Refused) as caught:
                found.check(size)
            assert caught.value.code == code
            assert caught.value.detail == {"ProposedSize": str(size), f"{name}SizeAllowed": bound}


def test_all_ranges_must_allow_a_size() -> None:
    assert policy(["content-length-range", 1, 10], ["content-length-range", 5, 20]).size_range == SizeRange(5, 10)
    assert policy({"bucket": "b"}).size_range is None
