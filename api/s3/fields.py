"""What an object carries besides its bytes: how S3 clients say it in headers (or fields of a form), and see it. Pure.

Kept: the content headers, `x-amz-meta-*` and the redirect location. Of Content-Encoding `aws-chunked` is taken out: it
is the transfer's, not the object's. User metadata may be any UTF-8 text; what is not ASCII is shown as one encoded word
(RFC 2047), so that every client can read its headers, and what a client has encoded itself stays as it is.
Source: S3, 'Working with object metadata'.
"""

import base64
import re
from collections.abc import Mapping

from api.access.decisions import Principal
from api.operations.values import Description
from api.operations.versions import parse_version
from api.s3.paging import invalid_argument
from cluster.errors import Refused
from cluster.limits import Limits
from metaraft.model import Version, Which

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
METADATA = "x-amz-meta-"
REDIRECT = "x-amz-website-redirect-location"

CONTENT_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
"""Kept as they are (S3: system-defined metadata)."""

OVERRIDES = {f"response-{name}": name for name in ("content-type", *CONTENT_HEADERS)}
"""Query parameters of a GET that say what a header of the answer shall be."""

REDIRECT_BYTES_MAX = 2048
"""S3: 'Configuring a webpage redirect' has 2 KB."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_REDIRECTS = ("/", "http://", "https://")


def description(headers: Mapping[str, str], limits: Limits) -> Description:
    """What is kept of a request's headers; tags are not looked at.

    Raises Refused (MetadataTooLarge, InvalidArgument, InvalidRedirectLocation).
    """
    kept = {name: _clean(name, headers[name]) for name in CONTENT_HEADERS if headers.get(name)}
    if "content-encoding" in kept:
        encoding = _own_encoding(kept.pop("content-encoding"))
        kept |= {"content-encoding": encoding} if encoding else {}
    location = redirect_location(headers)
    kept |= {} if location is None else {REDIRECT: location}
    content_type = _clean("content-type", headers.get("content-type") or DEFAULT_CONTENT_TYPE)
    return Description(content_type, kept, _user_metadata(headers, limits))


def _user_metadata(headers: Mapping[str, str], limits: Limits) -> dict[str, str]:
    metadata: dict[str, str] = {}
    size = 0
    for header, value in headers.items():
        if header.startswith(METADATA):
            name = header[len(METADATA) :]
            if _NAME.fullmatch(name) is None:
                raise Refused("InvalidArgument", f"{header[:80]!r} is no name for user metadata")
            metadata[name] = _clean(header, value)
            size += len(name) + len(value.encode())
    most = limits.user_metadata_bytes_max
    if size > most:
        raise Refused(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            limit={"user_metadata_bytes_max": most},
            detail={"Size": str(size), "MaxSizeAllowed": str(most)},
        )
    return metadata


def _own_encoding(value: str) -> str:
    return ",".join(token for token in (part.strip() for part in value.split(",")) if token.lower() != "aws-chunked")


def redirect_location(headers: Mapping[str, str]) -> str | None:
    """Where a page leads instead, None if it does not. Raises Refused (InvalidRedirectLocation, InvalidArgument)."""
    location = headers.get(REDIRECT)
    if location is None:
        return None
    if not location.startswith(_REDIRECTS):
        known = ", ".join(repr(prefix) for prefix in _REDIRECTS)
        raise Refused("InvalidRedirectLocation", f"The website redirect location must have a prefix of {known}.")
    if len(location.encode()) > REDIRECT_BYTES_MAX:
        raise Refused(
            "InvalidRedirectLocation", f"The website redirect location must have at most {REDIRECT_BYTES_MAX} bytes."
        )
    return _clean(REDIRECT, location)


def _clean(name: str, value: str) -> str:
    """A value that can stand in a header: a form's field and a query parameter may have line ends."""
    if _CONTROL.search(value) is not None:
        raise Refused("InvalidArgument", f"the value of {name[:80]!r} has a control character")
    return value


def shown_headers(version: Version) -> list[tuple[str, str]]:
    """The headers that show what a version carries."""
    headers = [("content-type", version.content_type), *version.headers.items()]
    headers += [(METADATA + name, _mail_safe(value)) for name, value in version.user_metadata.items()]
    if version.tags:
        headers.append(("x-amz-tagging-count", str(len(version.tags))))
    return headers


def _mail_safe(value: str) -> str:
    if value.isascii():
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="


def overridden(headers: list[tuple[str, str]], query: Mapping[str, str], principal: Principal) -> list[tuple[str, str]]:
    """The headers with those that `response-*` parameters say. Raises Refused (InvalidRequest, InvalidArgument)."""
    said = {OVERRIDES[name]: _clean(name, value) for name, value in query.items() if name in OVERRIDES}
    if not said:
        return headers
    if principal.kind == "anonymous":
        raise Refused("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
    return [(name, value) for name, value in headers if name not in said] + list(said.items())


def version_of(query: Mapping[str, str]) -> Which | None:
    """The version that a request names. Raises Refused (InvalidArgument)."""
    text = query.get("versionId")
    if text is None:
        return None
    if not text:
        raise invalid_argument("versionId", text, "Version id cannot be the empty string")
    return parse_version(text)


def no_version(query: Mapping[str, str]) -> None:
    """Raises Refused (InvalidArgument) if a request that makes a version names one."""
    if "versionId" in query:
        raise invalid_argument("versionId", query["versionId"], "This operation does not accept a version-id.")
