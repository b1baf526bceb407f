"""Preconditions on a version, as the state machine decides them. Pure.

Those of RFC 9110 (section 13): `If-Match` is stronger than `If-Unmodified-Since`, `If-None-Match` than
`If-Modified-Since`: of each pair only the first is looked at if both are given. Without a version there is no date to
compare. Those of S3's DeleteObject (`x-amz-if-match-last-modified-time`, `x-amz-if-match-size`) stand beside them, and
do not hold without a version. Dates compare in whole seconds, which is all that HTTP's can say.
"""

from typing import NamedTuple

from metaraft.commands import (
    Condition,
)
from metaraft.results import (
    Failed,
)

MESSAGE_CHARACTERS_MAX = 500
"""A refusal may name what a user sent; it is kept with the results, so it has a bound (chosen)."""


def refused(code: str, message: str) -> Failed:
    """A refusal that stays one."""
    return Failed("refused", code, message[:MESSAGE_CHARACTERS_MAX])


class Present(NamedTuple):
    """What a condition looks at."""

    etag: str
    created_ms: int
    size: int = 0


def unmet(condition: Condition, present: Present | None, key: str) -> Failed | None:
    """The refusal if a condition does not hold for a version (None: there is none, or a delete marker)."""
    reason = _unmet(condition, present)
    return None if reason is None else refused("PreconditionFailed", f"{reason}: {key!r}")


def _unmet(condition: Condition, present: Present | None) -> str | None:
    match = condition.if_match
    if match is not None:
        if present is None:
            return "If-Match was given and there is no such object"
        if "*" not in match and present.etag not in match:
            return f"If-Match names other ETags than {present.etag}"
    elif _after(present, condition.if_unmodified_since_ms) is True:
        return "it was modified after If-Unmodified-Since"
    none_match = condition.if_none_match
    if none_match is not None:
        if present is not None and ("*" in none_match or present.etag in none_match):
            return f"If-None-Match forbids the ETag {present.etag}"
    elif _after(present, condition.if_modified_since_ms) is False:
        return "it was not modified after If-Modified-Since"
    return _differs(condition, present)


def _differs(condition: Condition, present: Present | None) -> str | None:
    made_ms, size = condition.if_made_ms, condition.if_size
    if made_ms is None and size is None:
        return None
    if present is None:
        return "a time or size was given and there is no such object"
    if made_ms is not None and present.created_ms // 1000 != made_ms // 1000:
        return "it was not last modified at the time given"
    if size is not None and present.size != size:
        return f"it has {present.size} bytes, not {size}"
    return None


def _after(present: Present | None, since_ms: int | None) -> bool | None:
    """Whether it was made in a later second; None: there is nothing to compare."""
    if present is None or since_ms is None:
        return None
    return present.created_ms // 1000 > since_ms // 1000
