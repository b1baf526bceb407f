"""Who a request is from: the root key, as `Authorization: Bearer ACCESS:SECRET` or HTTP Basic (RFC 6750, RFC 7617).

The comparison takes the same time and gives the same answer whether the access key or the secret is wrong. A wrong
key is refused, also where no key would do: it is never taken for an anonymous request.
"""

import base64
import binascii
import hmac

from api.access.decisions import ANONYMOUS, Principal
from cluster.errors import Refused

CHALLENGE = 'Bearer realm="trilith", Basic realm="trilith", charset="UTF-8"'
"""WWW-Authenticate of each 401 (RFC 9110 11.6.1)."""


class Authenticator:
    """Knows the root key. Holds it as the two tokens that a client may send."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        pair = f"{access_key}:{secret_key}".encode()
        self._pair = pair
        self._principal = Principal(access_key, "root")

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal of an Authorization header. Raises Refused (InvalidCredentials)."""
        if authorization is None:
            return ANONYMOUS
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip()
        match scheme.lower():
            case "bearer":
                given = token.encode()
            case "basic":
                try:
                    given = base64.b64decode(token, validate=True)
                except (binascii.Error, ValueError):
                    raise _refused() from None
            case _:
                raise Refused(
                    "InvalidCredentials", "the Authorization header is neither 'Bearer ACCESS:SECRET' nor HTTP Basic"
                )
        if not hmac.compare_digest(given, self._pair):
            raise _refused()
        return self._principal


def _refused() -> Refused:
    return Refused("InvalidCredentials", "the access key or the secret key is wrong")
