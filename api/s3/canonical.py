"""The canonical request of Signature Version 4 as S3 wants it (S3 API Reference, 'Signature Calculations for the
Authorization Header'): method, path, query, headers and payload as one text. Pure.

Rules: a path is decoded once and encoded once, byte for byte, and nothing is normalised, because `a//b` and `a/../b`
are keys. Some clients sign the path or the query as they send it, with characters left as they are that S3 encodes;
those forms are accepted too. That is safe because every form that is accepted, read by the rules of `api.messages`,
is the very key and the very parameters that the request is answered for: no signature fits two meanings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from urllib.parse import quote_from_bytes

from api.messages import Request, percent_decode

SIGNATURE_PARAMETER = b"X-Amz-Signature"
"""The only query parameter that a signature does not cover."""

_SPACES = re.compile(r"[ \t]+")
_VISIBLE = bytes(range(0x21, 0x7F))


def canonical_paths(path: bytes) -> tuple[str, ...]:
    """The forms in which a client may have signed a path; the one that S3 documents is first."""
    return _forms(quote_from_bytes(percent_decode(path), safe="/-_.~") or "/", as_sent(path) or "/")


def canonical_queries(query: bytes) -> tuple[str, ...]:
    """The forms in which a client may have signed a query; the one that S3 documents is first."""
    if not query:
        return ("",)
    items = [item.partition(b"=") for item in query.split(b"&") if item]
    covered = [(name, value) for name, _, value in items if _decoded(name) != SIGNATURE_PARAMETER]
    encoded = sorted([(_encoded(name), _encoded(value)) for name, value in covered])
    sent = b"&".join([b"%s=%s" % item for item in sorted(covered)])
    return _forms("&".join([f"{name}={value}" for name, value in encoded]), as_sent(sent))


def canonical_headers(headers: Mapping[str, str], signed: Sequence[str]) -> str:
    """The signed headers, one per line; one that the request does not have is left out, so that nothing fits it."""
    return "".join(f"{name}:{fold(headers[name])}\n" for name in signed if name in headers)


def canonical_requests(request: Request, signed_headers: Sequence[str], payload_hash: str) -> Iterator[str]:
    """Each canonical form of a request; one of them must be what was signed."""
    headers = canonical_headers(request.headers, signed_headers)
    end = f"{headers}\n{';'.join(signed_headers)}\n{payload_hash}"
    for path, query in product(canonical_paths(request.path), canonical_queries(request.query)):
        yield f"{request.method}\n{path}\n{query}\n{end}"


def fold(value: str) -> str:
    """A header's value without spaces around it and with one in place of several inside."""
    value = value.strip(" \t")
    return _SPACES.sub(" ", value) if "  " in value or "\t" in value else value


def as_sent(raw: bytes) -> str:
    """A path or query as the client wrote it; what is no visible ASCII is encoded, as the edge does it."""
    return quote_from_bytes(raw, safe=_VISIBLE)


def _forms(encoded: str, sent: str) -> tuple[str, ...]:
    return (encoded,) if sent == encoded else (encoded, sent)


def _decoded(raw: bytes) -> bytes:
    return percent_decode(raw.replace(b"+", b" "))


def _encoded(raw: bytes) -> str:
    return quote_from_bytes(_decoded(raw), safe="-_.~")
