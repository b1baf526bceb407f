"""Every operation with every parameter, header and body in the states that no client should send.

Whatever comes, it is answered: with success or a refusal (4xx, 501), as XML that can be read, and never with an error
that is not one of the four kinds.
"""

import pytest

from api.messages import parse_headers
from api.s3 import xml
from api.s3.table import OPERATIONS, Operation
from cluster.errors import Refused
from tests.api.s3.speaking import Speaking

STATES = (b"", b"1", b"x" * 8192, b"\x00", b"\xff\xfe", b"-1", "\u202e\U0001f600".encode(), b"]]>&<\"'%")
"""Of a value; `absent` is all other tests."""

HEADERS = (
    b"access-control-request-headers",
    b"access-control-request-method",
    b"amz-sdk-invocation-id",
    b"content-encoding",
    b"content-md5",
    b"content-type",
    b"expect",
    b"host",
    b"if-match",
    b"origin",
    b"range",
    b"x-amz-acl",
    b"x-amz-bucket-object-lock-enabled",
    b"x-amz-checksum-crc32",
    b"x-amz-checksum-sha256",
    b"x-amz-checksum-unknown",
    b"x-amz-content-sha256",
    b"x-amz-copy-source",
    b"x-amz-decoded-content-length",
    b"x-amz-expected-bucket-owner",
    b"x-amz-grant-read",
    b"x-amz-mfa",
    b"x-amz-object-ownership",
    b"x-amz-optional-object-attributes",
    b"x-amz-request-payer",
    b"x-amz-sdk-checksum-algorithm",
    b"x-amz-server-side-encryption",
    b"x-amz-source-expected-bucket-owner",
    b"x-amz-storage-class",
    b"x-amz-tagging",
    b"x-amz-trailer",
)

BODIES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"1",
    b"x" * 8192,
    b"<a>" * 10_000,
    b"<a/>",
    b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
    b"<?xml version='1.0' encoding='utf-16'?><a/>",
    b"<a xmlns='b' c='d'>\xc3</a>",
)

SPOKEN = [
    operation
    for operation in OPERATIONS
    if operation.support == "not implemented" or operation.name in Speaking().handlers
]

every_operation = pytest.mark.parametrize("operation", SPOKEN, ids=lambda operation: operation.name)


def escaped(value: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in value)


def target(operation: Operation, changed: str = "", value: bytes = b"") -> bytes:
    """The operation's address; one parameter has this value."""
    path = {"service": b"/", "bucket": b"/bucket", "object": b"/bucket/key"}[operation.target]
    given = dict.fromkeys(operation.query, b"") | {name: said.encode() for name, said in operation.values}
    if changed:
        given[changed] = escaped(value)
    return path + b"?" + b"&".join(name.encode() + b"=" + said for name, said in given.items())


async def answered(
    s3: Speaking, operation: Operation, where: bytes, body: bytes = b"", fields: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """A request is answered, but for one with a header that the port refuses before any dialect sees it."""
    try:
        parse_headers(fields)
    except Refused:
        return
    found = await s3.send(operation.method, where, body, fields)
    assert found.status < 500 or found.status == 501, found
    if found.body and found.status >= 400:
        assert xml.parse(found.body, "Error").value("Code")


async def spoken() -> Speaking:
    s3 = Speaking()
    s3.bucket()
    return s3


@every_operation
async def test_each_parameter_in_each_state(operation: Operation) -> None:
    for name in (*operation.query, *operation.parameters, "unknown"):
        for value in STATES:
            s3 = await spoken()
            await answered(s3, operation, target(operation, name, value))
            await answered(s3, operation, target(operation) + b"&" + name.encode() + b"=" + value)


@every_operation
async def test_each_header_in_each_state(operation: Operation) -> None:
    s3 = await spoken()
    for name in HEADERS:
        for value in STATES:
            await answered(s3, operation, target(operation), b"", ((name, value),))


@every_operation
async def test_each_body(operation: Operation) -> None:
    for body in BODIES:
        s3 = await spoken()
        await answered(s3, operation, target(operation), body)


PATHS = (
    b"/",
    b"/?",
    b"//",
    b"/%00",
    b"/%ff",
    b"/" + b"x" * 8192,
    b"/bucket%2fkey",
    b"/bucket/",
    b"/bucket?&&==&",
    b"/bucket?%00=%00",
    b"/bucket?%ff",
    b"/bucket?acl&acl",
    b"/bucket?acl&tagging",
)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:20].decode())
async def test_each_method_on_each_odd_path(method: str, path: bytes) -> None:
    s3 = await spoken()
    await answered(s3, Operation("", method, "service", "ListBuckets"), path)
