"""Which bucket names and object keys there may be.

Buckets: S3, 'General purpose bucket naming rules', without the three names that the native dialect uses as paths.
Keys: 1 to 1,024 bytes of UTF-8 without U+0000; everything else is a name like another (S3, 'Naming objects').
"""

import re

from cluster.errors import Refused
from cluster.limits import KEY_BYTES_MAX

RESERVED_BUCKETS = frozenset({"objects", "buckets", "minio"})
"""First path segments of the native dialect and of the health endpoints."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def invalid_bucket(name: str) -> str | None:
    """Why no bucket may have this name, or None."""
    if not _BUCKET.fullmatch(name):
        return "it must be 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at each end"
    if ".." in name:
        return "it must not have two dots in a row"
    if _IPV4.fullmatch(name):
        return "it must not look like an IP address"
    if name in RESERVED_BUCKETS:
        return f"{', '.join(sorted(RESERVED_BUCKETS))} are reserved"
    for part in _PREFIXES:
        if name.startswith(part):
            return f"it must not begin with {part!r}"
    for part in _SUFFIXES:
        if name.endswith(part):
            return f"it must not end with {part!r}"
    return None


def check_bucket(name: str) -> str:
    """The name itself. Raises Refused (InvalidBucketName)."""
    reason = invalid_bucket(name)
    if reason is not None:
        raise Refused("InvalidBucketName", f"bucket name {name[:80]!r} is not allowed: {reason}")
    return name


def decode_key(raw: bytes) -> str:
    """A key from its bytes. Raises Refused (KeyTooLong, InvalidKey)."""
    if len(raw) > KEY_BYTES_MAX:
        raise Refused(
            "KeyTooLong",
            f"the key has {len(raw)} bytes; at most {KEY_BYTES_MAX} are allowed",
            limit={"key_bytes_max": KEY_BYTES_MAX},
        )
    if not raw:
        raise Refused("InvalidKey", f"the key is empty; 1 to {KEY_BYTES_MAX} bytes are allowed")
    if b"\0" in raw:
        raise Refused("InvalidKey", "the key has a NUL byte; any other character is allowed")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused("InvalidKey", f"the key is not UTF-8: {error.reason} at byte {error.start}") from None
