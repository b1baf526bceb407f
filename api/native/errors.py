"""One table from a domain error's code to the native dialect's status, and the JSON of an error."""

import msgspec

from api.access.credentials import CHALLENGE
from api.messages import Response
from cluster.errors import Kind, TrilithError

STATUS: dict[str, int] = {
    "AccessDenied": 403,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketNotEmpty": 409,
    "EntityTooLarge": 413,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidCredentials": 401,
    "InvalidRange": 416,
    "KeyExists": 409,
    "KeyTooLong": 400,
    "LogFull": 507,
    "MethodNotAllowed": 405,
    "MetadataTooLarge": 400,
    "NoSpace": 507,
    "NoSuchAccessKey": 404,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchPath": 404,
    "NoSuchUpload": 404,
    "NoSuchUser": 404,
    "NoSuchVersion": 404,
    "PreconditionFailed": 412,
    "RequestHeadTooLarge": 431,
    "RequestTimeout": 408,
    "Unauthorized": 401,
    "UserExists": 409,
}
"""Codes whose status is not their kind's."""

KIND_STATUS: dict[Kind, int] = {"refused": 400, "unavailable": 503, "outcome_unknown": 503, "corrupt": 500}

_DETAIL_HEADERS = (
    ("content_range", "content-range"),
    ("allow", "allow"),
    ("delete_marker", "x-delete-marker"),
    ("version_id", "x-version-id"),
)

_RETRY_AFTER_S = 1


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The JSON of an error answer."""

    code: str
    message: str
    request_id: str
    limit: dict[str, int | float | str] | None = None


def status_of(error: TrilithError) -> int:
    """The HTTP status of an error."""
    return STATUS.get(error.code, KIND_STATUS[error.kind])


def error_code(error: TrilithError) -> str:
    """The code that a client sees: one for every outcome that is not known, whatever the cause."""
    return "OutcomeUnknown" if error.kind == "outcome_unknown" else error.code


def error_response(error: TrilithError, request_id: str) -> Response:
    """The answer that an error stands for."""
    status = status_of(error)
    code = error_code(error)
    body = msgspec.json.encode(ErrorBody(code, error.message, request_id, error.limit))
    headers: list[tuple[str, str]] = [("content-type", "application/json"), ("x-error-code", code)]
    if status == 401:
        headers.append(("www-authenticate", CHALLENGE))
    elif status == 503:
        wait = _RETRY_AFTER_S if error.retry_after_s is None else max(1, round(error.retry_after_s))
        headers.append(("retry-after", str(wait)))
    detail = error.detail or {}
    headers += [(header, detail[name]) for name, header in _DETAIL_HEADERS if name in detail]
    if status == 405 and "allow" not in detail:  # of a delete marker, which can only be deleted
        headers.append(("allow", "DELETE"))
    return Response(status, tuple(headers), body, length=len(body), error_code=code)
