"""DeleteObjects: many keys and versions, each with an outcome of its own."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
import trio.testing

from api.access.decisions import Principal
from api.s3 import xml
from metaraft.commands import (
    Command,
    DeleteObject,
)
from metaraft.queries import Query
from tests.api.s3.speaking import ALICE, BOB, ROOT, Answer
from tests.api.s3.storing import Storing, crc32, md5, storing


def entry(key: str, **more: str) -> str:
    inner = "".join(xml.element(name, value) for name, value in more.items())
    return f"<Object>{xml.element('Key', key)}{inner}</Object>"


def document(entries: Iterable[str], *, quiet: str = "") -> str:
    said = f"<Quiet>{quiet}</Quiet>" if quiet else ""
    return f'<Delete xmlns="{xml.NAMESPACE}">{said}{"".join(entries)}</Delete>'


async def delete(s3: Storing, body: str, bucket: str = "bucket", by: Principal = ROOT) -> Answer:
    return await s3.call("POST", f"/{bucket}?delete", body, {"content-md5": md5(body.encode())}, by=by)


async def test_each_key_is_told_and_missing_ones_are_no_error(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for key in ("a", "b", "kept"):
            await s3.put(key, key)
        for _ in range(2):
            found = await delete(s3, document([entry("a"), entry("b"), entry("missing")]))
            assert found.status == 200
            assert found.tree.name == "DeleteResult"
            assert found.texts("Deleted") == ["a", "b", "missing"]
            assert found.texts("Error") == []
        assert (await s3.get("a")).status == 404
        assert (await s3.get("kept")).status == 200


async def test_quiet_tells_only_errors(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("a", "a")
        found = await delete(s3, document([entry("a"), entry("b", VersionId="nonsense")], quiet="true"))
        assert found.texts("Deleted") == []
        assert found.texts("Error", "Code") == ["InvalidArgument"]
        assert found.texts("Error", "VersionId") == ["nonsense"]


async def test_versions_and_markers_are_told(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", "1")).headers["x-amz-version-id"]
        made = (await delete(s3, document([entry("key")]))).tree.find("Deleted")
        assert made is not None
        marker = made.value("DeleteMarkerVersionId") or ""
        assert (made.value("DeleteMarker"), made.value("VersionId")) == ("true", None)
        found = await delete(s3, document([entry("key", VersionId=marker), entry("key", VersionId=first)]))
        gone, version = found.tree.all("Deleted")
        assert (gone.value("VersionId"), gone.value("DeleteMarker")) == (marker, "true")
        assert gone.value("DeleteMarkerVersionId") == marker
        assert (version.value("VersionId"), version.value("DeleteMarker")) == (first, None)
        assert (await s3.get(f"key?versionId={first}")).code in ("NoSuchVersion", "NoSuchKey")


async def test_an_entry_that_is_there_twice_is_done_once(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        await s3.put("key", "1")
        found = await delete(s3, document([entry("key"), entry("other"), entry("key")]))
        assert found.texts("Deleted") == ["key", "other", "key"]
        markers = found.texts("Deleted", "DeleteMarkerVersionId")
        assert (markers[0], len(set(markers))) == (markers[2], 2)


async def test_entries_of_one_key_are_done_in_their_order(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.versioning()
        first = (await s3.put("key", "1")).headers["x-amz-version-id"]
        second = (await s3.put("key", "2")).headers["x-amz-version-id"]
        done: list[Command | Query] = []

        async def note(command: Command | Query) -> None:
            done.append(command)
            await trio.testing.wait_all_tasks_blocked()

        s3.do.meta.before = note
        await delete(s3, document([entry("key", VersionId=second), entry("key"), entry("key", VersionId=first)]))
        revisions = [command.which and command.which.revision for command in done if isinstance(command, DeleteObject)]
        assert revisions == [int(second, 16), None, int(first, 16)]


async def test_each_entry_may_have_conditions(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        etag = (await s3.put("a", "a")).headers["etag"]
        for key in ("b", "c", "d"):
            await s3.put(key, key)
        made = (await s3.head("a")).headers["last-modified"]
        body = document(
            [
                entry("a", ETag=etag, Size="1", LastModifiedTime=made),
                entry("b", ETag='"other"'),
                entry("c", Size="2"),
                entry("d", LastModifiedTime="2001-01-01T00:00:00Z"),
                entry("missing", Size="2"),
                entry("nowhere", ETag="*"),
                entry("e", Size="-1"),
                entry("f", LastModifiedTime="soon"),
            ]
        )
        found = await delete(s3, body)
        assert found.texts("Deleted") == ["a", "missing"]
        assert list(zip(found.texts("Error"), found.texts("Error", "Code"), strict=True)) == [
            ("b", "PreconditionFailed"),
            ("c", "PreconditionFailed"),
            ("d", "PreconditionFailed"),
            ("nowhere", "PreconditionFailed"),
            ("e", "InvalidArgument"),
            ("f", "InvalidArgument"),
        ]


async def test_a_time_is_understood_as_xml_and_as_http_write_it(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        for key in ("a", "b"):
            await s3.put(key, key)
        iso, http = "2023-11-14T22:13:20.000Z", (await s3.head("a")).headers["last-modified"]
        found = await delete(s3, document([entry("a", LastModifiedTime=iso), entry("b", LastModifiedTime=http)]))
        assert found.texts("Deleted") == ["a", "b"]


async def test_a_thousand_keys_are_deleted_at_once_and_few_at_a_time(tmp_path: Path) -> None:
    keys = [f"key-{number}&<" for number in range(1000)]
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("key-7%26%3C", "x")
        under_way = most = 0

        async def count(_command: Command | Query) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await trio.lowlevel.checkpoint()
            under_way -= 1

        s3.do.meta.before = count
        found = await delete(s3, document(map(entry, keys)))
        assert found.texts("Deleted") == keys
        assert 1 < most <= 16
        assert (await s3.get("key-7%26%3C")).status == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MissingRequestBodyError"),
        ("<Delete>", "MalformedXML"),
        ("<Delete/>", "MalformedXML"),
        ("<Remove><Object><Key>a</Key></Object></Remove>", "MalformedXML"),
        ("<Delete><Object/></Delete>", "MalformedXML"),
        ("<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>", "MalformedXML"),
        (document([entry("a")], quiet="perhaps"), "MalformedXML"),
        (document(entry(str(number)) for number in range(1001)), "MalformedXML"),
        ("<!DOCTYPE d [<!ENTITY a 'aaaaaaaa'>]><Delete><Object><Key>&a;</Key></Object></Delete>", "MalformedXML"),
        ("<Delete>" + "<x>" * 100_000, "MalformedXML"),
        ("<Delete><Object><Key>\ufffe</Key></Object></Delete>", "MalformedXML"),
    ],
)
async def test_what_is_no_list_of_keys_deletes_nothing(tmp_path: Path, body: str, code: str) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("a", "a")
        assert (await delete(s3, body)).code == code
        assert (await s3.get("a")).status == 200


async def test_keys_that_no_object_has_are_refused_each_by_itself(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("a", "a")
        found = await delete(s3, document([entry(""), entry("x" * 1025), entry("a")]))
        assert found.texts("Error", "Code") == ["UserKeyMustBeSpecified", "KeyTooLongError"]
        assert found.texts("Deleted") == ["a"]


async def test_the_body_must_come_with_a_digest_that_is_right(tmp_path: Path) -> None:
    body = document([entry("a")])
    async with storing(tmp_path, disks=False) as s3:
        await s3.put("a", "a")
        bare = await s3.call("POST", "/bucket?delete", body)
        assert (bare.status, bare.code) == (400, "InvalidRequest")
        assert bare.tree.value("Message") == "Missing required header for this request: Content-MD5"
        for headers, code in (
            ({"content-md5": md5(b"other")}, "BadDigest"),
            ({"content-md5": "x"}, "InvalidDigest"),
            ({"x-amz-checksum-crc32": crc32(b"other")}, "BadDigest"),
            ({"x-amz-checksum-crc32": "x"}, "InvalidRequest"),
        ):
            assert (await s3.call("POST", "/bucket?delete", body, headers)).code == code
        assert (await s3.get("a")).status == 200
        right = await s3.call("POST", "/bucket?delete", body, {"x-amz-checksum-crc32": crc32(body.encode())})
        assert right.texts("Deleted") == ["a"]


async def test_a_body_over_the_bound_is_refused_unread(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        answer = await s3.call("POST", "/bucket?delete", "", {"content-md5": md5(b"")}, length=8 * 2**20 + 1)
        assert answer.code == "MaxMessageLengthExceeded"


async def test_who_may_not_deletes_nothing(tmp_path: Path) -> None:
    async with storing(tmp_path, disks=False) as s3:
        await s3.call("PUT", "/alice", by=ALICE)
        await s3.call("PUT", "/alice/key", "x", by=ALICE)
        assert (await delete(s3, document([entry("key")]), "alice", BOB)).code == "AccessDenied"
        assert (await s3.call("GET", "/alice/key", by=ALICE)).status == 200
        assert (await delete(s3, document([entry("key")]), "alice", ALICE)).texts("Deleted") == ["key"]
        missing = await delete(s3, document([entry("key")]), "missing")
        assert (missing.status, missing.code) == (404, "NoSuchBucket")
