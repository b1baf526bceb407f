"""The operations of S3: one table, from which come routing, access control and the compatibility page.

An operation is told by the request's target (service, bucket, object), its method, and the query parameters and headers
that must be there (Amazon S3 API reference, 'Actions'). Of those that match, the one that asks for the most is meant.
An operation that is not implemented is refused as such, in words.
"""

from collections.abc import Mapping

from api.access.decisions import Action
from api.s3.absent import ABSENT
from api.s3.operation import Operation, Target

__all__ = ["BY_NAME", "OPERATIONS", "SUBRESOURCES", "Operation", "Target", "methods", "route"]

_LISTING = ("prefix", "delimiter", "encoding-type", "max-keys")
_RANGE_OVERRIDES = (
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
)

_DIGESTS = (
    "content-md5",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-sdk-checksum-algorithm",
)
"""What says how a body must hash."""

_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")

_CARRIED = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-acl",
    "x-amz-meta-*",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
)
"""What a new object carries besides its bytes."""

_SOURCE = (
    "x-amz-copy-source",
    *(f"x-amz-copy-source-{name}" for name in _CONDITIONS),
    "x-amz-source-expected-bucket-owner",
)
"""What a copy is made of."""

_DESCRIBED = (
    "InvalidArgument",
    "InvalidRedirectLocation",
    "InvalidRequest",
    "InvalidStorageClass",
    "InvalidTag",
    "KeyTooLongError",
    "MetadataTooLarge",
)
"""What a new object's headers may be refused for."""

_OF_VERSION = ("InvalidArgument", "MethodNotAllowed", "NoSuchKey", "NoSuchVersion")
"""What a request on a version may be refused for."""

_DOCUMENT = ("BadDigest", "InvalidDigest", "MalformedXML", "MaxMessageLengthExceeded", "MissingRequestBodyError")
"""What a body with a document may be refused for."""


def _bucket(
    name: str,
    method: str,
    action: Action,
    *query: str,
    parameters: tuple[str, ...] = (),
    values: tuple[tuple[str, str], ...] = (),
    understood: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        name,
        method,
        "bucket",
        action,
        query,
        values=values,
        parameters=parameters,
        understood=understood,
        errors=("NoSuchBucket", *errors),
    )


def _object(
    name: str,
    method: str,
    action: Action,
    *query: str,
    headers: tuple[str, ...] = (),
    parameters: tuple[str, ...] = (),
    understood: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        name,
        method,
        "object",
        action,
        query,
        headers,
        parameters=parameters,
        understood=understood,
        errors=("NoSuchBucket", *errors),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "ListBuckets",
        "GET",
        "service",
        "ListBuckets",
        parameters=("prefix", "max-buckets", "continuation-token", "bucket-region"),
        errors=("InvalidArgument",),
    ),
    # ---- buckets
    Operation(
        "CreateBucket",
        "PUT",
        "bucket",
        "CreateBucket",
        understood=(*_DIGESTS, "x-amz-acl", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"),
        errors=(
            "BucketAlreadyExists",
            "BucketAlreadyOwnedByYou",
            "IllegalLocationConstraintException",
            "InvalidBucketName",
            "InvalidLocationConstraint",
            "MalformedXML",
            "TooManyBuckets",
        ),
    ),
    _bucket("HeadBucket", "HEAD", "GetBucket"),
    _bucket("DeleteBucket", "DELETE", "DeleteBucket", errors=("BucketNotEmpty",)),
    _bucket("GetBucketLocation", "GET", "GetBucketLocation", "location"),
    _bucket("GetBucketVersioning", "GET", "GetBucketVersioning", "versioning"),
    _bucket(
        "PutBucketVersioning",
        "PUT",
        "PutBucketVersioning",
        "versioning",
        understood=_DIGESTS,
        errors=("IllegalVersioningConfigurationException", "InvalidRequest", *_DOCUMENT),
    ),
    _bucket("GetBucketTagging", "GET", "GetBucketTagging", "tagging", errors=("NoSuchTagSet",)),
    _bucket(
        "PutBucketTagging",
        "PUT",
        "PutBucketTagging",
        "tagging",
        understood=_DIGESTS,
        errors=("InvalidTag", *_DOCUMENT),
    ),
    _bucket("DeleteBucketTagging", "DELETE", "PutBucketTagging", "tagging"),
    _bucket("GetBucketCors", "GET", "GetBucketCORS", "cors", errors=("NoSuchCORSConfiguration",)),
    _bucket(
        "PutBucketCors", "PUT", "PutBucketCORS", "cors", understood=_DIGESTS, errors=("InvalidRequest", *_DOCUMENT)
    ),
    _bucket("DeleteBucketCors", "DELETE", "PutBucketCORS", "cors"),
    _bucket("GetBucketRequestPayment", "GET", "GetBucketRequestPayment", "requestPayment"),
    _bucket(
        "PutBucketRequestPayment",
        "PUT",
        "PutBucketRequestPayment",
        "requestPayment",
        understood=_DIGESTS,
        errors=_DOCUMENT,
    ),
    _bucket("GetBucketAcl", "GET", "GetBucketAcl", "acl"),
    _bucket(
        "PutBucketAcl",
        "PUT",
        "PutBucketAcl",
        "acl",
        understood=(*_DIGESTS, "x-amz-acl"),
        errors=("AccessControlListNotSupported", "MalformedACLError", "MissingSecurityHeader", "UnexpectedContent"),
    ),
    _bucket("GetBucketOwnershipControls", "GET", "GetBucketConfiguration", "ownershipControls"),
    # ---- listings
    _bucket("ListObjects", "GET", "ListObjects", parameters=(*_LISTING, "marker"), errors=("InvalidArgument",)),
    _bucket(
        "ListObjectsV2",
        "GET",
        "ListObjects",
        values=(("list-type", "2"),),
        parameters=(*_LISTING, "continuation-token", "start-after", "fetch-owner"),
        errors=("InvalidArgument",),
    ),
    _bucket(
        "ListObjectVersions",
        "GET",
        "ListBucketVersions",
        "versions",
        parameters=(*_LISTING, "key-marker", "version-id-marker"),
        errors=("InvalidArgument",),
    ),
    _bucket(
        "ListMultipartUploads",
        "GET",
        "ListBucketMultipartUploads",
        "uploads",
        parameters=("prefix", "delimiter", "encoding-type", "max-uploads", "key-marker", "upload-id-marker"),
        errors=("InvalidArgument",),
    ),
    # ---- objects
    _object(
        "PutObject",
        "PUT",
        "PutObject",
        understood=(*_CARRIED, *_DIGESTS, *_CONDITIONS),
        errors=(
            "BadDigest",
            "EntityTooLarge",
            "IncompleteBody",
            "InvalidDigest",
            "MissingContentLength",
            "NoSuchKey",
            "PreconditionFailed",
            "XAmzContentSHA256Mismatch",
            *_DESCRIBED,
        ),
    ),
    _object(
        "CopyObject",
        "PUT",
        "PutObject",
        headers=("x-amz-copy-source",),
        understood=(
            *_SOURCE,
            *_CARRIED,
            *_CONDITIONS,
            "x-amz-checksum-algorithm",
            "x-amz-metadata-directive",
            "x-amz-tagging-directive",
        ),
        errors=("NoSuchKey", "NoSuchVersion", "PreconditionFailed", *_DESCRIBED),
    ),
    _object(
        "GetObject",
        "GET",
        "GetObject",
        parameters=("versionId", "partNumber", *_RANGE_OVERRIDES),
        understood=(*_CONDITIONS, "if-range", "range", "x-amz-checksum-mode"),
        errors=("InvalidPartNumber", "InvalidRange", "InvalidRequest", "PreconditionFailed", *_OF_VERSION),
    ),
    _object(
        "HeadObject",
        "HEAD",
        "GetObject",
        parameters=("versionId", "partNumber", *_RANGE_OVERRIDES),
        understood=(*_CONDITIONS, "if-range", "range", "x-amz-checksum-mode"),
        errors=("InvalidPartNumber", "InvalidRange", "InvalidRequest", "PreconditionFailed", *_OF_VERSION),
    ),
    _object(
        "DeleteObject",
        "DELETE",
        "DeleteObject",
        parameters=("versionId",),
        understood=(*_CONDITIONS, "x-amz-if-match-last-modified-time", "x-amz-if-match-size"),
        errors=("InvalidArgument", "PreconditionFailed"),
    ),
    _bucket(
        "DeleteObjects",
        "POST",
        "DeleteObject",
        "delete",
        understood=_DIGESTS,
        errors=("InvalidRequest", *_DOCUMENT),
    ),
    _object(
        "GetObjectAttributes",
        "GET",
        "GetObjectAttributes",
        "attributes",
        parameters=("versionId",),
        understood=("x-amz-max-parts", "x-amz-object-attributes", "x-amz-part-number-marker"),
        errors=("InvalidRequest", *_OF_VERSION),
    ),
    _object("GetObjectTagging", "GET", "GetObjectTagging", "tagging", parameters=("versionId",), errors=_OF_VERSION),
    _object(
        "PutObjectTagging",
        "PUT",
        "PutObjectTagging",
        "tagging",
        parameters=("versionId",),
        understood=_DIGESTS,
        errors=("InvalidTag", *_DOCUMENT, *_OF_VERSION),
    ),
    _object(
        "DeleteObjectTagging",
        "DELETE",
        "DeleteObjectTagging",
        "tagging",
        parameters=("versionId",),
        errors=_OF_VERSION,
    ),
    _object("GetObjectAcl", "GET", "GetObjectAcl", "acl", parameters=("versionId",), errors=_OF_VERSION),
    _object(
        "PutObjectAcl",
        "PUT",
        "PutObjectAcl",
        "acl",
        parameters=("versionId",),
        understood=(*_DIGESTS, "x-amz-acl"),
        errors=("AccessControlListNotSupported", "MalformedACLError", "MissingSecurityHeader", *_OF_VERSION),
    ),
    Operation(
        "PostObject",
        "POST",
        "bucket",
        "PutObject",
        understood=("content-type",),
        errors=(
            "AccessDenied",
            "BadDigest",
            "EntityTooLarge",
            "EntityTooSmall",
            "IncorrectNumberOfFilesInPostRequest",
            "InvalidDigest",
            "InvalidPolicyDocument",
            "MalformedPOSTRequest",
            "MaxPostPreDataLengthExceededError",
            "NoSuchBucket",
            "PreconditionFailed",
            *_DESCRIBED,
        ),
    ),
    # ---- multipart uploads
    _object(
        "CreateMultipartUpload",
        "POST",
        "PutObject",
        "uploads",
        understood=(*_CARRIED, "x-amz-checksum-algorithm", "x-amz-checksum-type"),
        errors=_DESCRIBED,
    ),
    _object(
        "UploadPart",
        "PUT",
        "PutObject",
        "partNumber",
        "uploadId",
        understood=_DIGESTS,
        errors=(
            "BadDigest",
            "EntityTooLarge",
            "InvalidArgument",
            "InvalidDigest",
            "InvalidRequest",
            "MissingContentLength",
            "NoSuchUpload",
        ),
    ),
    _object(
        "UploadPartCopy",
        "PUT",
        "PutObject",
        "partNumber",
        "uploadId",
        headers=("x-amz-copy-source",),
        understood=(*_SOURCE, "x-amz-copy-source-range"),
        errors=(
            "InvalidArgument",
            "InvalidRange",
            "InvalidRequest",
            "NoSuchKey",
            "NoSuchUpload",
            "NoSuchVersion",
            "PreconditionFailed",
        ),
    ),
    _object(
        "CompleteMultipartUpload",
        "POST",
        "PutObject",
        "uploadId",
        understood=(
            *_CONDITIONS,
            *(name for name in _DIGESTS if name != "x-amz-sdk-checksum-algorithm"),
            "x-amz-checksum-type",
            "x-amz-mp-object-size",
        ),
        errors=(
            "EntityTooSmall",
            "InvalidArgument",
            "InvalidPart",
            "InvalidPartOrder",
            "InvalidRequest",
            "NoSuchKey",
            "NoSuchUpload",
            "PreconditionFailed",
            *_DOCUMENT,
        ),
    ),
    _object("AbortMultipartUpload", "DELETE", "AbortMultipartUpload", "uploadId", errors=("NoSuchUpload",)),
    _object(
        "ListParts",
        "GET",
        "ListMultipartUploadParts",
        "uploadId",
        parameters=("max-parts", "part-number-marker", "encoding-type"),
        errors=("NoSuchUpload", "InvalidArgument"),
    ),
    *ABSENT,
)

BY_NAME: dict[str, Operation] = {operation.name: operation for operation in OPERATIONS}

_CANDIDATES: dict[tuple[str, str], list[Operation]] = {}
for _operation in sorted(OPERATIONS, key=lambda operation: -operation.weight):
    _CANDIDATES.setdefault((_operation.target, _operation.method), []).append(_operation)

SUBRESOURCES = frozenset(name for operation in OPERATIONS for name in operation.query) - {"id"}
"""Query parameters that make a request another operation; an `id` only says which configuration is meant."""


def route(target: Target, method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Operation | None:
    """The operation that a request means; None if there is none of that method on that target.

    A request with a sub-resource that the operation found does not have means an operation that there is not.
    """
    for operation in _CANDIDATES.get((target, method), ()):
        if (
            all(name in query for name in operation.query)
            and all(name in headers for name in operation.headers)
            and all(query.get(name) == value for name, value in operation.values)
        ):
            other = any(
                name in SUBRESOURCES and name not in operation.query
                for name in query
                if name not in operation.parameters
            )
            return None if other else operation
    return None


def methods(target: Target) -> list[str]:
    """The methods that some operation on this target has."""
    return sorted({method for kind, method in _CANDIDATES if kind == target})
