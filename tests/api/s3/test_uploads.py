"""Uploads in parts: begun, completed, aborted, listed."""

import hashlib
from pathlib import Path

import pytest

from api.digests import CHECKSUM_TYPES
from api.s3.checksums import ALGORITHMS
from metaraft.model import ChecksumAlgorithm
from tests.api.operating import digest
from tests.api.s3.speaking import ALICE, BOB
from tests.api.s3.storing import Storing, b64, completion, crc32, md5, sha1, sha256, storing

PARTS = (bytes(range(250)) * 4, bytes(range(200)) * 50, b"end")
"""A part that is not the last must have a thousand bytes here."""

WHOLE = b"".join(PARTS)
ETAG = f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in PARTS)).hexdigest()}-3"'


async def put_parts(s3: Storing, key: str, upload: str, headers: list[dict[str, str]] | None = None) -> list[str]:
    """Put PARTS; their ETags."""
    said = headers or [{}] * len(PARTS)
    return [
        (await s3.put(f"{key}?partNumber={number}&uploadId={upload}", part, said[number - 1])).headers["etag"]
        for number, part in enumerate(PARTS, 1)
    ]


async def test_an_object_is_made_of_its_parts_with_what_the_upload_was_begun_with(tmp_path: Path) -> None:
    described = {"content-type": "text/plain", "x-amz-meta-a": "ä", "x-amz-tagging": "t=1", "expires": "never"}
    async with storing(tmp_path) as s3:
        begun = await s3.call("POST", "/bucket/a%20key?uploads", headers=described)
        assert begun.tree.name == "InitiateMultipartUploadResult"
        assert (begun.tree.value("Bucket"), begun.tree.value("Key")) == ("bucket", "a key")
        upload = begun.tree.value("UploadId") or ""
        etags = await put_parts(s3, "a%20key", upload)
        assert etags == [f'"{hashlib.md5(part).hexdigest()}"' for part in PARTS]
        assert (await s3.get("a%20key")).code == "NoSuchKey"
        done = await s3.complete("a%20key", upload, enumerate(etags, 1))
        assert (done.status, done.tree.name) == (200, "CompleteMultipartUploadResult")
        assert done.tree.value("Location") == "http://s3.test:9000/bucket/a%20key"
        assert (done.tree.value("Bucket"), done.tree.value("Key")) == ("bucket", "a key")
        assert done.tree.value("ETag") == ETAG
        assert done.tree.value("ChecksumType") == "FULL_OBJECT"
        assert done.tree.value("ChecksumCRC64NVME")
        found = await s3.get("a%20key")
        assert (found.body, found.headers["etag"]) == (WHOLE, ETAG)
        assert found.headers["x-amz-meta-a"] == "=?UTF-8?B?w6Q=?="
        assert (found.headers["content-type"], found.headers["expires"]) == ("text/plain", "never")
        assert found.headers["x-amz-tagging-count"] == "1"


async def test_completing_again_answers_the_same(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.versioning()
        upload = await s3.begin("key")
        etags = await put_parts(s3, "key", upload)
        first = await s3.complete("key", upload, enumerate(etags, 1))
        again = await s3.complete("key", upload, enumerate(etags, 1))
        assert first.status == 200
        assert again.headers["x-amz-version-id"] == first.headers["x-amz-version-id"]
        assert again.tree.value("ETag") == first.tree.value("ETag")
        other = await s3.complete("key", upload, [(1, etags[0])])
        assert (other.status, other.code) == (404, "NoSuchUpload")


async def test_parts_may_be_left_out_and_put_again(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = await put_parts(s3, "key", upload)
        new = await s3.put(f"key?partNumber=2&uploadId={upload}", b"x" * 1000)
        stale = await s3.complete("key", upload, enumerate(etags, 1))
        assert (stale.status, stale.code) == (400, "InvalidPart")
        assert (await s3.complete("key", upload, [(2, new.headers["etag"]), (3, etags[2])])).status == 200
        assert (await s3.get("key")).body == b"x" * 1000 + b"end"


NO_ORDER = [
    ([1, 3, 2], "InvalidPartOrder"),
    ([1, 1], "InvalidPartOrder"),
    ([3, 1], "InvalidPartOrder"),
    ([1, 4], "InvalidPart"),
    ([0], "InvalidArgument"),
    ([10_001], "InvalidArgument"),
]


async def test_parts_must_be_there_in_order(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = await put_parts(s3, "key", upload)
        for numbers, code in NO_ORDER:
            parts = [(number, etags[number - 1] if 0 < number <= 3 else etags[0]) for number in numbers]
            assert (await s3.complete("key", upload, parts)).code == code
        assert (await s3.complete("key", upload, enumerate(etags, 1))).status == 200


async def test_a_part_that_is_not_the_last_has_a_least_size(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = await put_parts(s3, "key", upload)
        small = await s3.put(f"key?partNumber=1&uploadId={upload}", b"small")
        refused = await s3.complete("key", upload, [(1, small.headers["etag"]), (2, etags[1])])
        assert (refused.status, refused.code) == (400, "EntityTooSmall")
        assert (refused.tree.value("PartNumber"), refused.tree.value("ProposedSize")) == ("1", "5")


NO_LISTS = [
    ("", "MissingRequestBodyError"),
    ("<CompleteMultipartUpload>", "MalformedXML"),
    ("<CompleteMultipartUpload/>", "MalformedXML"),
    (completion((1, "x")).replace("<PartNumber>1</PartNumber>", ""), "MalformedXML"),
    (completion((1, "x")).replace("<ETag>x</ETag>", ""), "MalformedXML"),
    (completion((1, "x")).replace(">1<", ">one<"), "MalformedXML"),
    (completion((1, "x")).replace(">1<", f">{'1' * 8192}<"), "MalformedXML"),
    (completion((1, "x")).replace(">1<", ">-1<"), "MalformedXML"),
    (completion(*((number, "x") for number in range(1, 10_002))), "MalformedXML"),
    (completion((1, "x")), "InvalidPart"),
    (completion((1, "\u0660" * 32)), "InvalidPart"),
    (completion((1, "x", "<ChecksumCRC32>x</ChecksumCRC32>")), "InvalidRequest"),
    ("<!DOCTYPE c []>" + completion((1, "x")), "MalformedXML"),
]


async def test_what_is_no_list_of_parts_completes_nothing(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        await put_parts(s3, "key", upload)
        for body, code in NO_LISTS:
            refused = await s3.call("POST", f"/bucket/key?uploadId={upload}", body)
            assert (refused.status, refused.code) == (400, code)
            assert (await s3.get(f"key?uploadId={upload}")).texts("Part", "PartNumber") == ["1", "2", "3"]


@pytest.mark.parametrize("upload", ["", "x", "0" * 32, "%00", "x" * 8000, "0" * 31 + "G"])
async def test_an_upload_that_there_is_not(tmp_path: Path, upload: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for method, query, body in (
            ("POST", "", completion((1, '"0123456789abcdef0123456789abcdef"'))),
            ("DELETE", "", ""),
            ("GET", "", ""),
            ("PUT", "&partNumber=1", "x"),
        ):
            answer = await s3.call(method, f"/bucket/key?uploadId={upload}{query}", body)
            assert (answer.status, answer.code) == (404, "NoSuchUpload")


async def test_an_upload_belongs_to_its_key(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        upload = await s3.begin("key")
        assert (await s3.get(f"other?uploadId={upload}")).code == "NoSuchUpload"
        assert (await s3.call("PUT", f"/bucket/other?partNumber=1&uploadId={upload}", b"x")).code == "NoSuchUpload"


async def test_an_aborted_upload_is_gone(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = await put_parts(s3, "key", upload)
        gone = await s3.delete(f"key?uploadId={upload}")
        assert (gone.status, gone.body) == (204, b"")
        assert (await s3.complete("key", upload, enumerate(etags, 1))).code == "NoSuchUpload"
        assert (await s3.delete(f"key?uploadId={upload}")).code == "NoSuchUpload"
        assert (await s3.get("key")).code == "NoSuchKey"


# ---- conditions and what the whole must be


async def test_conditions_are_decided_when_the_object_is_made(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = list(enumerate(await put_parts(s3, "key", upload), 1))
        missing = await s3.complete("key", upload, etags, {"if-match": '"x"'})
        assert (missing.status, missing.code) == (404, "NoSuchKey")
        etag = (await s3.put("key", b"x")).headers["etag"]
        for headers in ({"if-none-match": "*"}, {"if-match": '"x"'}):
            refused = await s3.complete("key", upload, etags, headers)
            assert (refused.status, refused.code) == (412, "PreconditionFailed")
        assert (await s3.complete("key", upload, etags, {"if-match": etag})).status == 200


async def test_the_size_must_be_what_the_request_says(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        etags = list(enumerate(await put_parts(s3, "key", upload), 1))
        for text, code in (("1", "InvalidRequest"), ("x", "InvalidArgument"), ("-1", "InvalidArgument")):
            refused = await s3.complete("key", upload, etags, {"x-amz-mp-object-size": text})
            assert refused.code == code
        assert (await s3.complete("key", upload, etags, {"x-amz-mp-object-size": str(len(WHOLE))})).status == 200


async def test_a_composite_checksum_is_of_the_parts_checksums(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        begun = await s3.call("POST", "/bucket/key?uploads", headers={"x-amz-checksum-algorithm": "SHA256"})
        assert begun.headers["x-amz-checksum-algorithm"] == "SHA256"
        assert begun.headers["x-amz-checksum-type"] == "COMPOSITE"
        upload = begun.tree.value("UploadId") or ""
        etags = await put_parts(s3, "key", upload, [{"x-amz-checksum-sha256": sha256(part)} for part in PARTS])
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in PARTS)).digest()
        named = [
            (number, etag, f"<ChecksumSHA256>{sha256(part)}</ChecksumSHA256>")
            for number, (etag, part) in enumerate(zip(etags, PARTS, strict=True), 1)
        ]
        target = f"/bucket/key?uploadId={upload}"
        swapped = [named[0], (2, etags[1], named[2][2]), named[2]]
        assert (await s3.call("POST", target, completion(*swapped))).code == "InvalidPart"
        for value, code in ((f"{b64(bytes(32))}-3", "BadDigest"), (f"{b64(digest)}-2", "InvalidRequest")):
            wrong = await s3.call("POST", target, completion(*named), {"x-amz-checksum-sha256": value})
            assert wrong.code == code
        done = await s3.call("POST", target, completion(*named), {"x-amz-checksum-sha256": f"{b64(digest)}-3"})
        assert done.tree.value("ChecksumSHA256") == f"{b64(digest)}-3"
        assert done.tree.value("ChecksumType") == "COMPOSITE"
        head = await s3.head("key", {"x-amz-checksum-mode": "ENABLED"})
        assert head.headers["x-amz-checksum-sha256"] == f"{b64(digest)}-3"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_checksum_of_a_whole_is_compared(tmp_path: Path, algorithm: ChecksumAlgorithm) -> None:
    header, kind = f"x-amz-checksum-{algorithm.lower()}", CHECKSUM_TYPES[algorithm][0]
    digests = [digest(algorithm, part) for part in PARTS]
    whole = digest(algorithm, WHOLE) if kind == "FULL_OBJECT" else digest(algorithm, b"".join(digests))
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key", {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})
        etags = await put_parts(s3, "key", upload, [{header: b64(each)} for each in digests])
        element = f"Checksum{algorithm}"
        target = f"/bucket/key?uploadId={upload}"
        document = completion(
            *((number, etags[number - 1], f"<{element}>{b64(digests[number - 1])}</{element}>") for number in (1, 2, 3))
        )
        shown = b64(whole) if kind == "FULL_OBJECT" else f"{b64(whole)}-3"
        said = {"x-amz-checksum-type": kind, "content-md5": md5(document.encode())}
        wrong = await s3.call("POST", target, document, {**said, header: b64(digest(algorithm, b"other"))})
        assert wrong.code == "BadDigest"
        right = await s3.call("POST", target, document, {**said, header: b64(whole)})
        assert right.tree.value(element) == shown
        assert (await s3.head("key", {"x-amz-checksum-mode": "ENABLED"})).headers[header] == shown


async def test_a_full_object_checksum_is_of_all_the_bytes(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        asked = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
        upload = await s3.begin("key", asked)
        etags = list(enumerate(await put_parts(s3, "key", upload), 1))
        for headers, code in (
            ({"x-amz-checksum-crc32": crc32(b"other")}, "BadDigest"),
            ({"x-amz-checksum-sha1": sha1(WHOLE)}, "InvalidRequest"),
            ({"x-amz-checksum-type": "COMPOSITE"}, "InvalidRequest"),
        ):
            assert (await s3.complete("key", upload, etags, headers)).code == code
        right = {"x-amz-checksum-crc32": crc32(WHOLE), "x-amz-checksum-type": "FULL_OBJECT"}
        done = await s3.complete("key", upload, etags, right)
        assert done.tree.value("ChecksumCRC32") == crc32(WHOLE)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD5"},
        {"x-amz-checksum-algorithm": ""},
        {"x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "x" * 8192},
    ],
)
async def test_a_checksum_that_no_upload_has_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async with storing(tmp_path, disks=False) as s3:
        assert (await s3.call("POST", "/bucket/key?uploads", headers=headers)).code == "InvalidRequest"


# ---- parts are listed


async def test_parts_are_listed_page_by_page(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("a%20key", {"x-amz-checksum-algorithm": "CRC32"})
        await put_parts(s3, "a%20key", upload)
        listed = await s3.get(f"a%20key?uploadId={upload}")
        tree = listed.tree
        assert tree.name == "ListPartsResult"
        assert [tree.value(name) for name in ("Bucket", "Key", "UploadId", "StorageClass", "MaxParts")] == [
            "bucket", "a key", upload, "STANDARD", "1000",
        ]  # fmt: skip
        assert (tree.value("ChecksumAlgorithm"), tree.value("ChecksumType")) == ("CRC32", "COMPOSITE")
        assert (tree.value("IsTruncated"), tree.value("PartNumberMarker")) == ("false", "0")
        initiator, owner = tree.find("Initiator"), tree.find("Owner")
        assert initiator is not None
        assert owner is not None
        assert (initiator.value("ID"), initiator.value("DisplayName")) == ("ROOTKEY", "root")
        parts = tree.all("Part")
        assert [part.value("ChecksumCRC32") for part in parts] == [crc32(part) for part in PARTS]
        assert [part.value("Size") for part in parts] == [str(len(part)) for part in PARTS]
        assert parts[0].value("ETag") == f'"{hashlib.md5(PARTS[0]).hexdigest()}"'
        assert parts[0].value("LastModified") == "2023-11-14T22:13:20.000Z"
        seen: list[str] = []
        marker, truncated = "0", None
        for _ in range(2):
            page = await s3.get(f"a%20key?uploadId={upload}&max-parts=2&part-number-marker={marker}&encoding-type=url")
            assert (page.tree.value("EncodingType"), page.tree.value("Key")) == ("url", "a%20key")
            seen += page.texts("Part", "PartNumber")
            marker = page.tree.value("NextPartNumberMarker") or ""
            truncated = page.tree.value("IsTruncated")
        assert (seen, truncated) == (["1", "2", "3"], "false")
        none = await s3.get(f"a%20key?uploadId={upload}&max-parts=0")
        assert none.texts("Part") == []
        assert none.tree.value("IsTruncated") == "false"


@pytest.mark.parametrize(
    "query",
    ["max-parts=-1", "max-parts=x", "max-parts=", "part-number-marker=-1", "part-number-marker=%00",
     "encoding-type=base64", "max-parts=" + "1" * 8000],
)  # fmt: skip
async def test_a_page_that_cannot_be_is_an_invalid_argument(tmp_path: Path, query: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        upload = await s3.begin("key")
        assert (await s3.get(f"key?uploadId={upload}&{query}")).code == "InvalidArgument"


async def test_an_upload_into_a_bucket_of_another_is_not_possible(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.call("PUT", "/alice", by=ALICE)
        upload = (await s3.call("POST", "/alice/key?uploads", by=ALICE)).tree.value("UploadId")
        for method, query in (
            ("POST", "uploads"),
            ("GET", f"uploadId={upload}"),
            ("DELETE", f"uploadId={upload}"),
            ("POST", f"uploadId={upload}"),
            ("PUT", f"partNumber=1&uploadId={upload}"),
        ):
            assert (await s3.call(method, f"/alice/key?{query}", by=BOB)).code == "AccessDenied"
