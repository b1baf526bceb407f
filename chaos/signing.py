"""Signs requests as an S3 client does (AWS Signature Version 4, header form), with little CPU: figures share the
machine with the cluster. Paths and queries are given as they are sent: encoded, parameters in order.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from functools import lru_cache

_REGION = "us-east-1"
_SIGNED = "host;x-amz-content-sha256;x-amz-date"
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


class Signer:
    """Signs for one key and one host."""

    def __init__(self, access_key: str, secret_key: str, host: str, *, now: Callable[[], float] = time.time) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._host = host
        self._now = now

    def headers(self, method: str, target: str, body: bytes | None = b"") -> str:
        """The header lines that sign a request, each with its line end; Host is not among them.

        The body's SHA-256 is signed too, as most clients do over HTTP; None: it is not.
        """
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        payload = _UNSIGNED_PAYLOAD if body is None else hashlib.sha256(body).hexdigest()
        path, _, query = target.partition("?")
        canonical = (
            f"{method}\n{path}\n{query}\n"
            f"host:{self._host}\nx-amz-content-sha256:{payload}\nx-amz-date:{timestamp}\n\n{_SIGNED}\n{payload}"
        )
        scope = f"{timestamp[:8]}/{_REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(_day_key(self._secret_key, timestamp[:8]), text.encode(), "sha256").hex()
        return (
            f"Authorization: AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={_SIGNED}, "
            f"Signature={signature}\r\nx-amz-content-sha256: {payload}\r\nx-amz-date: {timestamp}\r\n"
        )


@lru_cache(maxsize=16)
def _day_key(secret_key: str, date: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (date, _REGION, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
