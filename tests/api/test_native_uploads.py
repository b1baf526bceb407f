"""Uploads in parts in the native dialect, over a whole cluster."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import msgspec
import pytest

from cluster.limits import Limits
from tests.api.disks import random_bytes
from tests.api.operating import digest, etag_of
from tests.api.test_native import refused
from tests.api.test_users import ANN, BOB, add_ann_and_bob
from tests.api.whole import Answer, Whole, whole

PART_BYTES_MIN = 1000
FIRST, SECOND, LAST = random_bytes(100_000), random_bytes(1000), b"the end"
UPLOADS = "/buckets/default/uploads"
NO_SUCH = "0" * 32


@asynccontextmanager
async def cluster_of_small_parts(**limits: int) -> AsyncIterator[Whole]:
    """A cluster whose parts may be small."""
    least = Limits(
        disk_reserve_bytes=0,
        free_bytes_min=0,
        free_percent_min=0,
        map_bytes=1 << 28,
        **{"part_bytes_min": PART_BYTES_MIN, **limits},
    )
    async with whole(limits=least) as cluster:
        yield cluster


class Upload:
    """An upload under way, and the shortest way to say what is asked of it."""

    def __init__(self, cluster: Whole, begun: Answer) -> None:
        assert begun.status == 201, begun.body
        facts = begun.json
        self.id: str = facts["upload_id"]
        self.key = quote(facts["key"], safe="")
        self._cluster = cluster
        self._path = f"/buckets/{facts['bucket']}/uploads/{self.id}"

    async def put(self, number: int | str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Put a part."""
        return await self._cluster.call("PUT", f"{self._path}/parts/{number}?key={self.key}", body, headers)

    async def get(self, more: str = "") -> Answer:
        """The upload with parts."""
        return await self._cluster.call("GET", f"{self._path}?key={self.key}{more}")

    async def complete(self, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Complete it."""
        return await self._cluster.call("POST", f"{self._path}?key={self.key}", body, headers)

    async def abort(self) -> Answer:
        """End it."""
        return await self._cluster.call("DELETE", f"{self._path}?key={self.key}")


async def begin(cluster: Whole, key: str = "a", bucket: str = "default", **headers: str) -> Upload:
    """Begin an upload."""
    path = f"/buckets/{bucket}/uploads?key={quote(key, safe='')}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Upload(cluster, await cluster.call("POST", path, headers=sent))


def naming(*parts: tuple[int, bytes]) -> bytes:
    """The body that names these parts."""
    named = ",".join(f'{{"number": {number}, "etag": "{hashlib.md5(data).hexdigest()}"}}' for number, data in parts)
    return f'{{"parts": [{named}]}}'.encode()


async def test_an_object_of_parts_is_read_as_any_other() -> None:
    content = FIRST + SECOND + LAST
    async with cluster_of_small_parts() as cluster:
        upload = await begin(cluster, "a b/ü", content_type="text/x", x_amz_meta_colour="blé", expires="0")
        for number, data in ((2, SECOND), (1, FIRST), (7, LAST)):
            put = await upload.put(number, data)
            assert put.status == 200
            assert put.headers["etag"] == f'"{put.json["etag"]}"'
            assert (put.json["number"], put.json["size"]) == (number, len(data))
            assert put.json["etag"] == hashlib.md5(data).hexdigest()
            assert put.json["sha256"] == hashlib.sha256(data).hexdigest()
            refused(await cluster.get("/objects/a%20b/%C3%BC"), 404, "NoSuchKey")
        made = await upload.complete(naming((1, FIRST), (2, SECOND), (7, LAST)))
        assert (made.status, made.json["size"]) == (201, len(content))
        assert (made.json["bucket"], made.json["key"], made.json["version_id"]) == ("default", "a b/ü", None)
        assert made.json["etag"] == etag_of(FIRST, SECOND, LAST)
        got = await cluster.get("/objects/a%20b/%C3%BC")
        assert (got.status, got.body) == (200, content)
        assert got.headers["etag"] == made.headers["etag"] == f'"{made.json["etag"]}"'
        assert (got.headers["content-type"], got.headers["x-amz-meta-colour"]) == ("text/x", "blé")
        assert got.headers["expires"] == "0"
        assert got.headers["x-crc64nvme"] == digest("CRC64NVME", content).hex()
        for header, start, stop in [
            ("bytes=99990-101005", 99_990, 101_006),
            ("bytes=-10", len(content) - 10, len(content)),
            ("bytes=101000-", 101_000, len(content)),
            ("bytes=0-99999999999999999999", 0, len(content)),
        ]:
            part = await cluster.get("/objects/a%20b/%C3%BC", range=header)
            assert (part.status, part.body) == (206, content[start:stop])
        refused(await cluster.get("/objects/a%20b/%C3%BC", range="bytes=99999999999999999999-"), 416, "InvalidRange")
        known = (await cluster.get("/objects/a%20b/%C3%BC?metadata")).json
        assert {name: known[name] for name in made.json} == made.json
        assert (known["parts"], known["sha256"], known["metadata"]) == (3, None, {"colour": "blé"})
        assert known["crc64nvme"] == got.headers["x-crc64nvme"]
        refused(await upload.get(), 404, "NoSuchUpload")


async def test_without_a_body_all_parts_are_meant_in_order() -> None:
    async with cluster_of_small_parts() as cluster:
        upload = await begin(cluster)
        refused(await upload.complete(), 400, "InvalidRequest")
        for number, data in ((3, LAST), (1, FIRST), (2, LAST), (2, SECOND)):
            await upload.put(number, data)
        assert (await upload.complete()).status == 201
        assert (await cluster.get("/objects/a")).body == FIRST + SECOND + LAST
        again = await begin(cluster)
        await again.put(5, LAST)
        assert (await again.complete()).status == 200
        assert (await cluster.get("/objects/a")).body == LAST


async def test_parts_are_verified_before_they_are_kept() -> None:
    md5 = base64.b64encode(hashlib.md5(FIRST).digest()).decode()
    sha = base64.b64encode(hashlib.sha256(FIRST).digest()).decode()
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    async with cluster_of_small_parts(put_bytes_max=200_000) as cluster:
        upload = await begin(cluster)
        for headers in ({"content-md5": md5[::-1]}, {"digest": f"sha-256={other}"}):
            assert (await upload.put(1, FIRST, headers)).status == 400
        refused(await upload.put(1, FIRST, {"repr-digest": f"sha-256=:{other}:"}), 400, "BadDigest")
        refused(await upload.put(1, bytes(200_001)), 413, "EntityTooLarge")
        refused(await upload.put(1, FIRST, {"content-range": "bytes 0-1/2"}), 400, "InvalidArgument")
        for number in ("0", "10001", "-1", "x", "%D9%A3", "1" * 30):
            refused(await upload.put(number, FIRST), 400, "BadPartNumber")
        assert (await upload.get()).json["parts"] == []
        for headers in ({"content-md5": md5}, {"digest": f"SHA-256={sha}"}, {"repr-digest": f"sha-256=:{sha}:"}):
            assert (await upload.put(1, FIRST, headers)).status == 200


async def test_an_upload_is_shown_with_its_parts_page_by_page() -> None:
    async with cluster_of_small_parts() as cluster:
        upload = await begin(cluster, content_type="text/x", x_amz_meta_m="1", cache_control="no-store")
        put = {number: (await upload.put(number, b"%d" % number)).json for number in (4, 1, 9)}
        shown = (await upload.get()).json
        assert shown["parts"] == [put[1], put[4], put[9]]
        assert (shown["cursor"], shown["upload_id"], shown["key"]) == (None, upload.id, "a")
        assert (shown["content_type"], shown["metadata"]) == ("text/x", {"m": "1"})
        assert shown["headers"] == {"cache-control": "no-store"}
        seen, more = [], "&limit=1"
        while True:
            page = (await upload.get(more)).json
            seen += page["parts"]
            if page["cursor"] is None:
                break
            more = "&limit=1&cursor=" + page["cursor"]
        assert seen == shown["parts"]
        other = await begin(cluster)
        await other.put(1, b"x")
        refused(await other.get(more), 400, "InvalidCursor")
        refused(await upload.get("&limit=0"), 400, "InvalidArgument")


async def test_uploads_under_way_are_listed_page_by_page() -> None:
    async with cluster_of_small_parts() as cluster:
        begun = [await begin(cluster, key) for key in ("d/1", "a", "d/2", "b", "a", "ü")]
        keys = ["a", "a", "b", "d/1", "d/2", "ü"]
        listed = (await cluster.get(UPLOADS)).json
        assert [entry["key"] for entry in listed["uploads"]] == keys
        assert {entry["upload_id"] for entry in listed["uploads"]} == {upload.id for upload in begun}
        assert set(listed["uploads"][0]) == {"upload_id", "bucket", "key", "created"}
        assert (listed["prefixes"], listed["cursor"]) == ([], None)
        seen, more = [], "?limit=1"
        while True:
            page = (await cluster.get(UPLOADS + more)).json
            seen += page["uploads"]
            if page["cursor"] is None:
                break
            more = "?limit=1&cursor=" + page["cursor"]
        assert seen == listed["uploads"]
        grouped = (await cluster.get(f"{UPLOADS}?delimiter=/&limit=4")).json
        assert ([entry["key"] for entry in grouped["uploads"]], grouped["prefixes"]) == (["a", "a", "b"], ["d/"])
        rest = (await cluster.get(f"{UPLOADS}?delimiter=/&limit=4&cursor={grouped['cursor']}")).json
        assert ([entry["key"] for entry in rest["uploads"]], rest["prefixes"]) == (["ü"], [])
        assert [e["key"] for e in (await cluster.get(f"{UPLOADS}?prefix=d/")).json["uploads"]] == ["d/1", "d/2"]
        refused(await cluster.get(f"{UPLOADS}?limit=4&cursor={grouped['cursor']}"), 400, "InvalidCursor")
        refused(await cluster.get(f"{UPLOADS}?after=a"), 400, "InvalidArgument")


async def test_an_aborted_upload_takes_nothing_more() -> None:
    async with cluster_of_small_parts() as cluster:
        await cluster.call("PUT", "/buckets/box")
        upload = await begin(cluster, bucket="box")
        await upload.put(1, FIRST)
        refused(await cluster.call("DELETE", "/buckets/box"), 409, "BucketNotEmpty")
        gone = await upload.abort()
        assert (gone.status, gone.body) == (204, b"")
        for answer in (await upload.abort(), await upload.put(2, b"x"), await upload.complete(), await upload.get()):
            refused(answer, 404, "NoSuchUpload")
        assert (await cluster.call("DELETE", "/buckets/box")).status == 204


async def test_what_cannot_be_completed_stays_as_it_is() -> None:
    async with cluster_of_small_parts() as cluster:
        upload = await begin(cluster)
        await upload.put(1, LAST)
        await upload.put(2, SECOND)
        for body, status, code in [
            (naming((1, LAST), (2, SECOND)), 400, "EntityTooSmall"),
            (naming((2, SECOND), (1, LAST)), 400, "InvalidPartOrder"),
            (naming((1, SECOND)), 400, "InvalidPart"),
            (naming((3, SECOND)), 400, "InvalidPart"),
            (naming((0, SECOND)), 400, "BadPartNumber"),
            (naming(), 400, "InvalidRequest"),
            (b'{"parts": [{"number": 1, "etag": "x"}]}', 400, "InvalidPart"),
            (b'{"parts": [{"number": 1}]}', 400, "MalformedJSON"),
            (b'{"parts": [{"number": "1", "etag": ""}]}', 400, "MalformedJSON"),
            (b'{"parts": [{"number": 1, "etag": "", "x": 1}]}', 400, "MalformedJSON"),
            (b'{"part": []}', 400, "MalformedJSON"),
            (b"\xff", 400, "MalformedJSON"),
        ]:
            refused(await upload.complete(body), status, code)
        refused(await upload.complete(naming((1, LAST)), {"if-match": "*"}), 412, "PreconditionFailed")
        assert len((await upload.get()).json["parts"]) == 2
        refused(await cluster.get("/objects/a"), 404, "NoSuchKey")
        done = await upload.complete(naming((2, SECOND)), {"if-none-match": "*"})
        assert done.status == 201
        assert (await cluster.get("/objects/a")).body == SECOND


async def test_ten_thousand_parts_can_be_named_and_no_endless_body() -> None:
    async with cluster_of_small_parts() as cluster:
        upload = await begin(cluster)
        await upload.put(1, FIRST)
        named = msgspec.json.format(naming(*((number, FIRST) for number in range(1, 10_001))), indent=4)
        refused(await upload.complete(named), 400, "InvalidPart")
        error = refused(await upload.complete(b" " * ((2 << 20) + 1)), 413, "EntityTooLarge")
        assert error["limit"] == {"completion_bytes_max": 2 << 20}


@pytest.mark.parametrize("named", [True, False])
async def test_a_retry_under_one_idempotency_key_has_one_effect_and_the_first_result(named: bool) -> None:
    again = {"idempotency-key": "k"}
    async with cluster_of_small_parts() as cluster:
        path = f"{UPLOADS}?key=a"
        first = await cluster.call("POST", path, headers=again)
        assert (await cluster.call("POST", path, headers=again)).json == first.json
        upload = Upload(cluster, first)
        put = await upload.put(1, FIRST, again)
        assert (await upload.put(1, FIRST, again)).json == put.json
        body = naming((1, FIRST)) if named else None
        done = await upload.complete(body, again | {"if-none-match": "*"})
        assert done.status == 201
        await cluster.put("/objects/a", b"other")
        repeated = await upload.complete(body, again | {"if-none-match": "*"})
        assert (repeated.status, repeated.json) == (done.status, done.json)
        assert (await cluster.get("/objects/a")).body == b"other"
        refused(await upload.complete(body), 404, "NoSuchUpload")


async def test_a_part_can_be_copied_from_an_object_or_a_range_of_it() -> None:
    async with cluster_of_small_parts() as cluster:
        await cluster.put("/objects/source", FIRST)
        upload = await begin(cluster)
        ranged = {"x-copy-source": "default/source", "x-copy-source-range": "bytes=10-99"}
        whole_one = await upload.put(1, b"", {"x-copy-source": "default/source"})
        assert (whole_one.status, whole_one.json["size"], whole_one.json["etag"]) == (
            200,
            len(FIRST),
            hashlib.md5(FIRST).hexdigest(),
        )
        assert (await upload.put(2, b"", ranged)).json["size"] == 90
        for headers, body, status, code in [
            (ranged, b"x", 400, "InvalidArgument"),
            (ranged | {"x-copy-source-range": "lines=1-2"}, b"", 400, "InvalidArgument"),
            (ranged | {"x-copy-source-range": "bytes=999999-"}, b"", 416, "InvalidRange"),
            (ranged | {"x-copy-source-if-match": '"x"'}, b"", 412, "PreconditionFailed"),
            (ranged | {"x-copy-source": "default/missing"}, b"", 404, "NoSuchKey"),
        ]:
            refused(await upload.put(3, body, headers), status, code)
        refused(await upload.complete(None, ranged), 400, "InvalidArgument")
        refused(await cluster.call("POST", f"{UPLOADS}?key=a", headers=ranged), 400, "InvalidArgument")
        await upload.complete()
        assert (await cluster.get("/objects/a")).body == FIRST + FIRST[10:100]


BAD: list[tuple[str, str, bytes | None, int, str]] = [
    ("POST", UPLOADS, None, 400, "InvalidArgument"),
    ("POST", f"{UPLOADS}?key=", None, 400, "InvalidKey"),
    ("POST", f"{UPLOADS}?key={'k' * 1025}", None, 400, "KeyTooLong"),
    ("POST", f"{UPLOADS}?key=a%00", None, 400, "InvalidKey"),
    ("POST", f"{UPLOADS}?key=%ff", None, 400, "InvalidArgument"),
    ("POST", f"{UPLOADS}?key=a&acl", None, 400, "InvalidArgument"),
    ("POST", f"{UPLOADS}?key=a", b"body", 400, "InvalidArgument"),
    ("POST", "/buckets/missing/uploads?key=a", None, 404, "NoSuchBucket"),
    ("GET", "/buckets/missing/uploads", None, 404, "NoSuchBucket"),
    ("GET", f"{UPLOADS}/{NO_SUCH}", None, 400, "InvalidArgument"),
    ("GET", f"{UPLOADS}/{NO_SUCH}?key=a", None, 404, "NoSuchUpload"),
    ("GET", f"{UPLOADS}/x?key=a", None, 404, "NoSuchUpload"),
    ("GET", f"{UPLOADS}/%ff?key=a", None, 404, "NoSuchUpload"),
    ("GET", f"{UPLOADS}/?key=a", None, 404, "NoSuchUpload"),
    ("PUT", f"{UPLOADS}/{NO_SUCH}/parts/1", b"x", 400, "InvalidArgument"),
    ("PUT", f"{UPLOADS}/{NO_SUCH}/parts/1?key=a", b"x", 404, "NoSuchUpload"),
    ("PUT", f"{UPLOADS}/{NO_SUCH}/parts/?key=a", b"x", 400, "BadPartNumber"),
    ("PUT", f"{UPLOADS}/{NO_SUCH}?key=a", b"x", 405, "MethodNotAllowed"),
    ("GET", f"{UPLOADS}/{NO_SUCH}/parts/1?key=a", None, 405, "MethodNotAllowed"),
    ("GET", f"{UPLOADS}/{NO_SUCH}/parts?key=a", None, 404, "NoSuchPath"),
    ("GET", f"{UPLOADS}/{NO_SUCH}/parts/1/2?key=a", None, 404, "NoSuchPath"),
    ("DELETE", UPLOADS, None, 405, "MethodNotAllowed"),
]


async def test_bad_input_gets_the_right_4xx_with_a_clear_text() -> None:
    async with cluster_of_small_parts() as cluster:
        for method, path, body, status, code in BAD:
            refused(await cluster.call(method, path, body), status, code)
        upload = await begin(cluster, "a")
        for method, tail in [("PUT", "/parts/1"), ("GET", ""), ("POST", ""), ("DELETE", "")]:
            other = f"{UPLOADS}/{upload.id}{tail}?key=b"  # another key than it was begun for
            refused(await cluster.call(method, other, FIRST if method == "PUT" else None), 404, "NoSuchUpload")
        assert len((await cluster.get(UPLOADS)).json["uploads"]) == 1


async def test_uploads_are_for_the_owner_of_their_bucket() -> None:
    async with cluster_of_small_parts() as cluster:
        await add_ann_and_bob(cluster)
        assert (await cluster.call("PUT", "/buckets/anns", key=ANN)).status == 201
        begun = await cluster.call("POST", "/buckets/anns/uploads?key=a", key=ANN)
        assert begun.status == 201
        one = f"/buckets/anns/uploads/{begun.json['upload_id']}"
        calls = [
            ("PUT", f"{one}/parts/1?key=a", FIRST),
            ("GET", f"{one}?key=a", None),
            ("GET", "/buckets/anns/uploads", None),
            ("GET", "/buckets/anns/versions", None),
            ("GET", "/buckets/anns/versioning", None),
            ("POST", f"{one}?key=a", None),
        ]
        for method, path, body in calls:
            refused(await cluster.call(method, path, body, key=None), 401, "Unauthorized")
            refused(await cluster.call(method, path, body, key=BOB), 403, "AccessDenied")
        refused(await cluster.call("DELETE", f"{one}?key=a", key=BOB), 403, "AccessDenied")
        await cluster.put("/objects/roots", FIRST)
        stolen = {"x-copy-source": "default/roots"}
        refused(await cluster.call("PUT", f"{one}/parts/2?key=a", b"", stolen, key=ANN), 403, "AccessDenied")
        for method, path, body in calls:
            assert (await cluster.call(method, path, body, key=ANN)).status in (200, 201)
        assert (await cluster.call("GET", "/buckets/anns/objects/a", key=ANN)).body == FIRST
