"""Versions and delete markers in the native dialect, over a whole cluster."""

from email.utils import formatdate
from typing import Any

from tests.api.disks import random_bytes
from tests.api.test_native import refused
from tests.api.whole import Whole, whole

LARGE = random_bytes(100_000)
BOX = "/buckets/box"
A = f"{BOX}/objects/a"
NO_SUCH = "0" * 16


async def set_versioning(cluster: Whole, versioning: str) -> None:
    """Enable or suspend it."""
    answer = await cluster.call("PUT", f"{BOX}/versioning", f'{{"versioning": "{versioning}"}}'.encode())
    assert (answer.status, answer.json) == (200, {"versioning": versioning})


async def make_box(cluster: Whole) -> None:
    """A bucket that keeps versions."""
    assert (await cluster.call("PUT", BOX)).status == 201
    await set_versioning(cluster, "enabled")


async def versions(cluster: Whole, query: str = "") -> list[dict[str, Any]]:
    """What one page of the listing has."""
    found: list[dict[str, Any]] = (await cluster.get(f"{BOX}/versions{query}")).json["versions"]
    return found


async def test_versioning_is_off_until_enabled_and_then_never_off_again() -> None:
    async with whole() as cluster:
        await cluster.call("PUT", BOX)
        assert (await cluster.get(f"{BOX}/versioning")).json == {"versioning": "off"}
        for versioning in ("enabled", "suspended", "enabled"):
            await set_versioning(cluster, versioning)
            assert (await cluster.get(f"{BOX}/versioning")).json == {"versioning": versioning}
            assert (await cluster.get(BOX)).json["versioning"] == versioning
        for body in (None, b"", b"{}", b"[]", b'{"versioning": "off"}', b'{"versioning": "enabled", "mfa": "x"}'):
            refused(await cluster.call("PUT", f"{BOX}/versioning", body), 400, "MalformedJSON")
        for method, path in (("GET", "missing/versioning"), ("PUT", "missing/versioning"), ("GET", "missing/versions")):
            body = b'{"versioning": "enabled"}' if method == "PUT" else None
            refused(await cluster.call(method, f"/buckets/{path}", body), 404, "NoSuchBucket")
        refused(await cluster.call("PUT", f"{BOX}/versioning?x", b'{"versioning": "enabled"}'), 400, "InvalidArgument")
        refused(await cluster.call("DELETE", f"{BOX}/versioning"), 405, "MethodNotAllowed")


async def test_without_versioning_no_version_is_told_and_the_null_one_can_be_named() -> None:
    async with whole() as cluster:
        made = await cluster.put("/objects/a", b"1")
        assert made.json["version_id"] is None
        got = await cluster.get("/objects/a?version=null")
        assert (got.body, (await cluster.get("/objects/a?metadata")).json["version_id"]) == (b"1", None)
        gone = await cluster.call("DELETE", "/objects/a")
        for answer in (made, got, gone):
            assert not {"x-version-id", "x-delete-marker"} & set(answer.headers)
        refused(await cluster.get("/objects/a?version=null"), 404, "NoSuchVersion")


async def test_every_version_is_read_by_its_id() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        bodies = [b"1", LARGE, b"333"]
        ids = []
        for number, body in enumerate(bodies):
            made = await cluster.put(A, body, x_amz_meta_n=str(number))
            ids.append(made.json["version_id"])
            assert made.headers["x-version-id"] == ids[-1]
            assert made.status == (201 if number == 0 else 200)
        assert len(set(ids)) == 3
        for number, (version_id, body) in enumerate(zip(ids, bodies, strict=True)):
            named = f"{A}?version={version_id}"
            got = await cluster.get(named)
            assert (got.body, got.headers["x-version-id"]) == (body, version_id)
            assert got.headers["x-amz-meta-n"] == str(number)
            head = await cluster.call("HEAD", named)
            assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}
            known = (await cluster.get(named + "&metadata")).json
            assert (known["version_id"], known["etag"]) == (version_id, got.headers["etag"].strip('"'))
            part = await cluster.get(named, range="bytes=0-0")
            assert (part.status, part.body) == (206, body[:1])
            same = await cluster.get(named, if_none_match=got.headers["etag"])
            assert (same.status, same.headers["x-version-id"]) == (304, version_id)
            refused(await cluster.get(named, if_match='"other"'), 412, "PreconditionFailed")
        assert (await cluster.get(A)).headers["x-version-id"] == ids[-1]
        refused(await cluster.get(f"{A}?version={NO_SUCH}"), 404, "NoSuchVersion")
        for text in ("", "x", "NULL", ids[0].upper() + "0", "1"):
            refused(await cluster.get(f"{A}?version={text}"), 400, "InvalidArgument")
            refused(await cluster.call("DELETE", f"{A}?version={text}"), 400, "InvalidArgument")
        refused(await cluster.call("PUT", f"{A}?version={ids[0]}", b"x"), 400, "InvalidArgument")


async def test_a_delete_hides_the_versions_and_deleting_the_marker_brings_them_back() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        first = (await cluster.put(A, b"1")).json["version_id"]
        gone = await cluster.call("DELETE", A)
        marker = gone.headers["x-version-id"]
        assert (gone.status, gone.headers["x-delete-marker"]) == (204, "true")
        hidden = await cluster.get(A)
        refused(hidden, 404, "NoSuchKey")
        assert (hidden.headers["x-delete-marker"], hidden.headers["x-version-id"]) == ("true", marker)
        head = await cluster.call("HEAD", A)
        assert (head.status, head.headers["x-delete-marker"]) == (404, "true")
        named = await cluster.get(f"{A}?version={marker}")
        refused(named, 405, "MethodNotAllowed")
        assert (named.headers["allow"], named.headers["x-delete-marker"]) == ("DELETE", "true")
        assert (await cluster.get(f"{A}?version={first}")).body == b"1"
        assert (await cluster.get(f"{BOX}/objects")).json["objects"] == []
        back = await cluster.call("DELETE", f"{A}?version={marker}")
        assert (back.status, back.headers["x-delete-marker"], back.headers["x-version-id"]) == (204, "true", marker)
        assert (await cluster.get(A)).body == b"1"
        for _ in range(2):
            last = await cluster.call("DELETE", f"{A}?version={first}")
            assert (last.status, last.headers["x-version-id"]) == (204, first)
            assert "x-delete-marker" not in last.headers
        missing = await cluster.get(A)
        refused(missing, 404, "NoSuchKey")
        assert "x-delete-marker" not in missing.headers
        assert (await cluster.call("DELETE", BOX)).status == 204


async def test_a_delete_of_a_version_may_have_a_condition() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        made = await cluster.put(A, b"1")
        named = f"{A}?version={made.json['version_id']}"
        refused(await cluster.call("DELETE", named, headers={"if-match": '"other"'}), 412, "PreconditionFailed")
        assert (await cluster.call("DELETE", named, headers={"if-match": made.headers["etag"]})).status == 204


async def test_while_suspended_the_null_version_is_written_over_and_the_others_stay() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        kept = (await cluster.put(A, b"kept")).json["version_id"]
        await set_versioning(cluster, "suspended")
        for body in (b"2", b"3"):
            made = await cluster.put(A, body)
            assert made.json["version_id"] == made.headers["x-version-id"] == "null"
        assert [(each["version_id"], each["latest"]) for each in await versions(cluster)] == [
            ("null", True),
            (kept, False),
        ]
        gone = await cluster.call("DELETE", A)
        assert (gone.headers["x-version-id"], gone.headers["x-delete-marker"]) == ("null", "true")
        assert [each["delete_marker"] for each in await versions(cluster)] == [True, False]
        assert (await cluster.get(f"{A}?version={kept}")).body == b"kept"


async def test_versions_are_listed_the_newest_of_a_key_first_page_by_page() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        ids: dict[str, list[str]] = {}
        for key in ("b/1", "a", "b/2", "a", "c", "a"):
            made = await cluster.put(f"{BOX}/objects/{key}", key.encode())
            ids.setdefault(key, []).insert(0, made.json["version_id"])
        ids["c"].insert(0, (await cluster.call("DELETE", f"{BOX}/objects/c")).headers["x-version-id"])
        expected = [(key, version_id) for key in sorted(ids) for version_id in ids[key]]
        listed = await versions(cluster)
        assert [(each["key"], each["version_id"]) for each in listed] == expected
        assert [each["latest"] for each in listed] == [each["version_id"] == ids[each["key"]][0] for each in listed]
        assert [each["key"] for each in listed if each["delete_marker"]] == ["c"]
        fields = {"key", "version_id", "latest", "delete_marker", "size", "etag", "sha256", "created", "revision"}
        assert set(listed[0]) == fields
        marker = next(each for each in listed if each["delete_marker"])
        assert (marker["etag"], marker["size"], marker["sha256"]) == (None, 0, None)
        seen: list[dict[str, Any]] = []
        more = "?limit=1"
        while True:
            page = (await cluster.get(f"{BOX}/versions{more}")).json
            seen += page["versions"]
            if page["cursor"] is None:
                break
            more = "?limit=1&cursor=" + page["cursor"]
        assert seen == listed
        assert [each["key"] for each in await versions(cluster, "?prefix=b/")] == ["b/1", "b/2"]
        grouped = (await cluster.get(f"{BOX}/versions?delimiter=/&limit=4")).json
        assert ([each["key"] for each in grouped["versions"]], grouped["prefixes"]) == (["a"] * 3, ["b/"])
        rest = (await cluster.get(f"{BOX}/versions?delimiter=/&cursor={grouped['cursor']}")).json
        assert ([each["key"] for each in rest["versions"]], rest["prefixes"]) == (["c", "c"], [])
        for query, code in [
            (f"prefix=a&cursor={grouped['cursor']}", "InvalidCursor"),
            ("after=a", "InvalidArgument"),
            ("limit=0", "InvalidArgument"),
            ("limit=1001", "InvalidArgument"),
            ("prefix=%00", "InvalidArgument"),
            ("prefix=" + "k" * 1025, "InvalidArgument"),
        ]:
            refused(await cluster.get(f"{BOX}/versions?{query}"), 400, code)
        objects_cursor = (await cluster.get(f"{BOX}/objects?limit=1")).json["cursor"]
        refused(await cluster.get(f"{BOX}/versions?cursor={objects_cursor}"), 400, "InvalidCursor")


async def test_an_old_version_can_be_copied_to_be_the_current_one() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        first = (await cluster.put(A, LARGE)).json["version_id"]
        await cluster.put(A, b"2")
        old = {"x_copy_source": "box/a", "x_copy_source_version": first}
        copied = await cluster.put(A, b"", **old)
        assert copied.json["version_id"] not in (None, first)
        assert (await cluster.get(A)).body == LARGE
        assert len(await versions(cluster)) == 3
        begun = (await cluster.call("POST", f"{BOX}/uploads?key=b")).json["upload_id"]
        part = await cluster.put(f"{BOX}/uploads/{begun}/parts/1?key=b", b"", **old)
        assert part.json["size"] == len(LARGE)
        headers = {name.replace("_", "-"): value for name, value in old.items()}
        for version, status, code in ((NO_SUCH, 404, "NoSuchVersion"), ("x", 400, "InvalidArgument")):
            wrong = headers | {"x-copy-source-version": version}
            refused(await cluster.call("PUT", A, b"", wrong), status, code)


async def test_an_upload_makes_a_version() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        first = (await cluster.put(A, b"1")).json["version_id"]
        begun = (await cluster.call("POST", f"{BOX}/uploads?key=a")).json["upload_id"]
        await cluster.put(f"{BOX}/uploads/{begun}/parts/1?key=a", LARGE)
        made = await cluster.call("POST", f"{BOX}/uploads/{begun}?key=a")
        assert made.status == 200
        assert made.json["version_id"] == made.headers["x-version-id"]
        assert [each["version_id"] for each in await versions(cluster)] == [made.json["version_id"], first]
        assert (await cluster.get(A)).body == LARGE
        assert (await cluster.get(f"{A}?version={first}")).body == b"1"


async def test_dates_of_a_condition_are_of_the_version_that_is_named() -> None:
    async with whole() as cluster:
        await make_box(cluster)
        made = await cluster.put(A, b"1")
        named = f"{A}?version={made.json['version_id']}"
        assert (await cluster.get(named, if_modified_since=formatdate(usegmt=True))).status == 304
        refused(await cluster.get(named, if_unmodified_since=formatdate(0, usegmt=True)), 412, "PreconditionFailed")
