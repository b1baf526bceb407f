"""What the native dialect reads from a request's headers: digests, metadata, sources, numbers. Pure.

Digests: Content-MD5 (RFC 1864), Digest (RFC 3230) and Repr-Digest or Content-Digest (RFC 9530), of which sha-256 is
verified and others are passed over, as both RFCs want.
"""

import base64
import binascii
import re
from collections.abc import Mapping

from api.digests import ExpectedDigests
from api.messages import percent_decode
from api.names import decode_key
from api.operations.values import Description, Source
from api.operations.versions import parse_version
from cluster.errors import Refused
from cluster.limits import UPLOAD_PARTS_MAX, Limits
from metaraft.model import Which

STORED_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
"""Standard headers that are kept with an object and given back (S3: 'System-defined object metadata')."""

METADATA_PREFIX = "x-amz-meta-"
COPY_SOURCE = "x-copy-source"
COPY_SOURCE_VERSION = "x-copy-source-version"
DEFAULT_CONTENT_TYPE = "application/octet-stream"
IDEMPOTENCY_KEY_CHARS_MAX = 255

_NO_DIGESTS = ExpectedDigests()
_DIGEST_HEADERS = ("content-md5", "digest", "repr-digest", "content-digest")
_STRUCTURED_BYTES = re.compile(r":([A-Za-z0-9+/]*={0,2}):")


def expected_digests(headers: Mapping[str, str]) -> ExpectedDigests:
    """The digests that the body must have. Raises Refused (InvalidDigest)."""
    md5 = headers.get("content-md5")
    sha256: bytes | None = None
    for name in ("digest", "repr-digest", "content-digest"):
        value = headers.get(name)
        if value is None:
            continue
        found = _sha256_of(name, value)
        if found is not None and sha256 is not None and found != sha256:
            raise Refused("InvalidDigest", f"{name} contradicts another SHA-256 of the same request")
        sha256 = found or sha256
    return ExpectedDigests(md5=None if md5 is None else _decode("content-md5", md5, 16), sha256=sha256)


def requested_digests(headers: Mapping[str, str]) -> ExpectedDigests:
    """The same of a request that seldom says anything."""
    return expected_digests(headers) if any(name in headers for name in _DIGEST_HEADERS) else _NO_DIGESTS


def _sha256_of(name: str, value: str) -> bytes | None:
    for item in value.split(","):
        algorithm, equals, text = item.strip().partition("=")
        if algorithm.strip().lower() not in ("sha-256", "sha256"):
            continue
        text = text.strip()
        if name != "digest":
            match = _STRUCTURED_BYTES.fullmatch(text.partition(";")[0].strip())
            if match is None:
                raise Refused("InvalidDigest", f"{name} {value[:120]!r} is not of the form sha-256=:BASE64:")
            text = match.group(1)
        if not equals:
            raise Refused("InvalidDigest", f"{name} {value[:120]!r} has no value for sha-256")
        return _decode(name, text, 32)
    return None


def _decode(name: str, text: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size:
        raise Refused("InvalidDigest", f"{name} {text[:80]!r} is not the base64 of {size} bytes")
    return raw


def description(headers: Mapping[str, str], limits: Limits) -> Description:
    """Content type, stored headers and user metadata. Raises Refused (MetadataTooLarge, InvalidHeader)."""
    metadata: dict[str, str] = {}
    size = 0
    for name, value in headers.items():
        if name.startswith(METADATA_PREFIX):
            short = name[len(METADATA_PREFIX) :]
            if not short:
                raise Refused("InvalidHeader", f"header {name!r} has no name behind its prefix")
            metadata[short] = value
            size += len(short) + len(value.encode())
    if size > limits.user_metadata_bytes_max:
        raise Refused(
            "MetadataTooLarge",
            f"user metadata has {size} bytes; names and values together may have {limits.user_metadata_bytes_max}",
            limit={"user_metadata_bytes_max": limits.user_metadata_bytes_max},
        )
    stored = {name: headers[name] for name in STORED_HEADERS if name in headers}
    return Description(headers.get("content-type") or DEFAULT_CONTENT_TYPE, stored, metadata)


def body_size(length: int | None, limits: Limits) -> int | None:
    """The announced size of a body. Raises Refused (EntityTooLarge) before any of it is read."""
    if length is not None and length > limits.put_bytes_max:
        raise Refused(
            "EntityTooLarge",
            f"the body has {length} bytes; one request may carry {limits.put_bytes_max}",
            limit={"put_bytes_max": limits.put_bytes_max},
        )
    return length


def copy_source(value: str) -> tuple[str, str]:
    """Bucket and key of X-Copy-Source. Raises Refused (InvalidArgument, KeyTooLong, InvalidKey)."""
    raw_bucket, _, raw_key = value.removeprefix("/").partition("/")
    if not raw_bucket or not raw_key:
        raise Refused("InvalidArgument", f"x-copy-source {value[:200]!r} is not BUCKET/KEY (percent-encoded)")
    try:
        bucket = percent_decode(raw_bucket.encode()).decode()
    except UnicodeDecodeError:
        raise Refused("InvalidArgument", f"x-copy-source {value[:200]!r} is not UTF-8") from None
    return bucket, decode_key(percent_decode(raw_key.encode()))


def copied(headers: Mapping[str, str]) -> Source:
    """What X-Copy-Source and X-Copy-Source-Version name. Raises what `copy_source` and `parse_version` do."""
    version = headers.get(COPY_SOURCE_VERSION)
    return Source(*copy_source(headers[COPY_SOURCE]), None if version is None else parse_version(version))


def replaces_metadata(headers: Mapping[str, str]) -> bool:
    """Whether a copy takes its metadata from this request. Raises Refused (InvalidArgument)."""
    directive = headers.get("x-metadata-directive", "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise Refused("InvalidArgument", f"x-metadata-directive is {directive[:40]!r}; it must be COPY or REPLACE")
    return directive == "REPLACE"


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The client's key for this request. Raises Refused (InvalidArgument)."""
    value = headers.get("idempotency-key")
    if value is not None and not 1 <= len(value) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise Refused(
            "InvalidArgument",
            f"idempotency-key has {len(value)} characters; 1 to {IDEMPOTENCY_KEY_CHARS_MAX} are allowed",
            limit={"idempotency_key_chars_max": IDEMPOTENCY_KEY_CHARS_MAX},
        )
    return value


def page_limit(query: Mapping[str, str], most: int) -> int:
    """The `limit` of a listing. Raises Refused (InvalidArgument)."""
    text = query.get("limit")
    if text is None:
        return most
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise Refused(
            "InvalidArgument", f"limit is {text[:40]!r}; 1 to {most} are allowed", limit={"list_limit_max": most}
        )
    return int(text)


def named_version(query: Mapping[str, str]) -> Which | None:
    """The `version` of an object, None for the current one. Raises Refused (InvalidArgument)."""
    return None if "version" not in query else parse_version(query["version"])


def part_number(text: str) -> int:
    """The number of a part in a path. Raises Refused (BadPartNumber)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refused(
            "BadPartNumber",
            f"part {text[:40]!r} is no number; 1 to {UPLOAD_PARTS_MAX} are allowed",
            limit={"upload_parts_max": UPLOAD_PARTS_MAX},
        )
    return int(text)


def known_parameters(query: Mapping[str, str], *names: str) -> None:
    """Raises Refused (InvalidArgument) for a parameter that the call does not have: it may be a misspelt one."""
    for name in query:
        if name not in names:
            allowed = ", ".join(names) or "none"
            raise Refused("InvalidArgument", f"query parameter {name[:80]!r} is not known here; allowed: {allowed}")
