"""GetObjectAttributes."""

import base64
from pathlib import Path

import pytest

from api.s3 import xml
from tests.api.s3.speaking import Answer
from tests.api.s3.storing import Storing, crc32, storing

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


async def attributes(s3: Storing, target: str, asked: str = ALL, **more: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    joiner = "&" if "?" in target else "?"
    return await s3.get(f"{target}{joiner}attributes", {"x-amz-object-attributes": asked, **headers})


async def test_of_an_object_in_one_piece_there_are_no_parts(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        stored = await s3.put("key", b"content", {"x-amz-checksum-crc32": crc32(b"content")})
        found = await attributes(s3, "key")
        assert found.status == 200
        assert "last-modified" in found.headers
        assert found.tree.name == "GetObjectAttributesResponse"
        assert [node.name for node in found.tree.children] == ["ETag", "Checksum", "StorageClass", "ObjectSize"]
        assert found.tree.value("ETag") == stored.headers["etag"].strip('"')
        checksum = found.tree.find("Checksum")
        assert checksum is not None
        assert checksum.value("ChecksumCRC32") == crc32(b"content")
        assert checksum.value("ChecksumType") == "FULL_OBJECT"
        assert (found.tree.value("ObjectSize"), found.tree.value("StorageClass")) == ("7", "STANDARD")


async def test_only_what_is_asked_for_is_told(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"content")
        found = await attributes(s3, "key", "ObjectSize, ETag")
        assert [node.name for node in found.tree.children] == ["ETag", "ObjectSize"]


def parts_of(answer: Answer) -> xml.Node:
    found = answer.tree.find("ObjectParts")
    assert found is not None
    return found


async def test_parts_are_told_page_by_page(tmp_path: Path) -> None:
    parts = [bytes([number]) * 1000 for number in range(5)]
    async with storing(tmp_path) as s3:
        await s3.upload("key", *parts, headers={"x-amz-checksum-algorithm": "CRC32"})
        whole = parts_of(await attributes(s3, "key"))
        assert (whole.value("PartsCount"), whole.value("IsTruncated")) == ("5", "false")
        assert [part.value("ChecksumCRC32") for part in whole.all("Part")] == [crc32(part) for part in parts]
        assert [part.value("Size") for part in whole.all("Part")] == ["1000"] * 5
        seen: list[str | None] = []
        marker, truncated = "0", None
        for _ in range(3):
            page = parts_of(await attributes(s3, "key", x_amz_max_parts="2", x_amz_part_number_marker=marker))
            assert (page.value("MaxParts"), page.value("PartNumberMarker")) == ("2", marker)
            seen += [part.value("PartNumber") for part in page.all("Part")]
            marker, truncated = page.value("NextPartNumberMarker") or "", page.value("IsTruncated")
        assert (seen, truncated) == (["1", "2", "3", "4", "5"], "false")


async def test_a_composite_checksum_is_without_its_number_of_parts(tmp_path: Path) -> None:
    parts = [bytes([number]) * 1000 for number in range(3)]
    async with storing(tmp_path) as s3:
        await s3.upload("key", *parts, headers={"x-amz-checksum-algorithm": "CRC32"})
        composite = crc32(b"".join(base64.b64decode(crc32(part)) for part in parts))
        head = await s3.head("key", {"x-amz-checksum-mode": "ENABLED"})
        assert head.headers["x-amz-checksum-crc32"] == f"{composite}-3"
        checksum = (await attributes(s3, "key")).tree.find("Checksum")
        assert checksum is not None
        assert (checksum.value("ChecksumCRC32"), checksum.value("ChecksumType")) == (composite, "COMPOSITE")


async def test_a_version_is_named_and_a_marker_is_none(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", b"1")).headers["x-amz-version-id"]
        await s3.put("key", b"22")
        found = await attributes(s3, f"key?versionId={first}")
        assert (found.tree.value("ObjectSize"), found.headers["x-amz-version-id"]) == ("1", first)
        marker = (await s3.delete("key")).headers["x-amz-version-id"]
        assert (await attributes(s3, "key")).code == "NoSuchKey"
        assert (await attributes(s3, f"key?versionId={marker}")).code == "MethodNotAllowed"


@pytest.mark.parametrize(
    ("asked", "more", "code"),
    [
        ("", {}, "InvalidRequest"),
        (" , ", {}, "InvalidRequest"),
        ("Size", {}, "InvalidArgument"),
        ("ETag,Nothing", {}, "InvalidArgument"),
        ("etag", {}, "InvalidArgument"),
        ("ObjectParts", {"x_amz_max_parts": "-1"}, "InvalidArgument"),
        ("ObjectParts", {"x_amz_max_parts": "x" * 8192}, "InvalidArgument"),
        ("ObjectParts", {"x_amz_part_number_marker": ""}, "InvalidArgument"),
    ],
)
async def test_what_is_no_attribute_is_refused(tmp_path: Path, asked: str, more: dict[str, str], code: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"1")
        assert (await attributes(s3, "key", asked, **more)).code == code
