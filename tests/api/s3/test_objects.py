"""PutObject and DeleteObject, from the request's bytes to the answer's, over real disks."""

import hashlib
from pathlib import Path

import pytest
import trio

from cluster.limits import Limits
from tests.api.s3.speaking import ALICE, BOB
from tests.api.s3.storing import Storing, b64, crc32, md5, sha1, sha256, storing

DATA = b"content of an object"
BIG = bytes(range(256)) * 100
"""Too big to lie in the metadata."""


async def test_an_object_is_stored_and_given_back(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        for key, data in (("small", DATA), ("big", BIG), ("empty", b"")):
            headers = {"content-type": "text/plain", "x-amz-meta-name": "value", "cache-control": "no-store"}
            stored = await s3.put(key, data, headers)
            assert stored.body == b""
            assert stored.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
            assert "x-amz-version-id" not in stored.headers
            assert stored.headers["x-amz-checksum-type"] == "FULL_OBJECT"
            assert "x-amz-checksum-crc64nvme" in stored.headers
            found = await s3.get(key)
            assert (found.status, found.body) == (200, data)
            assert found.headers["etag"] == stored.headers["etag"]
            assert headers.items() <= found.headers.items()
            assert found.headers["accept-ranges"] == "bytes"
            assert "x-amz-storage-class" not in found.headers


async def test_a_key_is_any_text_and_nothing_normalises_it(tmp_path: Path) -> None:
    keys = [
        "a",
        "a/",
        "a/b",
        "a//b",
        "./a",
        "../a",
        "%25",
        "%2F",
        "a%20b",
        "a+b",
        "%F0%9F%98%80",
        "a%0Ab",
        "%3F",
        "a&b=c",
    ]
    async with storing(tmp_path, disks=False) as s3:
        for key in keys:
            await s3.put(key, key)
        for key in keys:
            assert (await s3.get(key)).body.decode() == key


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-md5", md5(DATA)),
        ("x-amz-checksum-crc32", crc32(DATA)),
        ("x-amz-checksum-sha1", sha1(DATA)),
        ("x-amz-checksum-sha256", sha256(DATA)),
    ],
)
async def test_a_body_must_be_what_the_request_says_and_the_checksum_is_kept(
    tmp_path: Path, name: str, value: str
) -> None:
    async with storing(tmp_path, disks=False) as s3:
        wrong = await s3.call("PUT", "/bucket/key", b"other", {name: value})
        assert (wrong.status, wrong.code) == (400, "BadDigest")
        assert (await s3.get("key")).code == "NoSuchKey"
        stored = await s3.put("key", DATA, {name: value})
        if name.startswith("x-amz-checksum"):
            assert stored.headers[name] == value
            shown = await s3.head("key", {"x-amz-checksum-mode": "ENABLED"})
            assert shown.headers[name] == value
            assert shown.headers["x-amz-checksum-type"] == "FULL_OBJECT"
            assert name not in (await s3.head("key")).headers


async def test_what_the_signature_says_of_the_body_is_compared(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        signed = {"x-amz-content-sha256": hashlib.sha256(DATA).hexdigest()}
        await s3.put("key", DATA, signed)
        wrong = await s3.call("PUT", "/bucket/key", b"other", signed)
        assert (wrong.status, wrong.code) == (400, "XAmzContentSHA256Mismatch")
        assert (await s3.get("key")).body == DATA


def in_trailer(data: bytes, trailer: str) -> tuple[bytes, dict[str, str]]:
    """A body as SDKs send it: chunks, and behind them a checksum."""
    body = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(data), data, trailer.encode())
    return body, {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(data)),
        "x-amz-trailer": trailer.partition(":")[0],
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "content-encoding": "aws-chunked",
    }


async def test_a_checksum_may_come_behind_the_body(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        body, headers = in_trailer(BIG, f"x-amz-checksum-crc32:{crc32(BIG)}")
        stored = await s3.put("key", body, headers)
        assert stored.headers["x-amz-checksum-crc32"] == crc32(BIG)
        found = await s3.get("key", {"x-amz-checksum-mode": "ENABLED"})
        assert found.body == BIG
        assert found.headers["x-amz-checksum-crc32"] == crc32(BIG)
        assert "content-encoding" not in found.headers
        body, headers = in_trailer(DATA, f"x-amz-checksum-crc32:{crc32(BIG)}")
        wrong = await s3.call("PUT", "/bucket/key", body, headers)
        assert wrong.code == "BadDigest"
        assert (await s3.get("key")).body == BIG


async def test_a_body_without_a_length_or_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with storing(tmp_path, limits=Limits(put_bytes_max=1000)) as s3:
        unknown = await s3.call("PUT", "/bucket/key", b"x", length=None)
        assert (unknown.status, unknown.code) == (411, "MissingContentLength")
        large = await s3.call("PUT", "/bucket/key", length=1001)
        assert (large.status, large.code) == (400, "EntityTooLarge")
        assert large.tree.value("MaxSizeAllowed") == "1000"
        assert large.tree.value("ProposedSize") == "1001"
        await s3.put("key", bytes(1000))


async def test_a_body_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        short = await s3.call("PUT", "/bucket/key", BIG, length=len(BIG) + 1)
        assert (short.status, short.code) == (400, "IncompleteBody")
        assert (await s3.get("key")).code == "NoSuchKey"


async def test_tags_come_with_the_object(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA, {"x-amz-tagging": "a=1&b=two%20words"})
        assert (await s3.get("key")).headers["x-amz-tagging-count"] == "2"
        assert b"<Tag><Key>b</Key><Value>two words</Value></Tag>" in (await s3.get("key?tagging")).body
        await s3.put("key", DATA)
        assert "x-amz-tagging-count" not in (await s3.get("key")).headers


async def test_the_same_call_repeated_has_one_effect(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        retried = {"amz-sdk-invocation-id": "5f2a"}
        first = await s3.put("key", DATA, retried)
        assert await s3.put("key", DATA, retried) == first
        other = await s3.put("key", DATA, {"amz-sdk-invocation-id": "5f2b"})
        assert other.headers["x-amz-version-id"] != first.headers["x-amz-version-id"]


# ---- conditions


async def test_if_none_match_makes_only_what_is_not_there(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"1", {"if-none-match": "*"})
        again = await s3.call("PUT", "/bucket/key", b"2", {"if-none-match": "*"})
        assert (again.status, again.code) == (412, "PreconditionFailed")
        assert (await s3.get("key")).body == b"1"


async def test_if_match_changes_only_what_is_as_it_was(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        missing = await s3.call("PUT", "/bucket/key", b"1", {"if-match": '"abc"'})
        assert (missing.status, missing.code) == (404, "NoSuchKey")
        assert missing.tree.value("Key") == "key"
        etag = (await s3.put("key", b"1")).headers["etag"]
        differs = await s3.call("PUT", "/bucket/key", b"2", {"if-match": '"abc"'})
        assert (differs.status, differs.code) == (412, "PreconditionFailed")
        second = await s3.put("key", b"2", {"if-match": etag})
        await s3.put("key", b"3", {"if-match": second.headers["etag"].strip('"')})
        assert (await s3.get("key")).body == b"3"


async def test_of_many_that_write_if_nothing_is_there_one_wins(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        statuses: list[int] = []

        async def write(number: int) -> None:
            answer = await s3.call("PUT", "/bucket/key", b"%d" % number, {"if-none-match": "*"})
            statuses.append(answer.status)

        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(write, number)
        assert sorted(statuses) == [200] + [412] * 15


async def test_a_delete_marker_is_no_object_for_conditions(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        etag = (await s3.put("key", DATA)).headers["etag"]
        await s3.delete("key")
        assert (await s3.call("PUT", "/bucket/key", DATA, {"if-match": etag})).code == "NoSuchKey"
        await s3.put("key", DATA, {"if-none-match": "*"})


# ---- delete


async def test_a_delete_says_204_whether_there_was_one_or_not(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        for _ in range(2):
            gone = await s3.delete("key")
            assert (gone.status, gone.body) == (204, b"")
            assert "x-amz-delete-marker" not in gone.headers
            assert "x-amz-version-id" not in gone.headers
        assert (await s3.get("key")).code == "NoSuchKey"


async def test_a_delete_in_a_versioned_bucket_makes_a_marker_and_its_deletion_brings_the_object_back(
    tmp_path: Path,
) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", b"1")).headers["x-amz-version-id"]
        marker = await s3.delete("key")
        assert marker.headers["x-amz-delete-marker"] == "true"
        assert (await s3.get("key")).status == 404
        gone = await s3.delete(f"key?versionId={marker.headers['x-amz-version-id']}")
        assert gone.headers["x-amz-delete-marker"] == "true"
        assert gone.headers["x-amz-version-id"] == marker.headers["x-amz-version-id"]
        assert (await s3.get("key")).body == b"1"
        gone = await s3.delete(f"key?versionId={first}")
        assert (gone.status, gone.headers["x-amz-version-id"]) == (204, first)
        assert "x-amz-delete-marker" not in gone.headers
        assert (await s3.delete(f"key?versionId={first}")).status == 204


async def test_a_suspended_bucket_has_null_versions(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", b"1")).headers["x-amz-version-id"]
        await s3.versioning("Suspended")
        assert (await s3.put("key", b"2")).headers["x-amz-version-id"] == "null"
        assert (await s3.put("key", b"3")).headers["x-amz-version-id"] == "null"
        assert (await s3.get("key?versionId=null")).body == b"3"
        assert (await s3.get(f"key?versionId={first}")).body == b"1"
        assert (await s3.delete("key")).headers["x-amz-version-id"] == "null"
        assert (await s3.delete("key?versionId=null")).headers["x-amz-delete-marker"] == "true"
        assert (await s3.get("key")).body == b"1"


async def test_a_delete_may_depend_on_what_is_there(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", DATA)).headers["etag"]
        made = (await s3.head("key")).headers["last-modified"]
        for headers in (
            {"if-match": '"abc"'},
            {"x-amz-if-match-size": "1"},
            {"x-amz-if-match-last-modified-time": "Thu, 01 Jan 2026 00:00:00 GMT"},
            {"if-match": etag, "x-amz-if-match-size": "1"},
        ):
            kept = await s3.delete("key", headers)
            assert (kept.status, kept.code) == (412, "PreconditionFailed")
        right = {
            "if-match": etag,
            "x-amz-if-match-size": str(len(DATA)),
            "x-amz-if-match-last-modified-time": made,
        }
        assert (await s3.delete("key", right)).status == 204
        assert (await s3.get("key")).code == "NoSuchKey"


async def test_a_size_is_a_condition_on_what_is_there_only_and_if_match_is_not(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        assert (await s3.delete("key", {"x-amz-if-match-size": "1"})).status == 204
        assert (await s3.delete("key", {"if-match": "*"})).status == 412


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-if-match-size": "-1"},
        {"x-amz-if-match-size": "9" * 30},
        {"x-amz-if-match-size": ""},
        {"x-amz-if-match-last-modified-time": "yesterday"},
        {"if-match": ""},
        {"if-match": '"a" "b"'},
    ],
)
async def test_a_condition_that_is_none_is_an_invalid_argument(tmp_path: Path, headers: dict[str, str]) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        assert (await s3.delete("key", headers)).code == "InvalidArgument"
        assert (await s3.get("key")).status == 200


# ---- who may


async def test_a_bucket_of_another_is_nobodys_to_write(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        assert (await s3.call("PUT", "/alice", by=ALICE)).status == 200
        assert (await s3.call("PUT", "/alice/key", DATA, by=ALICE)).status == 200
        for method in ("PUT", "GET", "DELETE"):
            assert (await s3.call(method, "/alice/key", by=BOB)).code == "AccessDenied"
        assert (await s3.call("PUT", "/missing/key", DATA, by=BOB)).code == "NoSuchBucket"
        assert (await s3.call("GET", "/alice/key")).body == DATA  # root may


async def test_what_is_not_there_yet_is_refused_in_words(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for header in ("x-amz-server-side-encryption", "x-amz-object-lock-mode", "x-amz-write-offset-bytes"):
            answer = await s3.call("PUT", "/bucket/key", DATA, {header: "x"})
            assert (answer.status, answer.code) == (501, "NotImplemented")


async def checksum_of(s3: Storing, target: str) -> str:
    """What is shown of a checksum."""
    headers = (await s3.head(target, {"x-amz-checksum-mode": "ENABLED"})).headers
    return next(value for name, value in headers.items() if name.startswith("x-amz-checksum-") and name[-4:] != "type")


async def test_every_key_has_the_checksum_of_its_own_bytes(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        for key, data in (("a", DATA), ("b", BIG)):
            await s3.put(key, data, {"x-amz-checksum-sha256": sha256(data)})
            assert await checksum_of(s3, key) == b64(hashlib.sha256(data).digest())
