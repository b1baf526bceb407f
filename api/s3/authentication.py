"""Who signed an S3 request: the claim in it, the key behind the claim, and the body as the signature frames it.

An access key names somebody, so an unknown one is told apart from a wrong signature, as S3 does; either is refused, and
a request without any claim is anonymous.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from api.access.decisions import ANONYMOUS
from api.access.keys import KnownKey
from api.messages import Request, RequestBody
from api.s3.body import Body, open_body
from api.s3.dialect import Authenticated
from api.s3.payload import payload_of
from api.s3.presigned import hoisted_headers
from api.s3.signature import parse, verify
from cluster.errors import Refused


class Keys(Protocol):
    """Finds keys: `api.access.keys.Keyring`."""

    async def find(self, access_key: str, *, deadline: float, trace_id: str = "") -> KnownKey | None:
        """The key, or None."""

    async def match(
        self, access_key: str, matches: Callable[[str], bool], *, deadline: float, trace_id: str = ""
    ) -> KnownKey | None:
        """The key if its secret passes."""


class SignedPayload:
    """A body under its signature (`api.s3.exchange.Payload`)."""

    def __init__(self, body: Body) -> None:
        self._body = body

    @property
    def size(self) -> int | None:
        """Length in bytes, None if unknown."""
        return self._body.length

    @property
    def sha256(self) -> bytes | None:
        """What the whole must hash to."""
        return self._body.sha256

    @property
    def announced(self) -> tuple[str, ...]:
        """Names of trailers to come."""
        return self._body.announced

    def body(self, *, digested: bool = False) -> RequestBody:
        """The bytes, once; `digested`: the caller compares their SHA-256 itself."""
        if digested:
            self._body.leave_hash()
        return self._body

    def trailers(self) -> Mapping[str, str]:
        """The trailers, when all of the body was read."""
        return self._body.trailers


class SignatureAuthentication:
    """Authenticates by AWS signatures, version 4 and (if `v2`) version 2."""

    def __init__(self, keys: Keys, *, v2: bool, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._v2 = v2
        self._now = now

    async def authenticate(self, request: Request, bucket: str | None) -> Authenticated:
        """Who sent it. `bucket`: what the Host header named. Raises Refused (S3's codes), Unavailable, Corrupt."""
        claim = parse(request, v2=self._v2)
        if claim is None:
            body = open_body(request, payload_of(request.headers), None)
            return Authenticated(ANONYMOUS, SignedPayload(body), request)
        known, verified = await prove(
            self._keys,
            claim.access_key,
            lambda secret: verify(claim, request, secret, self._now(), virtual_bucket=bucket),
            request,
        )
        # The writer of objects hashes the whole body anyway: it compares with what was signed before it commits.
        body = open_body(request, verified.payload, verified.chunk_key)
        return Authenticated(known.principal, SignedPayload(body), _with_hoisted(request))


async def prove[T](keys: Keys, access_key: str, check: Callable[[str], T], request: Request) -> tuple[KnownKey, T]:
    """The key of that name, and what `check` returns for its secret. `check` may run more than once.

    Raises what `check` raises for the secret there is; Refused (InvalidAccessKeyId), Unavailable, Corrupt.
    """
    passed: list[T] = []
    refused: list[Refused] = []

    def matches(secret: str) -> bool:
        try:
            passed.append(check(secret))
        except Refused as error:
            refused.append(error)
            return False
        return True

    known = await keys.match(access_key, matches, deadline=request.deadline, trace_id=request.request_id)
    if known is not None:
        return known, passed[-1]
    if await keys.find(access_key, deadline=request.deadline, trace_id=request.request_id) is None:
        text = "The AWS Access Key Id you provided does not exist in our records."
        raise Refused("InvalidAccessKeyId", text, detail={"AWSAccessKeyId": access_key})
    raise refused[-1]


def _with_hoisted(request: Request) -> Request:
    """The request with the headers that its presigned URL carries as parameters."""
    hoisted = hoisted_headers(request)
    return replace(request, headers={**hoisted, **request.headers}) if hoisted else request
