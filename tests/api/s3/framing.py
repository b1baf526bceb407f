"""Bodies in aws-chunked framing, made as clients make them."""

import hashlib
from collections.abc import Mapping, Sequence

from api.s3.payload import Chunked
from api.s3.sigv4 import EMPTY_SHA256, ChunkKey, Scope, signature, signing_key
from tests.api.s3.messages import ACCESS_KEY, SECRET

SCOPE = Scope("20130524", "us-east-1")
TIMESTAMP = "20130524T000000Z"

SIGNED = Chunked(signed=True, trailer=False)
SIGNED_TRAILER = Chunked(signed=True, trailer=True)
UNSIGNED_TRAILER = Chunked(signed=False, trailer=True)

FORMS = {"signed": SIGNED, "signed trailer": SIGNED_TRAILER, "unsigned trailer": UNSIGNED_TRAILER}


def chunk_key(seed: str = "5" * 64) -> ChunkKey:
    return ChunkKey(ACCESS_KEY, signing_key(SECRET, SCOPE), TIMESTAMP, str(SCOPE), seed)


def key_of(form: Chunked) -> ChunkKey | None:
    return chunk_key() if form.signed else None


def frame(
    form: Chunked, chunks: Sequence[bytes], trailers: Mapping[str, str] | None = None, key: ChunkKey | None = None
) -> bytes:
    """The body of a request: chunks, the empty one after them, trailers, the blank line."""
    key = key or key_of(form)
    previous = "" if key is None else key.seed
    out = []
    for chunk in (*chunks, b""):
        header = f"{len(chunk):x}"
        if key is not None:
            previous = sign_chunk(key, previous, chunk)
            header += f";chunk-signature={previous}"
        out.append(header.encode() + b"\r\n" + chunk + (b"\r\n" if chunk else b""))
    lines = "".join(f"{name}:{value}\n" for name, value in (trailers or {}).items())
    out.append(lines.replace("\n", "\r\n").encode())
    if key is not None and form.trailer:
        out.append(f"x-amz-trailer-signature:{sign_trailers(key, previous, lines)}\r\n".encode())
    return b"".join((*out, b"\r\n"))


def sign_chunk(key: ChunkKey, previous: str, chunk: bytes) -> str:
    digest = hashlib.sha256(chunk).hexdigest()
    return signature(key.key, f"AWS4-HMAC-SHA256-PAYLOAD\n{TIMESTAMP}\n{SCOPE}\n{previous}\n{EMPTY_SHA256}\n{digest}")


def sign_trailers(key: ChunkKey, previous: str, lines: str) -> str:
    digest = hashlib.sha256((lines or "\n").encode()).hexdigest()
    return signature(key.key, f"AWS4-HMAC-SHA256-TRAILER\n{TIMESTAMP}\n{SCOPE}\n{previous}\n{digest}")
