"""Reads of objects in many parts, whose chunks come page by page: right bytes, few questions, and an end when the
object is gone."""

from pathlib import Path
from random import Random

import pytest

from api.conditions import NO_CONDITION
from cluster.errors import Unavailable
from cluster.limits import CHUNK_BYTES, MIB
from metaraft.commands import (
    CompleteUpload,
    CopyPart,
)
from metaraft.queries import GetHolders, GetParts
from tests.api.disks import random_bytes
from tests.api.operating import Operating, operating
from tests.api.refusals import refusal

PARTS = 2500


async def many_parts(o: Operating, key: str, source: str, cuts: list[tuple[int, int]]) -> None:
    """Complete an object of parts 1, 4, 7, ... that reference these spans of another object."""
    revision = (await o.find(source)).version.revision
    upload = await o.begin(key)
    numbers = tuple(range(1, 3 * len(cuts), 3))
    for number, (start, stop) in zip(numbers, cuts, strict=True):
        part = CopyPart("bucket", key, upload.upload_id, number, "", b"", {}, "bucket", source, revision, start, stop)
        await o.meta.commit(part, deadline=0)
    complete = CompleteUpload("bucket", key, upload.upload_id, len(cuts), numbers, f"e-{len(cuts)}")
    await o.meta.commit(complete, deadline=0)
    o.meta.asked.clear()


async def scattered(o: Operating) -> bytes:
    """An object `many` of PARTS small parts, some of them empty, cut anywhere from one of two chunks; its bytes."""
    random = Random(4)
    source = random_bytes(CHUNK_BYTES + MIB)
    await o.put("source", source)
    cuts = []
    for _ in range(PARTS):
        start = random.randrange(len(source) - 2000)
        cuts.append((start, start + random.choice((0, 1, 700, 2000))))
    cuts[1000] = (CHUNK_BYTES - 1000, CHUNK_BYTES + 1000)
    await many_parts(o, "many", "source", cuts)
    return b"".join(source[start:stop] for start, stop in cuts)


async def test_any_range_of_an_object_in_many_parts_is_the_bytes_of_that_range(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await scattered(o)
        random = Random(5)
        for _ in range(30):
            start = random.randrange(len(data))
            stop = min(len(data), start + random.choice((1, 5000, 100_000)))
            for offset in (0, start, start - len(data)):
                found = await o.find("many", offset=offset)
                assert await o.content(found, start, stop) == data[start:stop], (start, stop, offset)


async def test_no_question_brings_more_than_a_page_and_the_whole_needs_no_more_of_them(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await scattered(o)
        found = await o.find("many")
        assert len(found.parts) < PARTS / 10
        assert await o.content(found) == data
        questions = [query for query in o.meta.asked if isinstance(query, GetParts)]
        assert max(len(query.numbers) for query in questions) == 256
        assert len(questions) <= PARTS / 256
        assert not [query for query in o.meta.asked if isinstance(query, GetHolders)]


async def test_a_hint_where_a_range_begins_saves_a_question(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await scattered(o)
        for offset in (len(data) - 3000, -3000):
            found = await o.find("many", offset=offset)
            assert await o.content(found, len(data) - 3000) == data[-3000:]
        assert not [query for query in o.meta.asked if isinstance(query, GetParts)]


async def test_a_read_ends_when_the_object_is_gone_before_its_next_page(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await scattered(o)
        found = await o.find("many")
        await o.do.objects.delete("bucket", "many", NO_CONDITION, o.call())
        first = sum(part.head.size for part in found.parts)
        assert await o.content(found, 0, first) == data[:first]
        with pytest.raises(Unavailable) as caught:
            await o.content(found)
        assert caught.value.code == "ObjectGone"


async def test_what_is_known_of_parts_is_told_without_their_chunks(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        data = await scattered(o)
        await o.put("plain", b"data")
        assert await o.do.objects.part_heads(await o.find("plain"), 0, 1000, o.call()) == ((), False)
        found = await o.find("many")
        heads, more = await o.do.objects.part_heads(found, 0, 10_000, o.call())
        assert (len(heads), more, sum(head.size for head in heads)) == (PARTS, False, len(data))
        some, more = await o.do.objects.part_heads(found, heads[9].number, 5, o.call())
        assert (some, more) == (heads[10:15], True)
        last, more = await o.do.objects.part_heads(found, heads[-3].number, 2, o.call())
        assert (last, more) == (heads[-2:], False)
        await o.do.objects.delete("bucket", "many", NO_CONDITION, o.call())
        await refusal("NoSuchKey", o.do.objects.part_heads(found, 0, 10, o.call()))
