"""Every parameter and header that operations on objects know, in every state: refused or done, and never a failure."""

from pathlib import Path

import pytest

from api.s3.table import BY_NAME
from tests.api.s3.storing import Storing, completion, md5, storing
from tests.api.s3.test_object_errors import DELETE, LIMITS, PART, TAGS, WHOLE, Ask, filled, prepare

COPY = {"x-amz-copy-source": "bucket/key"}

REQUESTS: dict[str, Ask] = {
    "PutObject": Ask("PUT", "/bucket/new", "x"),
    "CopyObject": Ask("PUT", "/bucket/new", "", COPY),
    "GetObject": Ask("GET", "/bucket/key"),
    "HeadObject": Ask("HEAD", "/bucket/key"),
    "DeleteObject": Ask("DELETE", "/bucket/new"),
    "DeleteObjects": Ask("POST", "/bucket?delete", DELETE.replace("key", "new"), {"content-md5": ""}),
    "GetObjectAttributes": Ask(
        "GET", "/bucket/key?attributes", "", {"x-amz-object-attributes": "ObjectParts,Checksum"}
    ),
    "GetObjectTagging": Ask("GET", "/bucket/key?tagging"),
    "PutObjectTagging": Ask("PUT", "/bucket/key?tagging", TAGS.format("a")),
    "DeleteObjectTagging": Ask("DELETE", "/bucket/key?tagging"),
    "GetObjectAcl": Ask("GET", "/bucket/key?acl"),
    "PutObjectAcl": Ask("PUT", "/bucket/key?acl", "", {"x-amz-acl": "private"}),
    "CreateMultipartUpload": Ask("POST", "/bucket/new?uploads"),
    "UploadPart": Ask("PUT", PART, "x"),
    "UploadPartCopy": Ask("PUT", PART, "", COPY),
    "CompleteMultipartUpload": Ask("POST", WHOLE, completion((1, "ETAG"), (2, "ETAG"))),
    "AbortMultipartUpload": Ask("DELETE", "/bucket/gone?uploadId=OTHER"),
    "ListParts": Ask("GET", WHOLE),
}

HEADERS = (
    "amz-sdk-invocation-id", "cache-control", "content-disposition", "content-encoding", "content-language",
    "content-md5", "content-type", "expires", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "range", "x-amz-acl", "x-amz-bypass-governance-retention", "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme", "x-amz-checksum-mode",
    "x-amz-checksum-sha1", "x-amz-checksum-sha256", "x-amz-checksum-type", "x-amz-copy-source",
    "x-amz-copy-source-if-match", "x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since", "x-amz-copy-source-range", "x-amz-expected-bucket-owner",
    "x-amz-grant-read", "x-amz-if-match-last-modified-time", "x-amz-if-match-size", "x-amz-max-parts", "x-amz-meta-a",
    "x-amz-metadata-directive", "x-amz-mfa", "x-amz-mp-object-size", "x-amz-object-attributes",
    "x-amz-object-lock-mode", "x-amz-part-number-marker", "x-amz-request-payer", "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption", "x-amz-source-expected-bucket-owner", "x-amz-storage-class", "x-amz-tagging",
    "x-amz-tagging-directive", "x-amz-trailer", "x-amz-website-redirect-location", "x-amz-write-offset-bytes",
)  # fmt: skip

STATES = ("", "1", "x" * 8192, "\0", "é\ufffd", "*", '"', "%00", "%ff", "-1", "=", ",", "0" * 30)
QUERY_STATES = ("", "1", "x" * 8192, "%00", "%FF", "%", "-1", "é", "%0D%0A", "0" * 30)


async def never_fails(s3: Storing, ask: Ask, target: str, headers: dict[str, str]) -> None:
    said = dict(headers)
    if said.get("content-md5") == "" and "content-md5" in ask.headers:
        said["content-md5"] = md5(ask.body.encode())
    answer = await s3.call(ask.method, target, ask.body, said)
    assert answer.status < 500 or answer.code == "NotImplemented", (target, headers, answer.body)
    for name, value in answer.headers.items():
        assert name.isascii()
        assert not set(value) & {"\r", "\n", "\0"}


@pytest.mark.parametrize("name", REQUESTS)
async def test_no_header_in_any_state_makes_a_request_fail(tmp_path: Path, name: str) -> None:
    async with storing(tmp_path, limits=LIMITS) as s3:
        words = await prepare(s3)
        ask = REQUESTS[name]
        ask = Ask(ask.method, filled(ask.target, words), filled(ask.body, words), ask.headers)
        for header in HEADERS:
            for state in STATES:
                await never_fails(s3, ask, ask.target, {**ask.headers, header: state})


@pytest.mark.parametrize("name", REQUESTS)
async def test_no_parameter_in_any_state_makes_a_request_fail(tmp_path: Path, name: str) -> None:
    operation = BY_NAME[name]
    async with storing(tmp_path, limits=LIMITS) as s3:
        words = await prepare(s3)
        ask = REQUESTS[name]
        ask = Ask(ask.method, filled(ask.target, words), filled(ask.body, words), ask.headers)
        path, _, query = ask.target.partition("?")
        for parameter in (*operation.query, *operation.parameters, "versionId", "x-id", "nonsense"):
            kept = [item for item in query.split("&") if item and item.partition("=")[0] != parameter]
            for state in QUERY_STATES:
                target = f"{path}?{'&'.join([*kept, f'{parameter}={state}'])}"
                await never_fails(s3, ask, target, dict(ask.headers))
