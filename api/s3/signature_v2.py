"""Signature Version 2, which S3 still takes from old clients (S3 API Reference, 'Signing and authenticating REST
requests (AWS signature version 2)'). Pure.

It covers the method, Content-MD5, Content-Type, the date, all x-amz-* headers, the path as it is sent, and of the query
only the sub-resources it lists, and in a presigned URL the x-amz-* parameters that stand for headers. What it does not
cover must not change what a request does: so parameters are refused that are neither covered nor known to be harmless,
and a body in aws-chunked framing is refused, as with S3.
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
        "content-md5",
        "content-type",
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
"""Parameters that are not signed, and may be there: the mechanism's own, those that only steer a listing, and two that
some clients repeat and that say nothing here: what counts is the header."""

_QUERY = ("AWSAccessKeyId", "Expires", "Signature")
_SIGNALS = frozenset({"awsaccesskeyid", "signature"})
_SECONDS = re.compile(r"[0-9]{1,15}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    strings = strings_to_sign(claim, request, virtual_bucket)
    for to_sign in strings:
        digest = hmac.digest(secret.encode(), to_sign.encode(), "sha1")
        if same(claim.signature, base64.b64encode(digest).decode()):
            return
    raise does_not_match(claim.access_key, claim.signature, strings[0])


def strings_to_sign(claim: ClaimV2, request: Request, virtual_bucket: str | None) -> tuple[str, ...]:
    """What may have been signed: `?acl=` is signed with its `=` by some clients and without it by others, and a bucket
    alone in the path with a slash behind it by botocore, as if it had been in the host.

    Raises Refused (InvalidRequest) for parameters that would be left out, or taken for others.
    """
    headers = request.headers
    if claim.expires_at is not None:
        date = str(claim.expires_at)
    else:
        date = "" if "x-amz-date" in headers else headers.get("date", "")
    lines = [request.method, headers.get("content-md5", ""), headers.get("content-type", ""), date]
    parameters = parse_query(request.query)
    hoisted = {} if claim.expires_at is None else hoisted_headers(parameters)
    amz = {**hoisted, **{name: value for name, value in headers.items() if name.startswith("x-amz-")}}
    lines += [f"{name}:{value.strip()}" for name, value in sorted(amz.items())]
    covered = _covered({name: value for name, value in parameters.items() if name.lower() not in hoisted})
    written = {item[:-1] for item in as_sent(request.query).split("&") if item.endswith("=")}
    forms = [
        "&".join([f"{name}={value}" if value or name in kept else name for name, value in covered])
        for kept in (set[str](), written)
    ]
    known = "\n".join(lines)
    signed = (
        f"{known}\n{resource}{'?' if form else ''}{form}"
        for resource in _resources(request, virtual_bucket)
        for form in forms
    )
    return tuple(dict.fromkeys(signed))


def _resources(request: Request, virtual_bucket: str | None) -> tuple[str, ...]:
    path = as_sent(request.path)
    if virtual_bucket is not None:
        return (f"/{virtual_bucket}{path}",)
    return (path,) if "/" in path[1:] else (path, f"{path}/")


def hoisted_headers(parameters: Mapping[str, str]) -> dict[str, str]:
    """x-amz-* parameters of a presigned URL, which stand for headers. Raises Refused (InvalidArgument) for a value
    that no header can have."""
    hoisted = {name.lower(): value for name, value in parameters.items() if name.lower().startswith("x-amz-")}
    for name, value in hoisted.items():
        if _CONTROL.search(value):  # it could look like the next header
            raise Refused("InvalidArgument", f"the query parameter {name[:80]!r} has a control character")
    return hoisted


def _covered(parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """The parameters that are signed, in order. Their values are signed as they are, so an `&` in one must not make
    it look like two."""
    unknown = [name for name in parameters if name not in COVERED and name not in UNCOVERED]
    if unknown:
        raise _not_covered(unknown[0])
    covered = sorted((name, value) for name, value in parameters.items() if name in COVERED)
    for name, value in covered:
        if not COVERED.isdisjoint(item.partition("=")[0] for item in value.split("&")[1:]):
            raise _not_covered(name)
    return covered


def _not_covered(name: str) -> Refused:
    return Refused(
        "InvalidRequest", f"Signature Version 2 cannot cover the query parameter {name[:80]!r}; use Version 4"
    )


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
