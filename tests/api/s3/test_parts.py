"""UploadPart and UploadPartCopy."""

import hashlib
from pathlib import Path

from cluster.limits import Limits
from tests.api.operating import LIMITS
from tests.api.s3.speaking import ALICE, BOB, Answer
from tests.api.s3.storing import Storing, crc32, md5, sha1, storing

BIG = bytes(range(256)) * 100
PART = b"x" * 1000


async def copy(s3: Storing, upload: str, number: int, source: str, key: str = "key", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await s3.call(
        "PUT",
        f"/bucket/{key}?partNumber={number}&uploadId={upload}",
        headers={"x-amz-copy-source": source, **named},
    )


# ---- put


async def test_a_part_must_be_what_the_request_says(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key", {"x-amz-checksum-algorithm": "SHA1"})
        target = f"key?partNumber=1&uploadId={upload}"
        for headers, code in (
            ({"content-md5": md5(b"other")}, "BadDigest"),
            ({"content-md5": "x"}, "InvalidDigest"),
            ({"x-amz-checksum-sha1": sha1(b"other")}, "BadDigest"),
            ({"x-amz-checksum-sha1": "x"}, "InvalidRequest"),
            ({"x-amz-checksum-crc32": crc32(PART)}, "InvalidRequest"),
        ):
            assert (await s3.call("PUT", f"/bucket/{target}", PART, headers)).code == code
        assert (await s3.get(f"key?uploadId={upload}")).texts("Part") == []
        stored = await s3.put(target, PART, {"x-amz-checksum-sha1": sha1(PART)})
        assert stored.headers["etag"] == f'"{hashlib.md5(PART).hexdigest()}"'
        assert stored.headers["x-amz-checksum-sha1"] == sha1(PART)
        assert "x-amz-checksum-type" not in stored.headers


async def test_a_part_may_have_a_checksum_that_its_upload_did_not_ask_for(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        stored = await s3.put(f"key?partNumber=1&uploadId={upload}", PART, {"x-amz-checksum-crc32": crc32(PART)})
        assert stored.headers["x-amz-checksum-crc32"] == crc32(PART)
        done = await s3.complete("key", upload, [(1, stored.headers["etag"])])
        assert done.tree.value("ChecksumCRC64NVME")


NO_NUMBERS = ["0", "10001", "", "x", "-1", "1.0", "%D9%A1", "1" * 8000]


async def test_a_number_that_no_part_has_is_an_invalid_argument(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        upload = await s3.begin("key")
        for number in NO_NUMBERS:
            target = f"/bucket/key?partNumber={number}&uploadId={upload}"
            assert (await s3.call("PUT", target, PART)).code == "InvalidArgument"
            await s3.put("source", PART)
            copied = await s3.call("PUT", target, headers={"x-amz-copy-source": "bucket/source"})
            assert copied.code == "InvalidArgument"


async def test_a_part_without_a_length_or_too_long_is_refused(tmp_path: Path) -> None:
    async with storing(tmp_path, limits=Limits(put_bytes_max=1000)) as s3:
        upload = await s3.begin("key")
        target = f"/bucket/key?partNumber=1&uploadId={upload}"
        unknown = await s3.call("PUT", target, b"x", length=None)
        assert (unknown.status, unknown.code) == (411, "MissingContentLength")
        assert (await s3.call("PUT", target, length=1001)).code == "EntityTooLarge"


# ---- copy


async def test_a_copied_part_has_its_sources_bytes_and_moves_none(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.put("source", BIG)
        upload = await s3.begin("key", {"x-amz-checksum-algorithm": "CRC32"})
        before = s3.do.chunks_on_disks()
        first = await copy(s3, upload, 1, "bucket/source", x_amz_copy_source_range="bytes=100-2099")
        assert first.tree.name == "CopyPartResult"
        assert first.tree.value("ETag") == f'"{hashlib.md5(BIG[100:2100]).hexdigest()}"'
        assert first.tree.value("LastModified") == "2023-11-14T22:13:20.000Z"
        assert first.tree.value("ChecksumCRC32") == crc32(BIG[100:2100])
        second = await copy(s3, upload, 2, "bucket/source")
        assert s3.do.chunks_on_disks() == before
        done = await s3.complete(
            "key", upload, [(1, first.tree.value("ETag") or ""), (2, second.tree.value("ETag") or "")]
        )
        assert done.status == 200
        assert (await s3.get("key")).body == BIG[100:2100] + BIG


async def test_small_objects_are_copied_too(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.put("small", b"small")
        upload = await s3.begin("key")
        part = await copy(s3, upload, 1, "bucket/small", x_amz_copy_source_range="bytes=0-0")
        await s3.complete("key", upload, [(1, part.tree.value("ETag") or "")])
        assert (await s3.get("key")).body == b"s"


async def test_a_version_is_copied_by_its_id(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.versioning()
        old = (await s3.put("source", b"old")).headers["x-amz-version-id"]
        now = (await s3.put("source", b"new")).headers["x-amz-version-id"]
        upload = await s3.begin("key")
        part = await copy(s3, upload, 1, f"bucket/source?versionId={old}")
        assert part.headers["x-amz-copy-source-version-id"] == old
        assert part.tree.value("ETag") == f'"{hashlib.md5(b"old").hexdigest()}"'
        current = await copy(s3, upload, 1, "bucket/source")
        assert current.headers["x-amz-copy-source-version-id"] == now
        assert (await copy(s3, upload, 1, "bucket/source?versionId=00000000000000ff")).code == "NoSuchVersion"


async def test_sources_of_odd_names_are_copied(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        upload = await s3.begin("key")
        for key in (" ", "_", "__", "?versionId", "a+b", "ä", "%"):
            encoded = "".join(f"%{byte:02X}" for byte in key.encode())
            await s3.put(encoded, PART)
            assert (await copy(s3, upload, 1, f"bucket/{encoded}")).status == 200


NO_RANGES = [
    ("bytes=0-25600", "InvalidRange"),
    ("bytes=30000-30001", "InvalidRange"),
    ("bytes=5-4", "InvalidRange"),
    ("0-2", "InvalidArgument"),
    ("bytes=0", "InvalidArgument"),
    ("bytes=0-2,3-5", "InvalidArgument"),
    ("", "InvalidArgument"),
    ("bytes=-5", "InvalidArgument"),
    ("x" * 8192, "InvalidArgument"),
]


async def test_a_range_must_be_of_bytes_that_there_are(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.put("source", BIG)
        upload = await s3.begin("key")
        for asked, code in NO_RANGES:
            assert (await copy(s3, upload, 1, "bucket/source", x_amz_copy_source_range=asked)).code == code
            assert (await s3.get(f"key?uploadId={upload}")).texts("Part") == []


async def test_conditions_on_the_source_hold_or_nothing_is_copied(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        etag = (await s3.put("source", BIG)).headers["etag"]
        upload = await s3.begin("key")
        for headers in (
            {"x_amz_copy_source_if_match": '"x"'},
            {"x_amz_copy_source_if_none_match": etag},
            {"x_amz_copy_source_if_unmodified_since": "Mon, 01 Jan 2001 00:00:00 GMT"},
        ):
            refused = await copy(s3, upload, 1, "bucket/source", **headers)
            assert (refused.status, refused.code) == (412, "PreconditionFailed")
        assert (await copy(s3, upload, 1, "bucket/source", x_amz_copy_source_if_match=etag)).status == 200


async def test_what_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    limits = Limits(disk_reserve_bytes=0, put_bytes_max=1500, part_bytes_min=LIMITS.part_bytes_min)
    async with storing(tmp_path, limits=limits) as s3:
        upload = await s3.begin("key")
        assert (await copy(s3, upload, 1, "bucket/missing")).code == "NoSuchKey"
        assert (await copy(s3, upload, 1, "missing/source")).code == "NoSuchBucket"
        await s3.upload("large", PART, PART)
        assert (await copy(s3, upload, 1, "bucket/large")).code == "InvalidRequest"
        assert (await copy(s3, "0" * 32, 1, "bucket/large")).code == "NoSuchUpload"


async def test_the_source_is_asked_for_by_who_copies(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        for user, bucket in ((ALICE, "alice"), (BOB, "bobs")):
            await s3.call("PUT", f"/{bucket}", by=user)
            await s3.call("PUT", f"/{bucket}/source", PART, by=user)
        upload = (await s3.call("POST", "/alice/key?uploads", by=ALICE)).tree.value("UploadId")
        target = f"/alice/key?partNumber=1&uploadId={upload}"
        for source, status in (("bobs/source", 403), ("bobs/missing", 403), ("alice/source", 200)):
            answer = await s3.call("PUT", target, headers={"x-amz-copy-source": source}, by=ALICE)
            assert answer.status == status
        expected = {"x-amz-copy-source": "alice/source", "x-amz-source-expected-bucket-owner": BOB.name}
        assert (await s3.call("PUT", target, headers=expected, by=ALICE)).code == "AccessDenied"
