"""A presigned URL: Signature Version 4 in the query (S3 API Reference, 'Authenticating Requests: Using Query
Parameters'). Pure.

Rules: who names one of the parameters names all of them, so that half a signature is never taken for none. A URL is
good for at most seven days. A body in signed or trailing framing has no place behind a URL, as with S3.
"""

import re
from collections.abc import Mapping

from api.messages import Request, parse_query, percent_decode
from api.s3 import signature_v2
from api.s3.claims import ClaimV4
from api.s3.payload import HEADER, UNSIGNED_PAYLOAD, Chunked, parse_payload
from api.s3.sigv4 import ALGORITHM, SKEW_S_MAX, Scope, iso, parse_credential, parse_signed_headers, parse_timestamp
from cluster.errors import Refused

EXPIRES_S_MAX = 604_800
"""Seven days, as long as a signing key is good for (S3)."""

_CODE = "AuthorizationQueryParametersError"
_REQUIRED = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_OWN = frozenset({name.lower() for name in _REQUIRED} | {"x-amz-security-token", HEADER})
_SIGNALS = frozenset({"x-amz-algorithm", "x-amz-credential", "x-amz-signature"})
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def is_presigned(parameters: Mapping[str, str]) -> bool:
    """Whether a query claims to be signed, completely or not, in whatever case its names are."""
    return any(name.lower() in _SIGNALS for name in parameters)


def parse_presigned(request: Request, parameters: Mapping[str, str]) -> ClaimV4:
    """The claim of a query. Raises Refused (AuthorizationQueryParametersError, InvalidArgument, AccessDenied)."""
    if any(not parameters.get(name) for name in _REQUIRED):
        *names, last = _REQUIRED
        raise Refused(
            _CODE, f"Query-string authentication version 4 requires the {', '.join(names)}, and {last} parameters."
        )
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise Refused(_CODE, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    expires_s = _expires(parameters["X-Amz-Expires"])
    timestamp = parameters["X-Amz-Date"]
    signed_at = parse_timestamp(timestamp)
    if signed_at is None:
        raise Refused(_CODE, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    prefix = "Error parsing the X-Amz-Credential parameter; "
    access_key, scope = parse_credential(parameters["X-Amz-Credential"], _CODE, prefix)
    _check_day(scope, timestamp)
    said = parameters.get("X-Amz-Content-Sha256") or request.headers.get(HEADER, UNSIGNED_PAYLOAD)
    payload = parse_payload(said)
    if isinstance(payload, Chunked):
        raise Refused("AccessDenied", "A presigned URL cannot be used with a body in aws-chunked framing.")
    return ClaimV4(
        access_key=access_key,
        scope=scope,
        signed_headers=parse_signed_headers(
            parameters["X-Amz-SignedHeaders"], _CODE, "Error parsing the X-Amz-SignedHeaders parameter; "
        ),
        signature=parameters["X-Amz-Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        payload_hash=said,
        payload=payload,
        expires_s=expires_s,
    )


def check_lifetime(signed_at: float, expires_s: int, now: float) -> None:
    """Raises Refused (AccessDenied) before a URL is good, but for skew, and after it was."""
    expires_at = signed_at + expires_s
    if now > expires_at:
        raise Refused(
            "AccessDenied",
            "Request has expired",
            detail={"X-Amz-Expires": str(expires_s), "Expires": iso(expires_at), "ServerTime": iso(now)},
        )
    if signed_at - now > SKEW_S_MAX:
        raise Refused(
            "AccessDenied",
            "Request is not valid yet",
            detail={"X-Amz-Date": iso(signed_at), "Expires": iso(expires_at), "ServerTime": iso(now)},
        )


def hoisted_headers(request: Request) -> dict[str, str]:
    """Headers that a presigned URL carries as parameters, as some SDKs do: its x-amz-*, all of them signed."""
    if b"signature" not in percent_decode(request.query).lower():  # not presigned, as nearly all are
        return {}
    parameters = parse_query(request.query)
    if is_presigned(parameters):
        found = signature_v2.hoisted_headers(parameters)
        return {name: value for name, value in found.items() if name not in _OWN}
    return signature_v2.hoisted_headers(parameters) if signature_v2.is_presigned(parameters) else {}


def _expires(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Refused(_CODE, "X-Amz-Expires should be a number")
    expires_s = int(text)
    if expires_s < 0:
        raise Refused(_CODE, "X-Amz-Expires must be non-negative")
    if expires_s == 0:
        raise Refused(_CODE, "X-Amz-Expires must be at least 1 second")
    if expires_s > EXPIRES_S_MAX:
        raise Refused(
            _CODE,
            "X-Amz-Expires must be less than a week (in seconds); "
            f"that is, the given X-Amz-Expires must be less than {EXPIRES_S_MAX} seconds",
        )
    return expires_s


def _check_day(scope: Scope, timestamp: str) -> None:
    if scope.date != timestamp[:8]:
        raise Refused(
            _CODE,
            f'Error parsing the X-Amz-Credential parameter; Invalid credential date "{scope.date}". '
            f'This date is not the same as X-Amz-Date: "{timestamp[:8]}".',
        )
