"""The requests that the S3 API Reference signs as examples, and ways to change them."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api.messages import Request
from api.s3.signature import Verified, parse, verify
from api.s3.sigv4 import Scope, signature, signing_key, string_to_sign
from cluster.errors import Refused
from tests.api.s3.messages import ACCESS_KEY, SECRET, message

NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = hashlib.sha256().hexdigest()
CREDENTIAL = f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request"
HOST = {"host": "examplebucket.s3.amazonaws.com"}


def authorization(signed_headers: str, value: str) -> dict[str, str]:
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={signed_headers},Signature={value}"
    }


def dated(sha256: str = EMPTY) -> dict[str, str]:
    return {**HOST, "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": sha256}


GET_OBJECT = message(
    "GET",
    "/test.txt",
    {
        **dated(),
        "range": "bytes=0-9",
        **authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    },
)
PUT_OBJECT = message(
    "PUT",
    "/test$file.text",
    {
        **dated(hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()),
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        **authorization(
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    },
)
GET_LIFECYCLE = message(
    "GET",
    "/?lifecycle",
    {
        **dated(),
        **authorization(
            "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        ),
    },
)
LIST_OBJECTS = message(
    "GET",
    "/?max-keys=2&prefix=J",
    {
        **dated(),
        **authorization(
            "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        ),
    },
)
PRESIGNED_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)
PRESIGNED = message("GET", f"/test.txt?{PRESIGNED_QUERY}", HOST)
CHUNKED_HEADERS = {
    "host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
}
CHUNKED = message(
    "PUT",
    "/examplebucket/chunkObject.txt",
    {
        **CHUNKED_HEADERS,
        "content-length": "66824",
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        **authorization(
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
            "x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    },
)
TRAILER = message(
    "PUT",
    "/examplebucket/chunkObject.txt",
    {
        **CHUNKED_HEADERS,
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32c",
        **authorization(
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;"
            "x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    },
)
EXAMPLES = {
    "GET object": GET_OBJECT,
    "PUT object": PUT_OBJECT,
    "GET bucket lifecycle": GET_LIFECYCLE,
    "list objects": LIST_OBJECTS,
    "presigned URL": PRESIGNED,
    "chunked upload": CHUNKED,
    "chunked upload with a trailer": TRAILER,
}
"""The requests of the S3 API Reference that it signs."""


def check(request: Request, *, secret: str = SECRET, now: float = NOW, v2: bool = False) -> Verified:
    claim = parse(request, v2=v2)
    assert claim is not None
    assert claim.access_key == ACCESS_KEY
    return verify(claim, request, secret, now)


def code(request: Request, *, secret: str = SECRET, now: float = NOW) -> str:
    with pytest.raises(Refused) as caught:
        check(request, secret=secret, now=now)
    return caught.value.code


def with_headers(request: Request, changes: Mapping[str, str | None]) -> Request:
    """The request with headers set, or (None) without them."""
    headers = {**request.headers, **changes}
    return replace(request, headers={name: value for name, value in headers.items() if value is not None})


def replaced(request: Request, name: str, old: str, new: str) -> Request:
    assert old in request.headers[name]
    return with_headers(request, {name: request.headers[name].replace(old, new)})


def signed(request: Request, signed_headers: str, payload: str = "UNSIGNED-PAYLOAD") -> Request:
    """The request, signed over the path and query as they are."""
    headers = {**request.headers, "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": payload}
    names = signed_headers.split(";")
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    canonical = (
        f"{request.method}\n{request.path.decode()}\n{request.query.decode()}\n{lines}\n{signed_headers}\n{payload}"
    )
    scope = Scope("20130524", "us-east-1")
    value = signature(signing_key(SECRET, scope), string_to_sign("20130524T000000Z", scope, canonical))
    return replace(request, headers={**headers, **authorization(signed_headers, value)})
