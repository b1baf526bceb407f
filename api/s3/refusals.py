"""What a request asks for that is not there yet, or not possible: refused in words, never ignored."""

from collections.abc import Mapping

from api.messages import Request
from api.s3.table import Operation
from cluster.errors import Refused

_NOT_YET: Mapping[str, str] = {
    "x-amz-server-side-encryption": "server-side encryption",
    "x-amz-copy-source-server-side-encryption": "server-side encryption",
    "x-amz-object-lock-": "object lock",
    "x-amz-bucket-object-lock-": "object lock",
    "x-amz-bypass-governance-retention": "object lock",
    "x-amz-write-offset-bytes": "appending to objects",
    "x-amz-rename-source": "renaming objects",
}
"""Beginnings of headers, and what they ask for."""

_PRIVATE_ACLS = frozenset({"private", "bucket-owner-full-control", "bucket-owner-read"})
"""Canned ACLs that say what holds anyway: the owner of the bucket, and nobody else."""

STORAGE_CLASS = "STANDARD"


def not_implemented(what: str) -> Refused:
    """The refusal of what a later version may have."""
    return Refused("NotImplemented", f"A header or call that you sent asks for {what}, which is not implemented.")


def refuse_unsupported(operation: Operation, request: Request) -> None:
    """Raises Refused (NotImplemented, AccessControlListNotSupported, InvalidStorageClass, AccessDenied)."""
    if operation.support == "not implemented":
        raise not_implemented(operation.name)
    for name, value in request.headers.items():
        if name.startswith("x-amz-"):
            refuse_header(name, value)


def refuse_header(name: str, value: str) -> None:
    """The same for one header, or the field of a form that has its name."""
    if name == "x-amz-acl":
        if value not in _PRIVATE_ACLS:
            raise no_acl(value)
    elif name.startswith("x-amz-grant-"):
        raise no_acl(name)
    elif name == "x-amz-mfa":
        raise Refused("InvalidRequest", "MFA delete is not supported; x-amz-mfa cannot be given")
    elif name == "x-amz-storage-class" and value != STORAGE_CLASS:
        raise Refused("InvalidStorageClass", f"The storage class {value[:40]!r} is not possible; {STORAGE_CLASS} is")
    elif name == "x-amz-object-ownership" and value != "BucketOwnerEnforced":
        raise Refused("InvalidRequest", "x-amz-object-ownership can only be BucketOwnerEnforced")
    else:
        for beginning, what in _NOT_YET.items():
            if name.startswith(beginning) and not _is_harmless(name, value):
                raise not_implemented(what)


def _is_harmless(name: str, value: str) -> bool:
    """A header that asks for nothing: what clients send to say that they do not want it."""
    return name == "x-amz-bucket-object-lock-enabled" and value.lower() == "false"


def no_acl(what: str) -> Refused:
    """The refusal of access control lists: the bucket's owner owns everything in it (S3: BucketOwnerEnforced)."""
    return Refused(
        "AccessControlListNotSupported", f"The bucket does not allow ACLs: {what[:80]!r} is not possible, 'private' is"
    )
