"""What arrives on a daemon's wire: refused before the disk is touched, and no bytes end the daemon."""

from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkd import wire
from chunkd.blocks import name_chunk
from chunkd.wire import Method
from cluster.errors import Refused, TrilithError
from cluster.limits import CHUNK_BYTES
from tests.chunkd.faulty import FaultyFiles
from tests.chunkd.test_daemon import put
from tests.chunkd.worlds import daemon, make_config, soon

BAD_BODIES: list[tuple[Method, object]] = [
    *((method, [[bytes(31)], 1]) for method in (Method.RENEW, Method.DELETE)),
    *((method, [[bytes(33)], 1]) for method in (Method.RENEW, Method.DELETE)),
    *((method, [["../" * 10 + "ab"], 1]) for method in (Method.RENEW, Method.DELETE)),
    (Method.HAVE, [["a" * 64]]),
    (Method.HAVE, [[b"../../../../etc/passwd"]]),
    (Method.HAVE, [[bytes(32)] * (wire.IDS_MAX + 1)]),
    (Method.STAT, ["/etc/passwd"]),
    (Method.STAT, [b"a" * 64]),
    (Method.STAT, []),
    (Method.REPORT, [b""]),
    (Method.RENEW, [[bytes(32)], -1]),
    (Method.RENEW, [[bytes(32)], 2**63]),
    (Method.LIST, [bytes(33), 1]),
    (Method.LIST, [b"", 0]),
    (Method.COPY_FROM, [b"short", "n1", 1]),
    (Method.STATUS, 7),
]


@pytest.mark.parametrize(("method", "body"), BAD_BODIES)
async def test_a_malformed_call_is_refused_before_the_disk_is_touched(
    tmp_path: Path, method: Method, body: object
) -> None:
    files = FaultyFiles()
    async with daemon(make_config(tmp_path), files) as (client, _):
        files.calls.clear()
        with pytest.raises(Refused) as raised:
            await client._channel.call(method, msgspec.msgpack.encode(body), deadline=soon())
        assert raised.value.code == "BadRequest"
        assert files.calls == []


@pytest.mark.parametrize("space", [4096, 2**32 - 1])
async def test_a_space_out_of_range_is_refused(tmp_path: Path, space: int) -> None:
    async with daemon(make_config(tmp_path)) as (client, _):
        chunk_id, hashes = name_chunk(b"x")
        with pytest.raises(Refused) as raised:
            await client.put(chunk_id, hashes, b"x", seen=1, deadline=soon(), space=space)
        assert raised.value.code == "BadSpace"
        with pytest.raises(Refused):
            await client.have([chunk_id], deadline=soon(), space=space)


@pytest.mark.parametrize("method", [Method.PUT, Method.GET])
@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode([b"../etc", 1, b"", 1]), b"\x94" + b"\xc0" * 4])
async def test_a_malformed_transfer_is_refused(tmp_path: Path, method: Method, body: bytes) -> None:
    config = make_config(tmp_path)
    files = FaultyFiles()
    async with daemon(config, files) as (client, _):
        files.calls.clear()
        async with client._pool.open() as stream:
            await stream.send_request(method, body, remaining_s=10)
            with pytest.raises(Refused) as raised:
                await stream.receive_response()
        assert raised.value.code == "BadRequest"
        assert files.calls == []
        await put(client, b"still there")


@pytest.mark.parametrize("length", [0, CHUNK_BYTES + 1, 2**40])
async def test_a_length_out_of_range_is_refused_before_anything_is_made(tmp_path: Path, length: int) -> None:
    async with daemon(make_config(tmp_path)) as (client, store):
        async with client._pool.open() as stream:
            ask = wire.PutAsk(bytes(32), length, b"", 1)
            await stream.send_request(Method.PUT, msgspec.msgpack.encode(ask), remaining_s=10)
            with pytest.raises(Refused) as raised:
                await stream.receive_response()
        assert raised.value.code == "ChunkMismatch"
        assert store._coming_bytes == 0


@given(st.lists(st.tuples(st.sampled_from(list(Method)), st.binary(max_size=200)), max_size=30))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_a_call_leave_the_daemon_alive(tmp_path: Path, calls: list[tuple[Method, bytes]]) -> None:
    async def main() -> None:
        async with daemon(make_config(tmp_path)) as (client, _):
            for method, body in calls:
                try:
                    await client._channel.call(method, body, deadline=soon())
                except TrilithError as error:
                    assert error.kind in ("refused", "unavailable"), error  # noqa: PT017 - any of many outcomes
            await put(client, b"alive")

    trio.run(main)
