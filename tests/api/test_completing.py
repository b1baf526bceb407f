"""Completing uploads: what is checked, against which parts, and what the object is then."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from api.conditions import NO_CONDITION
from api.digests import Digester
from api.operations.values import NamedPart, Written
from metaraft.commands import (
    Command,
    CompleteUpload,
    Condition,
    CopyPart,
)
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, Upload
from metaraft.queries import ListParts, Query
from tests.api.disks import random_bytes
from tests.api.operating import (
    PART_BYTES_MIN,
    PLAIN,
    Operating,
    digest,
    etag_of,
    operating,
)
from tests.api.refusals import refusal


async def test_completing_again_gives_the_same_answer_as_long_as_the_object_is_there(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        parts = [await o.part(upload, number, bytes([number]) * 2000) for number in (1, 2)]
        first = await o.complete(upload, *parts)
        assert await o.complete(upload, *parts) == first
        await refusal("NoSuchUpload", o.complete(upload, parts[0]))
        await o.put("a", b"another")
        await refusal("NoSuchUpload", o.complete(upload, *parts))


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

        async def change(command: Command | Query) -> None:
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

        async def change(command: Command | Query) -> None:
            if isinstance(command, CompleteUpload):
                o.meta.before = None
                await o.part(upload, 1, b"another" * 1000)

        o.meta.before = change
        await refusal("InvalidPart", o.complete(upload, *parts))


async def test_parts_that_change_all_the_time_end_at_the_deadline(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload, parts = await three_parts(o)
        call = replace(o.call(), deadline=trio.current_time())

        async def change(command: Command | Query) -> None:
            if isinstance(command, CompleteUpload):
                await o.part(upload, 4, b"another")

        o.meta.before = change
        await refusal(
            "UploadChanged",
            o.do.uploads.complete("bucket", "a", upload.upload_id, parts, condition=NO_CONDITION, call=call),
        )


async def parts_by_reference(o: Operating, upload: Upload, count: int) -> list[NamedPart]:
    """As many parts of 1,000 bytes, made without a byte being moved."""
    data = random_bytes(count + 5000)
    revision = (await o.put("source", data)).revision
    named = []
    for number in range(1, count + 1):
        digester = Digester(("CRC64NVME",))
        digester.update(data[number : number + 1000])
        digests = digester.digests()
        command = CopyPart(
            bucket="bucket",
            key=upload.key,
            upload_id=upload.upload_id,
            number=number,
            etag=digests.md5.hex(),
            md5=digests.md5,
            checksums=digests.checksums(("CRC64NVME",)),
            source_bucket="bucket",
            source_key="source",
            source_revision=revision,
            start=number,
            stop=number + 1000,
        )
        await o.meta.commit(command, deadline=0)
        named.append(NamedPart(number, command.etag))
    return named


async def test_more_parts_than_one_page_has_are_completed(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        named = await parts_by_reference(o, upload, 2100)
        await refusal("InvalidPart", o.complete(upload, *named[:-1], NamedPart(2100, named[0].etag)))
        o.meta.asked.clear()
        written = await o.complete(upload, *named)
        assert [query.after for query in o.meta.asked if isinstance(query, ListParts)] == [0, 1000, 2000]
        whole = await o.get("a")
        assert (len(whole), written.size, written.etag[32:]) == (2_100_000, 2_100_000, "-2100")
        assert written.checksums["CRC64NVME"].value == digest("CRC64NVME", whole)


async def test_only_the_pages_that_have_the_named_parts_are_read(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        named = await parts_by_reference(o, upload, 1500)
        o.meta.asked.clear()
        await o.complete(upload, *named[:1000])
        assert len([query for query in o.meta.asked if isinstance(query, ListParts)]) == 1


async def test_pages_of_parts_that_do_not_belong_together_are_read_again(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.begin("a")
        named = await parts_by_reference(o, upload, 1200)

        async def change(asked: Command | Query) -> None:
            if isinstance(asked, ListParts) and asked.after == 1000:
                o.meta.before = None
                await o.part(upload, 1, b"another" * 1000)

        o.meta.before = change
        await refusal("InvalidPart", o.complete(upload, *named))
        assert [query.after for query in o.meta.asked if isinstance(query, ListParts)] == [0, 1000, 0, 1000]
