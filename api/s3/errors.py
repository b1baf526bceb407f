"""One table from a domain error's code to S3's code and status, and the XML of an error answer.

Source: S3 API reference, 'Error responses' and 'List of error codes'. The message is the domain's own: it names what
was wrong and what is allowed, which S3's fixed texts do not.
"""

import re

from api.messages import Response
from api.s3 import xml
from cluster.errors import Kind, TrilithError

STATUS: dict[str, int] = {
    "AccessControlListNotSupported": 400,
    "AccessDenied": 403,
    "AccessForbidden": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BadRequest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IllegalLocationConstraintException": 400,
    "IllegalVersioningConfigurationException": 400,
    "IncompleteBody": 400,
    "IncorrectNumberOfFilesInPostRequest": 400,
    "InsufficientStorage": 507,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidChunkSizeError": 403,
    "InvalidDigest": 400,
    "InvalidLocationConstraint": 400,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidPolicyDocument": 400,
    "InvalidRange": 416,
    "InvalidRedirectLocation": 400,
    "InvalidRequest": 400,
    "InvalidSecurity": 403,
    "InvalidStorageClass": 400,
    "InvalidTag": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedACLError": 400,
    "MalformedPOSTRequest": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400,
    "MaxPostPreDataLengthExceededError": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "MissingRequestBodyError": 400,
    "MissingSecurityHeader": 400,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OutcomeUnknown": 503,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyBuckets": 400,
    "UnexpectedContent": 400,
    "UserKeyMustBeSpecified": 400,
    "XAmzContentChecksumMismatch": 400,
    "XAmzContentSHA256Mismatch": 400,
}
"""S3's codes and their statuses."""

S3_CODES: dict[str, str] = {
    "BadBody": "InvalidRequest",
    "BadPartNumber": "InvalidArgument",
    "BadSetting": "InvalidRequest",
    "InvalidCredentials": "AccessDenied",
    "InvalidHeader": "InvalidArgument",
    "InvalidKey": "InvalidURI",
    "KeyTooLong": "KeyTooLongError",
    "LogFull": "InsufficientStorage",
    "MalformedTrailer": "MalformedTrailerError",
    "NoSpace": "InsufficientStorage",
    "Overloaded": "SlowDown",
    "RequestHeadTooLarge": "MetadataTooLarge",
    "Unauthorized": "AccessDenied",
    "VersionIsDeleteMarker": "InvalidRequest",
}
"""Domain codes that S3 has another word for."""

_OF_KIND: dict[Kind, str] = {
    "refused": "InvalidRequest",
    "unavailable": "ServiceUnavailable",
    "outcome_unknown": "OutcomeUnknown",
    "corrupt": "InternalError",
}

_RETRY_AFTER_S = 1


def s3_code(error: TrilithError) -> str:
    """The code that an S3 client sees."""
    if error.kind == "outcome_unknown":
        return "OutcomeUnknown"
    code = S3_CODES.get(error.code, error.code)
    return code if code in STATUS else _OF_KIND[error.kind]


def error_response(
    error: TrilithError, request_id: str, host_id: str, resource: str, *, head: bool = False
) -> Response:
    """The answer that an error stands for; to a HEAD without a body. `resource` is the request's raw path."""
    code = s3_code(error)
    status = STATUS[code]
    headers = [("content-type", "application/xml"), ("x-error-code", code)]
    detail = error.detail or {}
    if status == 503:
        wait = _RETRY_AFTER_S if error.retry_after_s is None else max(1, round(error.retry_after_s))
        headers.append(("retry-after", str(wait)))
    headers += [(_DETAIL_HEADERS[name], value) for name, value in detail.items() if name in _DETAIL_HEADERS]
    if head:
        return Response(status, tuple(headers[1:]), error_code=code, length=0)
    body = xml.document(
        "Error", error_body(code, error.message, resource, request_id, host_id, detail), namespace=False
    )
    return Response(status, tuple(headers), body, length=len(body), error_code=code)


_DETAIL_HEADERS = {
    "allow": "allow",
    "content_range": "content-range",
    "delete_marker": "x-amz-delete-marker",
    "version_id": "x-amz-version-id",
    "last_modified": "last-modified",
}
"""Facts of an error that leave as headers too."""


def error_body(
    code: str, message: str, resource: str, request_id: str, host_id: str, detail: dict[str, str]
) -> list[str]:
    """What stands in an `Error` element. Any client can read it: what XML has no place for is replaced."""
    return [
        xml.element("Code", code),
        xml.element("Message", _readable(message)),
        *(xml.element(name, _readable(value)) for name, value in _elements(detail)),
        xml.element("Resource", resource),
        xml.element("RequestId", request_id),
        xml.element("HostId", host_id),
    ]


_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def _readable(text: str) -> str:
    return _UNREADABLE.sub("\ufffd", text)


_DETAIL_ELEMENTS = {
    "bucket": "BucketName",
    "condition": "Condition",
    "etag": "ETag",
    "header": "Header",
    "key": "Key",
    "part_number": "PartNumber",
    "proposed_bytes": "ProposedSize",
}
"""Facts of an error that stand in its XML; so do those that have an element's name already (`ArgumentName`)."""


def _elements(detail: dict[str, str]) -> list[tuple[str, str]]:
    named = [(_DETAIL_ELEMENTS.get(name, name), value) for name, value in detail.items()]
    return [(name, value) for name, value in named if name[:1].isupper()]
