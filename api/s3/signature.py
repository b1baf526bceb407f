"""Who signed a request: `parse` reads the claim, the caller finds the secret, `verify` proves it. Pure.

Rules (S3 API Reference, 'Authenticating Requests'; what they guard against is what comparable stores got wrong):
exactly one mechanism, in the header or in the query. The signature covers the method, the path, all of the query, the
host and every x-amz-* header that is there, so nothing can be added to a signed request that changes what it does; a
presigned URL, which anybody may hold, covers Content-MD5 too. A claim that does not hold is refused, and never taken
for none. There are no sessions: a security token is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from api.messages import Request, parse_query
from api.s3 import signature_v2
from api.s3.canonical import canonical_requests
from api.s3.claims import Claim, ClaimV2, ClaimV4
from api.s3.payload import HEADER as PAYLOAD_HEADER
from api.s3.payload import Chunked, Payload, parse_payload
from api.s3.presigned import check_lifetime, is_presigned, parse_presigned
from api.s3.sigv4 import (
    ALGORITHM,
    ChunkKey,
    Scope,
    SigningKeys,
    check_skew,
    does_not_match,
    format_timestamp,
    parse_credential,
    parse_signed_headers,
    parse_time,
    parse_timestamp,
    same,
    signature,
    string_to_sign,
)
from cluster.errors import Refused

_PARTS = ("Credential", "SignedHeaders", "Signature")
_MALFORMED = "The authorization header is malformed; "

_keys = SigningKeys()


@dataclass(frozen=True, slots=True)
class Verified:
    """A claim that holds, the form of the body, and what signs its chunks if they are signed."""

    access_key: str
    payload: Payload
    chunk_key: ChunkKey | None


def parse(request: Request, *, v2: bool = False) -> Claim | None:
    """Who the request says signed it, None if it says nothing (anonymous). `v2`: Signature Version 2 is possible too.

    Raises Refused: AuthorizationHeaderMalformed, AuthorizationQueryParametersError, AccessDenied, InvalidArgument,
    InvalidRequest, InvalidToken.
    """
    authorization = request.headers.get("authorization", "").strip()
    parameters = parse_query(request.query)
    places = (authorization != "", is_presigned(parameters), signature_v2.is_presigned(parameters))
    if sum(places) > 1:
        raise Refused(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified",
            detail={"ArgumentName": "Authorization"},
        )
    match places:
        case True, _, _:
            claim = _parse_header(request, authorization, v2=v2)
        case _, True, _:
            claim = parse_presigned(request, parameters)
        case _, _, True:
            _require_v2(v2)
            claim = signature_v2.parse_presigned(request, parameters)
        case _:
            return None
    if any(name.lower() == "x-amz-security-token" for name in (*request.headers, *parameters)):
        raise Refused("InvalidToken", "The provided token is malformed or otherwise invalid.")
    return claim


def verify(claim: Claim, request: Request, secret: str, now: float, *, virtual_bucket: str | None = None) -> Verified:
    """The proof of a claim by the secret of its access key. `now` is Unix seconds.

    `virtual_bucket` is the bucket that the Host header named. Raises Refused: SignatureDoesNotMatch,
    RequestTimeTooSkewed, AccessDenied (expired, not valid yet, headers that are not signed).
    """
    match claim:
        case ClaimV2():
            signature_v2.verify(claim, request, secret, now, virtual_bucket)
            return Verified(claim.access_key, claim.payload, None)
        case ClaimV4():
            key = _verify_v4(claim, request, secret, now)
            chunk_key = ChunkKey(claim.access_key, key, claim.timestamp, str(claim.scope), claim.signature)
            is_signed = isinstance(claim.payload, Chunked) and claim.payload.signed
            return Verified(claim.access_key, claim.payload, chunk_key if is_signed else None)


def _parse_header(request: Request, authorization: str, *, v2: bool) -> Claim:
    scheme, _, rest = authorization.partition(" ")
    match scheme:
        case "AWS4-HMAC-SHA256":
            return _parse_v4(request, rest)
        case "AWS":
            _require_v2(v2)
            return signature_v2.parse_header(request, rest)
        case "AWS4-ECDSA-P256-SHA256":
            raise _unsupported()
    raise Refused("InvalidArgument", "Unsupported Authorization Type", detail={"ArgumentName": "Authorization"})


def _parse_v4(request: Request, text: str) -> ClaimV4:
    code = "AuthorizationHeaderMalformed"
    found = [part.strip().partition("=") for part in text.split(",")]
    parts = {name: value for name, _, value in found}
    if len(found) != len(_PARTS) or any(not parts.get(name) for name in _PARTS):
        raise Refused(
            code, "The authorization header requires three components: Credential, SignedHeaders, and Signature."
        )
    access_key, scope = parse_credential(parts["Credential"], code, _MALFORMED)
    timestamp, signed_at = _time(request.headers, scope)
    said = request.headers.get(PAYLOAD_HEADER)
    if said is None:
        raise Refused("InvalidRequest", f"Missing required header for this request: {PAYLOAD_HEADER}")
    return ClaimV4(
        access_key=access_key,
        scope=scope,
        signed_headers=parse_signed_headers(parts["SignedHeaders"], code, _MALFORMED),
        signature=parts["Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        payload_hash=said,
        payload=parse_payload(said),
    )


def _time(headers: Mapping[str, str], scope: Scope) -> tuple[str, float]:
    """When it was signed, as it is signed and in Unix seconds; Date is good where there is no x-amz-date."""
    sent = headers.get("x-amz-date")
    signed_at = parse_time(headers.get("date", "")) if sent is None else parse_timestamp(sent)
    if signed_at is None:
        raise Refused("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    timestamp = format_timestamp(signed_at) if sent is None else sent
    if timestamp[:8] != scope.date:
        raise Refused(
            "AuthorizationHeaderMalformed",
            f'{_MALFORMED}Invalid credential date "{scope.date}". '
            f'This date is not the same as X-Amz-Date: "{timestamp[:8]}".',
        )
    return timestamp, signed_at


def _verify_v4(claim: ClaimV4, request: Request, secret: str, now: float) -> bytes:
    """The day's key, once it is shown that it made the signature."""
    if claim.expires_s is None:
        check_skew(claim.signed_at, claim.timestamp, now)
    else:
        check_lifetime(claim.signed_at, claim.expires_s, now)
    _check_coverage(claim, request)
    key = _keys.get(secret, claim.scope)
    canonicals = list(canonical_requests(request, claim.signed_headers, claim.payload_hash))
    for canonical in canonicals:
        if same(claim.signature, signature(key, string_to_sign(claim.timestamp, claim.scope, canonical))):
            _keys.keep(secret, claim.scope, key)
            return key
    to_sign = string_to_sign(claim.timestamp, claim.scope, canonicals[0])
    raise does_not_match(claim.access_key, claim.signature, to_sign, canonicals[0])


def _check_coverage(claim: ClaimV4, request: Request) -> None:
    """Raises Refused (AccessDenied) if a header is there that changes what the request does and is not signed.

    x-amz-content-sha256 is also covered where its value is the last line of the canonical request.
    """
    headers, signed = request.headers, frozenset(claim.signed_headers)
    unsigned = [
        name
        for name in ("host", *headers)
        if (name == "host" or name.startswith("x-amz-") or (name == "content-md5" and claim.expires_s is not None))
        and name not in signed
        and not (name == PAYLOAD_HEADER and headers[name] == claim.payload_hash)
    ]
    if unsigned:
        raise Refused(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            detail={"HeadersNotSigned": ", ".join(dict.fromkeys(unsigned))},
        )


def _require_v2(v2: bool) -> None:
    if not v2:
        raise _unsupported()


def _unsupported() -> Refused:
    return Refused(
        "InvalidRequest",
        f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
    )
