"""Differential test: what botocore's signers sign is accepted, and refused when one byte of it is another.

Requests are made of odd keys, queries and headers, written as clients write them. A change that leaves the meaning as
it was (the case of an escape, a folded space) is none.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from api.messages import Request, percent_decode
from api.s3.canonical import canonical_queries, fold
from api.s3.claims import ClaimV2, ClaimV4
from api.s3.presigned import hoisted_headers
from api.s3.signature import parse, verify
from api.s3.signature_v2 import UNCOVERED
from cluster.errors import Refused
from tests.api.s3.messages import ACCESS_KEY, SECRET, message

CREDENTIALS = Credentials(ACCESS_KEY, SECRET)
LETTERS = "aZ09-_.~!*'()/ +%&=?#;:@,$\"\\|<>[]{}^`é\u00fc\u20ac\U0001f600\x01\x7f"
VISIBLE = "".join(map(chr, range(0x20, 0x7F)))
V4_QUERY = ("acl", "versionId", "prefix", "marker", "max-keys", "uploads", "uploadId", "list-type", "x", "é", "a b")
V2_QUERY = ("acl", "versionId", "uploads", "partNumber", "response-content-type", "tagging", "prefix", "max-keys")
"""A plus and a space in a query are not told apart by botocore's Version 2, so values there have none."""


class Maker:
    """Makes signed requests, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, letters: str, most: int) -> str:
        return "".join(self.random.choices(letters, k=self.random.randint(0, most)))

    def path(self) -> str:
        """A key as a client may write it: encoded as S3 does, or more, or less, or in lower case."""
        key = self.text(LETTERS, 20)
        form = self.random.choice(("s3", "s3", "all", "few", "lower"))
        match form:
            case "all":
                written = "".join(f"%{byte:02X}" for byte in key.encode())
            case "few":
                written = quote(key, safe="/-_.~!*'();:@&=+$,")
            case "lower":
                written = "".join(part if part[0] != "%" else part.lower() for part in _escapes(quote(key)))
            case _:
                written = quote(key, safe="/~")
        return f"/bucket/{written}"

    def query(self, names: tuple[str, ...], letters: str) -> str:
        chosen = self.random.sample(names, self.random.randint(0, 4))
        encode: Callable[[str], str] = self.random.choice((lambda text: quote(text, safe="-_.~"), quote, quote_plus))
        items = []
        for name in chosen:
            value = self.text(letters, 8)
            items.append(f"{encode(name)}={encode(value)}" if value or self.random.random() < 0.5 else encode(name))
        return "&".join(items)

    def headers(self) -> dict[str, str]:
        found = {}
        for name in self.random.sample(("range", "Content-Type", "x-amz-meta-a", "X-Amz-Meta-B", "x-amz-acl"), 3):
            found[name] = self.text(VISIBLE, 12).strip() or "v"
        return found

    def aws(self, names: tuple[str, ...], letters: str, scheme: str) -> AWSRequest:
        query = self.query(names, letters)
        url = f"{scheme}://h.example:9000{self.path()}{'?' if query else ''}{query}"
        method = self.random.choice(("GET", "PUT", "HEAD", "DELETE", "POST"))
        return AWSRequest(method, url, self.headers(), data=self.text(VISIBLE, 9).encode())

    def v4_header(self) -> Request:
        scheme = self.random.choice(("http", "https"))
        aws = self.aws(V4_QUERY, LETTERS, scheme)
        if self.random.random() < 0.3:
            aws.context["checksum"] = {"request_algorithm": {"in": "trailer", "algorithm": "crc32", "name": "x"}}
        elif self.random.random() < 0.3:
            aws.headers["Content-MD5"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
            aws.context["has_streaming_input"] = True
        if self.random.random() < 0.2:
            aws.headers["Date"] = "now"
        S3SigV4Auth(CREDENTIALS, "s3", self.random.choice(("us-east-1", "eu-north-1", "local"))).add_auth(aws)
        return sent(aws)

    def v4_query(self) -> Request:
        aws = self.aws(V4_QUERY, LETTERS, "http")
        aws = AWSRequest(aws.method, aws.url, dict(aws.headers.items()))
        S3SigV4QueryAuth(CREDENTIALS, "s3", "us-east-1", self.random.choice((60, 604800))).add_auth(aws)
        return sent(aws)

    def v2_header(self) -> Request:
        aws = self.aws(V2_QUERY, LETTERS.replace("+", "").replace(" ", ""), "http")
        HmacV1Auth(CREDENTIALS).add_auth(aws)
        return sent(aws)

    def v2_query(self) -> Request:
        aws = self.aws(V2_QUERY, LETTERS.replace("+", "").replace(" ", ""), "http")
        HmacV1QueryAuth(CREDENTIALS, 60).add_auth(aws)
        if self.random.random() < 0.5:  # the URL alone, as a browser would send it, but for the type
            kept = {name: value for name, value in aws.headers.items() if name.lower() == "content-type"}
            aws = AWSRequest(aws.method, aws.url, kept)
        return sent(aws)


def _escapes(text: str) -> list[str]:
    parts, rest = [], text
    while rest:
        size = 3 if rest[0] == "%" else 1
        parts.append(rest[:size])
        rest = rest[size:]
    return parts


def sent(aws: AWSRequest) -> Request:
    """What would go over the wire."""
    parts = urlsplit(aws.url)
    headers = {"host": parts.netloc, **{name.lower(): value for name, value in aws.headers.items()}}
    return message(aws.method, parts.path + ("?" + parts.query if parts.query else ""), headers)


def meaning(request: Request) -> object:
    """What the signature covers, in one form."""
    claim = parse(request, v2=True)
    headers = request.headers
    covered: Mapping[str, str] = {}
    query: object = None
    match claim:
        case ClaimV4():
            covered = {name: fold(headers[name]) for name in claim.signed_headers if name in headers}
            query = canonical_queries(request.query)[0]
        case ClaimV2():
            date = [] if claim.expires_at is not None or "x-amz-date" in headers else ["date"]
            plain = {name: headers.get(name, "").strip() for name in ["content-md5", "content-type", *date]}
            amz = {name: value.strip() for name, value in headers.items() if name.startswith("x-amz-")}
            hoisted = {} if claim.expires_at is None else hoisted_headers(request)
            covered = {**plain, **hoisted, **amz}
            items = [item.partition("=") for item in canonical_queries(request.query)[0].split("&")]
            query = sorted((name, value) for name, _, value in items if name not in UNCOVERED and name not in hoisted)
    path = percent_decode(request.path) if isinstance(claim, ClaimV4) else request.path
    return request.method, path, query, covered, claim


def change(maker: Maker, request: Request) -> Request:
    """The request with one byte of it another: in a place that the signature covers."""
    before = meaning(request)
    while True:
        changed = _change_byte(maker, request)
        try:
            if meaning(changed) != before:
                return changed
        except Refused:
            return changed


def _change_byte(maker: Maker, request: Request) -> Request:
    signed = [name for name in request.headers if name not in ("content-length", "user-agent")]
    place = maker.random.choice(("method", "path", "query", *signed, *signed, "added"))
    match place:
        case "method":
            return replace(request, method=maker.random.choice(("PATCH", request.method.lower())))
        case "path":
            return replace(request, path=b"/" + _other_byte(maker, request.path[1:]))
        case "query":
            return replace(request, query=_other_byte(maker, request.query))
        case "added":
            return replace(request, headers={**request.headers, "x-amz-copy-source": "/b/k"})
    value = _other_byte(maker, request.headers[place].encode()).decode("latin-1")
    return replace(request, headers={**request.headers, place: value})


def _other_byte(maker: Maker, raw: bytes) -> bytes:
    if not raw:
        return b"x"
    at = maker.random.randrange(len(raw))
    return raw[:at] + bytes([maker.random.randrange(0x21, 0x7F)]) + raw[at + 1 :]


def accepted(request: Request, now: float) -> bool:
    """Whether the request is proved to be from the holder of the key."""
    try:
        claim = parse(request, v2=True)
        if claim is None or claim.access_key != ACCESS_KEY:  # nobody has such a key
            return False
        verify(claim, request, SECRET, now)
    except Refused:
        return False
    return True


def compare(mechanism: str, seed: int, count: int) -> None:
    maker = Maker(seed)
    make: Callable[[], Request] = getattr(maker, mechanism)
    now = time.time()
    for number in range(count):
        request = make()
        assert accepted(request, now), (mechanism, seed, number, request)
        changed = change(maker, request)
        assert not accepted(changed, now), (mechanism, seed, number, request, changed)


MECHANISMS = ("v4_header", "v4_query", "v2_header", "v2_query")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_botocores_requests_are_accepted_and_changed_ones_refused(mechanism: str) -> None:
    compare(mechanism, 1, 500)


@pytest.mark.long
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_ten_thousand_of_botocores_requests(mechanism: str) -> None:
    compare(mechanism, 2, 2500)
