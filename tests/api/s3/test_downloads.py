"""GetObject and HeadObject: versions, conditions, ranges, parts, and what the answer's headers say."""

from pathlib import Path

import pytest

from api.access.decisions import ANONYMOUS
from tests.api.s3.storing import crc32, storing

DATA = b"hello world"
BIG = bytes(range(251)) * 400
PART = bytes(range(250)) * 8
"""Two thousand bytes: a part that is not the last must have a thousand here."""

LONG_AGO, FAR_OFF = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "said", "body"),
    [
        ("bytes=4-7", "bytes 4-7/11", DATA[4:8]),
        ("bytes=4-", "bytes 4-10/11", DATA[4:]),
        ("bytes=-7", "bytes 4-10/11", DATA[-7:]),
        ("bytes=-100", "bytes 0-10/11", DATA),
        ("bytes=0-100", "bytes 0-10/11", DATA),
        ("bytes=0-0", "bytes 0-0/11", DATA[:1]),
        ("Bytes = 1-2", "bytes 1-2/11", DATA[1:3]),
    ],
)
async def test_a_range_is_answered_with_its_bytes(tmp_path: Path, asked: str, said: str, body: bytes) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        found = await s3.get("key", {"range": asked})
        assert (found.status, found.body, found.headers["content-range"]) == (206, body, said)
        head = await s3.head("key", {"range": asked})
        assert (head.status, head.headers["content-length"]) == (206, str(len(body)))


@pytest.mark.parametrize("asked", ["bytes=11-", "bytes=50-60", "bytes=-0", "bytes=5-2"])
async def test_a_range_of_no_byte_that_there_is_cannot_be_served(tmp_path: Path, asked: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        found = await s3.get("key", {"range": asked})
        assert (found.status, found.code, found.headers["content-range"]) == (416, "InvalidRange", "bytes */11")
        assert found.tree.value("RangeRequested") == asked
        assert found.tree.value("ActualObjectSize") == "11"
        head = await s3.head("key", {"range": asked})
        assert (head.status, head.body) == (416, b"")


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "", "1-2", "bytes=0x1-2"]
)
async def test_a_range_that_is_none_or_several_is_answered_with_the_whole(tmp_path: Path, asked: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        found = await s3.get("key", {"range": asked})
        assert (found.status, found.body) == (200, DATA)
        assert "content-range" not in found.headers


async def test_an_empty_object_has_no_range(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key")
        assert (await s3.get("key", {"range": "bytes=0-0"})).status == 416
        assert (await s3.get("key")).status == 200
        assert (await s3.get("key?partNumber=1")).status == 200


async def test_a_range_of_an_object_on_disks_is_read_from_there(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.put("key", BIG)
        for start, stop in ((0, 1), (65_535, 65_537), (100_000, len(BIG))):
            found = await s3.get("key", {"range": f"bytes={start}-{stop - 1}"})
            assert (found.status, found.body) == (206, BIG[start:stop])


async def test_if_range_gives_the_range_only_of_what_is_as_it_was(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        head = (await s3.head("key")).headers
        for same in (head["etag"], head["last-modified"]):
            assert (await s3.get("key", {"range": "bytes=0-1", "if-range": same})).status == 206
        for other in ('"other"', LONG_AGO, f"W/{head['etag']}"):
            found = await s3.get("key", {"range": "bytes=0-1", "if-range": other})
            assert (found.status, found.body) == (200, DATA)
            assert (await s3.get("key", {"range": "bytes=50-", "if-range": other})).status == 200


# ---- conditions


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if-match": "ETAG"}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": "ETAG"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": LONG_AGO}, 200),
        ({"if-modified-since": FAR_OFF}, 304),
        ({"if-modified-since": "nonsense"}, 200),
        ({"if-unmodified-since": LONG_AGO}, 412),
        ({"if-unmodified-since": FAR_OFF}, 200),
        ({"if-match": "ETAG", "if-unmodified-since": LONG_AGO}, 200),
        ({"if-none-match": "ETAG", "if-modified-since": LONG_AGO}, 304),
        ({"if-none-match": '"other"', "if-modified-since": FAR_OFF}, 200),
        ({"if-match": '"other"', "if-none-match": "ETAG"}, 412),
    ],
)
async def test_conditions_are_decided_in_the_order_of_the_rfc(
    tmp_path: Path, conditions: dict[str, str], status: int
) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", DATA, {"cache-control": "max-age=5"})).headers["etag"]
        said = {name: value.replace("ETAG", etag) for name, value in conditions.items()}
        for answer in (await s3.get("key", said), await s3.head("key", said)):
            assert answer.status == status
            if status == 304:
                assert answer.body == b""
                assert (answer.headers["etag"], answer.headers["cache-control"]) == (etag, "max-age=5")
                assert "last-modified" in answer.headers


async def test_a_condition_comes_before_the_range(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", DATA)).headers["etag"]
        assert (await s3.get("key", {"range": "bytes=50-", "if-none-match": etag})).status == 304
        assert (await s3.get("key", {"range": "bytes=50-", "if-match": '"x"'})).status == 412


# ---- versions


async def test_each_version_is_there_by_its_id(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"before")
        await s3.versioning()
        ids = [(await s3.put("key", data)).headers["x-amz-version-id"] for data in (b"1", b"2")]
        assert (await s3.get("key")).headers["x-amz-version-id"] == ids[1]
        for version, data in ((ids[0], b"1"), (ids[1], b"2"), ("null", b"before")):
            found = await s3.get(f"key?versionId={version}")
            assert (found.body, found.headers["x-amz-version-id"]) == (data, version)


async def test_a_delete_marker_says_what_it_is(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        await s3.put("key", DATA)
        marker = (await s3.delete("key")).headers["x-amz-version-id"]
        for read in (s3.get, s3.head):
            found = await read("key")
            assert (found.status, found.code) == (404, "NoSuchKey")
            assert found.headers["x-amz-delete-marker"] == "true"
            assert found.headers["x-amz-version-id"] == marker
            named = await read(f"key?versionId={marker}")
            assert (named.status, named.code) == (405, "MethodNotAllowed")
            assert named.headers["x-amz-delete-marker"] == "true"
            assert named.headers["allow"] == "DELETE"
            assert "last-modified" in named.headers


async def test_a_version_that_is_not_there_is_told_apart_from_an_id_that_is_none(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        assert (await s3.get("key?versionId=00000000000000ff")).code == "NoSuchVersion"
        assert (await s3.get("other?versionId=null")).code in ("NoSuchVersion", "NoSuchKey")
        assert (await s3.get("key?versionId=")).code == "InvalidArgument"
        assert (await s3.get("key?versionId=nonsense")).code == "InvalidArgument"


# ---- parts


async def test_a_part_is_given_back_by_its_number(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.upload("key", PART, BIG, b"end")
        size = len(PART) + len(BIG) + 3
        for number, data, start in ((1, PART, 0), (2, BIG, len(PART)), (3, b"end", size - 3)):
            found = await s3.get(f"key?partNumber={number}")
            assert (found.status, found.body) == (206, data)
            assert found.headers["x-amz-mp-parts-count"] == "3"
            assert found.headers["content-range"] == f"bytes {start}-{start + len(data) - 1}/{size}"
            head = await s3.head(f"key?partNumber={number}")
            assert (head.status, head.headers["content-length"]) == (206, str(len(data)))
        assert "x-amz-mp-parts-count" not in (await s3.get("key")).headers
        assert (await s3.get("key")).body == PART + BIG + b"end"
        missing = await s3.get("key?partNumber=4")
        assert (missing.status, missing.code) == (416, "InvalidPartNumber")
        assert missing.tree.value("ActualPartCount") == "3"


async def test_an_object_of_one_piece_has_one_part(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        found = await s3.get("key?partNumber=1")
        assert (found.status, found.body, found.headers["content-range"]) == (206, DATA, "bytes 0-10/11")
        assert "x-amz-mp-parts-count" not in found.headers
        assert (await s3.get("key?partNumber=2")).code == "InvalidPartNumber"


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "9" * 8000, "%00"])
async def test_a_part_number_that_is_none_is_an_invalid_argument(tmp_path: Path, number: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        assert (await s3.get(f"key?partNumber={number}")).code == "InvalidArgument"


async def test_a_part_and_a_range_cannot_both_be_asked_for(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        assert (await s3.get("key?partNumber=1", {"range": "bytes=0-1"})).code == "InvalidRequest"


# ---- checksums


async def test_a_checksum_is_shown_of_what_it_covers_only(tmp_path: Path) -> None:
    mode = {"x-amz-checksum-mode": "ENABLED"}
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA, {"x-amz-checksum-crc32": crc32(DATA)})
        assert (await s3.get("key", mode)).headers["x-amz-checksum-crc32"] == crc32(DATA)
        whole = await s3.get("key", {**mode, "range": "bytes=0-"})
        assert whole.headers["x-amz-checksum-crc32"] == crc32(DATA)
        for asked in ("bytes=0-1", "bytes=1-"):
            assert "x-amz-checksum-crc32" not in (await s3.get("key", {**mode, "range": asked})).headers
        assert "x-amz-checksum-crc32" not in (await s3.get("key")).headers


async def test_a_part_has_its_own_checksum_and_a_composite_one_says_of_how_many(tmp_path: Path) -> None:
    mode = {"x-amz-checksum-mode": "ENABLED"}
    async with storing(tmp_path) as s3:
        await s3.upload("key", PART, b"end", headers={"x-amz-checksum-algorithm": "CRC32"})
        found = await s3.head("key", mode)
        assert found.headers["x-amz-checksum-crc32"].endswith("-2")
        assert found.headers["x-amz-checksum-type"] == "COMPOSITE"
        part = await s3.get("key?partNumber=2", mode)
        assert part.headers["x-amz-checksum-crc32"] == crc32(b"end")
        await s3.upload("whole", PART, b"end", headers={
            "x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT",
        })  # fmt: skip
        found = await s3.head("whole", mode)
        assert found.headers["x-amz-checksum-crc32"] == crc32(PART + b"end")
        assert found.headers["x-amz-checksum-type"] == "FULL_OBJECT"


# ---- overrides


async def test_the_answers_headers_can_be_said_by_who_signs(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA, {"content-type": "text/plain", "content-language": "de"})
        found = await s3.get(
            "key?response-content-type=text/html&response-content-disposition=attachment%3B%20filename%3D%22%C3%BC%22"
            "&response-cache-control=no-cache&response-expires=x&response-content-encoding=gzip"
        )
        assert found.headers["content-type"] == "text/html"
        assert found.headers["content-disposition"] == 'attachment; filename="ü"'
        assert found.headers["content-encoding"] == "gzip"
        assert found.headers["content-language"] == "de"
        split = await s3.get("key?response-content-type=a%0D%0ASet-Cookie:x")
        assert (split.status, split.code) == (400, "InvalidArgument")
        denied = await s3.call("GET", "/bucket/key?response-content-type=a", by=ANONYMOUS)
        assert denied.code == "AccessDenied"


async def test_a_missing_object_or_bucket_is_told_and_a_head_has_no_body(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        assert (await s3.get("key")).code == "NoSuchKey"
        assert (await s3.call("GET", "/other/key")).code == "NoSuchBucket"
        head = await s3.head("key")
        assert (head.status, head.body, head.headers["content-length"]) == (404, b"", "0")
