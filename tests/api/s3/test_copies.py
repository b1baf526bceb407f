"""CopyObject: what is copied, what is replaced, what is refused."""

from pathlib import Path

import pytest

from cluster.limits import Limits
from metaraft.commands import (
    Command,
    CopyObject,
)
from metaraft.queries import Query
from tests.api.operating import LIMITS
from tests.api.s3.speaking import ALICE, BOB, Answer
from tests.api.s3.storing import Storing, crc32, sha256, storing

DATA = b"content of an object"
BIG = bytes(range(256)) * 100
LONG_AGO, FAR_OFF = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


async def copy(s3: Storing, source: str, target: str = "copy", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await s3.call("PUT", f"/bucket/{target}", headers={"x-amz-copy-source": source, **named})


async def test_a_copy_has_the_bytes_and_all_else_of_its_source_and_moves_no_byte(tmp_path: Path) -> None:
    described = {"content-type": "text/plain", "x-amz-meta-a": "1", "x-amz-tagging": "t=1", "cache-control": "no-store"}
    async with storing(tmp_path) as s3:
        for key, data in (("small", DATA), ("big", BIG)):
            source = await s3.put(key, data, {**described, "x-amz-checksum-crc32": crc32(data)})
            before = s3.do.chunks_on_disks()
            made = await copy(s3, f"bucket/{key}")
            assert made.status == 200
            assert made.tree.name == "CopyObjectResult"
            assert made.tree.value("ETag") == source.headers["etag"]
            assert made.tree.value("LastModified") == "2023-11-14T22:13:20.000Z"
            assert made.tree.value("ChecksumCRC32") == crc32(data)
            assert s3.do.chunks_on_disks() == before
            found = await s3.get("copy", {"x-amz-checksum-mode": "ENABLED"})
            assert found.body == data
            assert found.headers["x-amz-checksum-crc32"] == crc32(data)
            for name in ("content-type", "x-amz-meta-a", "cache-control"):
                assert found.headers[name] == described[name]
            assert found.headers["x-amz-tagging-count"] == "1"


async def test_metadata_and_tags_are_replaced_where_a_directive_says_so(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA, {"content-type": "text/plain", "x-amz-meta-a": "1", "x-amz-tagging": "t=1"})
        await copy(s3, "bucket/key", x_amz_meta_b="2", x_amz_tagging="u=1", content_type="text/html")
        kept = (await s3.head("copy")).headers
        assert (kept["content-type"], kept["x-amz-meta-a"]) == ("text/plain", "1")
        assert "x-amz-meta-b" not in kept
        assert b"<Key>t</Key>" in (await s3.get("copy?tagging")).body
        await copy(s3, "bucket/key", x_amz_meta_b="2", x_amz_metadata_directive="REPLACE")
        replaced = (await s3.head("copy")).headers
        assert (replaced["content-type"], replaced["x-amz-meta-b"]) == ("binary/octet-stream", "2")
        assert "x-amz-meta-a" not in replaced
        assert b"<Key>t</Key>" in (await s3.get("copy?tagging")).body
        await copy(s3, "bucket/key", x_amz_tagging="u=1", x_amz_tagging_directive="REPLACE")
        assert b"<Key>u</Key>" in (await s3.get("copy?tagging")).body
        await copy(s3, "bucket/key", x_amz_tagging_directive="REPLACE")
        assert b"<Key>" not in (await s3.get("copy?tagging")).body


async def test_the_redirect_location_is_the_requests_own(tmp_path: Path) -> None:
    redirect = "x-amz-website-redirect-location"
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA, {redirect: "/old", "cache-control": "no-store", "x-amz-meta-a": "1"})
        assert (await s3.head("key")).headers[redirect] == "/old"
        await copy(s3, "bucket/key")
        headers = (await s3.head("copy")).headers
        assert redirect not in headers
        assert (headers["cache-control"], headers["x-amz-meta-a"]) == ("no-store", "1")
        await copy(s3, "bucket/key", x_amz_website_redirect_location="/new")
        headers = (await s3.head("copy")).headers
        assert (headers[redirect], headers["cache-control"]) == ("/new", "no-store")


async def test_a_copy_onto_itself_must_change_something(tmp_path: Path) -> None:
    async with storing(tmp_path) as s3:
        await s3.put("key", BIG, {"x-amz-meta-a": "1"})
        same = await copy(s3, "/bucket/key", "key")
        assert (same.status, same.code) == (400, "InvalidRequest")
        assert (same.tree.value("Message") or "").startswith(
            "This copy request is illegal because it is trying to copy"
        )
        for change in (
            {"x_amz_metadata_directive": "REPLACE", "x_amz_meta_a": "2"},
            {"x_amz_storage_class": "STANDARD"},
            {"x_amz_website_redirect_location": "/x"},
            {"x_amz_checksum_algorithm": "SHA256"},
            {"x_amz_tagging_directive": "REPLACE"},
        ):
            assert (await copy(s3, "bucket/key", "key", **change)).status == 200
        found = await s3.get("key")
        assert (found.body, found.headers["x-amz-meta-a"]) == (BIG, "2")


async def test_versions_are_copied_by_their_id_also_onto_their_own_key(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        ids = [(await s3.put("key", data)).headers["x-amz-version-id"] for data in (b"1", b"2")]
        made = await copy(s3, f"bucket/key?versionId={ids[0]}")
        assert made.headers["x-amz-copy-source-version-id"] == ids[0]
        assert made.headers["x-amz-version-id"] not in ids
        assert (await s3.get("copy")).body == b"1"
        back = await copy(s3, f"bucket/key?versionId={ids[0]}", "key")
        assert back.status == 200
        assert (await s3.get("key")).body == b"1"
        assert (await s3.get(f"key?versionId={ids[1]}")).body == b"2"
        now = await copy(s3, "bucket/key", "other")
        assert now.headers["x-amz-copy-source-version-id"] == back.headers["x-amz-version-id"]


async def test_a_delete_marker_cannot_be_copied(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        await s3.put("key", DATA)
        marker = (await s3.delete("key")).headers["x-amz-version-id"]
        assert (await copy(s3, "bucket/key")).code == "NoSuchKey"
        assert (await copy(s3, f"bucket/key?versionId={marker}")).code == "InvalidRequest"
        assert (await copy(s3, "bucket/key?versionId=00000000000000ff")).code == "NoSuchVersion"


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if-match": "ETAG"}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": "ETAG"}, 412),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": LONG_AGO}, 200),
        ({"if-modified-since": FAR_OFF}, 412),
        ({"if-unmodified-since": LONG_AGO}, 412),
        ({"if-unmodified-since": FAR_OFF}, 200),
        ({"if-match": "ETAG", "if-unmodified-since": LONG_AGO}, 200),
        ({"if-none-match": "ETAG", "if-modified-since": LONG_AGO}, 412),
    ],
)
async def test_conditions_on_the_source(tmp_path: Path, conditions: dict[str, str], status: int) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", DATA)).headers["etag"]
        named = {
            "x_amz_copy_source_" + name.replace("-", "_"): value.replace("ETAG", etag)
            for name, value in conditions.items()
        }
        made = await copy(s3, "bucket/key", **named)
        assert (made.status, made.code) == (status, "PreconditionFailed" if status == 412 else "")
        assert (await s3.get("copy")).status == (200 if status == 200 else 404)


async def test_conditions_on_the_target(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", DATA)).headers["etag"]
        assert (await copy(s3, "bucket/key", if_match=etag)).code == "NoSuchKey"
        assert (await copy(s3, "bucket/key", if_none_match="*")).status == 200
        assert (await copy(s3, "bucket/key", if_none_match="*")).code == "PreconditionFailed"
        assert (await copy(s3, "bucket/key", if_match='"other"')).code == "PreconditionFailed"
        assert (await copy(s3, "bucket/key", if_match=etag)).status == 200


async def test_another_checksum_is_computed_of_the_sources_bytes(tmp_path: Path) -> None:
    part = bytes(1000)
    async with storing(tmp_path) as s3:
        await s3.upload("key", part, BIG)
        made = await copy(s3, "bucket/key", x_amz_checksum_algorithm="sha256")
        assert made.tree.value("ChecksumSHA256") == sha256(part + BIG)
        assert made.tree.value("ChecksumType") == "FULL_OBJECT"
        shown = await s3.head("copy", {"x-amz-checksum-mode": "ENABLED"})
        assert shown.headers["x-amz-checksum-sha256"] == sha256(part + BIG)
        assert (await s3.get("copy")).body == part + BIG


async def test_the_source_is_asked_for_by_who_copies(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for user, bucket in ((ALICE, "alice"), (BOB, "bobs")):
            assert (await s3.call("PUT", f"/{bucket}", by=user)).status == 200
            assert (await s3.call("PUT", f"/{bucket}/key", DATA, by=user)).status == 200
        for source in ("bobs/key", "bobs/key?versionId=null", "bobs/missing"):
            denied = await s3.call("PUT", "/alice/copy", headers={"x-amz-copy-source": source}, by=ALICE)
            assert (denied.status, denied.code) == (403, "AccessDenied")
        own = await s3.call("PUT", "/alice/copy", headers={"x-amz-copy-source": "alice/key"}, by=ALICE)
        assert own.status == 200


async def test_the_sources_owner_may_be_expected(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.call("PUT", "/alice", by=ALICE)
        await s3.call("PUT", "/alice/key", DATA, by=ALICE)
        assert (await copy(s3, "alice/key", x_amz_source_expected_bucket_owner=ALICE.name)).status == 200
        other = await copy(s3, "alice/key", x_amz_source_expected_bucket_owner=BOB.name)
        assert other.code == "AccessDenied"


async def test_more_than_one_request_may_copy_is_refused(tmp_path: Path) -> None:
    limits = Limits(disk_reserve_bytes=0, put_bytes_max=1500, part_bytes_min=LIMITS.part_bytes_min)
    async with storing(tmp_path, limits=limits) as s3:
        await s3.upload("key", bytes(1000), bytes(501))
        large = await copy(s3, "bucket/key")
        assert (large.status, large.code) == (400, "InvalidRequest")
        await s3.upload("key", bytes(1000), bytes(500))
        assert (await copy(s3, "bucket/key")).status == 200


async def test_a_repeated_copy_finds_its_result_though_the_source_is_gone(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        await s3.put("key", DATA)
        first = await copy(s3, "bucket/key", amz_sdk_invocation_id="a1")
        await s3.delete("key")
        again = await copy(s3, "bucket/key", amz_sdk_invocation_id="a1")
        assert again.headers["x-amz-version-id"] == first.headers["x-amz-version-id"]


async def test_a_source_that_changes_meanwhile_is_copied_whole(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"1", {"x-amz-meta-a": "1", "x-amz-website-redirect-location": "/1"})
        changed = False

        async def change(command: Command | Query) -> None:
            nonlocal changed
            if isinstance(command, CopyObject) and not changed:
                changed = True
                await s3.put("key", b"2", {"x-amz-meta-a": "2", "x-amz-website-redirect-location": "/2"})

        s3.do.meta.before = change
        assert (await copy(s3, "bucket/key")).status == 200
        found = await s3.get("copy")
        assert (found.body, found.headers["x-amz-meta-a"]) == (b"2", "2")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x_amz_metadata_directive": "MERGE"}, "InvalidArgument"),
        ({"x_amz_metadata_directive": ""}, "InvalidArgument"),
        ({"x_amz_tagging_directive": "x" * 8192}, "InvalidArgument"),
        ({"x_amz_checksum_algorithm": "MD5"}, "InvalidRequest"),
        ({"x_amz_copy_source_if_match": ""}, "InvalidArgument"),
        ({"x_amz_tagging_directive": "REPLACE", "x_amz_tagging": "a=1&a=2"}, "InvalidArgument"),
        ({"x_amz_metadata_directive": "REPLACE", "x_amz_meta_a": "x" * 3000}, "MetadataTooLarge"),
        ({"x_amz_copy_source_server_side_encryption_customer_algorithm": "AES256"}, "NotImplemented"),
    ],
)
async def test_what_says_nothing_that_can_be_done_is_refused(
    tmp_path: Path, headers: dict[str, str], code: str
) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", DATA)
        assert (await copy(s3, "bucket/key", **headers)).code == code
        assert (await s3.get("copy")).code == "NoSuchKey"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "InvalidArgument"),
        ("bucket", "InvalidArgument"),
        ("bucket/missing", "NoSuchKey"),
        ("missing/key", "NoSuchBucket"),
        ("bucket/%00", "InvalidURI"),
        ("bucket/%ff", "InvalidURI"),
        ("../bucket/key", "NoSuchBucket"),
        ("bucket/" + "x" * 8192, "KeyTooLongError"),
    ],
)
async def test_a_source_that_is_none_is_refused(tmp_path: Path, source: str, code: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        assert (await copy(s3, source)).code == code
