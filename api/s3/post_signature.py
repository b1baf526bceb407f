"""Who signed an HTML form: the signature is over the form's policy, in its fields (S3 API Reference, 'Authenticating
Requests in Browser-Based Uploads Using POST', Version 4, and 'Browser-based uploads using POST', Version 2). Pure.

Rules: the text of the policy is what is signed, exactly as it was sent, so it is proved before it is decoded. A form
with some of a signature's fields and not all is refused; one with none is anonymous. What the form may hold besides is
what the policy says (`api.s3.post_policy`). Names of fields are in lower case here.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from api.s3.presigned import EXPIRES_S_MAX
from api.s3.sigv4 import (
    ALGORITHM,
    SKEW_S_MAX,
    Scope,
    does_not_match,
    parse_credential,
    parse_timestamp,
    same,
    signature,
    signing_key,
)
from cluster.errors import Refused

_FIELDS_V4 = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_FIELDS_V2 = ("AWSAccessKeyId", "Signature")


@dataclass(frozen=True, slots=True)
class PostClaim:
    """Who a form says signed its `policy` (base64, as it was sent). `scope` and `signed_at` are Version 4's."""

    access_key: str
    policy: str
    signature: str
    scope: Scope | None = None
    signed_at: float = 0.0


def parse_post(fields: Mapping[str, str], *, v2: bool = False) -> PostClaim | None:
    """Who the form says signed it, None if it says nothing (anonymous). `v2`: Version 2 is possible too.

    Raises Refused: InvalidArgument, InvalidRequest, InvalidToken.
    """
    is_v4 = any(name.lower() in fields for name in _FIELDS_V4)
    is_v2 = any(name.lower() in fields for name in _FIELDS_V2)
    if not is_v4 and not is_v2:
        return None
    if is_v2 and (is_v4 or not v2):
        raise Refused(
            "InvalidRequest",
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    for name in ("Policy", *(_FIELDS_V4 if is_v4 else _FIELDS_V2)):
        if not fields.get(name.lower()):
            raise _invalid(
                name,
                "",
                f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the "
                "fields.",
            )
    if "x-amz-security-token" in fields:
        raise Refused("InvalidToken", "The provided token is malformed or otherwise invalid.")
    if is_v2:
        return PostClaim(fields["awsaccesskeyid"], fields["policy"], fields["signature"])
    return _parse_v4(fields)


def verify_post(claim: PostClaim, secret: str, now: float) -> None:
    """Prove a claim by the secret of its access key. `now` is Unix seconds.

    Raises Refused: SignatureDoesNotMatch; AccessDenied when Version 4's key is older than seven days.
    """
    if claim.scope is None:
        digest = hmac.digest(secret.encode(), claim.policy.encode(), "sha1")
        computed = base64.b64encode(digest).decode()
    else:
        _check_age(claim.signed_at, now)
        computed = signature(signing_key(secret, claim.scope), claim.policy)
    if not same(claim.signature, computed):
        raise does_not_match(claim.access_key, claim.signature, claim.policy)


def _parse_v4(fields: Mapping[str, str]) -> PostClaim:
    algorithm, credential, date = (fields[name.lower()] for name in _FIELDS_V4[:3])
    if algorithm != ALGORITHM:
        raise _invalid("X-Amz-Algorithm", algorithm, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    detail = {"ArgumentName": "X-Amz-Credential", "ArgumentValue": credential[:200]}
    access_key, scope = parse_credential(credential, "InvalidArgument", "", detail)
    signed_at = parse_timestamp(date)
    if signed_at is None:
        raise _invalid("X-Amz-Date", date, "X-Amz-Date must be formatted via ISO8601 Long format")
    if date[:8] != scope.date:
        raise _invalid(
            "X-Amz-Date", date, f'The date in the credential "{scope.date}" is not the same as X-Amz-Date: "{date[:8]}"'
        )
    return PostClaim(access_key, fields["policy"], fields["x-amz-signature"], scope, signed_at)


def _check_age(signed_at: float, now: float) -> None:
    """A day's key signs for at most seven days; when the form itself ends is what its policy says."""
    if now > signed_at + EXPIRES_S_MAX:
        raise Refused("AccessDenied", "Invalid according to Policy: Policy expired.")
    if signed_at - now > SKEW_S_MAX:
        raise Refused("AccessDenied", "Request is not valid yet")


def _invalid(name: str, value: str, message: str) -> Refused:
    return Refused("InvalidArgument", message, detail={"ArgumentName": name, "ArgumentValue": value[:200]})
