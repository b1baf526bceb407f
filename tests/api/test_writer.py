"""Writes on real daemons: what is stored where, what is refused, and what a failure leaves."""

import hashlib
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from blake3 import blake3

from api.digests import ExpectedDigests
from api.upload import check_size
from cluster.errors import Refused, Unavailable
from cluster.limits import CHUNK_BYTES, MIB, Limits
from metaraft.model import Checksum, Inline, Parts
from tests.api.disks import BUCKET, World, packets, random_bytes, world

NOTHING = ExpectedDigests()
SMALL = Limits(disk_reserve_bytes=0, transfer_memory_bytes_max=32 * MIB)


async def store_fails(
    w: World, body: AsyncIterator[bytes], size: int | None, expected: ExpectedDigests = NOTHING
) -> Refused:
    with pytest.raises(Refused) as caught:
        async with w.writer.store(body, bucket=BUCKET, size=size, expected=expected, trace_id=""):
            raise AssertionError("it was stored")
    return caught.value


async def all_returned(w: World) -> None:
    """Nothing is lent any more, once what was cancelled has ended."""
    with trio.fail_after(5):
        while w.budget.lent_bytes:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", [0, 1, 4096])
async def test_a_small_body_lies_in_the_metadata_and_needs_no_daemon(tmp_path: Path, size: int) -> None:
    async with world(tmp_path, up=[]) as w:
        data = random_bytes(size)
        async with w.writer.store(
            packets(data, 100), bucket=BUCKET, size=None, expected=ExpectedDigests(), trace_id=""
        ) as stored:
            assert stored.body == Inline(data)
            assert (stored.size, stored.chunks()) == (size, ())
            assert stored.etag == hashlib.md5(data).hexdigest()
            assert stored.checksums["SHA256"] == Checksum(hashlib.sha256(data).digest())
            assert stored.digests.blake3 == blake3(data).digest()
            await stored.put_again()
            stored.committed()


@pytest.mark.parametrize("size", [4097, 65_536, 300_000, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 12_345])
@pytest.mark.parametrize("announced", [True, False])
async def test_what_was_stored_is_read_back(tmp_path: Path, size: int, announced: bool) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(size)
        async with w.writer.store(
            packets(data, 100_000),
            bucket=BUCKET,
            size=size if announced else None,
            expected=ExpectedDigests(md5=hashlib.md5(data).digest(), sha256=hashlib.sha256(data).digest()),
            trace_id="",
        ) as stored:
            assert isinstance(stored.body, Parts)
            assert [ref.length for ref in stored.body.parts[0].chunks][:-1] == [CHUNK_BYTES] * (
                (size - 1) // CHUNK_BYTES
            )
            assert all(len(chunk.acks) >= 2 for chunk in stored.chunks())
            assert {ack.seen for chunk in stored.chunks() for ack in chunk.acks} == {w.meta.revision}
            assert stored.digests.blake3 == blake3(data).digest()
            found = w.meta.keep(stored)
            stored.committed()
        assert await w.fetch(found) == data
        await all_returned(w)


async def test_the_same_bytes_take_their_chunks_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(CHUNK_BYTES) * 3
        first, second = await w.store(data), await w.store(data)
        assert first.holders.keys() == second.holders.keys()
        assert len(first.holders) == 1
        assert await w.fetch(second) == data


async def test_too_few_disks_is_said_before_the_body_is_read(tmp_path: Path) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with world(tmp_path, up=[1]) as w:
        with pytest.raises(Unavailable, match="1 disks are up") as caught:
            async with w.writer.store(unread(), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""):
                raise AssertionError("it was stored")
        assert caught.value.code == "TooFewDisks"


@pytest.mark.parametrize(("up", "full"), [((0, 1, 2), (0, 2)), ((0, 1), (1,))])
async def test_too_few_disks_with_room_is_said_before_the_body_is_read(
    tmp_path: Path, up: tuple[int, ...], full: tuple[int, ...]
) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with world(tmp_path, up=up, limits=Limits(disk_reserve_bytes=1)) as w:
        for number in full:
            w.files[number].full = True
        await said(w, dict.fromkeys(full, "full"))
        with pytest.raises(Unavailable, match=f"of them {len(full)} full; a write needs 2") as caught:
            async with w.writer.store(unread(), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""):
                raise AssertionError("it was stored")
        assert caught.value.code == "NoSpace"
        w.files[full[0]].full = False
        await said(w, {full[0]: "ok"})
        await w.store(random_bytes(MIB))


async def test_disks_that_fill_up_under_the_last_chunk_fail_the_write(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(disk_reserve_bytes=1), up=[0, 1]) as w:
        await said(w, {0: "ok", 1: "ok"})

        async def filling() -> AsyncIterator[bytes]:
            w.files[0].full = True
            yield random_bytes(MIB)

        with pytest.raises(Unavailable, match="DiskFull") as caught:
            async with w.writer.store(filling(), bucket=BUCKET, size=MIB, expected=NOTHING, trace_id=""):
                raise AssertionError("it was stored")
        assert caught.value.code == "NoSpace"


async def said(w: World, states: dict[int, str]) -> None:
    """Wait until the daemons have told the API these states."""
    with trio.fail_after(30):
        while True:
            found = [None if node.status is None else node.status.state for node in w.nodes.status()]
            if all(found[number] == state for number, state in states.items()):
                return
            await trio.lowlevel.checkpoint()


async def test_a_write_goes_on_while_a_quorum_is_up(tmp_path: Path) -> None:
    async with world(tmp_path, up=[0, 2]) as w:
        data = random_bytes(MIB)
        found = await w.store(data)
        assert {len(holders) for holders in found.holders.values()} == {2}
        assert await w.fetch(found) == data


async def test_the_next_in_order_replaces_a_disk_that_fails(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=4) as w:
        w.files[0].fail = True
        for _ in range(6):
            found = await w.store(random_bytes(100_000))
            (holders,) = found.holders.values()
            assert w.clients[0].disk_id not in holders
            assert len(holders) >= 2


async def test_a_daemon_that_dies_in_the_middle_of_a_chunk_does_not_stop_the_write(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(2 * CHUNK_BYTES + 1000)

        async def body() -> AsyncIterator[bytes]:
            sent = 0
            async for packet in packets(data):
                yield packet
                sent += len(packet)
                if sent == CHUNK_BYTES + 4 * MIB:
                    await w.stop(1)

        async with w.writer.store(
            body(), bucket=BUCKET, size=len(data), expected=ExpectedDigests(), trace_id=""
        ) as stored:
            found = w.meta.keep(stored)
            stored.committed()
        assert await w.fetch(found) == data


async def test_exactly_a_quorum_acknowledges_and_the_late_one_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.files[2].gate.clear()
        data = random_bytes(CHUNK_BYTES)
        found = await w.store(data)
        ((chunk_id, holders),) = found.holders.items()
        assert set(holders) == {w.clients[0].disk_id, w.clients[1].disk_id}
        assert not w.meta.late
        w.files[2].gate.set()
        await w.meta.told.wait()
        (late,) = w.meta.late
        assert [(chunk.chunk_id, [ack.disk_id for ack in chunk.acks]) for chunk in late.chunks] == [
            (chunk_id, [w.clients[2].disk_id])
        ]
        await all_returned(w)


async def test_a_laggard_of_a_write_that_was_not_committed_is_dropped(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.files[2].gate.clear()
        async with w.writer.store(
            packets(random_bytes(MIB)), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""
        ):
            pass
        await all_returned(w)
        w.files[2].gate.set()
        assert not w.meta.late


async def test_a_slow_disk_keeps_no_more_than_its_share_of_memory(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.files[1].gate.clear()
        most = 0
        data = random_bytes(12 * CHUNK_BYTES)

        async def body() -> AsyncIterator[bytes]:
            nonlocal most
            async for packet in packets(data, MIB):
                most = max(most, w.budget.lent_bytes)
                yield packet

        async with w.writer.store(
            body(), bucket=BUCKET, size=len(data), expected=ExpectedDigests(), trace_id=""
        ) as stored:
            found = w.meta.keep(stored)
        limits = w.config.limits
        assert most <= (limits.upload_chunks_in_flight_max + limits.upload_laggards_max + 1) * CHUNK_BYTES
        w.files[1].gate.set()
        assert await w.fetch(found) == data


@pytest.mark.parametrize("size", [100, MIB])
async def test_a_wrong_digest_is_refused(tmp_path: Path, size: int) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(size)
        for expected in (
            ExpectedDigests(md5=bytes(16)),
            ExpectedDigests(sha256=bytes(32)),
            ExpectedDigests(crc64nvme=bytes(8)),
            ExpectedDigests(crc32=bytes(4), algorithms=()),
            ExpectedDigests(algorithms=("SHA1",), late=lambda: ExpectedDigests(sha1=bytes(20))),
        ):
            assert (await store_fails(w, packets(data), size, expected)).code == "BadDigest"
        await all_returned(w)


async def test_a_checksum_behind_the_body_is_asked_for_when_all_of_it_was_read(tmp_path: Path) -> None:
    data = random_bytes(300_000)
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        async for packet in packets(data):
            read += len(packet)
            yield packet

    def late() -> ExpectedDigests:
        assert read == len(data)
        return ExpectedDigests(crc32=zlib.crc32(data).to_bytes(4, "big"))

    async with world(tmp_path) as w:
        expected = ExpectedDigests(algorithms=("CRC32",), late=late)
        async with w.writer.store(body(), bucket=BUCKET, size=None, expected=expected, trace_id="") as stored:
            assert list(stored.checksums) == ["CRC32", "BLAKE3"]
        await all_returned(w)


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_part_of_an_upload_lies_in_chunks_however_small_it_is(
    tmp_path: Path, size: int, announced: bool
) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(size)
        async with w.writer.store(
            packets(data),
            bucket=BUCKET,
            size=size if announced else None,
            expected=ExpectedDigests(algorithms=("SHA1",)),
            trace_id="",
            inline=False,
        ) as stored:
            assert stored.body == Parts((stored.part,))
            assert (stored.part.size, stored.part.md5) == (size, hashlib.md5(data).digest())
            assert stored.part.checksums["SHA1"] == Checksum(hashlib.sha1(data).digest())
            assert [ref.length for ref in stored.part.chunks] == ([size] if size else [])
            found = w.meta.keep(stored)
            stored.committed()
        assert await w.fetch(found) == data
        await all_returned(w)


@pytest.mark.parametrize(("real", "announced"), [(10, 11), (11, 10), (MIB, MIB + 1), (MIB + 1, MIB), (0, MIB)])
async def test_a_body_of_another_length_is_refused(tmp_path: Path, real: int, announced: int) -> None:
    async with world(tmp_path) as w:
        error = await store_fails(w, packets(random_bytes(real)), announced)
        assert error.code == "IncompleteBody"
        await all_returned(w)


async def test_a_body_over_the_limit_is_refused_announced_or_not(tmp_path: Path) -> None:
    limits = Limits(disk_reserve_bytes=0, put_bytes_max=MIB)
    async with world(tmp_path, limits=limits) as w:
        for size in (MIB + 1, None):
            error = await store_fails(w, packets(random_bytes(MIB + 1)), size)
            assert (error.code, error.limit) == ("EntityTooLarge", {"put_bytes_max": MIB})
    check_size(limits, MIB)


async def test_a_client_that_goes_away_leaves_nothing_lent(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        async for packet in packets(random_bytes(CHUNK_BYTES + 5 * MIB)):
            yield packet
        raise trio.BrokenResourceError("gone")

    async with world(tmp_path) as w:
        with pytest.raises(trio.BrokenResourceError):
            async with w.writer.store(
                body(), bucket=BUCKET, size=5 * CHUNK_BYTES, expected=ExpectedDigests(), trace_id=""
            ):
                raise AssertionError("it was stored")
        await all_returned(w)


@pytest.mark.parametrize("at", range(0, 60, 3))
async def test_an_upload_cancelled_anywhere_leaves_nothing_behind(tmp_path: Path, at: int) -> None:
    async with world(tmp_path) as w:
        data = random_bytes(CHUNK_BYTES + MIB)
        with trio.CancelScope() as scope:

            async def body() -> AsyncIterator[bytes]:
                async for packet in packets(data, MIB):
                    yield packet

            async def cancel_later() -> None:
                for _ in range(at):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            w.nursery.start_soon(cancel_later)
            async with w.writer.store(body(), bucket=BUCKET, size=len(data), expected=ExpectedDigests(), trace_id=""):
                pass
        await all_returned(w)
        assert await w.fetch(await w.store(data)) == data


async def test_many_slow_uploads_leave_room_for_a_quick_one(tmp_path: Path) -> None:
    async with world(tmp_path, limits=SMALL, memory_wait_s=30.0) as w:
        stalled = [trio.Event() for _ in range(8)]
        go_on = trio.Event()
        done = []

        async def slow(number: int) -> None:
            data = random_bytes(3 * MIB)

            async def body() -> AsyncIterator[bytes]:
                yield data[:100_000]
                stalled[number].set()
                await go_on.wait()
                async for packet in packets(data[100_000:]):
                    yield packet

            async with w.writer.store(
                body(), bucket=BUCKET, size=len(data), expected=ExpectedDigests(), trace_id=""
            ) as stored:
                found = w.meta.keep(stored)
            assert await w.fetch(found) == data
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(slow, number)
            for event in stalled:
                await event.wait()
            data = random_bytes(2 * CHUNK_BYTES)
            assert await w.fetch(await w.store(data)) == data
            assert not done
            go_on.set()
        assert len(done) == 8
        await all_returned(w)


async def test_an_upload_that_holds_a_whole_buffer_for_long_gives_it_up(tmp_path: Path) -> None:
    async with world(tmp_path, limits=SMALL, memory_wait_s=30.0) as w:
        go_on = trio.Event()
        data = random_bytes(3 * MIB)
        filled = [trio.Event() for _ in range(5)]

        async def hold(number: int) -> None:
            async def body() -> AsyncIterator[bytes]:
                yield data[:MIB]
                filled[number].set()  # more of them than there is memory for
                await go_on.wait()
                yield data[MIB:]

            async with w.writer.store(
                body(), bucket=BUCKET, size=len(data), expected=ExpectedDigests(), trace_id=""
            ) as stored:
                found = w.meta.keep(stored)
                stored.committed()
            assert await w.fetch(found) == data

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(hold, number)
            for event in filled:
                await event.wait()
            quick = random_bytes(CHUNK_BYTES)
            assert await w.fetch(await w.store(quick)) == quick
            go_on.set()
        await all_returned(w)


async def test_no_memory_for_long_is_slow_down(tmp_path: Path) -> None:
    async with world(tmp_path, limits=SMALL, memory_wait_s=0.05) as w:
        held = [await w.budget.acquire(CHUNK_BYTES) for _ in range(4)]
        with pytest.raises(Unavailable) as caught:
            await w.store(random_bytes(MIB))
        assert caught.value.code == "SlowDown"
        for buffer in held:
            buffer.release()
        assert await w.fetch(await w.store(b"x" * MIB)) == b"x" * MIB


async def test_put_again_renews_under_the_present_revision(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as w,
        w.writer.store(
            packets(random_bytes(MIB)), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""
        ) as stored,
    ):
        w.meta.revision = 99
        await stored.put_again()
        (chunk,) = stored.chunks()
        assert len(chunk.acks) >= 2
        assert {ack.seen for ack in chunk.acks} == {99}


async def test_put_again_without_the_chunks_is_for_the_client(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as w,
        w.writer.store(
            packets(random_bytes(MIB)), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""
        ) as stored,
    ):
        await w.stop(0)
        await w.stop(1)
        with pytest.raises(Unavailable) as caught:
            await stored.put_again()
        assert caught.value.code == "PutAgain"


async def test_uncommitted_chunks_are_renewed(tmp_path: Path) -> None:
    async with (
        world(tmp_path, renew_s=0.05) as w,
        w.writer.store(
            packets(random_bytes(MIB)), bucket=BUCKET, size=MIB, expected=ExpectedDigests(), trace_id=""
        ) as stored,
    ):
        w.meta.revision = 50
        with trio.fail_after(5):
            while {ack.seen for chunk in stored.chunks() for ack in chunk.acks} != {50}:
                await trio.lowlevel.checkpoint()


async def test_without_the_metadata_a_large_write_is_refused_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, space_age_s=0.0) as w:
        w.meta.gone = True
        with pytest.raises(Unavailable, match="no quorum"):
            await w.store(random_bytes(MIB))
