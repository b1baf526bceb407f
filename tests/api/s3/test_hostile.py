"""Every operation with every parameter, header, field and body in the states that no client should send.

Whatever comes, it is answered: with success or a refusal (4xx, or 501 for what is not implemented), as XML that can be
read and headers that can be sent, and never with an error that is not one of the four kinds. The operations and what
they understand are the table's.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from api.s3 import xml
from api.s3.operation import EVERY_REQUEST
from api.s3.table import OPERATIONS, Operation
from tests.api.s3.asks import GOOD, Ask
from tests.api.s3.browser_forms import BOUNDARY, CONTENT_TYPE, Condition, body, part, signed
from tests.api.s3.composed import Composed, composed
from tests.api.s3.storing import md5
from tests.api.whole import whole

LONG = "x" * 8192
STATES = ("", "1", LONG, "\0")
"""Of a header; one that is no UTF-8 ends at the port."""

MORE_STATES = ("-1", "*", '"', "=", ",", "%00", "%ff", "0" * 30, "é\ufffd", "\u202e\U0001f600", "]]>&<\"'%", "true")

QUERY_STATES = ("", "1", LONG, "%00", "%ff%fe")
MORE_QUERY_STATES = ("%", "-1", "é", "%0D%0A", "0" * 30, "%F0%9F%98%80", "]]>&<\"'%", "\0", "a=b")

REFUSED = (
    "x-amz-acl",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-bypass-governance-retention",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-grant-read",
    "x-amz-mfa",
    "x-amz-object-lock-mode",
    "x-amz-object-ownership",
    "x-amz-rename-source",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-write-offset-bytes",
)
"""Headers that ask for what there is not, whatever the operation."""

UNKNOWN = ("x-amz-checksum-unknown", "x-amz-optional-object-attributes", "x-amz-request-payer", "x-amz-unknown")

FIELDS = (
    "acl",
    "cache-control",
    "content-type",
    "key",
    "redirect",
    "success_action_redirect",
    "success_action_status",
    "tagging",
    "x-amz-checksum-sha256",
    "x-amz-meta-a",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-ignore-a",
)
"""Of a form, besides those that sign it."""

SIGNED_BY = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
END = f"--{BOUNDARY}--\r\n".encode()

EFFECTIVE = {
    "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT",
    "if-none-match": "*",
    "if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT",
    "range": "bytes=900-",
}
"""What would be noticed if it was looked at; of all others that is a control character."""

UNDERSTOOD = tuple(dict.fromkeys(name.replace("*", "a") for operation in OPERATIONS for name in operation.understood))

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

TEXTS = (b"", b"1", b"x" * 8192, b"\x00", b"&#0;", b"\xff\xfe", b"-1", b"<a/>")
"""Of an element."""

FULL = [operation for operation in OPERATIONS if operation.support == "full"]
LESS = [operation for operation in OPERATIONS if operation.support != "full"]

by_method = pytest.mark.parametrize("method", sorted({operation.method for operation in FULL}))
"""A world takes longer to make than an operation to ask."""


async def each_of(s3: Composed, method: str) -> AsyncGenerator[tuple[Operation, Ask]]:
    """The operations of that method, each with the request that is good, and all that it is about."""
    for operation in FULL:
        if operation.method == method:
            await s3.prepare()
            yield operation, GOOD[operation.name].filled(s3.words)


async def answered(s3: Composed, ask: Ask, data: bytes | None = None) -> int:
    """A request is answered; its status. One with a header that the port refuses no dialect sees."""
    answer = await s3.call(ask.method, ask.target, ask.body if data is None else data, ask.headers)
    told = (ask.method, ask.target[:200], {name: value[:40] for name, value in ask.headers.items()}, data and data[:80])
    assert answer.status < 500 or (answer.status, answer.code) == (501, "NotImplemented"), (told, answer.body)
    if answer.body and answer.headers.get("content-type") == "application/xml":
        tree = replace(answer, body=_REFERENCE.sub(b"?", answer.body)).tree
        assert answer.status < 400 or tree.value("Code"), told
    for name, value in answer.headers.items():
        assert name.isascii(), told
        assert not set(value) & {"\r", "\n", "\0"}, told
    return answer.status


_REFERENCE = re.compile(rb"&#x[0-9A-F]+;")
"""A character that XML has no place for: keys and markers may have it (S3 shows it like that)."""


def with_parameter(target: str, name: str, value: str | None) -> str:
    """A target with a parameter in a state; None: without it."""
    path, _, query = target.partition("?")
    kept = [item for item in query.split("&") if item and item.partition("=")[0] != name]
    return f"{path}?{'&'.join([*kept, *([] if value is None else [f'{name}={value}'])])}"


def parameters_of(operation: Operation) -> list[str]:
    """Those that it knows, and some that it does not."""
    known = (*operation.query, *operation.parameters, *dict(operation.values))
    return list(dict.fromkeys((*known, "versionId", "x-id", "unknown")))


async def each_parameter(s3: Composed, ask: Ask, names: Iterable[str], states: Iterable[str]) -> None:
    for name in names:
        await answered(s3, replace(ask, target=with_parameter(ask.target, name, None)))
        await answered(s3, replace(ask, target=f"{with_parameter(ask.target, name, '1')}&{name}=2"))
        for state in states:
            await answered(s3, replace(ask, target=with_parameter(ask.target, name, state)))


async def each_header(s3: Composed, ask: Ask, names: Iterable[str], states: Iterable[str]) -> None:
    for name in names:
        await answered(s3, replace(ask, headers={each: ask.headers[each] for each in ask.headers if each != name}))
        for state in states:
            if (name, state) != ("host", "\0"):  # no request with that comes from the port, and its URLs have the host
                await answered(s3, replace(ask, headers={**ask.headers, name: state}))


async def each_body(s3: Composed, ask: Ask) -> None:
    """Bodies that are none, and the operation's own with each text of it in each state."""
    raw = ask.body.encode()
    texts = re.finditer(rb"(?<=>)[^<>]+(?=</)", raw)
    spoiled = [raw[: text.start()] + state + raw[text.end() :] for text in texts for state in TEXTS]
    for data in (*BODIES, *spoiled):
        headers = ask.headers | ({"content-md5": md5(data)} if "content-md5" in ask.headers else {})
        await answered(s3, replace(ask, headers=headers), data)


@by_method
async def test_an_operation_answers_whatever_it_is_sent(tmp_path: Path, method: str) -> None:
    async with composed(tmp_path) as s3, aclosing(each_of(s3, method)) as operations:
        async for operation, ask in operations:
            await each_parameter(s3, ask, parameters_of(operation), QUERY_STATES)
            await each_header(s3, ask, understood(operation), STATES)
            await each_body(s3, ask)


async def test_what_is_not_there_answers_whatever_it_is_sent(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        for operation in LESS:
            ask = GOOD[operation.name]
            await each_parameter(s3, ask, parameters_of(operation), QUERY_STATES)
            await each_body(s3, ask)


def understood(operation: Operation) -> list[str]:
    """The headers that an operation acts on."""
    return [name.replace("*", "a") for name in operation.understood]


@pytest.mark.parametrize("name", ["ListBuckets", "PutBucketTagging", "PutObject", "GetObject", "GetBucketPolicy"])
async def test_headers_of_every_request_are_answered_whatever_is_in_them(tmp_path: Path, name: str) -> None:
    async with composed(tmp_path) as s3:
        await each_header(s3, GOOD[name], (*EVERY_REQUEST, *REFUSED, *UNKNOWN), STATES)


@pytest.mark.parametrize("origin", [*STATES, "http://a"])
async def test_a_preflight_is_answered_whatever_is_in_it(tmp_path: Path, origin: str) -> None:
    names = ("access-control-request-method", "access-control-request-headers", "host")
    async with composed(tmp_path) as s3:
        for target in ("/", "/bucket", "/missing", "/bucket/key?%ff=%ff&&"):
            said = {"origin": origin, "access-control-request-method": "GET"}
            await each_header(s3, Ask("OPTIONS", target, headers=said), names, STATES)


@by_method
async def test_handlers_act_on_the_headers_that_the_table_names_and_on_no_other(tmp_path: Path, method: str) -> None:
    async with composed(tmp_path) as s3, aclosing(each_of(s3, method)) as operations:
        async for operation, ask in operations:
            await acts_as_named(s3, operation, ask)


async def acts_as_named(s3: Composed, operation: Operation, ask: Ask) -> None:
    async def spoiled(name: str) -> int:
        return await answered(s3, replace(ask, headers={**ask.headers, name: EFFECTIVE.get(name, "\x01")}))

    assert await answered(s3, ask) < 300, operation.name
    again = await answered(s3, ask)
    for name in UNDERSTOOD:
        if not operation.acts_on(name) and name not in (*REFUSED, "x-amz-copy-source"):
            assert await spoiled(name) == again, (operation.name, name)
    read = s3.read[operation.name]
    for name in understood(operation):
        # Who looks through all headers reads none by name; what is in them counts all the same.
        assert await spoiled(name) != again or name in read, (operation.name, name)
    assert {name for name in read if not operation.acts_on(name)} <= {*EVERY_REQUEST}, operation.name


async def test_a_form_is_answered_whatever_its_fields_are(tmp_path: Path) -> None:
    states = (b"", b"1", LONG.encode(), b"\0", b"\xff\xfe", b"${filename}", b"<a/>", b"\r\n", b"http://[", b"/", b"201")
    form, found = Ask("POST", "/bucket", headers={"content-type": CONTENT_TYPE}), set[int]()
    async with composed(tmp_path) as s3:
        for name in (*FIELDS, *SIGNED_BY):
            conditions: list[Condition] = [["starts-with", f"${each}", ""] for each in (*FIELDS, "bucket")]
            said = signed("bucket", {} if name == "key" else {"key": "new"}, conditions)
            for state in states:
                parts = [part(each, value.encode()) for each, value in said.items() if each != name]
                data = b"".join([part(name, state), *parts, part("file", state, "a"), END])
                found.add(await answered(s3, form, data))
        assert {201, 204, 400, 403} <= found, "some of them are good"
        for filename in (*STATES, *MORE_STATES):
            fields = signed("bucket", {"key": "${filename}"}, [["starts-with", "$key", ""], {"bucket": "bucket"}])
            data = body(fields, b"x", filename=filename)
            await answered(s3, form, data)


async def test_what_is_no_text_in_a_header_ends_at_the_port() -> None:
    async with whole() as cluster:
        for name in (*UNDERSTOOD, *EVERY_REQUEST, *REFUSED):
            answer = await cluster.call("GET", "/default/key", None, {name: "\udcff\udcfe"}, key=None)
            assert (answer.status, answer.headers["content-type"]) == (400, "application/xml"), name
            assert xml.parse(answer.body, "Error").value("Code") == "InvalidArgument"


PATHS = (
    "/",
    "/?",
    "//",
    "/%00",
    "/%ff",
    f"/{LONG}",
    "/bucket%2fkey",
    "/bucket/",
    f"/bucket/{LONG}",
    "/bucket/%00",
    "/bucket/%ff%fe",
    "/bucket/key?tagging&partNumber=1&uploadId=1",
    "/bucket?&&==&",
    "/bucket?%00=%00",
    "/bucket?%ff",
    "/bucket?acl&acl",
    "/bucket?acl&tagging",
)


async def test_each_method_on_each_odd_path(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        for method in ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"):
            for path in PATHS:
                await answered(s3, Ask(method, path))


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_an_operation_answers_each_header_of_any_in_any_state(tmp_path: Path, operation: Operation) -> None:
    names = dict.fromkeys((*UNDERSTOOD, *EVERY_REQUEST, *REFUSED, *UNKNOWN))
    async with composed(tmp_path) as s3:
        ask = GOOD[operation.name].filled(s3.words)
        await each_parameter(s3, ask, parameters_of(operation), MORE_QUERY_STATES)
        await each_header(s3, ask, names, (*STATES, *MORE_STATES))
