"""Who a request says it is from, and how it says so, before anything of it is proved."""

from dataclasses import dataclass

from api.s3.payload import Payload
from api.s3.sigv4 import Scope


@dataclass(frozen=True, slots=True)
class ClaimV4:
    """Signature Version 4. `timestamp` is as it is signed, `signed_at` the same in Unix seconds.

    `expires_s` is a presigned URL's; with None the signature is in the Authorization header.
    """

    access_key: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    signed_at: float
    payload_hash: str
    payload: Payload
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimV2:
    """Signature Version 2. `expires_at` is a presigned URL's, as it is signed, in Unix seconds."""

    access_key: str
    signature: str
    payload: Payload
    expires_at: int | None = None


type Claim = ClaimV4 | ClaimV2
