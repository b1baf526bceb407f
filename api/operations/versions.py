"""Ids of versions and of uploads as text. Pure.

A version's id is its revision in 16 lower-case hex digits, or `null` when it was made while versioning was not enabled.
An upload's id has 16 bytes, the revision of its beginning and 8 random ones, shown as 32 hex digits.
"""

import re

from cluster.errors import Refused
from metaraft.model import Bucket, Version, Which
from metaraft.results import (
    ObjectDone,
)

NULL = "null"

_VERSION = re.compile(r"[0-9a-f]{16}", re.ASCII)
_UPLOAD = re.compile(r"[0-9a-f]{32}", re.ASCII)


def version_id(revision: int, null: bool) -> str:
    """The id of a version."""
    return NULL if null else f"{revision:016x}"


def parse_version(text: str) -> Which:
    """The version that an id names. Raises Refused (InvalidArgument)."""
    if text == NULL:
        return Which(None)
    if _VERSION.fullmatch(text) is None:
        raise Refused("InvalidArgument", "Invalid version id specified")
    return Which(int(text, 16))


def which_id(which: Which) -> str:
    """The id that names a version."""
    return version_id(which.revision or 0, which.revision is None)


def shown_version(bucket: Bucket, version: Version) -> str | None:
    """The id that a client is told; none is while the bucket's versioning was never enabled."""
    return None if bucket.versioning == "off" else version_id(version.revision, version.null)


def done_version(done: ObjectDone) -> str | None:
    """The same of a version that a command made or changed."""
    return None if done.versioning == "off" else version_id(done.revision, done.null)


def upload_id(raw: bytes) -> str:
    """The id of an upload."""
    return raw.hex()


def parse_upload_id(text: str) -> bytes:
    """An upload's id from its text. Raises Refused (NoSuchUpload): no other text is one."""
    if _UPLOAD.fullmatch(text) is None:
        raise no_such_upload()
    return bytes.fromhex(text)


def no_such_upload() -> Refused:
    """There is no such upload, or no more."""
    return Refused("NoSuchUpload", "there is no upload of this id; it may have been completed or aborted")
