"""Client and daemon over a real socket, in one trio run."""

import errno
from collections.abc import Buffer, Callable
from pathlib import Path

import pytest
import trio

from chunkd import wire
from chunkd.blocks import DATA_OFFSET, name_chunk
from chunkd.client import ChunkClient, HashLists
from chunkd.reading import PIECE_BYTES
from cluster.errors import Corrupt, Refused, Unavailable
from cluster.identity import NodeIdentity
from cluster.limits import BLOCK_BYTES, CHUNK_BYTES, Limits
from cluster.rpc import TransferStream
from tests.chunkd.copies import damaged, flip
from tests.chunkd.faulty import FaultyFiles
from tests.chunkd.worlds import daemon, make_config, random_bytes, soon


async def put(client: ChunkClient, data: bytes, *, seen: int = 1) -> bytes:
    chunk_id, hashes = name_chunk(data)
    await client.put(chunk_id, hashes, data, seen=seen, deadline=soon())
    return chunk_id


async def get(client: ChunkClient, chunk_id: bytes, offset: int, length: int) -> bytes:
    found = bytearray()
    await get_into(found, client, chunk_id, offset, length)
    return bytes(found)


async def get_into(found: bytearray, client: ChunkClient, chunk_id: bytes, offset: int, length: int) -> None:
    async with client.get(chunk_id, offset, length, deadline=soon()) as pieces:
        async for piece in pieces:
            assert 0 < len(piece) <= PIECE_BYTES
            found += piece


def file_of(root: Path, chunk_id: bytes, node: str = "n1") -> Path:
    return root / node / "space-1" / f"{chunk_id[0]:02x}" / chunk_id.hex()


def files_under(root: Path, folder: str) -> list[str]:
    return [path.name for path in (root / "n1" / folder).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "size",
    [1, BLOCK_BYTES + 1, wire.EAGER_BYTES_MAX, wire.EAGER_BYTES_MAX + 1, PIECE_BYTES, PIECE_BYTES + 1, CHUNK_BYTES],
)
async def test_what_was_put_comes_back(tmp_path: Path, size: int) -> None:
    data = random_bytes(size)
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        assert await get(client, chunk_id, 0, size) == data
        stat = await client.stat(chunk_id, deadline=soon())
        assert (stat.length, stat.hashes) == (size, name_chunk(data)[1])
        status = await client.status(deadline=soon())
        assert (status.name, status.chunks, status.state, status.transfers) == ("n1", 1, "ok", 0)
        assert status.disk_id == client.disk_id


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (BLOCK_BYTES - 1, 2),
        (BLOCK_BYTES, BLOCK_BYTES),
        (PIECE_BYTES - 3, 7),
        (123_456, 1_900_000),
        (0, 2 * PIECE_BYTES + 77),
        (2 * PIECE_BYTES + 76, 1),
    ],
)
async def test_a_range_is_its_bytes(tmp_path: Path, offset: int, length: int) -> None:
    data = random_bytes(2 * PIECE_BYTES + 77)
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        for hash_lists in (client._hash_lists, HashLists()):
            client._hash_lists = hash_lists
            assert await get(client, chunk_id, offset, length) == data[offset : offset + length]


@pytest.mark.parametrize("size", [BLOCK_BYTES, 3 * BLOCK_BYTES + 10, CHUNK_BYTES])
async def test_pieces_lie_in_the_readers_own_buffer(tmp_path: Path, size: int) -> None:
    data = random_bytes(2 * PIECE_BYTES + 77)
    buffer = memoryview(bytearray(size))
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        found = bytearray()
        async with client.get(chunk_id, 1000, len(data) - 1000, deadline=soon(), buffer=buffer) as pieces:
            async for piece in pieces:
                assert piece.obj is buffer.obj
                found += piece
        assert found == data[1000:]


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1001), (1000, 1), (999, 2), (2**60, 1)])
async def test_a_range_outside_the_chunk_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, random_bytes(1000))
        with pytest.raises(Refused) as raised:
            await get(client, chunk_id, offset, length)
        assert raised.value.code == "BadRange"


async def test_a_range_costs_its_blocks_and_the_hash_list_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send_raw, send_response = TransferStream.send_raw, TransferStream.send_response

    async def count_raw(stream: TransferStream, data: Buffer) -> None:
        sent.append(memoryview(data).nbytes)
        await send_raw(stream, data)

    async def count_response(stream: TransferStream, body: bytes) -> None:
        sent.append(len(body))
        await send_response(stream, body)

    data = random_bytes(CHUNK_BYTES)
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        client._hash_lists = HashLists()
        monkeypatch.setattr(TransferStream, "send_raw", count_raw)
        monkeypatch.setattr(TransferStream, "send_response", count_response)
        for hash_list_bytes in (4096, 0):
            sent.clear()
            assert await get(client, chunk_id, 5_000_000, 1024) == data[5_000_000:5_001_024]
            assert 0 <= sum(sent) - BLOCK_BYTES - hash_list_bytes < 32


async def test_a_chunk_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        for call in (lambda: get(client, bytes(32), 0, 1), lambda: client.stat(bytes(32), deadline=soon())):
            with pytest.raises(Refused) as raised:
                await call()
            assert raised.value.code == "NoSuchChunk"
        assert await client.have([bytes(32)], deadline=soon()) == [False]
        assert await client.report(bytes(32), deadline=soon()) == "missing"


@pytest.mark.parametrize("size", [1000, 3 * PIECE_BYTES])
@pytest.mark.parametrize("wrong", ["first block", "last block", "hashes", "id"])
async def test_what_does_not_hash_to_its_name_is_refused_and_leaves_nothing(
    tmp_path: Path, size: int, wrong: str
) -> None:
    data = bytearray(random_bytes(size))
    chunk_id, hashes = name_chunk(data)
    match wrong:
        case "first block":
            data[0] ^= 1
        case "last block":
            data[-1] ^= 1
        case "hashes":
            hashes = bytes(len(hashes))
        case "id":
            chunk_id = bytes(32)
    async with daemon(make_config(tmp_path)) as (client, _):
        with pytest.raises(Refused) as raised:
            await client.put(chunk_id, hashes, data, seen=1, deadline=soon())
        assert raised.value.code == "ChunkMismatch"
        assert files_under(tmp_path, "space-1") + files_under(tmp_path, "temp") == []
        await put(client, b"the connection still works")


async def test_a_put_again_is_verified_and_not_sent(tmp_path: Path) -> None:
    data = random_bytes(2 * PIECE_BYTES)
    files = FaultyFiles()
    async with daemon(make_config(tmp_path), files) as (client, _):
        chunk_id = await put(client, data)
        files.calls.clear()
        await put(client, data, seen=2)
        calls = [call for call, _ in files.calls]
        assert "create" not in calls
        assert "sync_data" in calls
        damaged(file_of(tmp_path, chunk_id), "flip")
        await put(client, data, seen=3)
        assert await get(client, chunk_id, 0, len(data)) == data


# ---- bad copies


@pytest.mark.parametrize("at", [0, BLOCK_BYTES + 5, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 99])
async def test_no_byte_of_a_flipped_block_is_handed_on_and_all_before_it_are(tmp_path: Path, at: int) -> None:
    data = random_bytes(2 * PIECE_BYTES + 100)
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        flip(file_of(tmp_path, chunk_id), DATA_OFFSET + at)
        found = bytearray()
        with pytest.raises(Corrupt) as raised:
            await get_into(found, client, chunk_id, 10, len(data) - 10)
        assert raised.value.code == "ChunkCorrupt"
        assert raised.value.detail is not None
        assert raised.value.detail["block"] == str(at // BLOCK_BYTES)
        assert found == data[10 : max(10, at // BLOCK_BYTES * BLOCK_BYTES)]
        assert await client.report(chunk_id, deadline=soon()) == "bad"
        status = await client.status(deadline=soon())
        assert (status.bad, status.bad_count, status.chunks) == ((wire.BadCopy(1, chunk_id),), 1, 0)
        if at >= BLOCK_BYTES:  # the quarantined copy's good blocks can still be read
            assert await get(client, chunk_id, 0, BLOCK_BYTES) == data[:BLOCK_BYTES]


@pytest.mark.parametrize(("damage", "code"), [("header", "BadHeader"), ("empty", "BadHeader"), ("short", "ChunkShort")])
async def test_a_damaged_file_is_an_answer_not_the_daemons_end(tmp_path: Path, damage: str, code: str) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, random_bytes(100_000))
        damaged(file_of(tmp_path, chunk_id), damage)
        with pytest.raises(Corrupt) as raised:
            await get(client, chunk_id, 0, 100_000)
        assert raised.value.code == code
        assert await client.have([chunk_id], deadline=soon()) == [True]
        assert await client.report(chunk_id, deadline=soon()) == "bad"
        assert await client.have([chunk_id], deadline=soon()) == [False]


async def test_a_disk_that_cannot_be_read_is_an_answer(tmp_path: Path) -> None:
    files = FaultyFiles()
    async with daemon(make_config(tmp_path), files) as (client, _):
        chunk_id = await put(client, random_bytes(100_000))
        files.fault = lambda call, path: OSError(errno.EIO, "injected") if call.startswith("read") else None
        with pytest.raises(Corrupt) as raised:
            await get(client, chunk_id, 0, 100_000)
        assert raised.value.code == "ReadFailed"
        files.fault = lambda call, path: None
        assert len(await get(client, chunk_id, 0, 100_000)) == 100_000


async def test_a_lying_daemon_is_found_out(tmp_path: Path) -> None:
    """Another chunk's valid file under this chunk's name, and a hash list that is not the id's."""
    async with daemon(make_config(tmp_path)) as (client, store):
        chunk_id, other = await put(client, b"a" * 1000), await put(client, b"b" * 1000)
        file_of(tmp_path, chunk_id).write_bytes(file_of(tmp_path, other).read_bytes())
        honest = store.open_chunk
        store.open_chunk = lambda name: honest((1, other))  # type: ignore[method-assign]
        store.open_nowait = lambda name: None  # type: ignore[method-assign]
        for hash_lists, code in ((client._hash_lists, "ChunkCorrupt"), (HashLists(), "BadHeader")):
            client._hash_lists = hash_lists
            with pytest.raises(Corrupt) as raised:
                await get(client, chunk_id, 0, 1000)
            assert raised.value.code == code


# ---- seen, pages, copies


async def test_a_deletion_that_is_meant_for_another_disk_is_refused(tmp_path: Path) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, b"old", seen=5)
        await client.present((await client.status(deadline=soon())).boot, 1, deadline=soon())
        client.disk_id = b"another disk's id"
        with pytest.raises(Refused) as raised:
            await client.delete([chunk_id], 10, deadline=soon())
        assert raised.value.code == "WrongDisk"
        assert await client.have([chunk_id], deadline=soon()) == [True]


async def test_deletes_keep_what_was_seen_lately(tmp_path: Path) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        old, new = await put(client, b"old", seen=5), await put(client, b"new", seen=10)
        with pytest.raises(Unavailable) as raised:
            await client.delete([old, new], 10, deadline=soon())
        assert raised.value.code == "RevisionUnknown"
        boot = (await client.status(deadline=soon())).boot
        with pytest.raises(Refused):
            await client.present(b"not this boot", 1, deadline=soon())
        await client.present(boot, 1, deadline=soon())
        assert await client.delete([old, new], 10, deadline=soon()) == [True, False]
        assert await client.renew([old, new], 20, deadline=soon()) == [False, True]
        assert await client.delete([new], 20, deadline=soon()) == [False]
        assert await client.have([old, new], deadline=soon()) == [False, True]


async def test_pages_go_through_all(tmp_path: Path) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        ids = sorted([await put(client, random_bytes(10)) for _ in range(12)])
        first, more = await client.list(b"", 5, deadline=soon())
        assert (list(first), more) == (ids[:5], True)
        rest, more = await client.list(first[-1], 100, deadline=soon())
        assert (list(rest), more) == (ids[5:], False)
        with pytest.raises(Refused):
            await client.list(b"", wire.IDS_MAX + 1, deadline=soon())


async def test_chunks_move_between_daemons(tmp_path: Path) -> None:
    config = make_config(tmp_path, nodes=2)
    data = random_bytes(2 * PIECE_BYTES + 5)
    async with daemon(config, number=1) as (first, _), daemon(config, number=2) as (second, second_store):
        chunk_id = await put(first, data)
        await second.copy_from(chunk_id, "n1", 33, deadline=soon())
        assert await get(second, chunk_id, 0, len(data)) == data
        second_store.seen.present(1, second_store.seen.boot, 1)
        assert second_store.seen.of((1, chunk_id)) == 33
        await second.copy_from(chunk_id, "n1", 34, deadline=soon())
        for source in ("n2", "n9", "m1", "../n1"):
            with pytest.raises(Refused) as raised:
                await second.copy_from(chunk_id, source, 1, deadline=soon())
            assert raised.value.code == "UnknownNode"
        with pytest.raises(Refused) as missing:
            await second.copy_from(bytes(32), "n1", 1, deadline=soon())
        assert missing.value.code == "NoSuchChunk"


async def test_a_bad_source_is_not_copied(tmp_path: Path) -> None:
    config = make_config(tmp_path, nodes=2)
    data = random_bytes(2 * PIECE_BYTES + 5)
    async with daemon(config, number=1) as (first, _), daemon(config, number=2) as (second, second_store):
        chunk_id = await put(first, data)
        flip(file_of(tmp_path, chunk_id), DATA_OFFSET + 2 * PIECE_BYTES)
        with pytest.raises(Corrupt):
            await second.copy_from(chunk_id, "n1", 1, deadline=soon())
        assert second_store.count == 0
        assert list((tmp_path / "n2" / "temp").iterdir()) == []


# ---- limits, cancels, failures


async def test_a_full_disk_says_so_and_serves_reads(tmp_path: Path) -> None:
    files = FaultyFiles()
    async with daemon(make_config(tmp_path, limits=Limits(disk_reserve_bytes=1 << 20)), files) as (client, _):
        chunk_id = await put(client, b"kept")
        files.free = 1 << 20
        for size in (10, 2 * PIECE_BYTES):
            with pytest.raises(Unavailable) as raised:
                await put(client, random_bytes(size))
            assert raised.value.code == "DiskFull"
        files.free = 1000
        assert (await client.status(deadline=soon())).state == "full"
        assert await get(client, chunk_id, 0, 4) == b"kept"
        files.free = None
        await put(client, random_bytes(10))


async def test_a_failing_disk_says_so_and_serves_reads(tmp_path: Path) -> None:
    files = FaultyFiles()
    async with daemon(make_config(tmp_path), files) as (client, _):
        chunk_id = await put(client, b"kept")
        files.fault = lambda call, path: OSError(errno.EIO, "injected") if call == "sync_data" else None
        with pytest.raises(Unavailable) as raised:
            await put(client, random_bytes(3 * PIECE_BYTES))
        assert raised.value.code == "DiskFailed"
        status = await client.status(deadline=soon())
        assert (status.state, "injected" in status.reason) == ("failed", True)
        assert await get(client, chunk_id, 0, 4) == b"kept"


async def test_transfers_are_bounded_and_refused_at_once(tmp_path: Path) -> None:
    config = make_config(tmp_path, limits=Limits(disk_reserve_bytes=0, transfers_max=1))
    async with daemon(config) as (client, _):
        chunk_id = await put(client, random_bytes(CHUNK_BYTES))
        async with client.get(chunk_id, 0, CHUNK_BYTES, deadline=soon()) as pieces:
            await anext(pieces)
            with pytest.raises(Unavailable) as raised:
                await put(client, b"x")
            assert (raised.value.code, raised.value.limit) == ("Overloaded", {"transfers_max": 1})
        with trio.fail_after(60):
            while (await client.status(deadline=soon())).transfers:
                await trio.lowlevel.checkpoint()
        await put(client, b"x")


async def test_a_cancelled_put_leaves_nothing(tmp_path: Path) -> None:
    files = FaultyFiles()
    data = random_bytes(CHUNK_BYTES)
    chunk_id, hashes = name_chunk(data)
    async with daemon(make_config(tmp_path), files) as (client, store):
        token = trio.lowlevel.current_trio_token()
        for step in range(3, 14):
            files.calls.clear()
            with trio.CancelScope() as scope:

                def cut(call: str, path: Path, step: int = step, scope: trio.CancelScope = scope) -> None:
                    if len(files.calls) == step:
                        token.run_sync_soon(scope.cancel)

                files.fault = cut
                await client.put(chunk_id, hashes, data, seen=1, deadline=soon())
            files.fault = lambda call, path: None
            with trio.fail_after(60):
                while (await client.status(deadline=soon())).transfers:
                    await trio.lowlevel.checkpoint()
            assert files_under(tmp_path, "temp") == []
            assert store._coming_bytes == 0
            there = await client.have([chunk_id], deadline=soon())
            assert files_under(tmp_path, "space-1") == ([chunk_id.hex()] if there == [True] else [])
            store.seen.present(1, store.seen.boot, 1)
            await client.delete([chunk_id], 100, deadline=soon())
        await client.put(chunk_id, hashes, data, seen=1, deadline=soon())
        assert await get(client, chunk_id, 0, CHUNK_BYTES) == data


async def test_a_get_may_be_left_anywhere(tmp_path: Path) -> None:
    data = random_bytes(CHUNK_BYTES)
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id = await put(client, data)
        for count in (0, 1, 2, 7, 8):
            async with client.get(chunk_id, 0, CHUNK_BYTES, deadline=soon()) as pieces:
                for number in range(count):
                    assert await anext(pieces) == data[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        assert await get(client, chunk_id, 0, CHUNK_BYTES) == data


async def test_puts_of_one_chunk_at_once_all_count(tmp_path: Path) -> None:
    data = random_bytes(3 * PIECE_BYTES)
    chunk_id, hashes = name_chunk(data)
    async with daemon(make_config(tmp_path)) as (client, store):
        async with trio.open_nursery() as nursery:
            for seen in range(8):

                async def one(seen: int = seen) -> None:
                    await client.put(chunk_id, hashes, data, seen=seen, deadline=soon())

                nursery.start_soon(one)
        assert (store.count, files_under(tmp_path, "temp")) == (1, [])
        assert await get(client, chunk_id, 0, len(data)) == data


async def test_a_daemon_that_is_away_is_unavailable(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    client = ChunkClient(config.chunkd[0], config, NodeIdentity(config.cluster_id, "tester"))
    chunk_id, hashes = name_chunk(b"x")
    calls: list[Callable[[], object]] = [
        lambda: client.put(chunk_id, hashes, b"x", seen=1, deadline=soon()),
        lambda: get(client, chunk_id, 0, 1),
        lambda: client.have([chunk_id], deadline=soon()),
        lambda: client.status(deadline=soon()),
    ]
    for call in calls:
        with pytest.raises(Unavailable) as raised:
            await call()  # type: ignore[misc]
        assert raised.value.code == "NotConnected"
    assert not client.connected


async def test_a_deadline_ends_a_put(tmp_path: Path) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id, hashes = name_chunk(b"x")
        with pytest.raises(Unavailable):
            await client.put(chunk_id, hashes, b"x", seen=1, deadline=trio.current_time() - 1)


def test_hash_lists_are_bounded_and_keep_the_recent_ones() -> None:
    lists = HashLists(bytes_max=320)
    for number in range(20):
        lists.add(bytes([number]), 1, bytes(32))
        assert lists.get(bytes([0])) is not None
    assert lists.get(bytes([19])) is not None
    assert lists.get(bytes([5])) is None
    assert lists._bytes <= 320
