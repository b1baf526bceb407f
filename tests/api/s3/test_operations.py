"""Each operation of the table is done when it is asked for; and what many of them share: errors, headers, versions.

The errors of operations on objects and uploads are in test_object_errors, those of one operation on buckets in the file
of its subject.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from api.s3.checksums import ALGORITHMS, HEADERS
from api.s3.fields import OVERRIDES
from api.s3.table import OPERATIONS, Operation
from tests.api.operating import digest
from tests.api.s3.asks import GOOD, Ask
from tests.api.s3.browser_forms import body, signed
from tests.api.s3.composed import Composed, composed
from tests.api.s3.speaking import Answer
from tests.api.s3.storing import b64, md5

FULL = [operation for operation in OPERATIONS if operation.support == "full"]

PAST, FUTURE = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


def those_that(**what: str) -> list[str]:
    """Names of operations that act on a `header`, understand a `parameter`, or document an `error`."""
    header, parameter, error = what.get("header", ""), what.get("parameter", ""), what.get("error", "")
    return [
        operation.name
        for operation in FULL
        if operation.acts_on(header) or parameter in operation.parameters or error in operation.errors
    ]


async def asked(s3: Composed, name: str, **headers: str) -> Answer:
    """An operation with more headers, named with underscores for hyphens."""
    said = {header.replace("_", "-"): value for header, value in headers.items()}
    ask = GOOD[name]
    return await s3.ask(replace(ask, headers={**ask.headers, **said}))


@pytest.mark.parametrize("operation", FULL, ids=lambda operation: operation.name)
async def test_each_operation_is_done_when_it_is_asked_for(tmp_path: Path, operation: Operation) -> None:
    async with composed(tmp_path) as s3:
        answer = await s3.ask(GOOD[operation.name])
        assert answer.status in (200, 204), answer.body


async def test_a_bucket_that_is_missing_is_missing_to_each_operation(tmp_path: Path) -> None:
    form = body(signed("missing", {"key": "new"}), b"x").decode()
    async with composed(tmp_path) as s3:
        for name in those_that(error="NoSuchBucket"):
            ask = GOOD[name]
            target = ask.target.replace("/bucket", "/missing").replace("/spare", "/missing")
            answer = await s3.ask(replace(ask, target=target, body=form if name == "PostObject" else ask.body))
            assert (answer.status, answer.code) == (404, "NoSuchBucket"), name


async def test_a_document_is_whole_and_the_one_that_was_sent(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        for name in those_that(error="MissingRequestBodyError"):
            ask = GOOD[name]

            async def code(data: str, said: str | None = None, ask: Ask = ask, length: int = -1) -> str:
                headers = {**ask.headers, "content-md5": md5(data.encode()) if said is None else said}
                return (await s3.ask(replace(ask, body=data, headers=headers, length=length))).code

            assert await code("") == "MissingRequestBodyError", name
            assert await code("<x>") == "MalformedXML", name
            assert await code(ask.body, md5(b"other")) == "BadDigest", name
            assert await code(ask.body, "x") == "InvalidDigest", name
            assert await code("", length=1 << 30) == "MaxMessageLengthExceeded", name


@pytest.mark.parametrize("name", those_that(header="x-amz-sdk-checksum-algorithm"))
async def test_each_digest_that_is_said_of_a_body_is_compared(tmp_path: Path, name: str) -> None:
    async with composed(tmp_path) as s3:
        data = GOOD[name].body.encode()
        assert (await asked(s3, name, content_md5=md5(data))).code == ""
        assert (await asked(s3, name, content_md5=md5(b"other"))).code == "BadDigest"
        for algorithm in ALGORITHMS:
            header = HEADERS[algorithm]
            right, wrong = (b64(digest(algorithm, said)) for said in (data, b"other"))
            named = {"x-amz-sdk-checksum-algorithm": algorithm}
            assert (await asked(s3, name, **named, **{header: wrong})).code == "BadDigest"
            assert (await asked(s3, name, **named, **{header: right})).code == ""


async def test_what_holds_anyway_may_be_said(tmp_path: Path) -> None:
    said = {
        "x-amz-acl": "bucket-owner-full-control",
        "x-amz-bucket-object-lock-enabled": "false",
        "x-amz-object-ownership": "BucketOwnerEnforced",
        "x-amz-storage-class": "STANDARD",
    }
    async with composed(tmp_path) as s3:
        for header, value in said.items():
            for name in those_that(header=header):
                assert (await asked(s3, name, **{header: value})).status == 200, (name, header)


async def test_the_owner_of_what_is_copied_may_be_expected(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        for name in those_that(header="x-amz-source-expected-bucket-owner"):
            for expected, code in ((s3.do.call().principal.name, ""), ("other", "AccessDenied")):
                assert (await asked(s3, name, x_amz_source_expected_bucket_owner=expected)).code == code


async def test_conditions_that_hold_change_nothing(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        etag = (await s3.put("new", b"x")).headers["etag"]
        for name in those_that(header="if-match"):
            on_key = GOOD[name].target.startswith("/bucket/key")
            there = (await s3.head("key")).headers["etag"] if on_key else etag
            for said in (
                {"if_match": there},
                {"if_none_match": '"other"'},
                {"if_unmodified_since": FUTURE},
                {"if_modified_since": PAST},
            ):
                if name == "DeleteObject":
                    await s3.put("new", b"x")
                assert (await asked(s3, name, **said)).status in (200, 204), (name, said)


async def test_conditions_on_what_is_copied_that_hold_change_nothing(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        etag = (await s3.head("key")).headers["etag"]
        for name in those_that(header="x-amz-copy-source"):
            for said, value in (
                ("if_match", etag),
                ("if_none_match", '"other"'),
                ("if_unmodified_since", FUTURE),
                ("if_modified_since", PAST),
            ):
                assert (await asked(s3, name, **{f"x_amz_copy_source_{said}": value})).status == 200, (name, said)


async def test_a_new_object_carries_what_its_headers_say(tmp_path: Path) -> None:
    said = {
        "cache-control": "no-cache",
        "content-disposition": "inline",
        "content-encoding": "gzip",
        "content-language": "fr",
        "content-type": "text/x",
        "expires": FUTURE,
        "x-amz-meta-a": "b",
        "x-amz-website-redirect-location": "/other",
    }
    async with composed(tmp_path) as s3:
        for name in those_that(header="cache-control"):
            made = await asked(s3, name, **said, x_amz_tagging="a=1&b=2")
            assert made.status == 200, name
            if name == "CreateMultipartUpload":
                upload = made.tree.value("UploadId") or ""
                etag = (await s3.put(f"new?partNumber=1&uploadId={upload}", b"x")).headers["etag"]
                assert (await s3.complete("new", upload, [(1, etag)])).status == 200
            shown = (await s3.head("new")).headers
            assert said.items() <= shown.items(), name
            assert shown["x-amz-tagging-count"] == "2"
            await s3.delete("new")


@pytest.mark.parametrize("name", those_that(parameter="response-expires"))
async def test_a_read_says_what_headers_it_wants(tmp_path: Path, name: str) -> None:
    wanted = {parameter: f"x-{parameter}" for parameter in OVERRIDES}
    async with composed(tmp_path) as s3:
        ask = GOOD[name]
        query = "&".join(f"{parameter}={value}" for parameter, value in wanted.items())
        answer = await s3.ask(replace(ask, target=f"{ask.target}?{query}"))
        assert {OVERRIDES[parameter]: value for parameter, value in wanted.items()}.items() <= answer.headers.items()


@pytest.mark.parametrize("name", those_that(header="if-range"))
async def test_a_range_is_of_the_version_that_is_meant(tmp_path: Path, name: str) -> None:
    async with composed(tmp_path) as s3:
        etag = (await s3.head("key")).headers["etag"]
        for meant, status, length in ((etag, 206, "3"), ('"other"', 200, "7")):
            answer = await asked(s3, name, range="bytes=2-4", if_range=meant)
            assert (answer.status, answer.headers["content-length"]) == (status, length)


async def test_each_operation_on_a_version_takes_its_id(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        version = (await s3.head("key")).headers["x-amz-version-id"]
        for name in sorted(those_that(parameter="versionId"), key=lambda name: name == "DeleteObject"):
            ask = GOOD[name]
            joint = "&" if "?" in ask.target else "?"
            target = f"{ask.target}{joint}versionId={version}".replace("/new", "/key")
            assert (await s3.ask(replace(ask, target=target))).status in (200, 204), name
        assert (await s3.get("key")).code == "NoSuchKey"
