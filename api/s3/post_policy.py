"""The policy of an HTML form: which fields it may have, with which values, until when, and how large a file (S3 API
Reference, 'POST Policy'; where that is silent, what S3 answers). Pure.

    {"expiration": "2007-12-01T12:00:00.000Z",
     "conditions": [{"bucket": "b"}, ["eq", "$acl", "private"], ["starts-with", "$key", "user/"],
                    ["content-length-range", 1, 1048576]]}

Rules: every field of the form, and the bucket it was sent to, must be named by a condition, and all conditions must
hold; so a policy allows nothing it does not speak of, and is good for no other bucket. Names of fields and operators
are the same in upper and lower case, values are not. Values are compared after the caller has put the file's name in
the place of `${filename}`. Exempt are the fields that sign, the file, `x-ignore-*`, and checksums: they can only make
an upload fail.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from cluster.errors import UNDECODABLE, Refused
from cluster.limits import KIB

POLICY_BYTES_MAX = 20 * KIB
"""As sent, in base64: S3's limit for all of a form before its file."""

_EXEMPT = frozenset({"policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"})
_EXEMPT_PREFIXES = ("x-ignore-", "x-amz-checksum-")
_EXPIRATION = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?Z")
_MEMBERS = frozenset({"expiration", "conditions"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on a field. `field` is in lower case, `text` the condition as S3 shows it."""

    operator: Literal["eq", "starts-with"]
    field: str
    value: str
    text: str

    def holds(self, fields: Mapping[str, str]) -> bool:
        """Whether the form fulfils it. A prefix of nothing allows anything, a missing field among it."""
        found = fields.get(self.field)
        if self.operator == "eq":
            return found == self.value
        if found is None:
            return not self.value
        values = [item.strip() for item in found.split(",")] if self.field == "content-type" else [found]
        return all(value.startswith(self.value) for value in values)


@dataclass(frozen=True, slots=True)
class SizeRange:
    """How large the file may be, in bytes; both ends are allowed."""

    least: int
    most: int

    def check(self, size: int) -> None:
        """Raises Refused (EntityTooSmall, EntityTooLarge)."""
        if size < self.least:
            raise Refused(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                detail={"ProposedSize": str(size), "MinSizeAllowed": str(self.least)},
            )
        if size > self.most:
            raise Refused(
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
                detail={"ProposedSize": str(size), "MaxSizeAllowed": str(self.most)},
            )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read. `expires_at` is Unix seconds."""

    expires_at: float
    conditions: tuple[Condition, ...]
    sizes: tuple[SizeRange, ...]

    @property
    def size_range(self) -> SizeRange | None:
        """The sizes that all ranges of the policy allow, None if it has none."""
        if not self.sizes:
            return None
        return SizeRange(max(each.least for each in self.sizes), min(each.most for each in self.sizes))

    def check(self, fields: Mapping[str, str], *, bucket: str, now: float) -> None:
        """Whether a form may be sent to a bucket. `fields` have lower-case names and no `${filename}` any more.

        Raises Refused (AccessDenied). The file's size is not looked at: see `size_range`.
        """
        if now >= self.expires_at:
            raise Refused("AccessDenied", "Invalid according to Policy: Policy expired.")
        given = {**fields, "bucket": bucket}
        for condition in self.conditions:
            if not condition.holds(given):
                raise _failed(condition.text)
        named = {condition.field for condition in self.conditions}
        extra = sorted(name for name in given if name not in named and not _is_exempt(name))
        if extra:
            raise Refused("AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(extra)}")


def parse_policy(policy_b64: str) -> Policy:
    """The policy in a form's field, after its signature was proved.

    Raises Refused: InvalidPolicyDocument; AccessDenied for a condition that nothing can fulfil.
    """
    document = _decode(policy_b64)
    unknown = [name for name in document if name not in _MEMBERS]
    if unknown:
        raise _invalid(f"Unexpected: '{unknown[0].lower()[:80]}'")
    for name in ("expiration", "conditions"):
        if name not in document:
            raise _invalid(f"Policy missing {name}.")
    expires_at = _parse_expiration(document["expiration"])
    listed = document["conditions"]
    if not isinstance(listed, list):
        raise _invalid("Invalid 'conditions' value: must be a List.")
    parsed = [_parse_condition(each) for each in listed]
    conditions = tuple(each for each in parsed if isinstance(each, Condition))
    return Policy(expires_at, conditions, tuple(each for each in parsed if isinstance(each, SizeRange)))


def _decode(policy_b64: str) -> dict[str, Any]:
    if len(policy_b64) > POLICY_BYTES_MAX:
        raise _invalid(f"it has {len(policy_b64)} bytes; at most {POLICY_BYTES_MAX} are allowed.")
    try:
        raw = base64.b64decode("".join(policy_b64.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("invalid Base64 encoding.") from None
    try:
        document = msgspec.json.decode(raw)
    except (*UNDECODABLE, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("it must be an Object.")
    return document


def _parse_expiration(value: Any) -> float:
    match = _EXPIRATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _invalid(f"Invalid 'expiration' value: '{str(value)[:80]}'")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise _invalid(f"Invalid 'expiration' value: '{value}'") from None
    return whole + float(match[7] or 0)


def _parse_condition(value: Any) -> Condition | SizeRange:
    match value:
        case dict():
            return _parse_simple(value)
        case []:
            raise _invalid("Invalid Condition: missing operation identifier.")
        case [str(operator), *operands]:
            return _parse_operation(value, operator.lower(), operands)
        case list():
            raise _invalid("Invalid JSON.")
    raise _invalid("Invalid condition test: must be a List or Object.")


def _parse_simple(value: dict[str, Any]) -> Condition:
    if len(value) != 1:
        raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
    ((name, wanted),) = value.items()
    if not isinstance(wanted, str):
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    return Condition("eq", name.lower(), wanted, _text(["eq", f"${name}", wanted]))


def _parse_operation(value: list[Any], operator: str, operands: Sequence[Any]) -> Condition | SizeRange:
    if operator not in ("eq", "starts-with", "content-length-range"):
        raise _invalid(f"Invalid Condition: unknown operation '{operator[:80]}'.")
    if len(operands) != 2:
        raise _invalid(f"Invalid {operator}: wrong number of arguments.")
    first, second = operands
    if operator == "content-length-range":
        return SizeRange(_size(first, value), _size(second, value))
    if not isinstance(first, str) or not isinstance(second, str):
        raise _invalid("Invalid JSON.")
    if not first.startswith("$"):
        raise _failed(_text(value))
    return Condition("eq" if operator == "eq" else "starts-with", first[1:].lower(), second, _text(value))


def _size(value: Any, condition: list[Any]) -> int:
    """A bound of a range; a number in quotes is one."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise _failed(_text(condition))
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("Invalid JSON.")
    return value


def _is_exempt(name: str) -> bool:
    return name in _EXEMPT or name.startswith(_EXEMPT_PREFIXES)


def _text(condition: list[Any]) -> str:
    return json.dumps(condition, ensure_ascii=False)


def _failed(text: str) -> Refused:
    return Refused("AccessDenied", f"Invalid according to Policy: Policy Condition failed: {text[:2000]}")


def _invalid(why: str) -> Refused:
    return Refused("InvalidPolicyDocument", f"Invalid Policy: {why}")
