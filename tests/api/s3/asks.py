"""A request for each operation of the table that is done when it is asked for, and what must be there for it."""

from dataclasses import dataclass, field, replace

from api.s3.table import OPERATIONS, Operation
from cluster.limits import Limits
from tests.api.s3.browser_forms import CONTENT_TYPE, body, signed
from tests.api.s3.storing import Caller, completion, md5

LIMITS = Limits(disk_reserve_bytes=0, put_bytes_max=100_000, part_bytes_min=1000)
TAGS = "<Tagging><TagSet><Tag><Key>{}</Key><Value>1</Value></Tag></TagSet></Tagging>"
CORS = (
    "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
    "</CORSConfiguration>"
)
DELETE = "<Delete><Object><Key>key</Key></Object></Delete>"
PART = "/bucket/key?partNumber=1&uploadId=UPLOAD"
WHOLE = "/bucket/key?uploadId=UPLOAD"


@dataclass(frozen=True)
class Ask:
    """One request. In target, body and headers ETAG, MARKER, UPLOAD and OTHER stand for what there is."""

    method: str
    target: str
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = -1

    def filled(self, words: dict[str, str]) -> "Ask":
        """The request with what the words stand for."""

        def filled(text: str) -> str:
            for word, meaning in words.items():
                text = text.replace(word, meaning)
            return text

        headers = {name: filled(value) for name, value in self.headers.items()}
        return replace(self, target=filled(self.target), body=filled(self.body), headers=headers)


async def prepare(s3: Caller) -> dict[str, str]:
    """An object `key`, a deleted one `gone`, uploads of both with parts, another bucket; what words stand for."""
    await s3.versioning()
    await s3.put("key", "content")
    await s3.put("gone", "content")
    words = {"MARKER": (await s3.delete("gone")).headers["x-amz-version-id"]}
    words["UPLOAD"], words["OTHER"] = await s3.begin("key"), await s3.begin("gone")
    for number in (1, 2):
        words["ETAG"] = (await s3.put(f"key?partNumber={number}&uploadId={words['UPLOAD']}", "x")).headers["etag"]
    await s3.put(f"gone?partNumber=1&uploadId={words['OTHER']}", "x")
    assert (await s3.call("PUT", "/spare")).status == 200
    return words


async def configure(s3: Caller) -> None:
    """Tags and CORS rules of the bucket."""
    for name in ("PutBucketTagging", "PutBucketCors"):
        ask = GOOD[name]
        assert (await s3.call(ask.method, ask.target, ask.body)).status in (200, 204)


def target(operation: Operation) -> str:
    """What an operation is asked of: the least that must be said."""
    path = {"service": "/", "bucket": "/bucket", "object": "/bucket/key"}[operation.target]
    query = dict.fromkeys(operation.query, "1") | dict(operation.values)
    return f"{path}?{'&'.join(f'{name}={value}' for name, value in query.items())}" if query else path


_DELETE_NEW = DELETE.replace("key", "new")
_COPY = {"x-amz-copy-source": "bucket/key"}

_MORE: dict[str, Ask] = {
    "CreateBucket": Ask("PUT", "/another", "<CreateBucketConfiguration/>"),
    "DeleteBucket": Ask("DELETE", "/spare"),
    "PutBucketVersioning": Ask(
        "PUT",
        "/bucket?versioning",
        "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>",
    ),
    "PutBucketTagging": Ask("PUT", "/bucket?tagging", TAGS.format("a")),
    "PutBucketCors": Ask("PUT", "/bucket?cors", CORS),
    "PutBucketRequestPayment": Ask(
        "PUT",
        "/bucket?requestPayment",
        "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
    ),
    "PutBucketAcl": Ask("PUT", "/bucket?acl", headers={"x-amz-acl": "private"}),
    "PutObject": Ask("PUT", "/bucket/new", "x"),
    "CopyObject": Ask(
        "PUT",
        "/bucket/new",
        headers=_COPY | {"x-amz-metadata-directive": "REPLACE", "x-amz-tagging-directive": "REPLACE"},
    ),
    "DeleteObject": Ask("DELETE", "/bucket/new"),
    "DeleteObjects": Ask("POST", "/bucket?delete", _DELETE_NEW, {"content-md5": md5(_DELETE_NEW.encode())}),
    "GetObjectAttributes": Ask(
        "GET", "/bucket/key?attributes", headers={"x-amz-object-attributes": "ObjectParts,Checksum"}
    ),
    "PutObjectTagging": Ask("PUT", "/bucket/key?tagging", TAGS.format("a")),
    "PutObjectAcl": Ask("PUT", "/bucket/key?acl", headers={"x-amz-acl": "private"}),
    "PostObject": Ask(
        "POST",
        "/bucket",
        body(signed("bucket", {"key": "new"}), b"x").decode(),
        {"content-type": CONTENT_TYPE},
    ),
    "CreateMultipartUpload": Ask("POST", "/bucket/new?uploads"),
    "UploadPart": Ask("PUT", PART, "x"),
    "UploadPartCopy": Ask("PUT", PART.replace("=1", "=3"), headers=_COPY),
    "CompleteMultipartUpload": Ask("POST", WHOLE, completion((1, "ETAG"))),
    "AbortMultipartUpload": Ask("DELETE", "/bucket/gone?uploadId=OTHER"),
    "ListParts": Ask("GET", WHOLE),
}

GOOD: dict[str, Ask] = {
    operation.name: _MORE.get(operation.name, Ask(operation.method, target(operation))) for operation in OPERATIONS
}
"""The request for each operation; one for what is not implemented is refused as that."""
