"""Uploads in parts over real daemons and the real state machine: what is made of them, and what is refused."""

import hashlib
import zlib
from pathlib import Path

import pytest
import trio

from api.conditions import NO_CONDITION
from api.digests import ExpectedDigests
from api.layout import part_span, parts_count
from api.operations.values import Description, NamedPart, Source
from api.operations.versions import parse_version
from api.ranges import Span
from cluster.limits import CHUNK_BYTES, Limits
from metaraft.commands import (
    PutPart,
)
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, Upload
from tests.api.disks import random_bytes
from tests.api.operating import (
    PART_BYTES_MIN,
    PLAIN,
    Body,
    Operator,
    digest,
    etag_of,
    operating,
)
from tests.api.refusals import refusal
from tests.api.whole import whole


async def test_an_object_is_its_parts_in_order_and_every_range_of_it_can_be_read(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        datas = [random_bytes(size) for size in (CHUNK_BYTES + 70_000, 5000, 100_000, 10)]
        whole = b"".join(datas)
        written = await o.upload("big", *datas)
        assert (written.etag, written.size) == (etag_of(*datas), len(whole))
        assert written.checksums == {"CRC64NVME": Checksum(digest("CRC64NVME", whole))}
        assert await o.get("big") == whole
        found = await o.find("big")
        assert parts_count(found.version) == 4
        borders = [
            0,
            1,
            CHUNK_BYTES,
            len(datas[0]) - 1,
            len(datas[0]),
            len(datas[0]) + 5000,
            len(whole) - 10,
            len(whole),
        ]
        for start in borders:
            hinted = await o.find("big", offset=start)
            for stop in borders:
                if start <= stop:
                    assert await o.content(hinted, start, stop) == whole[start:stop], (start, stop)
                    assert await o.content(found, start, stop) == whole[start:stop], (start, stop)
        for number, data in enumerate(datas, 1):
            one = await o.find("big", part=number)
            span = part_span(one.version, number)
            assert span is not None
            assert await o.content(one, *span) == data
        assert part_span(found.version, 5) is None


async def test_a_part_put_again_replaces_the_first_and_parts_not_named_are_left_out(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        first = await o.part(upload, 1, b"1" * 2000)
        await o.part(upload, 2, b"2" * 2000)
        third = await o.part(upload, 3, b"3" * 2000)
        again = await o.part(upload, 1, b"one" * 1000)
        listed = await o.do.uploads.parts("bucket", "a", upload.upload_id, 0, 1000, o.call())
        assert [(part.number, part.size) for part in listed.parts] == [(1, 3000), (2, 2000), (3, 2000)]
        await refusal("InvalidPart", o.complete(upload, first, third))
        await o.complete(upload, again, third)
        assert await o.get("a") == b"one" * 1000 + b"3" * 2000


async def test_an_upload_that_is_aborted_takes_nothing_more_and_leaves_nothing(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        part = await o.part(upload, 1, b"x" * 2000)
        await o.do.uploads.abort("bucket", "a", upload.upload_id, o.call())
        await refusal("NoSuchUpload", o.do.uploads.abort("bucket", "a", upload.upload_id, o.call()))
        await refusal("NoSuchUpload", o.part(upload, 2, b"y"))
        await refusal("NoSuchUpload", o.complete(upload, part))
        await refusal("NoSuchUpload", o.do.uploads.parts("bucket", "a", upload.upload_id, 0, 10, o.call()))
        await refusal("NoSuchKey", o.find("a"))
        await o.do.buckets.delete("bucket", o.call())


async def test_nothing_of_an_upload_is_visible_before_it_is_complete(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.put("a", b"old")
        upload = await o.begin("a")
        part = await o.part(upload, 1, b"new")
        assert await o.get("a") == b"old"
        assert (await o.complete(upload, part)).existed
        assert await o.get("a") == b"new"


async def test_an_object_has_what_its_upload_was_begun_with(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        described = Description("image/png", {"cache-control": "no-store"}, {"a": "b"}, {"tag": "value"})
        upload = await o.do.uploads.create("bucket", "a", described, None, o.call())
        await o.complete(upload, await o.part(upload, 1, b""))
        version = (await o.find("a")).version
        assert (version.content_type, version.headers, version.user_metadata, version.tags, version.size) == (
            "image/png",
            {"cache-control": "no-store"},
            {"a": "b"},
            {"tag": "value"},
            0,
        )
        assert await o.get("a") == b""


async def test_a_part_keeps_the_checksum_that_came_with_it_and_the_one_of_its_upload(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        await o.part(upload, 1, b"abc", algorithms=("CRC32",))
        sha = await o.do.uploads.create("bucket", "a", PLAIN, ("SHA256", "COMPOSITE"), o.call())
        await o.part(sha, 1, b"abc")
        await refusal("InvalidRequest", o.part(sha, 2, b"abc", algorithms=("CRC32",)))
        kept = {}
        for each in (upload, sha):
            listed = await o.do.uploads.parts("bucket", "a", each.upload_id, 0, 10, o.call())
            assert [part.number for part in listed.parts] == [1]
            kept[each.upload_id] = list(listed.parts[0].checksums.items())
        crc = ("CRC32", Checksum(zlib.crc32(b"abc").to_bytes(4, "big")))
        assert kept[upload.upload_id][:2] == [crc, ("CRC64NVME", Checksum(digest("CRC64NVME", b"abc")))]
        assert kept[sha.upload_id][0] == ("SHA256", Checksum(hashlib.sha256(b"abc").digest()))


async def test_a_part_with_a_wrong_checksum_or_number_is_not_made(tmp_path: Path) -> None:
    async with operating(tmp_path, limits=Limits(disk_reserve_bytes=0, put_bytes_max=5000)) as o:
        upload = await o.begin("a")

        async def put(number: int, data: bytes, expected: ExpectedDigests, size: int | None) -> object:
            return await o.do.uploads.put_part(
                "bucket", "a", upload.upload_id, number, Body(data), size=size, expected=expected, call=o.call()
            )

        wrong = ExpectedDigests(crc32=bytes(4), algorithms=("CRC32",))
        late = ExpectedDigests(algorithms=("CRC32",), late=lambda: ExpectedDigests(crc32=bytes(4)))
        none = ExpectedDigests(algorithms=())
        await refusal("BadDigest", put(1, b"abc", wrong, 3))
        await refusal("BadDigest", put(1, b"abc", late, None))
        await refusal("BadDigest", put(1, b"abc", ExpectedDigests(md5=bytes(16), algorithms=()), 3))
        await refusal("EntityTooLarge", put(1, b"a" * 5001, none, 5001))
        await refusal("EntityTooLarge", put(1, b"a" * 5001, none, None))
        await refusal("IncompleteBody", put(1, b"abc", none, 4))
        for number in (-1, 0, 10_001):
            await refusal("BadPartNumber", put(number, b"abc", none, 3))
        assert not any(isinstance(command, PutPart) for command in o.meta.commits)


@pytest.mark.parametrize(
    "checksum", [("CRC64NVME", "COMPOSITE"), ("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("MD5", "COMPOSITE")]
)
async def test_an_upload_for_a_checksum_that_s3_does_not_have_is_refused(
    tmp_path: Path, checksum: tuple[ChecksumAlgorithm, ChecksumType]
) -> None:
    async with operating(tmp_path, up=False) as o:
        await refusal("InvalidRequest", o.do.uploads.create("bucket", "a", PLAIN, checksum, o.call()))


async def test_a_retry_under_one_idempotency_key_has_one_effect(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        first = await o.do.uploads.create("bucket", "a", PLAIN, None, o.call("k"))
        assert await o.do.uploads.create("bucket", "a", PLAIN, None, o.call("k")) == first
        assert await o.do.uploads.create("bucket", "a", PLAIN, None, o.call("l")) != first

        async def put(data: bytes) -> object:
            return await o.do.uploads.put_part(
                "bucket",
                "a",
                first.upload_id,
                1,
                Body(data),
                size=len(data),
                expected=ExpectedDigests(algorithms=()),
                call=o.call("k"),
            )

        stored = await put(b"one")
        await o.part(first, 1, b"two")
        assert await put(b"one") == stored
        listed = await o.do.uploads.parts("bucket", "a", first.upload_id, 0, 10, o.call())
        assert listed.parts[0].etag == hashlib.md5(b"two").hexdigest()
        assert await put(b"three") != stored


async def test_uploads_under_way_are_listed_in_order_page_by_page(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        uploads = [await o.begin(key) for key in ("d/1", "a", "d/2", "b", "a")]
        ordered = sorted(uploads, key=lambda upload: (upload.key, upload.upload_id))
        seen: list[Upload] = []
        key, upload_id = "", b""
        while True:
            page = await o.do.uploads.list("bucket", "", "", key, upload_id, 2, o.call())
            seen += page.uploads
            if page.next_after is None:
                break
            key, upload_id = page.next_after
        assert seen == ordered
        grouped = await o.do.uploads.list("bucket", "", "/", "", b"", 1000, o.call())
        assert (len(grouped.uploads), grouped.prefixes) == (3, ("d/",))
        found = await o.do.uploads.upload("bucket", "a", uploads[1].upload_id, o.call())
        assert found.upload == uploads[1]


async def test_an_upload_goes_on_when_daemons_and_members_have_come_and_gone() -> None:
    limits = Limits(
        disk_reserve_bytes=0, free_bytes_min=0, free_percent_min=0, map_bytes=1 << 30, part_bytes_min=PART_BYTES_MIN
    )
    with trio.fail_after(60):
        async with whole(members=3, limits=limits) as cluster:
            o = Operator(cluster.apps.operations)
            await o.do.buckets.create("bucket", o.call())
            await o.do.buckets.set_versioning("bucket", "enabled", o.call())
            old = await o.put("a", b"old")
            upload = await o.begin("a")
            datas = [random_bytes(CHUNK_BYTES + 5000), random_bytes(3000), random_bytes(100)]
            first = await o.part(upload, 1, datas[0])
            await cluster.stop("chunk-1")
            await cluster.stop("meta-1")
            second = await o.part(upload, 2, datas[1])
            copied = await o.do.uploads.copy_part(
                Source("bucket", "a"),
                lambda size: Span(1, size),
                ("bucket", "a", upload.upload_id, 4),
                source_condition=NO_CONDITION,
                call=o.call(),
            )
            assert copied.source_version_id == old.version_id
            await cluster.start("meta-1")
            await cluster.stop("meta-2")
            third = await o.part(upload, 3, datas[2] * 20)
            named = [first, second, third, NamedPart(4, copied.etag)]
            written = await o.complete(upload, *named)
            assert await o.complete(upload, *named) == written
            content = datas[0] + datas[1] + datas[2] * 20 + b"ld"
            assert (written.size, written.existed) == (len(content), True)
            found = await o.find("a", offset=-10)
            assert await o.content(found, CHUNK_BYTES, len(content) - 1) == content[CHUNK_BYTES:-1]
            assert await o.get("a", version=parse_version(old.version_id or "")) == b"old"
            deleted = await o.do.objects.delete(
                "bucket", "a", NO_CONDITION, o.call(), version=parse_version(written.version_id or "")
            )
            assert deleted.existed
            assert await o.get("a") == b"old"
            await refusal("NoSuchUpload", o.complete(upload, *named))
