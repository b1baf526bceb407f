"""What listings are asked for: how many, in which form, from where on. Pure.

Source: S3 API reference, ListObjectsV2, ListObjectVersions, ListMultipartUploads.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from api.s3 import xml
from cluster.errors import Refused
from cluster.limits import KEY_BYTES_MAX, LIST_LIMIT_MAX

_INTEGER_MAX = (1 << 31) - 1
_SAFE = re.compile(r"[A-Za-z0-9_.~/-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.~/-]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What all listings of a bucket understand. `text` writes keys and the like, as the client wants them encoded."""

    prefix: str
    delimiter: str
    limit: int
    encoding: str | None
    text: Callable[[str], str]


def asked(query: Mapping[str, str], limit_name: str) -> Asked:
    """Read it. Raises Refused (InvalidArgument)."""
    prefix = plain_text(query, "prefix")
    if len(prefix.encode()) > KEY_BYTES_MAX:
        raise _too_long("prefix", prefix)
    encoding = query.get("encoding-type")
    if encoding not in (None, "url"):
        raise invalid_argument("encoding-type", encoding or "", "Invalid Encoding Method specified in Request")
    return Asked(
        prefix=prefix,
        delimiter=plain_text(query, "delimiter"),
        limit=page_limit(query, limit_name),
        encoding=encoding,
        text=xml.escape if encoding is None else url_encode,
    )


def url_encode(text: str) -> str:
    """Text as `encoding-type=url` has it: slashes stay, a space is `%20` (which every client's decoder knows)."""
    return text if _SAFE.fullmatch(text) else _UNSAFE.sub(_quoted, text)


def _quoted(match: re.Match[str]) -> str:
    return quote(match[0], safe="")


def page_limit(query: Mapping[str, str], name: str) -> int:
    """Entries on a page: what is asked for, at most LIST_LIMIT_MAX. Raises Refused (InvalidArgument)."""
    return min(number(query, name, LIST_LIMIT_MAX), LIST_LIMIT_MAX)


def number(fields: Mapping[str, str], name: str, default: int) -> int:
    """A number that a parameter or a header gives. Raises Refused (InvalidArgument)."""
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _INTEGER_MAX):
        raise invalid_argument(name, text, f"Argument {name} must be an integer between 0 and {_INTEGER_MAX}")
    return int(text)


def marker(query: Mapping[str, str], name: str) -> str:
    """A key to begin behind, or what was given as one: it may end in a NUL. Raises Refused (InvalidArgument)."""
    text = query.get(name, "")
    if len(text.encode()) > KEY_BYTES_MAX + 1:
        raise _too_long(name, text)
    if "\0" in text[:-1]:
        raise _nul(name, text)
    return text


def plain_text(query: Mapping[str, str], name: str) -> str:
    """A text that may be part of keys; empty if it is not given. Raises Refused (InvalidArgument)."""
    text = query.get(name, "")
    if "\0" in text:
        raise _nul(name, text)
    return text


def invalid_argument(name: str, value: str, message: str) -> Refused:
    """S3's refusal of a parameter."""
    return Refused("InvalidArgument", message, detail={"ArgumentName": name, "ArgumentValue": value[:200]})


def _nul(name: str, value: str) -> Refused:
    return invalid_argument(name, value, f"{name} has a NUL, which no key has")


def _too_long(name: str, value: str) -> Refused:
    size = len(value.encode())
    return invalid_argument(name, value, f"{name} has {size} bytes; keys have at most {KEY_BYTES_MAX}")
