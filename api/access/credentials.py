"""Who a request of the native dialect is from: a key as `Authorization: Bearer ACCESS:SECRET` or HTTP Basic (RFC 6750,
RFC 7617).

The answer is the same whether the access key or the secret is wrong, and secrets are compared in constant time. A wrong
key is refused, also where no key would do: it is never taken for an anonymous request.
"""

import base64
import binascii
import hmac

from api.access.decisions import ANONYMOUS, Principal
from api.access.keys import Keyring
from cluster.errors import Refused

CHALLENGE = 'Bearer realm="trilith", Basic realm="trilith", charset="UTF-8"'
"""WWW-Authenticate of each 401 (RFC 9110 11.6.1)."""


class Authenticator:
    """Authenticates by the keys of a keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def authenticate(self, authorization: str | None, *, deadline: float, trace_id: str) -> Principal:
        """The principal of an Authorization header. Raises Refused (InvalidCredentials), Unavailable, Corrupt."""
        if authorization is None:
            return ANONYMOUS
        access_key, _, secret = _pair(authorization).partition(":")
        given = secret.encode()

        def matches(right: str) -> bool:
            return hmac.compare_digest(given, right.encode())

        known = await self._keyring.match(access_key, matches, deadline=deadline, trace_id=trace_id)
        if known is None:
            raise _refused()
        return known.principal


def _pair(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    match scheme.lower():
        case "bearer":
            return token
        case "basic":
            try:
                return base64.b64decode(token, validate=True).decode()
            except (binascii.Error, ValueError):
                raise _refused() from None
        case _:
            raise Refused(
                "InvalidCredentials", "the Authorization header is neither 'Bearer ACCESS:SECRET' nor HTTP Basic"
            )


def _refused() -> Refused:
    return Refused("InvalidCredentials", "the access key or the secret key is wrong")
