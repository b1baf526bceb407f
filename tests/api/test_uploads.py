"""Uploads in parts over real daemons and the real state machine: what is made of them, and what is refused."""

import hashlib
import zlib
from pathlib import Path

import pytest
import trio

from api.conditions import NO_CONDITION
from api.digests import Digester, ExpectedDigests
from api.layout import part_span, parts_count
from api.operations.values import NamedPart, Written
from cluster.limits import CHUNK_BYTES, Limits
from metaraft.commands import Command, CompleteUpload, Condition, PutPart
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, Upload
from tests.api.disks import random_bytes
from tests.api.operating import PART_BYTES_MIN, PLAIN, Body, Operating, operating
from tests.api.refusals import refusal


def etag_of(*datas: bytes) -> str:
    """The ETag of an object of these parts, as S3's documentation has it."""
    digests = b"".join(hashlib.md5(data).digest() for data in datas)
    return f"{hashlib.md5(digests).hexdigest()}-{len(datas)}"


def digest(algorithm: ChecksumAlgorithm, data: bytes) -> bytes:
    digester = Digester((algorithm,))
    digester.update(data)
    return digester.digests().values[algorithm]


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


async def test_completing_again_gives_the_same_answer_as_long_as_the_object_is_there(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        parts = [await o.part(upload, number, bytes([number]) * 2000) for number in (1, 2)]
        first = await o.complete(upload, *parts)
        assert await o.complete(upload, *parts) == first
        await refusal("NoSuchUpload", o.complete(upload, parts[0]))
        await o.put("a", b"another")
        await refusal("NoSuchUpload", o.complete(upload, *parts))


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
        described = type(PLAIN)("image/png", {"cache-control": "no-store"}, {"a": "b"}, {"tag": "value"})
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


DATAS = (b"1" * 2000, b"2" * 2000, b"3")


async def three_parts(
    o: Operating, checksum: tuple[ChecksumAlgorithm, ChecksumType] | None = None
) -> tuple[Upload, list[NamedPart]]:
    """An upload of DATAS, ready to be completed."""
    upload = await o.do.uploads.create("bucket", "a", PLAIN, checksum, o.call())
    return upload, [await o.part(upload, number, data) for number, data in enumerate(DATAS, 1)]


def with_checksums(part: NamedPart, **values: bytes) -> NamedPart:
    return NamedPart(part.number, part.etag, values)  # type: ignore[arg-type]


async def test_what_is_not_as_the_request_says_is_refused_and_the_upload_stays(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, (one, two, three) = await three_parts(o)
        etag = two.etag
        small = await o.part(upload, 4, b"s" * (PART_BYTES_MIN - 1))
        for code, parts in {
            "InvalidRequest": [],
            "InvalidPartOrder": [two, one],
            "InvalidPart": [one, NamedPart(2, one.etag)],
            "BadPartNumber": [NamedPart(0, etag)],
        }.items():
            await refusal(code, o.complete(upload, *parts))
        await refusal("InvalidPartOrder", o.complete(upload, one, one))
        await refusal("BadPartNumber", o.complete(upload, one, NamedPart(10_001, etag)))
        for wrong in ("", "no etag", '"' + "0" * 31 + '"', "0" * 32 + "-1", hashlib.md5(b"").hexdigest()):
            await refusal("InvalidPart", o.complete(upload, one, NamedPart(2, wrong)))
        await refusal("InvalidPart", o.complete(upload, one, NamedPart(9, etag)))
        error = await refusal(
            "EntityTooSmall", o.complete(upload, small, NamedPart(5, (await o.part(upload, 5, b"")).etag))
        )
        assert error.limit == {"part_bytes_min": PART_BYTES_MIN}
        assert error.detail == {
            "part_number": "4",
            "proposed_bytes": str(PART_BYTES_MIN - 1),
            "etag": small.etag.strip('"'),
        }
        await refusal("InvalidPart", o.complete(upload, one, with_checksums(two, CRC64NVME=bytes(8))))
        await refusal("InvalidPart", o.complete(upload, one, with_checksums(two, SHA1=bytes(20))))
        right = with_checksums(one, CRC64NVME=digest("CRC64NVME", DATAS[0]))
        written = await o.complete(upload, right, two, NamedPart(3, three.etag.strip('"')))
        assert written.etag == etag_of(*DATAS)
        assert await o.get("a") == b"".join(DATAS)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC64NVME", "FULL_OBJECT"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC32", "COMPOSITE"),
        ("CRC32C", "COMPOSITE"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ],
)
async def test_the_object_has_the_checksum_that_its_upload_was_begun_for(
    tmp_path: Path, algorithm: ChecksumAlgorithm, kind: ChecksumType
) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o, (algorithm, kind))
        value = (
            digest(algorithm, b"".join(DATAS))
            if kind == "FULL_OBJECT"
            else digest(algorithm, b"".join(digest(algorithm, data) for data in DATAS))
        )

        async def complete(
            checksum: tuple[ChecksumAlgorithm, bytes] | None, kind: ChecksumType | None, size: int | None = None
        ) -> Written:
            return await o.do.uploads.complete(
                "bucket",
                "a",
                upload.upload_id,
                [
                    NamedPart(part.number, part.etag, {algorithm: digest(algorithm, data)})
                    for part, data in zip(parts, DATAS, strict=True)
                ],
                size=size,
                checksum=checksum,
                checksum_type=kind,
                condition=NO_CONDITION,
                call=o.call(),
            )

        other: ChecksumType = "COMPOSITE" if kind == "FULL_OBJECT" else "FULL_OBJECT"
        await refusal("BadDigest", complete((algorithm, bytes(len(value))), kind))
        await refusal("InvalidRequest", complete((algorithm, value), other))
        await refusal("InvalidRequest", complete(("MD5", value), kind))
        await refusal("InvalidRequest", complete((algorithm, value), kind, 4002))
        written = await complete((algorithm, value), kind, 4001)
        assert written.checksums == {algorithm: Checksum(value, kind)}
        assert (await o.find("a")).version.checksums == written.checksums


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


async def test_a_condition_is_decided_when_the_upload_is_completed(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o)
        await o.put("a", b"there")

        async def complete(condition: Condition) -> Written:
            return await o.do.uploads.complete(
                "bucket", "a", upload.upload_id, parts, condition=condition, call=o.call()
            )

        await refusal("PreconditionFailed", complete(Condition(if_none_match=("*",))))
        await refusal("PreconditionFailed", complete(Condition(if_match=("0" * 32,))))
        assert await o.get("a") == b"there"
        etag = hashlib.md5(b"there").hexdigest()
        assert (await complete(Condition(if_match=(etag,)))).etag == etag_of(*DATAS)


async def test_parts_that_change_while_it_is_completed_are_read_again(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o)
        changes = 0

        async def change(command: Command) -> None:
            nonlocal changes
            if isinstance(command, CompleteUpload) and changes < 3:
                changes += 1
                await o.part(upload, 3 + changes, b"another")

        o.meta.before = change
        await o.complete(upload, *parts)
        assert changes == 3
        assert await o.get("a") == b"".join(DATAS)


async def test_a_part_replaced_while_it_is_completed_is_not_taken_for_the_one_named(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o)

        async def change(command: Command) -> None:
            if isinstance(command, CompleteUpload):
                o.meta.before = None
                await o.part(upload, 1, b"another" * 1000)

        o.meta.before = change
        await refusal("InvalidPart", o.complete(upload, *parts))


async def test_parts_that_change_all_the_time_end_at_the_deadline(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o)
        call = type(o.call())(o.call().principal, trio.current_time(), "")

        async def change(command: Command) -> None:
            if isinstance(command, CompleteUpload):
                await o.part(upload, 4, b"another")

        o.meta.before = change
        await refusal(
            "UploadChanged",
            o.do.uploads.complete("bucket", "a", upload.upload_id, parts, condition=NO_CONDITION, call=call),
        )


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
