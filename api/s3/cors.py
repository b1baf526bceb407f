"""CORS: a bucket's rules, which of them a request meets, and the headers that say so. Pure.

Source: S3, 'Using cross-origin resource sharing' and 'Elements of a CORS configuration'; Fetch, 'CORS protocol'. The
first rule counts that has the request's origin, its method, and every header that it announces. Nothing is allowed that
no rule allows; an origin is repeated to a browser only if a rule names it, and `*` never comes with credentials.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from api.s3 import xml
from cluster.errors import Refused
from cluster.limits import KIB

RULES_MAX = 100
CONFIGURATION_BYTES_MAX = 64 * KIB
"""A configuration as XML (S3: 64 KB)."""

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
ID_CHARACTERS_MAX = 255
REQUESTED_HEADERS_MAX = 100
"""Headers that one preflight may ask for: a request has no more."""

VARY = ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_AGE = re.compile(r"[0-9]{1,9}")
_ELEMENTS = ("ID", "AllowedMethod", "AllowedOrigin", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds")


class CorsRule(msgspec.Struct, frozen=True, array_like=True):
    """One rule, as it is kept. `origins` and `headers` may each have one `*` in them."""

    methods: tuple[str, ...]
    origins: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None
    id: str | None = None


type CorsRules = tuple[CorsRule, ...]


# ---- the document


def parse_configuration(configuration: xml.Node) -> CorsRules:
    """The rules of a `CORSConfiguration`. Raises Refused (MalformedXML, InvalidRequest)."""
    xml.known(configuration, "CORSRule")
    if not 1 <= len(configuration.children) <= RULES_MAX:
        raise xml.malformed(f"there must be 1 to {RULES_MAX} rules, there are {len(configuration.children)}")
    return tuple(_rule(node) for node in configuration.children)


def _rule(node: xml.Node) -> CorsRule:
    xml.known(node, *_ELEMENTS)
    named = {name: tuple(child.text for child in node.all(name)) for name in _ELEMENTS}
    if not named["AllowedMethod"] or not named["AllowedOrigin"]:
        raise xml.malformed("a CORSRule must have an AllowedMethod and an AllowedOrigin")
    for method in named["AllowedMethod"]:
        if method not in METHODS:
            raise _invalid(
                f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:40]!r};"
                f" {', '.join(METHODS)} are supported"
            )
    for name in ("AllowedOrigin", "AllowedHeader"):
        for pattern in named[name]:
            _check_pattern(name, pattern)
    for header in named["ExposeHeader"]:
        if "*" in header:
            reason = "contains wildcard. We currently do not support wildcard for ExposeHeader."
            raise _invalid(f'ExposeHeader "{header[:80]}" {reason}')
        _check_name("ExposeHeader", header)
    identifier, age = xml.maybe_one(node, "ID"), xml.maybe_one(node, "MaxAgeSeconds")
    if identifier is not None and len(identifier.text) > ID_CHARACTERS_MAX:
        raise xml.malformed(f"an ID has at most {ID_CHARACTERS_MAX} characters")
    if age is not None and _AGE.fullmatch(age.text.strip()) is None:
        raise xml.malformed(f"MaxAgeSeconds is a number of seconds, not {age.text[:40]!r}")
    return CorsRule(
        methods=named["AllowedMethod"],
        origins=named["AllowedOrigin"],
        headers=named["AllowedHeader"],
        exposed=named["ExposeHeader"],
        max_age_s=None if age is None else int(age.text),
        id=None if identifier is None else identifier.text,
    )


def _check_pattern(name: str, pattern: str) -> None:
    if pattern.count("*") > 1:
        raise _invalid(f'{name} "{pattern[:80]}" can not have more than one wildcard.')
    if name == "AllowedHeader":
        _check_name(name, pattern)
    elif not pattern:
        raise _invalid("AllowedOrigin can not be empty.")


def _check_name(element: str, name: str) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise _invalid(f'{element} "{name[:80]}" contains invalid character.')


def configuration(rules: CorsRules) -> bytes:
    """The `CORSConfiguration` document of some rules."""
    return xml.document("CORSConfiguration", [_written(rule) for rule in rules])


def _written(rule: CorsRule) -> str:
    return xml.group(
        "CORSRule",
        xml.optional("ID", rule.id),
        *[xml.element("AllowedMethod", method) for method in rule.methods],
        *[xml.element("AllowedOrigin", origin) for origin in rule.origins],
        *[xml.element("AllowedHeader", header) for header in rule.headers],
        xml.optional("MaxAgeSeconds", rule.max_age_s),
        *[xml.element("ExposeHeader", header) for header in rule.exposed],
    )


def _invalid(message: str) -> Refused:
    return Refused("InvalidRequest", message)


# ---- the decision


class Asking(msgspec.Struct, frozen=True):
    """What a browser asks for: a page's origin, a method, and (before a request) the headers that it will have."""

    origin: str
    method: str
    headers: tuple[str, ...] = ()


def requested_headers(value: str | None) -> tuple[str, ...]:
    """The names in Access-Control-Request-Headers, in lower case, each once."""
    names = (name.strip().lower() for name in (value or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def allowed(rules: Iterable[CorsRule], asking: Asking) -> tuple[tuple[str, str], ...] | None:
    """The headers that allow it, from the first rule that does; None if no rule does."""
    if not asking.origin.isascii() or len(asking.headers) > REQUESTED_HEADERS_MAX:
        return None
    if any(_TOKEN.fullmatch(name) is None for name in asking.headers):
        return None  # no header has such a name, and it would be repeated in one of the answer's
    for rule in rules:
        if asking.method not in rule.methods:
            continue
        origin = next((pattern for pattern in rule.origins if matches(pattern, asking.origin)), None)
        if origin is not None and _has_headers(rule.headers, asking.headers):
            return _headers(rule, asking, origin)
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether a text is of a pattern, in which one `*` stands for any characters or none."""
    before, star, behind = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(behind) and text.startswith(before) and text.endswith(behind)


def _has_headers(patterns: Sequence[str], names: Sequence[str]) -> bool:
    if not names:
        return True
    lower = [pattern.lower() for pattern in patterns]
    plain = {pattern for pattern in lower if "*" not in pattern}
    wild = [pattern for pattern in lower if "*" in pattern]
    return all(name in plain or any(matches(pattern, name) for pattern in wild) for name in names)


def _headers(rule: CorsRule, asking: Asking, pattern: str) -> tuple[tuple[str, str], ...]:
    everybody = pattern == "*"
    found = [
        ("access-control-allow-origin", "*" if everybody else asking.origin),
        ("access-control-allow-methods", ", ".join(rule.methods)),
    ]
    if asking.headers:
        found.append(("access-control-allow-headers", ", ".join(asking.headers)))
    if rule.exposed:
        found.append(("access-control-expose-headers", ", ".join(rule.exposed)))
    if rule.max_age_s is not None:
        found.append(("access-control-max-age", str(rule.max_age_s)))
    if not everybody:
        found.append(("access-control-allow-credentials", "true"))
    return (*found, VARY)
