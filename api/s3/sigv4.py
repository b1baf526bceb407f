"""What all uses of Signature Version 4 share: the scope, the day's key, the signature, and times (S3 API Reference,
'Authenticating Requests (AWS Signature Version 4)'). Pure but for a bounded memory of keys.

A region is whatever the client names: this is one store, and its signature covers the name.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from api.conditions import parse_date_ms
from cluster.errors import Refused

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S_MAX = 900
"""How far a client's clock may be off (S3: 15 minutes)."""

EMPTY_SHA256 = hashlib.sha256().hexdigest()

_TIMESTAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_DATE = re.compile(r"[0-9]{8}")
_UTC = re.compile(r"([+-]0000|UTC)$")
_SIGNED_HEADERS = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(;[a-z0-9!#$%&'*+.^_`|~-]+)*")
_KEYS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """Where and when a key signs: `date` is yyyymmdd."""

    date: str
    region: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/s3/aws4_request"


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """All that signs the chunks of a body: the day's key, and the signature of the head that begins the chain."""

    access_key: str
    key: bytes
    timestamp: str
    scope: str
    seed: str


class SigningKeys:
    """The day's keys that were proved right lately, by digest of secret, date and region.

    A key is kept only once a signature made with it has been seen, so strangers cannot push others out.
    """

    def __init__(self, most: int = _KEYS_MAX) -> None:
        self._most = most
        self._keys: OrderedDict[tuple[bytes, str, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, secret: str, scope: Scope) -> bytes:
        """The key of a scope."""
        known = self._keys.get(_name(secret, scope))
        return signing_key(secret, scope) if known is None else known

    def keep(self, secret: str, scope: Scope, key: bytes) -> None:
        """Remember a key; the one that was not used for longest is forgotten."""
        name = _name(secret, scope)
        self._keys[name] = key
        self._keys.move_to_end(name)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)


def signing_key(secret: str, scope: Scope) -> bytes:
    """The key that a secret gives for a scope."""
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, string_to_sign: str) -> str:
    """The signature of a text, in hex."""
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def string_to_sign(timestamp: str, scope: Scope, canonical_request: str) -> str:
    """What is signed for a canonical request."""
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def same(said: str, computed: str) -> bool:
    """Whether two signatures are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(said.encode(), computed.encode())


def parse_credential(text: str, code: str, prefix: str, detail: dict[str, str] | None = None) -> tuple[str, Scope]:
    """Access key and scope of `KEY/yyyymmdd/region/s3/aws4_request`; the key itself may have slashes.

    Raises Refused (`code`) with S3's texts, each after `prefix`.
    """

    def malformed(why: str) -> Refused:
        return Refused(code, f"{prefix}{why}", detail=detail)

    parts = text.rsplit("/", 4)
    if len(parts) != 5:
        raise malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key, date, region, service, terminal = parts
    if not access_key:
        raise malformed("a non-empty Access Key (AKID) must be provided in the credential.")
    if not _DATE.fullmatch(date):
        raise malformed(
            f'incorrect date format "{date[:40]}". This date in the credential must be in the format "yyyyMMdd".'
        )
    if not region:
        raise malformed("a non-empty region must be provided in the credential.")
    if service != "s3":
        raise malformed(f'incorrect service "{service[:40]}". This endpoint belongs to "s3".')
    if terminal != "aws4_request":
        raise malformed(f'incorrect terminal "{terminal[:40]}". This endpoint uses "aws4_request".')
    return access_key, Scope(date, region)


@lru_cache(maxsize=64)
def parse_timestamp(text: str) -> float | None:
    """Unix seconds of a `yyyymmddThhmmssZ`, None if it is none. Those of a moment are asked for again and again."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def format_timestamp(seconds: float) -> str:
    """A time as it is signed."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def parse_time(text: str) -> float | None:
    """Unix seconds of a Date header or a timestamp, None if it is neither. `+0000` is GMT too (RFC 5322)."""
    signed_at = parse_timestamp(text)
    if signed_at is not None:
        return signed_at
    milliseconds = parse_date_ms(_UTC.sub("GMT", text.strip()))
    return None if milliseconds is None else milliseconds / 1000


def parse_signed_headers(text: str, code: str, prefix: str) -> tuple[str, ...]:
    """The names in a list of signed headers. Raises Refused (`code`) if one cannot be a header's name."""
    if not _SIGNED_HEADERS.fullmatch(text):
        raise Refused(code, f"{prefix}the SignedHeaders are mal-formed; expecting lower-case names between semicolons.")
    return tuple(text.split(";"))


def iso(seconds: float) -> str:
    """A time as S3's errors show it; one that no calendar has becomes its last second."""
    return datetime.fromtimestamp(min(max(seconds, 0), 253402300799), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_skew(signed_at: float, sent: str, now: float) -> None:
    """Raises Refused (RequestTimeTooSkewed). `sent` is the time as the client wrote it."""
    if abs(now - signed_at) > SKEW_S_MAX:
        raise Refused(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            detail={
                "RequestTime": sent,
                "ServerTime": iso(now),
                "MaxAllowedSkewMilliseconds": str(SKEW_S_MAX * 1000),
            },
        )


def does_not_match(access_key: str, provided: str, to_sign: str, canonical_request: str = "") -> Refused:
    """SignatureDoesNotMatch with what S3 says besides: what was signed here, and never the right signature."""
    detail = {"AWSAccessKeyId": access_key, "StringToSign": to_sign, "SignatureProvided": provided}
    if canonical_request:
        detail["CanonicalRequest"] = canonical_request
    return Refused(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
        detail=detail,
    )


def _name(secret: str, scope: Scope) -> tuple[bytes, str, str]:
    return hashlib.sha256(secret.encode()).digest(), scope.date, scope.region
