"""Signature Version 2, which S3 still takes from old clients (S3 API Reference, 'Signing and authenticating REST
requests (AWS signature version 2)'). Pure.

It covers the method, Content-MD5, Content-Type, the date, all x-amz-* headers, the path as it is sent, and of the query
only the sub-resources it lists. What it does not cover must not change what a request does: so parameters are refused
that are neither covered nor known to be harmless, and a body in aws-chunked framing is refused, as with S3.
"""

import base64
import hmac
import re
from collections.abc import Mapping

from api.messages import Request, parse_query
from api.s3.canonical import as_sent
from api.s3.claims import ClaimV2
from api.s3.payload import Chunked, Payload, payload_of
from api.s3.sigv4 import check_skew, does_not_match, iso, parse_time, same
from cluster.errors import Refused

COVERED = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "defaultObjectAcl",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    }
)
"""Parameters that are part of what is signed: the documented list, and the sub-resources that came after it."""

UNCOVERED = frozenset(
    {
        "AWSAccessKeyId",
        "Expires",
        "Signature",
        "bucket-region",
        "continuation-token",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "key-marker",
        "list-type",
        "marker",
        "max-buckets",
        "max-keys",
        "max-parts",
        "max-uploads",
        "part-number-marker",
        "prefix",
        "start-after",
        "upload-id-marker",
        "version-id-marker",
        "x-id",
    }
)
"""Parameters that are not signed, and may be there: the mechanism's own, and those that only steer a listing."""

_QUERY = ("AWSAccessKeyId", "Expires", "Signature")
_SIGNALS = frozenset({"awsaccesskeyid", "signature"})
_SECONDS = re.compile(r"[0-9]{1,15}")


def is_presigned(parameters: Mapping[str, str]) -> bool:
    """Whether a query claims to be signed, completely or not, in whatever case its names are."""
    return any(name.lower() in _SIGNALS for name in parameters)


def parse_header(request: Request, text: str) -> ClaimV2:
    """The claim of `Authorization: AWS KEY:SIGNATURE`. Raises Refused (InvalidArgument, AccessDenied)."""
    access_key, _, signature = text.strip().rpartition(":")
    if not access_key or not signature:
        raise Refused(
            "InvalidArgument",
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
            detail={"ArgumentName": "Authorization"},
        )
    return ClaimV2(access_key, signature, _payload(request))


def parse_presigned(request: Request, parameters: Mapping[str, str]) -> ClaimV2:
    """The claim of a query. Raises Refused (AccessDenied)."""
    if any(not parameters.get(name) for name in _QUERY):
        raise Refused(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )
    expires = parameters["Expires"]
    if not _SECONDS.fullmatch(expires):
        raise Refused("AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:40]}")
    signature = parameters["Signature"].replace(" ", "+")  # base64 that was put in a URL as it is
    return ClaimV2(parameters["AWSAccessKeyId"], signature, _payload(request), int(expires))


def verify(claim: ClaimV2, request: Request, secret: str, now: float, virtual_bucket: str | None) -> None:
    """Raises Refused: SignatureDoesNotMatch, RequestTimeTooSkewed, AccessDenied, InvalidRequest."""
    _check_time(claim, request, now)
    to_sign = string_to_sign(claim, request, virtual_bucket)
    digest = hmac.digest(secret.encode(), to_sign.encode(), "sha1")
    if not same(claim.signature, base64.b64encode(digest).decode()):
        raise does_not_match(claim.access_key, claim.signature, to_sign)


def string_to_sign(claim: ClaimV2, request: Request, virtual_bucket: str | None) -> str:
    """What is signed. Raises Refused (InvalidRequest) for a parameter that would be left out and must not be."""
    headers = request.headers
    if claim.expires_at is not None:
        date = str(claim.expires_at)
    else:
        date = "" if "x-amz-date" in headers else headers.get("date", "")
    lines = [request.method, headers.get("content-md5", ""), headers.get("content-type", ""), date]
    lines += [f"{name}:{headers[name].strip()}" for name in sorted(headers) if name.startswith("x-amz-")]
    return "\n".join([*lines, _resource(request, virtual_bucket)])


def _resource(request: Request, virtual_bucket: str | None) -> str:
    parameters = parse_query(request.query)
    unknown = [name for name in parameters if name not in COVERED and name not in UNCOVERED]
    if unknown:
        raise Refused(
            "InvalidRequest",
            f"Signature Version 2 does not cover the query parameter {unknown[0][:80]!r}; use Version 4",
        )
    bucket = "" if virtual_bucket is None else f"/{virtual_bucket}"
    signed = [f"{name}={value}" if value else name for name, value in sorted(parameters.items()) if name in COVERED]
    return f"{bucket}{as_sent(request.path)}{'?' if signed else ''}{'&'.join(signed)}"


def _check_time(claim: ClaimV2, request: Request, now: float) -> None:
    if claim.expires_at is not None:
        if now > claim.expires_at:
            detail = {"Expires": iso(claim.expires_at), "ServerTime": iso(now)}
            raise Refused("AccessDenied", "Request has expired", detail=detail)
        return
    sent = request.headers.get("x-amz-date") or request.headers.get("date", "")
    signed_at = parse_time(sent)
    if signed_at is None:
        raise Refused("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    check_skew(signed_at, sent, now)


def _payload(request: Request) -> Payload:
    payload = payload_of(request.headers)
    if isinstance(payload, Chunked):
        raise Refused("AccessDenied", "Signature Version 2 cannot be used with a body in aws-chunked framing.")
    return payload
