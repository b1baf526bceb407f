"""Conditional requests (RFC 9110 13). Pure.

Conditions are read from headers into `metaraft.commands.Condition`: entity tags without quotes, dates in
milliseconds. On a write they travel with the command and are decided at its place in the log; here a write is only
refused early when it cannot succeed any more. Tags without quotes are taken as S3 clients send them. A date that is
none is passed over, as the RFC demands.
"""

import calendar
import re
import time
from collections.abc import Mapping
from typing import Literal

from cluster.errors import Refused
from metaraft.commands import (
    Condition,
)

NO_CONDITION = Condition()

type Verdict = Literal["go", "not_modified", "failed"]

CONDITION_HEADERS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"|([^\s",]+)')
_DATE_FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_conditions(headers: Mapping[str, str], prefix: str = "") -> Condition:
    """The conditions of a request; `prefix` is put before each header's name (for a copy's source).

    Raises Refused (InvalidHeader) when a list of entity tags is none.
    """
    if not any(prefix + name in headers for name in CONDITION_HEADERS):
        return NO_CONDITION
    return Condition(
        if_match=parse_tags(prefix + "if-match", headers.get(prefix + "if-match"), weak=False),
        if_none_match=parse_tags(prefix + "if-none-match", headers.get(prefix + "if-none-match"), weak=True),
        if_modified_since_ms=parse_date_ms(headers.get(prefix + "if-modified-since")),
        if_unmodified_since_ms=parse_date_ms(headers.get(prefix + "if-unmodified-since")),
    )


def parse_tags(name: str, value: str | None, *, weak: bool) -> tuple[str, ...] | None:
    """Entity tags of a list; `("*",)` for any. Weak tags are left out where the strong comparison is due.

    Raises Refused (InvalidHeader).
    """
    if value is None:
        return None
    text = value.strip()
    if text == "*":
        return ("*",)
    tags: list[str] = []
    position = 0
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None or match.group(3) == "*":
            raise Refused("InvalidHeader", f"{name} {value[:80]!r} is neither * nor a list of entity tags")
        if weak or not match.group(1):
            tags.append(match.group(2) if match.group(3) is None else match.group(3))
        position = match.end()
        rest = text[position:].lstrip()
        if rest and not rest.startswith(","):
            raise Refused("InvalidHeader", f"{name} {value[:80]!r} is neither * nor a list of entity tags")
        position = len(text) - len(rest[1:].lstrip(" \t,")) if rest else len(text)
    if not text:
        raise Refused("InvalidHeader", f"{name} is empty; it must be * or a list of entity tags")
    return tuple(tags)


def parse_date_ms(value: str | None) -> int | None:
    """An HTTP date (RFC 9110 5.6.7, all three forms) in milliseconds, None if it is none."""
    if value is None:
        return None
    for form in _DATE_FORMATS:
        try:
            parsed = time.strptime(value.strip(), form)
        except ValueError:
            continue
        return calendar.timegm(parsed) * 1000
    return None


def http_date(time_ms: int) -> str:
    """A time as IMF-fixdate, whatever the locale."""
    at = time.gmtime(time_ms // 1000)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"
    )


def decide_read(condition: Condition, etag: str, created_ms: int) -> Verdict:
    """What a GET or HEAD of this version must answer, in the order of RFC 9110 13.2.2."""
    seconds = created_ms // 1000
    if condition.if_match is not None:
        if not _matches(condition.if_match, etag):
            return "failed"
    elif condition.if_unmodified_since_ms is not None and seconds > condition.if_unmodified_since_ms // 1000:
        return "failed"
    if condition.if_none_match is not None:
        if _matches(condition.if_none_match, etag):
            return "not_modified"
    elif condition.if_modified_since_ms is not None and seconds <= condition.if_modified_since_ms // 1000:
        return "not_modified"
    return "go"


def write_must_fail(condition: Condition, version: tuple[str, int] | None) -> bool:
    """Whether a write to this version (ETag and time; None: there is none) would be refused at the commit."""
    if version is None:
        return condition.if_match is not None
    etag, created_ms = version
    seconds = created_ms // 1000
    if condition.if_match is not None:
        if not _matches(condition.if_match, etag):
            return True
    elif condition.if_unmodified_since_ms is not None and seconds > condition.if_unmodified_since_ms // 1000:
        return True
    return condition.if_none_match is not None and _matches(condition.if_none_match, etag)


def precondition_failed(key: str) -> Refused:
    """The refusal of a condition that does not hold."""
    return Refused("PreconditionFailed", f"a condition of the request does not hold for {key[:200]!r} as it is now")


def range_applies(if_range: str | None, etag: str, created_ms: int) -> bool:
    """Whether If-Range lets a Range stand (RFC 9110 13.1.5: strong comparison, or the exact date)."""
    if if_range is None:
        return True
    text = if_range.strip()
    date_ms = parse_date_ms(text)
    if date_ms is not None:
        return created_ms // 1000 == date_ms // 1000
    return text.strip('"') == etag and not text.startswith("W/")


def _matches(tags: tuple[str, ...], etag: str) -> bool:
    return tags == ("*",) or etag in tags
