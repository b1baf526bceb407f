"""Tags of objects and their access control list, with versions."""

from pathlib import Path

import pytest

from tests.api.s3.speaking import ALICE
from tests.api.s3.storing import md5, storing

TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


async def test_tags_are_replaced_and_removed(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("key", b"x", {"x-amz-tagging": "old=1"})).headers["etag"]
        put = await s3.call("PUT", "/bucket/key?tagging", TAGS)
        assert (put.status, put.body) == (200, b"")
        got = await s3.get("key?tagging")
        assert got.headers["content-type"] == "application/xml"
        assert got.body.endswith(b"<TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")
        assert (await s3.head("key")).headers["x-amz-tagging-count"] == "1"
        assert (await s3.head("key")).headers["etag"] == etag
        assert (await s3.delete("key?tagging")).status == 204
        assert (await s3.get("key?tagging")).body.endswith(b"<TagSet></TagSet></Tagging>")


async def test_each_version_has_tags_of_its_own(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", b"1")).headers["x-amz-version-id"]
        second = (await s3.put("key", b"2")).headers["x-amz-version-id"]
        put = await s3.call("PUT", f"/bucket/key?tagging&versionId={first}", TAGS)
        assert put.headers["x-amz-version-id"] == first
        assert b"<Key>a</Key>" in (await s3.get(f"key?tagging&versionId={first}")).body
        now = await s3.get("key?tagging")
        assert (now.headers["x-amz-version-id"], b"<Key>" in now.body) == (second, False)
        gone = await s3.delete(f"key?tagging&versionId={first}")
        assert gone.headers["x-amz-version-id"] == first
        assert b"<Key>" not in (await s3.get(f"key?tagging&versionId={first}")).body


async def test_a_delete_marker_has_no_tags(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        await s3.put("key", b"1")
        marker = (await s3.delete("key")).headers["x-amz-version-id"]
        for method, body in (("GET", ""), ("PUT", TAGS), ("DELETE", "")):
            named = await s3.call(method, f"/bucket/key?tagging&versionId={marker}", body)
            assert (named.status, named.code) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MissingRequestBodyError"),
        ("<Tagging>", "MalformedXML"),
        ("<Tags/>", "MalformedXML"),
        (TAGS.replace("<Key>a</Key>", "<Key></Key>"), "InvalidTag"),
        (TAGS.replace("<Key>a</Key>", f"<Key>{'a' * 129}</Key>"), "InvalidTag"),
        ("<Tagging><TagSet>" + "".join(f"<Tag><Key>{n}</Key><Value/></Tag>" for n in range(11)) + "</TagSet></Tagging>",
         "InvalidTag"),
        ("<!DOCTYPE x [<!ENTITY e 'x'>]><Tagging/>", "MalformedXML"),
        ("x" * 70_000, "MaxMessageLengthExceeded"),
    ],
)  # fmt: skip
async def test_tags_that_are_none_are_refused_and_change_nothing(tmp_path: Path, body: str, code: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"x", {"x-amz-tagging": "old=1"})
        assert (await s3.call("PUT", "/bucket/key?tagging", body)).code == code
        assert b"<Key>old</Key>" in (await s3.get("key?tagging")).body


async def test_a_document_must_be_what_its_digest_says(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key", b"x")
        wrong = await s3.call("PUT", "/bucket/key?tagging", TAGS, {"content-md5": md5(b"other")})
        assert wrong.code == "BadDigest"
        right = await s3.call("PUT", "/bucket/key?tagging", TAGS, {"content-md5": md5(TAGS.encode())})
        assert right.status == 200


# ---- access control lists


def policy(owner: str, permission: str = "FULL_CONTROL") -> str:
    return (
        f"<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList><Grant>"
        f'<Grantee xmlns:xsi="{XSI}" xsi:type="CanonicalUser"><ID>{owner}</ID></Grantee>'
        f"<Permission>{permission}</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )


async def test_the_owner_of_the_bucket_has_full_control_of_its_objects(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.call("PUT", "/alice", by=ALICE)
        await s3.call("PUT", "/alice/key", b"x")  # root's own write
        found = await s3.call("GET", "/alice/key?acl", by=ALICE)
        assert found.status == 200
        assert found.body.count(ALICE.name.encode()) == 2
        assert b"<Permission>FULL_CONTROL</Permission>" in found.body


async def test_the_list_that_there_is_can_be_written_and_no_other(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.call("PUT", "/alice", by=ALICE)
        await s3.call("PUT", "/alice/key", b"x", by=ALICE)

        async def put(body: str, headers: dict[str, str] | None = None) -> str:
            answer = await s3.call("PUT", "/alice/key?acl", body, headers, by=ALICE)
            return answer.code or str(answer.status)

        assert await put(policy(ALICE.name)) == "200"
        assert await put("", {"x-amz-acl": "private"}) == "200"
        assert await put("", {"x-amz-acl": "public-read"}) == "AccessControlListNotSupported"
        assert await put("", {"x-amz-grant-read": "id=x"}) == "AccessControlListNotSupported"
        assert await put(policy(ALICE.name, "READ")) == "AccessControlListNotSupported"
        assert await put("<AccessControlPolicy/>") == "MalformedACLError"
        assert await put("") == "MissingSecurityHeader"


async def test_an_object_that_is_not_there_has_neither(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for method, what, body in (("GET", "acl", ""), ("PUT", "acl", policy("x")), ("GET", "tagging", ""),
                                   ("PUT", "tagging", TAGS), ("DELETE", "tagging", "")):  # fmt: skip
            assert (await s3.call(method, f"/bucket/key?{what}", body)).code == "NoSuchKey"
            assert (await s3.call(method, f"/bucket/key?{what}&versionId=x", body)).code == "InvalidArgument"
