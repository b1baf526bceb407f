"""Transfers: raw bytes arrive whole, errors come in between, and only clean connections are used again."""

from functools import partial

import pytest
import trio

from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.frames import HEADER_BYTES, Kind, encode, encode_header
from cluster.hello import greet, receive_exactly, receive_frame
from cluster.limits import MIB, Limits
from cluster.rpc import Request, Service, TransferPool, TransferStream
from cluster.sockets import dial
from tests.cluster.pairs import Transport, open_files, running
from tests.cluster.worlds import settle

PUT, GET, PUT_ASKING, REFUSE, ROT, HANG, SILENT, CRASH, ECHO = range(1, 10)

TRANSPORTS: list[Transport] = ["unix", "tls"]

DATA = bytes(range(256)) * 4096 * 3 + b"odd end"


class Disk:
    """A service of transfers that keeps one value."""

    def __init__(self) -> None:
        self.stored = b""
        self.running = 0
        self.service = Service(
            "test",
            transfers={
                PUT: self.put,
                GET: self.get,
                PUT_ASKING: self.put_asking,
                REFUSE: self.refuse,
                ROT: self.rot,
                HANG: self.hang,
                SILENT: self.silent,
                CRASH: self.crash,
            },
        )

    async def put(self, request: Request, stream: TransferStream) -> None:
        self.running += 1
        try:
            buffer = bytearray(int(request.body))
            await stream.receive_raw_into(memoryview(buffer))
            self.stored = bytes(buffer)
            await stream.send_response(b"stored")
        finally:
            self.running -= 1

    async def put_asking(self, request: Request, stream: TransferStream) -> None:
        await stream.send_response(b"go")
        await self.put(request, stream)

    async def get(self, request: Request, stream: TransferStream) -> None:
        await stream.send_response(str(len(self.stored)).encode())
        for start in range(0, len(self.stored), 100_000):
            await stream.send_raw(self.stored[start : start + 100_000])

    async def refuse(self, request: Request, stream: TransferStream) -> None:
        raise Refused("DiskFull", "no room", limit={"disk_reserve_bytes": 5})

    async def rot(self, request: Request, stream: TransferStream) -> None:
        await stream.send_response(b"1000000")
        await stream.send_raw(bytes(500_000))
        raise Corrupt("ChunkCorrupt", "block 7 is bad")

    async def hang(self, request: Request, stream: TransferStream) -> None:
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1

    async def silent(self, request: Request, stream: TransferStream) -> None:
        await trio.lowlevel.checkpoint()

    async def crash(self, request: Request, stream: TransferStream) -> None:
        raise KeyError("a bug")


async def put(pool: TransferPool, data: bytes = DATA, method: int = PUT) -> bytes:
    async with pool.open() as stream:
        await stream.send_request(method, str(len(data)).encode(), remaining_s=30)
        if method == PUT_ASKING:
            assert await stream.receive_response() == b"go"
        view = memoryview(data)
        for start in range(0, len(data), 65_537):
            await stream.send_raw(view[start : start + 65_537])
        return await stream.receive_response()


async def get(pool: TransferPool) -> bytes:
    async with pool.open() as stream:
        await stream.send_request(GET, b"", remaining_s=30)
        buffer = memoryview(bytearray(int(await stream.receive_response())))
        for start in range(0, len(buffer), 77_777):
            await stream.receive_raw_into(buffer[start : start + 77_777])
        return bytes(buffer)


def idle(pool: TransferPool) -> int:
    return len(pool._idle)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("method", [PUT, PUT_ASKING])
async def test_raw_bytes_arrive_whole_in_whatever_pieces(transport: Transport, method: int) -> None:
    disk = Disk()
    async with running(disk.service, transport) as pair, pair.pool() as pool:
        for size in (0, 1, 65_536, 65_537, len(DATA)):
            assert await put(pool, DATA[:size], method) == b"stored"
            assert disk.stored == DATA[:size]
            assert await get(pool) == DATA[:size]
        assert idle(pool) == 1


async def test_eight_mebibytes_go_both_ways_on_one_connection() -> None:
    disk = Disk()
    data = DATA * 2 + bytes(2 * MIB)
    async with running(disk.service) as pair, pair.pool() as pool:
        for _ in range(3):
            assert await put(pool, data) == b"stored"
            assert await get(pool) == data
        assert idle(pool) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_error_in_place_of_the_answer_leaves_the_connection_of_use(transport: Transport) -> None:
    disk = Disk()
    async with running(disk.service, transport) as pair, pair.pool() as pool:
        for _ in range(3):
            with pytest.raises(Refused) as caught:
                await put(pool, DATA, REFUSE)
            assert caught.value.limit == {"disk_reserve_bytes": 5}
            assert idle(pool) == 1
            assert await put(pool) == b"stored"
        assert disk.stored == DATA


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_error_in_the_middle_of_the_data_arrives_there(transport: Transport) -> None:
    disk = Disk()
    async with running(disk.service, transport) as pair, pair.pool() as pool:

        async def read() -> None:
            async with pool.open() as stream:
                await stream.send_request(ROT, b"", remaining_s=30)
                assert await stream.receive_response() == b"1000000"
                await stream.receive_raw_into(memoryview(bytearray(1_000_000)))

        with pytest.raises(Corrupt) as caught:
            await read()
        assert caught.value.code == "ChunkCorrupt"
        assert idle(pool) == 1
        assert await put(pool) == b"stored"


@pytest.mark.parametrize("method", [CRASH, SILENT])
async def test_a_handler_without_an_answer_is_an_internal_error(method: int) -> None:
    async with running(Disk().service) as pair, pair.pool() as pool:
        with pytest.raises(OutcomeUnknown) as caught:
            await put(pool, b"", method)
        assert caught.value.code == "InternalError"
        assert await put(pool) == b"stored"


async def test_an_unknown_method_is_refused() -> None:
    async with running(Disk().service) as pair, pair.pool() as pool:
        with pytest.raises(Refused) as caught:
            await put(pool, b"", 99)
        assert caught.value.code == "NoSuchMethod"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancel_at_any_point_closes_the_connection_or_finds_it_whole(transport: Transport) -> None:
    disk = Disk()
    async with running(disk.service, transport) as pair, pair.pool() as pool:
        data = DATA[-600_000:]
        await put(pool, data)
        before = open_files()
        for point in range(0, 90, 3):
            for action in (partial(put, pool, data), partial(get, pool)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(action)
                    for _ in range(point):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                assert idle(pool) <= 1
                assert await put(pool, data) == b"stored"  # (the cancelled one may still take effect: equal bytes)
                assert await get(pool) == data
        await settle(lambda: disk.running == 0 and open_files() <= before)


async def test_a_cancelled_transfer_closes_its_connection_and_ends_the_handler() -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool:
        async with trio.open_nursery() as nursery:

            async def half() -> None:
                async with pool.open() as stream:
                    await stream.send_request(PUT, b"1000", remaining_s=30)
                    await stream.send_raw(bytes(500))
                    await trio.sleep_forever()

            nursery.start_soon(half)
            await settle(lambda: disk.running == 1)
            nursery.cancel_scope.cancel()
        assert idle(pool) == 0
        await settle(lambda: disk.running == 0)
        assert disk.stored == b""


async def test_what_is_left_unread_is_never_taken_for_the_next_answer() -> None:
    disk = Disk()
    disk.stored = DATA
    async with running(disk.service) as pair, pair.pool() as pool:
        async with pool.open() as stream:
            await stream.send_request(GET, b"", remaining_s=30)
            await stream.receive_response()
            await stream.receive_raw_into(memoryview(bytearray(100_000)))
        assert idle(pool) == 1
        assert await get(pool) == DATA


async def test_a_connection_left_by_the_callers_own_error_is_closed() -> None:
    async with running(Disk().service) as pair, pair.pool() as pool:

        async def read() -> None:
            async with pool.open() as stream:
                await stream.send_request(GET, b"", remaining_s=30)
                raise Corrupt("Mine", "the caller found something")

        with pytest.raises(Corrupt):
            await read()
        assert idle(pool) == 0


async def test_a_transfer_without_progress_ends(autojump_clock: object) -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool:
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown) as caught:
            await put(pool, b"", HANG)
        assert caught.value.code == "TransferStalled"
        assert trio.current_time() - began == pytest.approx(pair.timings.transfer_idle_s, abs=0.1)
        assert idle(pool) == 0
        assert disk.running == 1
        await trio.sleep(30)  # the request's own deadline
        assert disk.running == 0


async def test_a_client_that_stops_sending_does_not_hold_its_handler(autojump_clock: object) -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool, pool.open() as stream:
        await stream.send_request(PUT, b"1000", remaining_s=60)
        await stream.send_raw(bytes(999))
        await settle(lambda: disk.running == 1)
        await trio.sleep(pair.timings.transfer_idle_s + 1)
        assert disk.running == 0


async def test_the_deadline_bounds_a_transfer_on_both_sides(autojump_clock: object) -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool:

        async def ask(seconds: float) -> None:
            async with pool.open() as stream:
                await stream.send_request(HANG, b"", remaining_s=seconds)
                await stream.receive_response()

        with pytest.raises(OutcomeUnknown) as caught:
            await ask(2)
        assert caught.value.code == "DeadlineExceeded"
        await settle(lambda: disk.running == 0)
        with pytest.raises(Unavailable) as before:
            await ask(0)
        assert before.value.code == "DeadlineExceeded"


async def test_a_server_that_is_gone_is_unavailable_and_one_that_dies_leaves_it_unknown() -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool:
        await put(pool)

        async def ask() -> None:
            with pytest.raises(OutcomeUnknown) as caught:
                await put(pool, b"", HANG)
            assert caught.value.code == "ConnectionLost"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settle(lambda: disk.running == 1)
            pair.server_scope.cancel()
        with pytest.raises(Unavailable) as caught:
            await put(pool)
        assert caught.value.code == "NotConnected"


async def test_an_idle_connection_that_died_is_not_used() -> None:
    async with running(Disk().service) as pair, pair.pool() as pool:
        await put(pool)
        pool._idle[0]._link.socket.shutdown(2)
        assert await put(pool) == b"stored"
        assert idle(pool) == 1


async def test_no_more_connections_than_the_limit_and_an_error_when_none_gets_free(autojump_clock: object) -> None:
    limits = Limits(chunk_connections_max=2)
    async with running(Disk().service) as pair, pair.pool(limits) as pool:
        async with pool.open(), pool.open():
            with pytest.raises(Unavailable) as caught:
                await put(pool)
            assert caught.value.limit == {"chunk_connections_max": 2}
        assert await put(pool) == b"stored"


async def test_transfers_share_the_pool_up_to_its_limit() -> None:
    limits = Limits(chunk_connections_max=3)
    async with running(Disk().service) as pair, pair.pool(limits) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(partial(put, pool))
        assert 1 <= idle(pool) <= 3


async def test_a_closed_pool_keeps_nothing() -> None:
    async with running(Disk().service) as pair:
        before = open_files()
        async with pair.pool() as pool:
            async with pool.open() as stream:
                await stream.send_request(PUT, b"0", remaining_s=5)
                await stream.receive_response()
                pool.close()
            assert idle(pool) == 0
        await settle(lambda: open_files() == before)


@pytest.mark.parametrize(
    "poison",
    [
        encode(Kind.CANCEL, 0, 1),
        encode(Kind.HELLO, 0, 1),
        encode(Kind.REQUEST, PUT, 1, b"5", remaining_ms=1000) + encode(Kind.REQUEST, GET, 2, b"", remaining_ms=1000),
        encode(Kind.REQUEST, PUT, 1, b"5", remaining_ms=1000) + encode(Kind.RESPONSE, 0, 1, b""),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
        bytes(100),
        b"\xff" * 100,
    ],
)
async def test_a_rule_broken_on_a_transfer_connection_closes_it_and_nothing_else(poison: bytes) -> None:
    disk = Disk()
    async with running(disk.service) as pair, pair.pool() as pool:
        link = await dial(pair.address, "server", pair.me)
        await greet(link, "test", "transfer", "server", pair.me)
        await link.send_all(poison)
        with trio.fail_after(5):
            try:
                while await link.receive_some(1000):
                    pass
            except trio.BrokenResourceError:
                link.close()
        link.close()
        assert await put(pool) == b"stored"
        assert disk.running == 0


async def test_raw_bytes_that_look_like_a_request_are_never_one() -> None:
    disk = Disk()
    smuggled = encode(Kind.REQUEST, PUT, 9, b"6", remaining_ms=5000) + encode_header(Kind.DATA, 0, 9, 6) + b"EVIL!!"
    async with running(disk.service) as pair, pair.pool() as pool:
        link = await dial(pair.address, "server", pair.me)
        await greet(link, "test", "transfer", "server", pair.me)
        await link.send_all(encode(Kind.REQUEST, REFUSE, 1, b"", remaining_ms=5000))
        frame = await receive_frame(link, 1000)
        assert frame is not None
        assert frame.kind == Kind.ERROR
        await link.send_all(encode_header(Kind.DATA, 0, 1, len(smuggled)) + smuggled)
        await link.send_all(encode(Kind.REQUEST, GET, 2, b"", remaining_ms=5000))
        answer = memoryview(bytearray(HEADER_BYTES + 1))
        await receive_exactly(link, answer)
        assert bytes(answer[HEADER_BYTES:]) == b"0"
        link.close()
        assert disk.stored == b""
        assert await put(pool) == b"stored"


async def test_errors_of_the_stream_are_of_the_four_kinds() -> None:
    async with running(Disk().service) as pair, pair.pool() as pool, pool.open() as stream:
        stream.close()
        for attempt in (
            stream.send_request(PUT, b"", remaining_s=1),
            stream.send_raw(b"x"),
            stream.receive_response(),
            stream.receive_raw_into(memoryview(bytearray(1))),
        ):
            with pytest.raises(TrilithError):
                await attempt
