"""Reads on real daemons: right bytes from whichever copy is good, or an error, never wrong ones."""

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api import reader as reader_module
from api.budget import PIECE_BYTES, SMALL_BYTES
from api.layout import part_ranges, part_span, parts_count, segments
from api.ranges import Span
from cluster.errors import Corrupt, Unavailable
from cluster.limits import BLOCK_BYTES, CHUNK_BYTES, MIB
from metaraft.model import Assembled, Chunk, ChunkRef, Copies, Inline, Part, Parts, Version
from metaraft.queries import (
    ObjectFound,
)
from tests.api.disks import World, random_bytes, world

SIZE = 2 * CHUNK_BYTES + 3 * MIB


def only(found: ObjectFound) -> bytes:
    """The id of an object's one chunk."""
    (chunk_id,) = found.holders
    return chunk_id


async def all_returned(w: World) -> None:
    with trio.fail_after(5):
        while w.budget.lent_bytes:
            await trio.lowlevel.checkpoint()


async def store_everywhere(w: World, data: bytes) -> ObjectFound:
    """Write, and wait until every disk that is up holds every chunk."""
    found = await w.store(data)
    await all_returned(w)
    return w.found_now(found)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=4), max_size=3), st.data())
def test_segments_are_the_bytes_of_the_range(shape: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    parts, content, number = [], [], 0
    for refs in shape:
        made = []
        for offset, length in refs:
            name = bytes([number])
            number += 1
            made.append(ChunkRef(name, offset, length, offset + length))
            content += [(name, offset + at) for at in range(length)]
        parts.append(Part(sum(ref.length for ref in made), b"", tuple(made), Copies(3)))
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    found = segments(Parts(tuple(parts)), start, stop)
    assert [(s.chunk_id, s.offset + at) for s in found for at in range(s.length)] == content[start:stop]
    assert all(segment.length > 0 for segment in found)


@given(st.lists(st.integers(0, 5), max_size=6), st.data())
def test_the_ranges_of_parts_are_the_bytes_of_the_range(sizes: list[int], data: st.DataObject) -> None:
    body = Assembled(b"u" * 16, tuple((3 * place + 1, size) for place, size in enumerate(sizes)))
    content = [(number, at) for number, size in body.parts for at in range(size)]
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    found = part_ranges(body, start, stop)
    assert [(part.number, at) for part in found for at in range(part.start, part.stop)] == content[start:stop]
    assert all(part.start < part.stop <= part.size == dict(body.parts)[part.number] for part in found)
    version = Version(1, 0, len(content), "", "", body)
    assert parts_count(version) == len(sizes)
    for number, _ in body.parts:
        span = part_span(version, number)
        assert span is not None
        assert content[span.start : span.stop] == [byte for byte in content if byte[0] == number]
    assert part_span(version, 2) is None


def test_the_first_part_of_an_object_without_parts_is_the_whole() -> None:
    version = Version(1, 0, 3, "", "", Inline(b"abc"))
    assert (part_span(version, 1), part_span(version, 2), parts_count(version)) == (Span(0, 3), None, None)


async def test_any_range_is_the_bytes_of_that_range(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await w.store(data)
        edges = [0, 1, BLOCK_BYTES, SMALL_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 70_000, SIZE]
        for start in edges:
            for stop in edges:
                if start <= stop:
                    assert await w.fetch(found, start, stop) == data[start:stop], (start, stop)
        await all_returned(w)


async def test_an_inline_body_needs_no_daemon(tmp_path: Path) -> None:
    async with world(tmp_path, up=[]) as w:
        found = await w.store(b"0123456789")
        assert found.version.body == Inline(b"0123456789")
        assert await w.fetch(found, 2, 5) == b"234"
        assert await w.fetch(found, 3, 3) == b""


@pytest.mark.parametrize("size", [100_000, CHUNK_BYTES])
async def test_corrupt_truncated_and_missing_copies_are_passed_over_and_reported(tmp_path: Path, size: int) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(size)
        found = await store_everywhere(w, data)
        chunk_id = only(found)
        w.flip(0, chunk_id, size - 10)
        truncated = w.chunk_file(1, chunk_id)
        truncated.chmod(0o600)
        truncated.write_bytes(truncated.read_bytes()[: size // 2])
        with capture_logs() as logs:
            for _ in range(12):
                assert await w.fetch(found) == data
            with trio.fail_after(10):
                while len({e["node"] for e in logs if e["event"] == "copy_judged"}) < 2:
                    await trio.lowlevel.checkpoint()
        assert {entry["disk"] for entry in logs if entry["event"] == "bad_copy"} == {
            w.clients[0].disk_id.hex(),
            w.clients[1].disk_id.hex(),
        }


async def test_two_copies_with_different_bad_blocks_make_a_whole(tmp_path: Path) -> None:
    async with world(tmp_path, up=[0, 1]) as w:
        data = random_bytes(CHUNK_BYTES)
        found = await w.store(data)
        w.flip(0, only(found), 10 * BLOCK_BYTES + 5)
        w.flip(1, only(found), 90 * BLOCK_BYTES + 5)
        assert await w.fetch(found) == data


async def test_when_every_copy_is_bad_no_wrong_byte_is_given(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(CHUNK_BYTES)
        found = await store_everywhere(w, data)
        bad = 60 * BLOCK_BYTES
        for number in range(3):
            w.flip(number, only(found), bad + 7)
        read = bytearray()

        async def read_on() -> None:
            async with w.reader.open(found, 0, CHUNK_BYTES, trace_id="") as pieces:
                async for piece in pieces:
                    read.extend(piece)

        with capture_logs() as logs, pytest.raises(Corrupt) as caught:
            await read_on()
        assert caught.value.code == "NoGoodCopy"
        assert bytes(read) == data[: len(read)]
        assert len(read) <= bad
        assert "no_good_copy" in {entry["event"] for entry in logs}
        await all_returned(w)


@pytest.mark.parametrize("size", [100_000, CHUNK_BYTES])
async def test_an_object_without_any_copy_fails_before_its_first_byte(tmp_path: Path, size: int) -> None:
    async with world(tmp_path) as w:
        found = await store_everywhere(w, random_bytes(size))
        for number in range(3):
            w.chunk_file(number, only(found)).unlink(missing_ok=True)
        with pytest.raises(Corrupt):
            async with w.reader.open(found, 0, size, trace_id=""):
                raise AssertionError("it was opened")


async def test_unreachable_holders_are_unavailable_not_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        found = await w.store(random_bytes(MIB))
        for number in range(3):
            await w.stop(number)
        with pytest.raises(Unavailable) as caught:
            await w.fetch(found)
        assert caught.value.code == "NoCopyReached"


async def test_a_daemon_that_dies_in_the_middle_is_not_noticed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await store_everywhere(w, data)
        for number in range(3):
            read = bytearray()
            async with w.reader.open(found, 0, SIZE, trace_id="") as pieces:
                async for piece in pieces:
                    if not read:
                        await w.stop(number)
                    read += piece
            assert read == data
            await w.start(number)


async def test_a_silent_copy_is_passed_over(tmp_path: Path) -> None:
    async with world(tmp_path, slow_copy_s=0.05) as w:
        data = random_bytes(CHUNK_BYTES)
        found = await store_everywhere(w, data)
        w.files[0].gate.clear()
        w.files[1].gate.clear()
        with capture_logs() as logs:
            assert await w.fetch(found) == data
        assert {e["fault"] for e in logs if e["event"] == "copy_passed_over"} <= {"slow"}


async def test_the_only_copy_may_be_slow(tmp_path: Path) -> None:
    async with world(tmp_path, slow_copy_s=0.05) as w:
        data = random_bytes(CHUNK_BYTES)
        found = await store_everywhere(w, data)
        await w.stop(1)
        await w.stop(2)
        w.files[0].gate.clear()
        read = bytearray()
        async with trio.open_nursery() as nursery:

            async def fetch() -> None:
                read.extend(await w.fetch(found))

            with capture_logs() as logs:
                nursery.start_soon(fetch)
                with trio.fail_after(10):
                    while not any(e.get("fault") == "slow" for e in logs):
                        await trio.lowlevel.checkpoint()
                w.files[0].gate.set()
        assert read == data


async def test_holders_are_read_again_when_those_known_have_failed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(MIB)
        found = await store_everywhere(w, data)
        stale = tuple(client.disk_id for client in w.clients[:1])
        w.chunk_file(0, only(found)).unlink()
        found.holders[only(found)] = stale
        w.meta.chunks[only(found)] = Chunk(MIB, 1, None, (w.clients[2].disk_id, w.clients[1].disk_id))
        assert await w.fetch(found) == data


async def test_without_the_metadata_what_is_known_must_do(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        found = await store_everywhere(w, random_bytes(MIB))
        w.meta.gone = True
        w.chunk_file(0, only(found)).unlink()
        assert await w.fetch(found) == await w.fetch(found)
        for number in (1, 2):
            w.chunk_file(number, only(found)).unlink()
        with pytest.raises(Unavailable) as caught:  # not Corrupt: there may be holders that are not known here
            await w.fetch(found)
        assert caught.value.code == "NoCopyReached"


async def test_a_slow_taker_keeps_no_connection_and_gets_every_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_LINGER_S", 0.0)
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await store_everywhere(w, data)
        read = bytearray()
        async with w.reader.open(found, 0, SIZE, trace_id="") as pieces:
            async for piece in pieces:
                read += piece
                if len(read) <= PIECE_BYTES * 4:
                    while sum(client._pool._room.value for client in w.clients) < 3 * 32:
                        await trio.lowlevel.checkpoint()
                assert bytes(piece) == data[len(read) - len(piece) : len(read)]
        assert read == data
        await all_returned(w)


async def test_a_piece_is_valid_until_the_next_one_is_asked_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await w.store(data)
        at = 0
        async with w.reader.open(found, 0, SIZE, trace_id="") as pieces:
            async for piece in pieces:
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
                assert piece == data[at : at + len(piece)]
                at += len(piece)
        assert at == SIZE


async def test_readers_without_memory_for_a_piece_ahead_still_read(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await store_everywhere(w, data)
        held = []
        for size in (PIECE_BYTES, SMALL_BYTES):
            while (buffer := w.budget.maybe_acquire_nowait(size)) is not None:
                held.append(buffer)
        held.pop().release()
        assert await w.fetch(found) == data
        for buffer in held:
            buffer.release()
        await all_returned(w)


async def test_a_long_read_is_cut_when_its_chunks_are_gone(tmp_path: Path) -> None:
    async with world(tmp_path, renew_s=0.0) as w:
        data = random_bytes(SIZE)
        found = await w.store(data)
        assert await w.fetch(found) == data
        w.meta.chunks.clear()
        with pytest.raises(Unavailable) as caught:
            await w.fetch(found)
        assert caught.value.code == "ObjectGone"


@pytest.mark.parametrize("at", range(0, 45, 3))
async def test_a_read_cancelled_anywhere_leaves_nothing_behind(tmp_path: Path, at: int) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(CHUNK_BYTES + MIB)
        found = await store_everywhere(w, data)
        with trio.CancelScope() as scope:

            async def cancel_later() -> None:
                for _ in range(at):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            w.nursery.start_soon(cancel_later)
            await w.fetch(found)
        await all_returned(w)
        assert await w.fetch(found) == data


async def test_a_read_that_is_left_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(SIZE)
        found = await w.store(data)
        async with w.reader.open(found, 0, SIZE, trace_id="") as pieces:
            async for _ in pieces:
                break
        await all_returned(w)
        assert await w.fetch(found) == data
