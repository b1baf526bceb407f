"""The native dialect over a whole cluster: what a client may do, and what it is told when it may not."""

import base64
import hashlib
import os
import random
from email.utils import formatdate

from blake3 import blake3

from api.names import RESERVED_BUCKETS
from cluster.limits import Limits
from tests.api.whole import BASIC, KEY, SECRET, Answer, whole

SMALL = b"hello"
LARGE = random.Random(1).randbytes(200_000)


def refused(answer: Answer, status: int, code: str) -> dict[str, object]:
    """The error's JSON, after what every error must have."""
    assert answer.status == status, (answer.status, answer.body)
    error: dict[str, object] = answer.json
    assert error["code"] == code == answer.headers["x-error-code"]
    assert len(str(error["message"])) > 10
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


async def test_an_object_comes_back_as_it_was_with_all_that_is_known_of_it() -> None:
    async with whole() as cluster:
        for body in (b"", SMALL, LARGE):
            made = await cluster.put("/objects/a", body, content_type="text/x", x_amz_meta_colour="blé", expires="0")
            facts = made.json
            assert facts["size"] == len(body)
            assert facts["etag"] == hashlib.md5(body).hexdigest()
            assert facts["sha256"] == hashlib.sha256(body).hexdigest()
            assert facts["blake3"] == blake3(body).hexdigest()
            assert made.status == (201 if body == b"" else 200)
            got = await cluster.get("/objects/a")
            assert (got.status, got.body) == (200, body)
            assert got.headers["content-length"] == str(len(body))
            assert got.headers["etag"] == f'"{facts["etag"]}"' == made.headers["etag"]
            assert got.headers["content-type"] == "text/x"
            assert got.headers["x-amz-meta-colour"] == "blé"
            assert got.headers["expires"] == "0"
            assert got.headers["accept-ranges"] == "bytes"
            head = await cluster.call("HEAD", "/objects/a")
            assert head.body == b""
            assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}
            known = (await cluster.get("/objects/a?metadata")).json
            assert known["metadata"] == {"colour": "blé"}
            assert known["headers"] == {"expires": "0"}
            assert {name: known[name] for name in facts} == facts


async def test_any_name_is_just_a_name() -> None:
    keys = ["a", "a/", "a//b", "../x", "./.", "/", "%", "a b", "😀", "%41", "a+b", "\\", "?x=1#y", "objects", "é", "\n"]
    async with whole() as cluster:
        from urllib.parse import quote

        for key in keys:
            await cluster.put("/objects/" + quote(key, safe=""), key.encode())
        for key in keys:
            assert (await cluster.get("/objects/" + quote(key, safe="/"))).body == key.encode()
        listed = (await cluster.get("/objects")).json["objects"]
        assert [entry["key"] for entry in listed] == sorted(keys, key=str.encode)
        await cluster.put("/objects/" + "k" * 1024, b"long")
        assert (await cluster.get("/objects/" + "k" * 1024)).body == b"long"


async def test_ranges_give_what_a_slice_gives() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/large", LARGE)
        await cluster.put("/objects/small", SMALL)
        size = len(LARGE)
        for header, start, stop in [
            ("bytes=0-0", 0, 1),
            ("bytes=65535-65536", 65535, 65537),
            ("bytes=-1000", size - 1000, size),
            ("bytes=150000-", 150_000, size),
            ("bytes=0-999999999", 0, size),
        ]:
            got = await cluster.get("/objects/large", range=header)
            assert (got.status, got.body) == (206, LARGE[start:stop])
            assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert got.headers["content-length"] == str(stop - start)
        assert (await cluster.get("/objects/small", range="bytes=1-2")).body == b"el"
        head = await cluster.call("HEAD", "/objects/small", headers={"range": "bytes=1-2"})
        assert (head.status, head.headers["content-length"], head.body) == (206, "2", b"")
        wrong = await cluster.get("/objects/small", range="bytes=9-")
        refused(wrong, 416, "InvalidRange")
        assert wrong.headers["content-range"] == "bytes */5"
        stale = await cluster.get("/objects/small", range="bytes=1-2", if_range='"other"')
        assert (stale.status, stale.body) == (200, SMALL)


async def test_conditions_of_reads() -> None:
    async with whole() as cluster:
        etag = (await cluster.put("/objects/a", SMALL, cache_control="max-age=1")).headers["etag"]
        same = await cluster.get("/objects/a", if_none_match=etag)
        assert (same.status, same.body) == (304, b"")
        assert same.headers["etag"] == etag
        assert same.headers["cache-control"] == "max-age=1"
        assert "content-length" not in same.headers
        assert (await cluster.get("/objects/a", if_match=etag)).status == 200
        refused(await cluster.get("/objects/a", if_match='"other"'), 412, "PreconditionFailed")
        assert (await cluster.get("/objects/a", if_modified_since=formatdate(usegmt=True))).status == 304
        refused(
            await cluster.get("/objects/a", if_unmodified_since=formatdate(0, usegmt=True)), 412, "PreconditionFailed"
        )
        refused(await cluster.get("/objects/a", if_match='"a'), 400, "InvalidHeader")


async def test_conditions_of_writes_are_decided_where_they_are_committed() -> None:
    async with whole() as cluster:
        refused(await cluster.call("PUT", "/objects/a", b"1", {"if-match": "*"}), 412, "PreconditionFailed")
        made = await cluster.call("PUT", "/objects/a", b"1", {"if-none-match": "*"})
        assert made.status == 201
        refused(await cluster.call("PUT", "/objects/a", b"2", {"if-none-match": "*"}), 412, "PreconditionFailed")
        etag = made.headers["etag"]
        assert (await cluster.call("PUT", "/objects/a", b"2", {"if-match": etag})).status == 200
        refused(await cluster.call("PUT", "/objects/a", b"3", {"if-match": etag}), 412, "PreconditionFailed")
        refused(await cluster.call("DELETE", "/objects/a", headers={"if-match": etag}), 412, "PreconditionFailed")
        assert (await cluster.get("/objects/a")).body == b"2"
        etag = (await cluster.get("/objects/a")).headers["etag"]
        assert (await cluster.call("DELETE", "/objects/a", headers={"if-match": etag})).status == 204


async def test_a_write_that_cannot_succeed_is_refused_before_its_body_is_read() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/a", b"1")

        def never() -> list[bytes]:
            return [b"x"] * 3

        for method, path, headers, status in [
            ("PUT", "/objects/a", {"if-none-match": "*"}, 412),
            ("PUT", "/buckets/missing/objects/a", {}, 404),
            ("PUT", "/objects/a", {"content-md5": "AAAA"}, 400),
        ]:
            answer = await cluster.call(method, path, never(), headers)
            assert answer.status == status


async def test_delete_takes_an_object_away_and_is_no_error_twice() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/a", SMALL)
        for _ in range(2):
            gone = await cluster.call("DELETE", "/objects/a")
            assert (gone.status, gone.body) == (204, b"")
            refused(await cluster.get("/objects/a"), 404, "NoSuchKey")
        assert (await cluster.call("HEAD", "/objects/a")).status == 404


async def test_checksums_are_verified_before_anything_is_visible() -> None:
    md5 = base64.b64encode(hashlib.md5(LARGE).digest()).decode()
    sha = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    good = [{"content-md5": md5}, {"digest": f"SHA-256={sha}"}, {"repr-digest": f"sha-256=:{sha}:"}]
    async with whole() as cluster:
        for body in (LARGE, SMALL):
            for headers in (
                {"content-md5": base64.b64encode(bytes(16)).decode()},
                {"digest": f"sha-256={other}"},
                {"repr-digest": f"sha-256=:{other}:"},
            ):
                refused(await cluster.call("PUT", "/objects/a", body, headers), 400, "BadDigest")
                refused(await cluster.get("/objects/a"), 404, "NoSuchKey")
        for headers in good:
            assert (await cluster.call("PUT", "/objects/a", LARGE, headers)).status in (200, 201)


async def test_a_chunked_body_without_a_length_is_stored_whole() -> None:
    async with whole() as cluster:
        pieces = [LARGE[start : start + 7_777] for start in range(0, len(LARGE), 7_777)]
        assert (await cluster.call("PUT", "/objects/a", pieces)).status == 201
        assert (await cluster.get("/objects/a")).body == LARGE
        assert (await cluster.call("PUT", "/objects/b", [b""])).json["size"] == 0


async def test_a_copy_references_the_bytes_and_keeps_or_replaces_the_metadata() -> None:
    async with whole() as cluster:
        made = await cluster.put("/objects/a%2Fb", LARGE, content_type="text/x", x_amz_meta_m="1")
        await cluster.call("PUT", "/buckets/other")
        kept = await cluster.put("/buckets/other/objects/c", x_copy_source="default/a%2Fb")
        assert {kept.json[name] == made.json[name] for name in ("etag", "sha256", "size", "blake3")} == {True}
        got = await cluster.get("/buckets/other/objects/c")
        assert (got.body, got.headers["content-type"], got.headers["x-amz-meta-m"]) == (LARGE, "text/x", "1")
        await cluster.put(
            "/objects/d",
            x_copy_source="/other/c",
            x_metadata_directive="REPLACE",
            content_type="text/y",
            x_amz_meta_n="2",
        )
        got = await cluster.get("/objects/d")
        assert (got.body, got.headers["content-type"], got.headers["x-amz-meta-n"]) == (LARGE, "text/y", "2")
        assert "x-amz-meta-m" not in got.headers
        await cluster.call("DELETE", "/objects/a%2Fb")
        assert (await cluster.get("/objects/d")).body == LARGE
        for headers, status, code in [
            ({"x-copy-source": "default/missing"}, 404, "NoSuchKey"),
            ({"x-copy-source": "missing/a"}, 404, "NoSuchBucket"),
            ({"x-copy-source": ""}, 400, "InvalidArgument"),
            ({"x-copy-source": "nokey"}, 400, "InvalidArgument"),
            ({"x-copy-source": "default/d", "x-copy-source-if-match": '"x"'}, 412, "PreconditionFailed"),
            ({"x-copy-source": "default/d", "if-none-match": "*"}, 412, "PreconditionFailed"),
            ({"x-copy-source": "default/d", "x-metadata-directive": "MOVE"}, 400, "InvalidArgument"),
        ]:
            refused(await cluster.call("PUT", "/objects/d", b"", headers), status, code)
        refused(await cluster.call("PUT", "/objects/e", SMALL, {"x-copy-source": "default/d"}), 400, "InvalidArgument")


async def test_buckets_are_made_found_listed_and_removed() -> None:
    async with whole() as cluster:
        assert (await cluster.call("PUT", "/buckets/one")).status == 201
        refused(await cluster.call("PUT", "/buckets/one"), 409, "BucketAlreadyExists")
        await cluster.put("/buckets/one/objects/k", SMALL)
        found = (await cluster.get("/buckets/one")).json
        assert (found["name"], found["objects"], found["bytes"], found["copies"]) == ("one", 1, 5, 3)
        assert (await cluster.call("HEAD", "/buckets/one")).status == 200
        assert (await cluster.call("HEAD", "/buckets/two")).status == 404
        names = [entry["name"] for entry in (await cluster.get("/buckets")).json["buckets"]]
        assert names == ["default", "one"]
        first = (await cluster.get("/buckets?limit=1")).json
        assert [entry["name"] for entry in first["buckets"]] == ["default"]
        rest = (await cluster.get("/buckets?limit=1&cursor=" + first["cursor"])).json
        assert [entry["name"] for entry in rest["buckets"]] == ["one"]
        assert rest["cursor"] is None
        refused(await cluster.call("DELETE", "/buckets/one"), 409, "BucketNotEmpty")
        await cluster.call("DELETE", "/buckets/one/objects/k")
        assert (await cluster.call("DELETE", "/buckets/one")).status == 204
        refused(await cluster.call("DELETE", "/buckets/one"), 404, "NoSuchBucket")
        refused(await cluster.get("/buckets/one/objects"), 404, "NoSuchBucket")
        refused(await cluster.call("PUT", "/buckets/one/objects/k", SMALL), 404, "NoSuchBucket")


async def test_a_bucket_made_anew_is_written_to_although_its_former_row_was_kept() -> None:
    async with whole() as cluster:
        await cluster.call("PUT", "/buckets/one")
        await cluster.put("/buckets/one/objects/k", SMALL)
        await cluster.call("DELETE", "/buckets/one/objects/k")
        row = cluster.apps.operations.buckets._cache["one"]
        await cluster.call("DELETE", "/buckets/one")
        await cluster.call("PUT", "/buckets/one")
        cluster.apps.operations.buckets._cache["one"] = row  # as another API process would still have it
        await cluster.put("/buckets/one/objects/k", LARGE)
        assert (await cluster.get("/buckets/one/objects/k")).body == LARGE


async def test_a_bucket_may_say_how_many_copies_it_keeps() -> None:
    async with whole() as cluster:
        made = await cluster.call("PUT", "/buckets/two", b'{"copies": 2}')
        assert (made.status, made.json["copies"]) == (201, 2)
        for body, status, code in [
            (b'{"copies": 2', 400, "MalformedJSON"),
            (b"[]", 400, "MalformedJSON"),
            (b'{"copies": "2"}', 400, "MalformedJSON"),
            (b'{"copys": 2}', 400, "MalformedJSON"),
            (b"\xff", 400, "MalformedJSON"),
            (b'{"copies": 0}', 400, "InvalidArgument"),
            (b'{"copies": 4}', 400, "InvalidArgument"),
            (b"[" * 5_000, 400, "MalformedJSON"),
            (b" " * 70_000, 413, "EntityTooLarge"),
        ]:
            refused(await cluster.call("PUT", "/buckets/three", body), status, code)
        refused(await cluster.call("PUT", "/buckets/three", [b" " * 40_000] * 2), 413, "EntityTooLarge")


async def test_listings_go_page_by_page_in_byte_order() -> None:
    async with whole() as cluster:
        keys = sorted(
            [f"{folder}/{number:02}" for folder in "abc" for number in range(5)] + ["top", "é"], key=str.encode
        )
        for key in keys:
            await cluster.put(f"/objects/{key}".encode().decode("latin-1"), key.encode())
        found, cursor = [], ""
        while True:
            page = (await cluster.get("/objects?limit=4" + cursor)).json
            found += [entry["key"] for entry in page["objects"]]
            if page["cursor"] is None:
                break
            cursor = "&cursor=" + page["cursor"]
        assert found == keys
        page = (await cluster.get("/objects?delimiter=/")).json
        assert page["prefixes"] == ["a/", "b/", "c/"]
        assert [entry["key"] for entry in page["objects"]] == ["top", "é"]
        pages, cursor = [], ""
        while True:
            page = (await cluster.get("/objects?delimiter=%2F&limit=1" + cursor)).json
            pages.append((page["prefixes"] or [entry["key"] for entry in page["objects"]])[0])
            if page["cursor"] is None:
                break
            cursor = "&cursor=" + page["cursor"]
        assert pages == ["a/", "b/", "c/", "top", "é"]
        page = (await cluster.get("/objects?prefix=b/&after=b/02")).json
        assert [entry["key"] for entry in page["objects"]] == ["b/03", "b/04"]
        entry = page["objects"][0]
        assert set(entry) == {"key", "size", "etag", "sha256", "content_type", "created", "revision"}
        assert entry["sha256"] == hashlib.sha256(b"b/03").hexdigest()


async def test_cursors_are_given_out_and_nothing_else_is_one() -> None:
    async with whole() as cluster:
        for key in ("a", "b"):
            await cluster.put(f"/objects/{key}", SMALL)
        cursor = (await cluster.get("/objects?limit=1")).json["cursor"]
        for query in ("cursor=x", "cursor=", f"prefix=a&cursor={cursor}", f"cursor={cursor}A", f"cursor={cursor[1:]}"):
            refused(await cluster.get("/objects?" + query), 400, "InvalidCursor")
        refused(await cluster.get(f"/objects?after=a&cursor={cursor}"), 400, "InvalidArgument")


async def test_without_the_key_nothing_is_said_and_nothing_is_done() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/there", SMALL)
        wrong = [
            None,
            {"authorization": "Bearer TESTACCESS:wrong"},
            {"authorization": f"Bearer WRONG:{SECRET}"},
            {"authorization": "Bearer"},
            {"authorization": f"Token {SECRET}"},
            {"authorization": "Basic !!!"},
            {"authorization": "Basic " + base64.b64encode(b"TESTACCESS:wrong").decode()},
        ]
        bodies = set()
        for key in wrong:
            for method, path in [
                ("GET", "/objects/there"),
                ("GET", "/objects/missing"),
                ("PUT", "/objects/there"),
                ("DELETE", "/objects/there"),
                ("GET", "/objects"),
                ("GET", "/buckets"),
                ("PUT", "/buckets/new"),
                ("GET", "/buckets/default/nowhere"),
                ("POST", "/objects/there"),
            ]:
                answer = await cluster.call(method, path, SMALL, key=key)
                assert answer.status == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert SECRET.encode() not in answer.body
                bodies.add(answer.body.replace(answer.headers["x-request-id"].encode(), b""))
        assert len(bodies) == 3  # no key, a wrong one, and a scheme that is not known
        assert (await cluster.call("GET", "/objects/there", key=BASIC)).body == SMALL
        assert (await cluster.call("GET", "/buckets/new")).status == 404


async def test_conditions_tell_nobody_without_a_key_what_exists() -> None:
    async with whole() as cluster:
        made = await cluster.put("/objects/there", SMALL)
        answers = set()
        for path in ("/objects/there", "/objects/missing"):
            for headers in ({}, {"if-match": made.headers["etag"]}, {"if-none-match": "*"}, {"range": "bytes=0-1"}):
                answer = await cluster.call("GET", path, headers=headers, key=None)
                answers.add((answer.status, answer.body.replace(answer.headers["x-request-id"].encode(), b"")))
        assert len(answers) == 1


BAD_INPUT: list[tuple[str, str, bytes | list[bytes] | None, dict[str, str], int, str]] = [
    ("PUT", "/objects/" + "k" * 1025, SMALL, {}, 400, "KeyTooLong"),
    ("GET", "/objects/" + "k" * 1025, None, {}, 400, "KeyTooLong"),
    ("PUT", "/objects/%ff", SMALL, {}, 400, "InvalidKey"),
    ("PUT", "/objects/a%00b", SMALL, {}, 400, "InvalidKey"),
    ("PUT", "/objects/", SMALL, {}, 400, "InvalidKey"),
    ("PUT", "/objects/a", SMALL, {"content-md5": "x"}, 400, "InvalidDigest"),
    ("PUT", "/objects/a", SMALL, {"repr-digest": "sha-256=x"}, 400, "InvalidDigest"),
    ("PUT", "/objects/a", SMALL, {"x-amz-meta-a": "x" * 2048}, 400, "MetadataTooLarge"),
    ("PUT", "/objects/a", SMALL, {"x-amz-meta-": "x"}, 400, "InvalidHeader"),
    ("PUT", "/objects/a", SMALL, {"idempotency-key": "x" * 256}, 400, "InvalidArgument"),
    ("PUT", "/objects/a", SMALL, {"idempotency-key": ""}, 400, "InvalidArgument"),
    ("PUT", "/objects/a", SMALL, {"if-match": ""}, 400, "InvalidHeader"),
    ("PUT", "/objects/a", SMALL, {"content-range": "bytes 0-1/2"}, 400, "InvalidArgument"),
    ("PUT", "/objects/a?acl", SMALL, {}, 400, "InvalidArgument"),
    ("PUT", "/objects/a", bytes(2000), {}, 413, "EntityTooLarge"),
    ("PUT", "/objects/a", [bytes(600)] * 3, {}, 413, "EntityTooLarge"),
    ("GET", "/objects/a?version=1", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?limit=0", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?limit=1001", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?limit=ten", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?limit=1&limit=2", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?prefix=%ff", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?prefix=" + "k" * 1025, None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?after=%00", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?max-keys=1", None, {}, 400, "InvalidArgument"),
    ("GET", "/objects?cursor=nonsense", None, {}, 400, "InvalidCursor"),
    ("GET", "/buckets/missing", None, {}, 404, "NoSuchBucket"),
    ("GET", "/buckets/missing/objects", None, {}, 404, "NoSuchBucket"),
    ("GET", "/buckets/missing/objects/a", None, {}, 404, "NoSuchBucket"),
    ("PUT", "/buckets/missing/objects/a", SMALL, {}, 404, "NoSuchBucket"),
    ("DELETE", "/buckets/missing/objects/a", None, {}, 404, "NoSuchBucket"),
    ("DELETE", "/buckets/missing", None, {}, 404, "NoSuchBucket"),
    ("GET", "/buckets/..", None, {}, 404, "NoSuchBucket"),
    ("PUT", "/buckets/Wrong", None, {}, 400, "InvalidBucketName"),
    ("PUT", "/buckets/%ff", None, {}, 400, "InvalidBucketName"),
    *(("PUT", f"/buckets/{name}", None, {}, 400, "InvalidBucketName") for name in sorted(RESERVED_BUCKETS)),
    ("POST", "/objects/a", SMALL, {}, 405, "MethodNotAllowed"),
    ("PUT", "/objects", SMALL, {}, 405, "MethodNotAllowed"),
    ("GET", "/objects/", None, {}, 400, "InvalidKey"),
    ("GET", "/buckets/default/nowhere", None, {}, 404, "NoSuchPath"),
    ("GET", "/minio/health/nowhere", None, {}, 404, "NoSuchPath"),
]


async def test_bad_input_gets_the_right_4xx_with_a_clear_text() -> None:
    limits = Limits(disk_reserve_bytes=0, free_bytes_min=0, free_percent_min=0, map_bytes=1 << 28, put_bytes_max=1000)
    async with whole(limits=limits) as cluster:
        for method, path, body, headers, status, code in BAD_INPUT:
            error = refused(await cluster.call(method, path, body, headers), status, code)
            if code in ("KeyTooLong", "MetadataTooLarge", "EntityTooLarge"):
                assert error["limit"]
        assert (await cluster.get("/objects")).json["objects"] == []
        assert len((await cluster.get("/buckets")).json["buckets"]) == 1


async def test_a_retry_under_one_idempotency_key_has_one_effect_and_the_first_result() -> None:
    async with whole() as cluster:
        again = {"idempotency-key": "k1"}
        first = await cluster.call("PUT", "/objects/a", LARGE, again | {"if-none-match": "*"})
        assert first.status == 201
        second = await cluster.call("PUT", "/objects/a", LARGE, again | {"if-none-match": "*"})
        assert (second.status, second.json) == (first.status, first.json)
        other = await cluster.call("PUT", "/objects/a", SMALL, again)
        assert other.json["revision"] > first.json["revision"]
        for _ in range(2):
            assert (await cluster.call("PUT", "/buckets/once", headers={"idempotency-key": "k2"})).status == 201
        refused(await cluster.call("PUT", "/buckets/once"), 409, "BucketAlreadyExists")
        etag = other.headers["etag"]
        for _ in range(2):
            gone = await cluster.call("DELETE", "/objects/a", headers={"idempotency-key": "k3", "if-match": etag})
            assert gone.status == 204


async def test_health_needs_no_key_and_status_does() -> None:
    async with whole() as cluster:
        for app in (cluster.apps.object, cluster.apps.operator):
            for name in ("live", "ready", "cluster"):
                assert (await cluster.call("GET", f"/minio/health/{name}", key=None, app=app)).status == 200
        operator = cluster.apps.operator
        assert (await cluster.call("GET", "/status", key=None, app=operator)).status == 401
        assert (await cluster.call("GET", "/nowhere", key=None, app=operator)).status == 401
        assert (await cluster.call("GET", "/nowhere", key=KEY, app=operator)).status == 404
        facts = (await cluster.call("GET", "/status", app=operator)).json
        assert facts["leader"] == "meta-1"
        assert facts["ready"]
        assert [member["up"] for member in facts["members"]] == [True]
        assert [chunkd["up"] for chunkd in facts["chunkds"]] == [True] * 3
        assert SECRET not in str(facts)


async def test_without_a_quorum_reads_writes_and_health_say_503_in_time() -> None:
    async with whole(metadata_deadline_s=1.0) as cluster:
        await cluster.put("/objects/a", SMALL)
        await cluster.stop("meta-1")
        for method, body in (("GET", None), ("PUT", SMALL), ("DELETE", None), ("HEAD", None)):
            answer = await cluster.call(method, "/objects/a", body)
            assert answer.status == 503
            assert answer.headers["retry-after"]
        assert (await cluster.call("GET", "/minio/health/cluster", key=None)).status == 503
        assert (await cluster.call("GET", "/minio/health/live", key=None)).status == 200
        facts = (await cluster.call("GET", "/status", app=cluster.apps.operator)).json
        assert (facts["leader"], facts["state"]) == (None, "unavailable")


async def test_with_one_daemon_down_all_goes_on_and_with_two_writes_are_refused() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/a", LARGE)
        await cluster.wait_for_copies("a", 3)  # two were enough for the answer
        await cluster.stop("chunk-1")
        await cluster.put("/objects/b", LARGE[::-1])
        assert (await cluster.get("/objects/a")).body == LARGE
        await cluster.stop("chunk-2")
        answer = await cluster.call("PUT", "/objects/c", LARGE[1:])
        assert answer.status == 503
        assert (await cluster.call("GET", "/minio/health/cluster", key=None)).status == 503
        assert (await cluster.get("/objects/a")).body == LARGE
        refused(await cluster.get("/objects/c"), 404, "NoSuchKey")


async def test_nothing_of_a_broken_upload_is_visible() -> None:
    async with whole() as cluster:
        answer = await cluster.call("PUT", "/objects/a", [LARGE[:100]], {"content-length": "200"})
        refused(answer, 400, "IncompleteBody")
        refused(await cluster.get("/objects/a"), 404, "NoSuchKey")


async def test_random_bytes_up_and_down() -> None:
    async with whole() as cluster:
        for size in (1, 4096, 4097, 65_535, 65_536, 65_537, 8 << 20, (8 << 20) + 1):
            body = os.urandom(size)
            await cluster.put("/objects/x", body)
            assert (await cluster.get("/objects/x")).body == body
