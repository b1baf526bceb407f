"""Copies of objects and of ranges into parts: the bytes are referenced where they are, and are what was asked for."""

import hashlib
import zlib
from pathlib import Path

import pytest
import trio

from api.conditions import NO_CONDITION
from api.layout import part_span
from api.operations.values import Description, NamedPart, PartStored, Source, Written
from api.operations.versions import parse_version
from api.ranges import Span
from cluster.errors import Refused
from cluster.limits import CHUNK_BYTES, Limits
from metaraft.commands import (
    Command,
    Condition,
    CopyObject,
    CopyPart,
)
from metaraft.model import Checksum, ChecksumAlgorithm, Copies, Upload, Which
from metaraft.queries import Query
from tests.api.disks import random_bytes
from tests.api.operating import PLAIN, Operating, operating
from tests.api.refusals import refusal


async def copy(o: Operating, source: Source, key: str, algorithm: ChecksumAlgorithm | None = None) -> Written:
    """Copy an object as it is."""
    return await o.do.objects.copy(
        source,
        ("bucket", key),
        replace=None,
        replace_tags=None,
        source_condition=NO_CONDITION,
        condition=NO_CONDITION,
        call=o.call(),
        algorithm=algorithm,
    )


async def copy_part(
    o: Operating,
    source: Source,
    span: Span,
    upload: Upload,
    number: int = 1,
    condition: Condition = NO_CONDITION,
    idempotency: str | None = None,
) -> PartStored:
    """Copy a span into a part."""
    return await o.do.uploads.copy_part(
        source,
        lambda _size: span,
        ("bucket", upload.key, upload.upload_id, number),
        source_condition=condition,
        call=o.call(idempotency),
    )


# ---- parts


async def test_any_range_of_any_kind_of_object_can_be_a_part_and_no_byte_is_moved(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        plain, parts = random_bytes(CHUNK_BYTES + 100_000), [random_bytes(size) for size in (5000, 80_000, 3000)]
        await o.put("plain", plain)
        await o.upload("assembled", *parts)
        chunks = o.chunks_on_disks()
        assembled = b"".join(parts)
        upload = await o.begin("copy")
        whole, named = b"", []
        for number, (key, content, span) in enumerate(
            [
                ("plain", plain, Span(0, len(plain))),
                ("plain", plain, Span(CHUNK_BYTES - 700, CHUNK_BYTES + 900)),
                ("assembled", assembled, Span(0, len(assembled))),
                ("assembled", assembled, Span(4000, 86_000)),
                ("assembled", assembled, Span(5000, 85_000)),
                ("assembled", assembled, Span(len(assembled) - 1, len(assembled))),
            ],
            1,
        ):
            data = content[span.start : span.stop]
            stored = await copy_part(o, Source("bucket", key), span, upload, number)
            assert stored.etag == hashlib.md5(data).hexdigest()
            assert stored.source_version_id is None
            named.append(NamedPart(number, stored.etag))
            whole += data
        assert o.chunks_on_disks() == chunks
        written = await o.complete(upload, *named)
        assert written.size == len(whole)
        assert await o.get("copy") == whole
        for key in ("plain", "assembled"):
            await o.do.objects.delete("bucket", key, NO_CONDITION, o.call())
        found = await o.find("copy", part=4)
        span_of_4 = part_span(found.version, 4)
        assert span_of_4 is not None
        assert await o.content(found, *span_of_4) == assembled[4000:86_000]


async def test_what_lies_in_the_metadata_is_stored_as_bytes_and_nothing_is_nothing(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.put("small", b"0123456789")
        await o.put("large", random_bytes(10_000))
        upload = await o.begin("copy")
        first = await copy_part(o, Source("bucket", "small"), Span(2, 5), upload, 1)
        assert (first.etag, list(first.checksums)) == (hashlib.md5(b"234").hexdigest(), ["CRC64NVME", "BLAKE3"])
        empty = await copy_part(o, Source("bucket", "large"), Span(7, 7), upload, 1)
        assert empty.etag == hashlib.md5(b"").hexdigest()
        await o.complete(upload, NamedPart(1, empty.etag))
        assert await o.get("copy") == b""


async def test_bytes_of_two_schemes_are_stored_as_bytes(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.do.buckets.create("single", o.call(), Copies(1))
        data = random_bytes(20_000)
        await o.put("source", data, "single")
        upload = await o.begin("mixed")
        first = await copy_part(o, Source("single", "source"), Span(0, 20_000), upload, 1)
        own = random_bytes(20_000)
        await o.complete(upload, NamedPart(1, first.etag), await o.part(upload, 2, own))
        chunks = o.chunks_on_disks()
        again = await o.begin("again")
        mixed = await copy_part(o, Source("bucket", "mixed"), Span(10_000, 30_000), again, 1)
        assert len(o.chunks_on_disks() - chunks) == 1
        await o.complete(again, NamedPart(1, mixed.etag))
        assert await o.get("again") == data[10_000:] + own[:10_000]


async def test_a_part_is_copied_from_the_version_that_is_named_and_says_which(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.do.buckets.set_versioning("bucket", "enabled", o.call())
        datas = [random_bytes(5000), random_bytes(5000)]
        ids = [(await o.put("a", data)).version_id or "" for data in datas]
        upload = await o.begin("copy")
        old = await copy_part(o, Source("bucket", "a", parse_version(ids[0])), Span(0, 5000), upload)
        assert (old.etag, old.source_version_id) == (hashlib.md5(datas[0]).hexdigest(), ids[0])
        new = await copy_part(o, Source("bucket", "a"), Span(0, 5000), upload)
        assert (new.etag, new.source_version_id) == (hashlib.md5(datas[1]).hexdigest(), ids[1])


async def test_a_part_cannot_be_copied_from_what_is_not_there_or_not_as_the_condition_says(tmp_path: Path) -> None:
    async with operating(tmp_path, limits=Limits(disk_reserve_bytes=0, put_bytes_max=6000, part_bytes_min=1)) as o:
        data = random_bytes(6000)
        etag = (await o.put("a", data)).etag
        upload = await o.begin("copy")
        source, span = Source("bucket", "a"), Span(0, 6000)
        await refusal("NoSuchKey", copy_part(o, Source("bucket", "b"), span, upload))
        await refusal("NoSuchBucket", copy_part(o, Source("missing", "a"), span, upload))
        await refusal("NoSuchVersion", copy_part(o, Source("bucket", "a", Which(12345)), span, upload))
        await refusal("BadPartNumber", copy_part(o, source, span, upload, 0))
        for condition in (Condition(if_match=("0" * 32,)), Condition(if_none_match=(etag,))):
            await refusal("PreconditionFailed", copy_part(o, source, span, upload, condition=condition))
        await copy_part(o, source, span, upload, condition=Condition(if_match=(etag,)))
        both = await o.part(upload, 2, data)
        await o.complete(upload, NamedPart(1, etag), both)
        await refusal("EntityTooLarge", copy_part(o, Source("bucket", "copy"), Span(0, 6001), await o.begin("c")))
        await refusal("NoSuchUpload", copy_part(o, source, span, upload))


def out_of_range(_size: int) -> Span:
    raise Refused("InvalidRange", "the range is not in the source")


async def test_a_range_that_the_source_does_not_have_is_refused_by_who_asked(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.put("a", b"0123")
        upload = await o.begin("copy")
        target = ("bucket", "copy", upload.upload_id, 1)
        await refusal(
            "InvalidRange",
            o.do.uploads.copy_part(
                Source("bucket", "a"), out_of_range, target, source_condition=NO_CONDITION, call=o.call()
            ),
        )


@pytest.mark.parametrize("kind", [CopyPart, CopyObject])
async def test_a_source_that_changes_meanwhile_is_read_again(tmp_path: Path, kind: type[Command]) -> None:
    async with operating(tmp_path) as o:
        old, new = random_bytes(5000), random_bytes(5000)
        await o.put("a", old)
        upload = await o.begin("copy")

        async def change(command: Command | Query) -> None:
            if isinstance(command, kind):
                o.meta.before = None
                await o.put("a", new)

        o.meta.before = change
        if kind is CopyPart:
            stored = await copy_part(o, Source("bucket", "a"), Span(0, 5000), upload)
            await o.complete(upload, NamedPart(1, stored.etag))
        else:
            await copy(o, Source("bucket", "a"), "copy", "CRC32")
        assert o.meta.before is None
        assert await o.get("copy") == new


async def test_a_copied_part_is_made_once_under_one_idempotency_key(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.put("a", random_bytes(5000))
        upload = await o.begin("copy")
        span = Span(10, 20)
        first = await copy_part(o, Source("bucket", "a"), span, upload, idempotency="k")
        await o.part(upload, 1, b"another")
        assert await copy_part(o, Source("bucket", "a"), span, upload, idempotency="k") == first
        listed = await o.do.uploads.parts("bucket", "copy", upload.upload_id, 0, 10, o.call())
        assert listed.parts[0].etag == hashlib.md5(b"another").hexdigest()


# ---- objects


async def test_a_copy_of_an_object_in_parts_shares_them(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        parts = [random_bytes(5000), random_bytes(6000)]
        made = await o.upload("a", *parts)
        chunks = o.chunks_on_disks()
        written = await copy(o, Source("bucket", "a"), "copy")
        assert (written.etag, written.size, written.checksums) == (made.etag, made.size, made.checksums)
        assert o.chunks_on_disks() == chunks
        await o.do.objects.delete("bucket", "a", NO_CONDITION, o.call())
        assert await o.get("copy") == b"".join(parts)


async def test_a_copy_shows_the_checksum_asked_for_and_reads_the_bytes_only_if_it_must(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = random_bytes(100_000)
        await o.put("a", data)
        crc = Checksum(zlib.crc32(data).to_bytes(4, "big"))
        written = await copy(o, Source("bucket", "a"), "b", "CRC32")
        assert next(iter(written.checksums.items())) == ("CRC32", crc)
        assert set(written.checksums) == {"CRC32", "CRC64NVME", "SHA256", "BLAKE3"}
        for number in range(3):
            await o.disks.stop(number)
        again = await copy(o, Source("bucket", "b"), "c", "SHA256")
        assert next(iter(again.checksums.items())) == ("SHA256", Checksum(hashlib.sha256(data).digest()))
        assert set(again.checksums) == set(written.checksums)
        assert list((await copy(o, Source("bucket", "c"), "d")).checksums) == list(again.checksums)


async def test_a_composite_checksum_becomes_one_of_the_whole_when_it_is_asked_for(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        upload = await o.do.uploads.create("bucket", "a", PLAIN, ("SHA256", "COMPOSITE"), o.call())
        datas = [random_bytes(5000), random_bytes(6000)]
        made = await o.complete(upload, *[await o.part(upload, number, data) for number, data in enumerate(datas, 1)])
        assert (await copy(o, Source("bucket", "a"), "same")).checksums == made.checksums
        whole = Checksum(hashlib.sha256(b"".join(datas)).digest())
        assert (await copy(o, Source("bucket", "a"), "b", "SHA256")).checksums == {"SHA256": whole}


async def test_a_copy_keeps_or_replaces_what_its_source_carries(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.put("a", b"data", description=Description("a/b", {"expires": "0"}, {"k": "v"}, {"t": "1"}))

        async def copied(replace: Description | None, tags: dict[str, str] | None) -> tuple[object, ...]:
            await o.do.objects.copy(
                Source("bucket", "a"),
                ("bucket", "c"),
                replace=replace,
                replace_tags=tags,
                source_condition=NO_CONDITION,
                condition=NO_CONDITION,
                call=o.call(),
            )
            version = (await o.find("c")).version
            return version.content_type, version.headers, version.user_metadata, version.tags

        assert await copied(None, None) == ("a/b", {"expires": "0"}, {"k": "v"}, {"t": "1"})
        assert await copied(PLAIN, None) == ("text/plain", {}, {}, {"t": "1"})
        assert await copied(None, {}) == ("a/b", {"expires": "0"}, {"k": "v"}, {})
        assert await copied(PLAIN, {"u": "2"}) == ("text/plain", {}, {}, {"u": "2"})


async def test_a_copy_names_the_versions_it_was_made_from_and_made(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.do.buckets.set_versioning("bucket", "enabled", o.call())
        first, second = await o.put("a", b"1"), await o.put("a", b"2")
        assert first.version_id is not None
        written = await copy(o, Source("bucket", "a", Which(first.revision)), "b")
        assert (written.source_version_id, written.version_id) == (first.version_id, f"{written.revision:016x}")
        assert await o.get("b") == b"1"
        assert (await copy(o, Source("bucket", "a"), "b")).source_version_id == second.version_id
        marker = await o.do.objects.delete("bucket", "a", NO_CONDITION, o.call())
        await refusal("NoSuchKey", copy(o, Source("bucket", "a"), "b"))
        named = parse_version(marker.version_id or "")
        await refusal("InvalidRequest", copy(o, Source("bucket", "a", named), "b"))
        assert await o.get("b") == b"2"


async def test_a_copy_retried_after_its_source_was_deleted_gives_the_first_result(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.put("a", b"data")

        async def once(idempotency: str) -> Written:
            return await o.do.objects.copy(
                Source("bucket", "a"),
                ("bucket", "copy"),
                replace=None,
                replace_tags=None,
                source_condition=NO_CONDITION,
                condition=NO_CONDITION,
                call=o.call(idempotency),
            )

        first = await once("k")
        await o.do.objects.delete("bucket", "a", NO_CONDITION, o.call())
        assert await once("k") == first
        await refusal("NoSuchKey", once("l"))


async def test_a_copy_of_a_source_that_comes_while_it_was_refused_reads_it_first(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:

        async def come(command: Command | Query) -> None:
            if isinstance(command, CopyObject):
                o.meta.before = None
                await o.put("a", b"data")

        o.meta.before = come
        written = await o.do.objects.copy(
            Source("bucket", "a"),
            ("bucket", "copy"),
            replace=None,
            replace_tags=None,
            source_condition=NO_CONDITION,
            condition=NO_CONDITION,
            call=o.call("k"),
            algorithm="CRC32C",
        )
        assert next(iter(written.checksums)) == "CRC32C"


async def test_a_copy_that_is_cancelled_while_it_reads_leaves_nothing_behind(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await o.put("a", random_bytes(CHUNK_BYTES))
        upload = await o.begin("copy")
        for at in range(0, 60, 4):
            with trio.CancelScope() as scope:

                async def cancel_later(scope: trio.CancelScope = scope, at: int = at) -> None:
                    for _ in range(at):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                o.disks.nursery.start_soon(cancel_later)
                await copy_part(o, Source("bucket", "a"), Span(0, CHUNK_BYTES), upload)
        with trio.fail_after(5):
            while o.disks.budget.lent_bytes:
                await trio.lowlevel.checkpoint()
        await copy_part(o, Source("bucket", "a"), Span(0, CHUNK_BYTES), upload)
