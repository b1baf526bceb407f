"""Conditional requests (RFC 9110 13)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.conditions import (
    decide_read,
    http_date,
    parse_conditions,
    parse_date_ms,
    parse_tags,
    range_applies,
    write_must_fail,
)
from cluster.errors import Refused

AT = 784111777_000  # Sun, 06 Nov 1994 08:49:37 GMT
OLD, SAME, NEW = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, "go"),
        ({"if-match": '"a"'}, "go"),
        ({"if-match": "*"}, "go"),
        ({"if-match": '"b"'}, "failed"),
        ({"if-match": '"b", "a"'}, "go"),
        ({"if-match": 'W/"a"'}, "failed"),
        ({"if-match": "a"}, "go"),
        ({"if-none-match": '"a"'}, "not_modified"),
        ({"if-none-match": 'W/"a"'}, "not_modified"),
        ({"if-none-match": "*"}, "not_modified"),
        ({"if-none-match": '"b"'}, "go"),
        ({"if-modified-since": OLD}, "go"),
        ({"if-modified-since": SAME}, "not_modified"),
        ({"if-modified-since": NEW}, "not_modified"),
        ({"if-modified-since": "yesterday"}, "go"),
        ({"if-unmodified-since": OLD}, "failed"),
        ({"if-unmodified-since": SAME}, "go"),
        ({"if-unmodified-since": "yesterday"}, "go"),
        ({"if-match": '"a"', "if-unmodified-since": OLD}, "go"),
        ({"if-none-match": '"b"', "if-modified-since": NEW}, "go"),
        ({"if-match": '"b"', "if-none-match": '"a"'}, "failed"),
        ({"if-match": '"a"', "if-none-match": '"a"'}, "not_modified"),
    ],
)
def test_conditions_of_a_read_are_decided_in_the_rfcs_order(headers: dict[str, str], verdict: str) -> None:
    assert decide_read(parse_conditions(headers), "a", AT + 250) == verdict


@pytest.mark.parametrize(
    ("headers", "version", "fails"),
    [
        ({}, None, False),
        ({"if-none-match": "*"}, None, False),
        ({"if-none-match": "*"}, ("a", AT), True),
        ({"if-match": "*"}, None, True),
        ({"if-match": '"a"'}, None, True),
        ({"if-match": '"a"'}, ("a", AT), False),
        ({"if-match": '"b"'}, ("a", AT), True),
        ({"if-unmodified-since": OLD}, ("a", AT), True),
        ({"if-unmodified-since": SAME}, ("a", AT), False),
    ],
)
def test_a_write_that_cannot_succeed_is_known_before_its_body(
    headers: dict[str, str], version: tuple[str, int] | None, fails: bool
) -> None:
    assert write_must_fail(parse_conditions(headers), version) is fails


@pytest.mark.parametrize("value", ["", '"a', 'a"b', '"a" "b"', '"a", *', "*, *", '"a"x'])
def test_a_list_of_tags_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="if-match"):
        parse_tags("if-match", value, weak=False)


def test_all_three_forms_of_dates_are_read() -> None:
    for text in (SAME, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
        assert parse_date_ms(text) == AT
    assert http_date(AT + 999) == SAME


@given(st.integers(0, 4_102_444_800))
def test_a_date_written_is_read_back(seconds: int) -> None:
    assert parse_date_ms(http_date(seconds * 1000)) == seconds * 1000


@given(st.text(max_size=60))
def test_no_value_breaks_the_parsers(text: str) -> None:
    with contextlib.suppress(Refused):
        parse_tags("if-match", text, weak=True)
    parse_date_ms(text)
    range_applies(text, "a", AT)


@pytest.mark.parametrize(
    ("value", "applies"),
    [(None, True), ('"a"', True), ('"b"', False), ('W/"a"', False), (SAME, True), (OLD, False), (NEW, False)],
)
def test_if_range_lets_a_range_stand_only_for_the_same_version(value: str | None, applies: bool) -> None:
    assert range_applies(value, "a", AT + 1) is applies
