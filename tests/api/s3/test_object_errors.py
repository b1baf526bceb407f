"""Each error that the table documents for an operation on objects or uploads is given for a request that earns it."""

from pathlib import Path

import pytest

from api.access.gate import Gate
from api.s3.errors import STATUS
from api.s3.object_handlers import object_handlers
from api.s3.table import BY_NAME, Operation
from api.s3.waiting import LongAnswers
from tests.api.s3.asks import DELETE, LIMITS, PART, TAGS, WHOLE, Ask, prepare
from tests.api.s3.storing import DOMAINS, completion, md5, storing

NO_VERSION = "00000000000000ff"


def described(method: str, target: str, **headers: str) -> dict[str, Ask]:
    """What a new object's headers may be refused for."""

    def ask(**said: str) -> Ask:
        named = {name.replace("_", "-"): value for name, value in (headers | said).items()}
        return Ask(method, target, headers=named)

    long = "x" * 3000
    return {
        "InvalidArgument": ask(x_amz_meta_a="\x07"),
        "InvalidRedirectLocation": ask(x_amz_website_redirect_location="ftp://x"),
        "InvalidStorageClass": ask(x_amz_storage_class="GLACIER"),
        "InvalidTag": ask(x_amz_tagging="aws:a=1"),
        "KeyTooLongError": Ask(method, target.replace("key", "k" * 1025), headers=ask().headers),
        "MetadataTooLarge": ask(x_amz_meta_a=long),
        "NoSuchBucket": Ask(method, target.replace("/bucket", "/missing"), headers=ask().headers),
    }


def of_version(method: str, query: str = "", body: str = "", **headers: str) -> dict[str, Ask]:
    """What a request on a version may be refused for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sub = f"{query}&" if query else ""

    def ask(path: str, version: str) -> Ask:
        return Ask(method, f"{path}?{sub}{version}", body, named)

    return {
        "InvalidArgument": ask("/bucket/key", "versionId=x"),
        "MethodNotAllowed": ask("/bucket/gone", "versionId=MARKER"),
        "NoSuchBucket": ask("/missing/key", ""),
        "NoSuchKey": ask("/bucket/gone", ""),
        "NoSuchVersion": ask("/bucket/key", f"versionId={NO_VERSION}"),
    }


def document(method: str, target: str, body: str) -> dict[str, Ask]:
    """What a body with a document may be refused for."""
    return {
        "BadDigest": Ask(method, target, body, {"content-md5": md5(b"other")}),
        "InvalidDigest": Ask(method, target, body, {"content-md5": "x"}),
        "MalformedXML": Ask(method, target, "<x>", {"content-md5": md5(b"<x>")}),
        "MaxMessageLengthExceeded": Ask(method, target, "", {"content-md5": md5(b"")}, length=1 << 30),
        "MissingRequestBodyError": Ask(method, target, "", {"content-md5": md5(b"")}),
    }


def reads(method: str) -> dict[str, Ask]:
    return of_version(method) | {
        "InvalidPartNumber": Ask(method, "/bucket/key?partNumber=2"),
        "InvalidRange": Ask(method, "/bucket/key", headers={"range": "bytes=50-"}),
        "InvalidRequest": Ask(method, "/bucket/key?partNumber=1", headers={"range": "bytes=0-1"}),
        "PreconditionFailed": Ask(method, "/bucket/key", headers={"if-match": '"x"'}),
    }


def copied(target: str) -> dict[str, Ask]:
    """What the source of a copy may be refused for."""

    def ask(source: str, **headers: str) -> Ask:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Ask("PUT", target, headers={"x-amz-copy-source": source, **named})

    return {
        "InvalidArgument": ask("bucket"),
        "NoSuchBucket": ask("missing/key"),
        "NoSuchKey": ask("bucket/gone"),
        "NoSuchVersion": ask(f"bucket/key?versionId={NO_VERSION}"),
        "PreconditionFailed": ask("bucket/key", x_amz_copy_source_if_match='"x"'),
    }


SELF = Ask("PUT", "/bucket/key", headers={"x-amz-copy-source": "bucket/key"})
COPY = {
    "x_amz_copy_source": "bucket/key",
    "x_amz_metadata_directive": "REPLACE",
    "x_amz_tagging_directive": "REPLACE",
}


def part_copy(upload: str = "UPLOAD", **headers: str) -> Ask:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    target = PART.replace("UPLOAD", upload)
    return Ask("PUT", target, headers={"x-amz-copy-source": "bucket/key", **named})


NO_UPLOAD = "0" * 32
DIGEST = '"' + "0" * 32 + '"'

ASKS: dict[str, dict[str, Ask]] = {
    "PutObject": described("PUT", "/bucket/key") | {
        "BadDigest": Ask("PUT", "/bucket/key", "x", {"content-md5": md5(b"y")}),
        "EntityTooLarge": Ask("PUT", "/bucket/key", "", length=100_001),
        "IncompleteBody": Ask("PUT", "/bucket/key", "x", length=2),
        "InvalidDigest": Ask("PUT", "/bucket/key", "x", {"content-md5": "x"}),
        "InvalidRequest": Ask("PUT", "/bucket/key", "x", {"x-amz-checksum-crc32": "x"}),
        "MissingContentLength": Ask("PUT", "/bucket/key", "x", length=None),
        "NoSuchKey": Ask("PUT", "/bucket/gone", "x", {"if-match": '"x"'}),
        "PreconditionFailed": Ask("PUT", "/bucket/key", "x", {"if-none-match": "*"}),
        "XAmzContentSHA256Mismatch": Ask("PUT", "/bucket/key", "x", {"x-amz-content-sha256": "0" * 64}),
    },
    "CopyObject": described("PUT", "/bucket/key", **COPY) | copied("/bucket/copy") | {"InvalidRequest": SELF},
    "GetObject": reads("GET"),
    "HeadObject": reads("HEAD"),
    "DeleteObject": {
        "InvalidArgument": Ask("DELETE", "/bucket/key?versionId=x"),
        "NoSuchBucket": Ask("DELETE", "/missing/key"),
        "PreconditionFailed": Ask("DELETE", "/bucket/key", headers={"if-match": '"x"'}),
    },
    "DeleteObjects": document("POST", "/bucket?delete", DELETE) | {
        "InvalidRequest": Ask("POST", "/bucket?delete", DELETE),
        "NoSuchBucket": Ask("POST", "/missing?delete", DELETE, {"content-md5": md5(DELETE.encode())}),
    },
    "GetObjectAttributes": of_version("GET", "attributes", x_amz_object_attributes="ETag") | {
        "InvalidRequest": Ask("GET", "/bucket/key?attributes"),
    },
    "GetObjectTagging": of_version("GET", "tagging"),
    "PutObjectTagging": of_version("PUT", "tagging", TAGS.format("a")) | {
        **document("PUT", "/bucket/key?tagging", TAGS.format("a")),
        "InvalidTag": Ask("PUT", "/bucket/key?tagging", TAGS.format("")),
    },
    "DeleteObjectTagging": of_version("DELETE", "tagging"),
    "GetObjectAcl": of_version("GET", "acl"),
    "PutObjectAcl": of_version("PUT", "acl", x_amz_acl="private") | {
        "AccessControlListNotSupported": Ask("PUT", "/bucket/key?acl", headers={"x-amz-acl": "public-read"}),
        "MalformedACLError": Ask("PUT", "/bucket/key?acl", "<AccessControlPolicy/>"),
        "MissingSecurityHeader": Ask("PUT", "/bucket/key?acl"),
    },
    "CreateMultipartUpload": described("POST", "/bucket/key?uploads") | {
        "InvalidRequest": Ask("POST", "/bucket/key?uploads", headers={"x-amz-checksum-type": "COMPOSITE"}),
    },
    "UploadPart": {
        "BadDigest": Ask("PUT", PART, "x", {"content-md5": md5(b"y")}),
        "EntityTooLarge": Ask("PUT", PART, length=100_001),
        "InvalidArgument": Ask("PUT", PART.replace("=1", "=0"), "x"),
        "InvalidDigest": Ask("PUT", PART, "x", {"content-md5": "x"}),
        "InvalidRequest": Ask("PUT", PART, "x", {"x-amz-checksum-crc32": "x"}),
        "MissingContentLength": Ask("PUT", PART, "x", length=None),
        "NoSuchBucket": Ask("PUT", PART.replace("/bucket", "/missing"), "x"),
        "NoSuchUpload": Ask("PUT", PART.replace("UPLOAD", NO_UPLOAD), "x"),
    },
    "UploadPartCopy": copied(PART) | {
        "InvalidRange": part_copy(x_amz_copy_source_range="bytes=5-50"),
        "InvalidRequest": Ask("PUT", PART, headers={"x-amz-copy-source": "bucket/gone?versionId=MARKER"}),
        "NoSuchUpload": part_copy(NO_UPLOAD),
    },
    "CompleteMultipartUpload": document("POST", WHOLE, completion((1, DIGEST))) | {
        "EntityTooSmall": Ask("POST", WHOLE, completion((1, "ETAG"), (2, "ETAG"))),
        "InvalidArgument": Ask("POST", WHOLE, completion((1, "ETAG")), {"x-amz-mp-object-size": "x"}),
        "InvalidPart": Ask("POST", WHOLE, completion((3, DIGEST))),
        "InvalidPartOrder": Ask("POST", WHOLE, completion((2, "ETAG"), (1, "ETAG"))),
        "InvalidRequest": Ask("POST", WHOLE, completion((1, "ETAG")), {"x-amz-mp-object-size": "50"}),
        "NoSuchBucket": Ask("POST", WHOLE.replace("/bucket", "/missing"), completion((1, DIGEST))),
        "NoSuchKey": Ask("POST", "/bucket/gone?uploadId=OTHER", completion((1, "ETAG")), {"if-match": '"x"'}),
        "NoSuchUpload": Ask("POST", WHOLE.replace("UPLOAD", NO_UPLOAD), completion((1, DIGEST))),
        "PreconditionFailed": Ask("POST", WHOLE, completion((1, "ETAG")), {"if-none-match": "*"}),
    },
    "AbortMultipartUpload": {
        "NoSuchBucket": Ask("DELETE", WHOLE.replace("/bucket", "/missing")),
        "NoSuchUpload": Ask("DELETE", WHOLE.replace("UPLOAD", NO_UPLOAD)),
    },
    "ListParts": {
        "InvalidArgument": Ask("GET", f"{WHOLE}&max-parts=x"),
        "NoSuchBucket": Ask("GET", WHOLE.replace("/bucket", "/missing")),
        "NoSuchUpload": Ask("GET", WHOLE.replace("UPLOAD", NO_UPLOAD)),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ASKS)
async def test_each_documented_error_is_given_to_who_earns_it(tmp_path: Path, name: str) -> None:
    operation: Operation = BY_NAME[name]
    asks = ASKS[name]
    assert sorted(asks) == sorted(operation.errors)
    async with storing(tmp_path, limits=LIMITS) as s3:
        words = await prepare(s3)
        for code, template in asks.items():
            ask = template.filled(words)
            answer = await s3.call(ask.method, ask.target, ask.body, ask.headers, length=ask.length)
            assert (answer.code, answer.status) == (code, STATUS[code])


async def test_each_operation_on_objects_and_uploads_is_here(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        gate = Gate(s3.do.do.buckets)
        assert ASKS.keys() == object_handlers(s3.do.do, gate, LIMITS, LongAnswers("host-1"), DOMAINS).keys()
