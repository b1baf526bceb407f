"""The HTTP edge: what is refused, what is bounded, what a good client gets. RELIABILITY's table, on raw sockets."""

import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing

from api.edge.asgi import ObjectPort
from api.edge.bounds import Connections
from api.edge.connection import Connection
from api.edge.identifiers import request_ids
from api.edge.serving import Server
from api.messages import Request, Response
from api.native.errors import error_response
from cluster.errors import Corrupt, Refused
from cluster.limits import Limits
from tests.api.edge_server import echo, edge, read_answer, read_to_end

GET = b"GET /objects/a HTTP/1.1\r\nHost: x\r\n"


def chunked(body: bytes) -> bytes:
    return b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body


BOTH = pytest.mark.parametrize("by", ["edge", "hypercorn"])

REFUSED = {
    "h2c upgrade": (GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", 400),
    "http/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "websocket": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", 400),
    "length and chunked": (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "chunked in http/1.0": (b"PUT /objects/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "lengths that differ": (GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "length list that differs": (GET + b"Content-Length: 5, 6\r\n\r\nhello", 400),
    "length with a sign": (GET + b"Content-Length: +4\r\n\r\nhell", 400),
    "length in hex": (GET + b"Content-Length: 0x4\r\n\r\nhell", 400),
    "negative length": (GET + b"Content-Length: -1\r\n\r\n", 400),
    "unknown coding": (GET + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "coding list": (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "doubled coding": (GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "folded header": (GET + b"X-A: b\r\n c\r\n\r\n", 400),
    "folded header with tab": (GET + b"X-A: b\r\n\tc\r\n\r\n", 400),
    "space before the first header": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "bare line feeds": (b"GET /objects/a HTTP/1.1\nHost: x\n\n", 400),
    "one bare line feed": (b"GET /objects/a HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", 400),
    "bare carriage return": (GET + b"X-A: b\rX-B: c\r\n\r\n", 400),
    "no host": (b"GET /objects/a HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: y\r\n\r\n", 400),
    "space before the colon": (GET + b"X-A : b\r\n\r\n", 400),
    "nul in a header": (GET + b"X-A: b\0c\r\n\r\n", 400),
    "no colon": (GET + b"nonsense\r\n\r\n", 400),
    "empty header name": (GET + b": b\r\n\r\n", 400),
    "http/2 in the request line": (b"GET /objects/a HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "no version": (b"GET /objects/a\r\n\r\n", 400),
    "space in the target": (b"GET /objects/a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute target": (b"GET http://x/objects/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "star target": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "authority target": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "empty line first": (b"\r\n" + GET + b"\r\n", 400),
    "tls hello": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "head of 17 KiB": (GET + b"X-A: " + b"a" * 17_000 + b"\r\n\r\n", 431),
    "head of 17 KiB without end": (GET + b"X-A: " + b"a" * 17_000, 431),
    "request line of 17 KiB": (b"GET /objects/" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "101 headers": (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100 + b"Host: x\r\n\r\n", 431),
    "chunk without its line end": (chunked(b"5\r\nhelloX\r\n0\r\n\r\n"), 400),
    "chunk size with a sign": (chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "chunk size with bare line feed": (chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    "chunk size of 21 digits": (chunked(b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n"), 400),
    "bare line feed after the last chunk": (chunked(b"5\r\nhello\r\n0\r\n\n"), 400),
    "bare line feeds in trailers": (chunked(b"5\r\nhello\r\n0\r\nX-A: b\n\r\n"), 400),
    "trailers of 17 KiB": (chunked(b"0\r\nX-A: " + b"a" * 17_000 + b"\r\n\r\n"), 431),
}


@BOTH
@pytest.mark.parametrize("name", REFUSED)
async def test_what_two_parsers_may_read_differently_is_refused_and_the_connection_closed(
    name: str, by: Server
) -> None:
    raw, status = REFUSED[name]
    async with edge(server=by) as server:
        answer = await server.say(raw + b"GET /objects/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status, answer
        assert len(re.findall(rb"HTTP/1\.1 \d{3}", answer)) == 1, answer
        assert b"connection: close" in head.lower()
        error = msgspec.json.decode(body)
        assert error["code"]
        assert error["message"]
        assert error["request_id"] in head.decode()
        assert all(request.path != b"/objects/smuggled" for request in server.seen)
        if status == 431:
            assert set(error["limit"]) <= {"request_head_bytes_max", "request_headers_max"}


@BOTH
async def test_h11s_words_about_a_bad_line_do_not_repeat_it(by: Server) -> None:
    async with edge(server=by) as server:
        answer = await server.say(GET + b"Authorization Bearer SECRET\r\n\r\n")
    assert b"SECRET" not in answer


@BOTH
async def test_a_good_request_is_answered_and_the_connection_goes_on(by: Server) -> None:
    async with edge(server=by) as server, await server.connect() as stream:
        for number in range(3):
            await stream.send_all(b"PUT /objects/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" % number)
            status, headers, body = await read_answer(stream)
            assert (status, body) == (200, b"/objects/%d 5" % number)
            assert "connection" not in headers
            assert len(headers["x-request-id"]) == 16
            assert "server" not in headers


@BOTH
async def test_pipelined_requests_are_answered_in_order_and_each_head_is_checked(by: Server) -> None:
    async with edge(server=by) as server:
        answer = await server.say(GET + b"\r\n" + GET.replace(b"/a", b"/b") + b"\r\n" + GET + b"X: b\r\n c\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"HTTP/1.1 400") == 1
    assert answer.index(b"/objects/a 0") < answer.index(b"/objects/b 0") < answer.index(b"HTTP/1.1 400")


@BOTH
async def test_a_connection_carries_more_than_a_thousand_requests(by: Server) -> None:
    async with edge(server=by) as server, await server.connect() as stream:
        for _ in range(1_050):
            await stream.send_all(GET + b"\r\n")
            status, headers, _ = await read_answer(stream)
            assert status == 200
            assert "connection" not in headers


@BOTH
async def test_a_name_with_raw_bytes_above_ascii_is_taken_as_if_encoded(by: Server) -> None:
    async with edge(server=by) as server, await server.connect() as stream:
        await stream.send_all("GET /objects/é/../😀 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _, body = await read_answer(stream)
        assert (status, body) == (200, b"/objects/%C3%A9/../%F0%9F%98%80 0")


@BOTH
async def test_a_chunked_body_arrives_whole_and_trailers_are_dropped(by: Server) -> None:
    async with edge(server=by) as server, await server.connect() as stream:
        await stream.send_all(chunked(b"5;ext=1\r\nhello\r\n3\r\nabc\r\n0\r\nX-Trailer: a\r\n\r\n"))
        assert (await read_answer(stream))[2] == b"/objects/a 8"


@BOTH
async def test_continue_is_said_only_when_the_handler_wants_the_body(by: Server) -> None:
    async def handler(request: Request) -> Response:
        if "authorization" not in request.headers:
            raise Refused("Unauthorized", "no key")
        return Response(200, body=b"".join([piece async for piece in request.body]))

    expecting = b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
    async with edge(handler, server=by) as server:
        async with await server.connect() as stream:
            await stream.send_all(expecting + b"\r\n")
            answer = await read_to_end(stream)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"100" not in answer.split(b"\r\n")[0]
            assert b"connection: close" in answer.lower()
        async with await server.connect() as stream:
            await stream.send_all(expecting + b"Authorization: yes\r\n\r\n")
            assert re.fullmatch(rb"HTTP/1.1 100 (Continue)?\r\n\r\n", await stream.receive_some(1000))
            await stream.send_all(b"hello")
            assert (await read_answer(stream))[2] == b"hello"


async def test_who_expects_continue_before_an_empty_body_gets_it_before_the_answer() -> None:
    expecting = b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n"
    async with edge() as server, await server.connect() as stream:
        for _ in range(2):
            await stream.send_all(expecting)
            assert await stream.receive_some(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await read_answer(stream))[2] == b"/objects/a 0"


@BOTH
async def test_an_answer_before_the_body_reaches_a_client_that_is_still_sending(by: Server) -> None:
    async def handler(request: Request) -> Response:
        raise Refused("PreconditionFailed", "no")

    async with edge(handler, server=by) as server:
        async with await server.connect() as stream, trio.open_nursery() as nursery:
            await stream.send_all(b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")

            async def send() -> None:
                try:
                    for _ in range(100):
                        await stream.send_all(bytes(1_000_000))
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(send)
            answer = await read_to_end(stream)
            nursery.cancel_scope.cancel()
        assert answer.startswith(b"HTTP/1.1 412 ")
        assert b"connection: close" in answer.lower()
        assert answer.rstrip().endswith(b"}")


@BOTH
async def test_a_body_that_stands_still_is_ended(by: Server) -> None:
    async with edge(server=by, body_idle_s=0.05) as server:
        answer = await server.say(b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["limit"] == {"body_idle_s": 0.05}


@BOTH
async def test_a_client_that_goes_away_in_its_body_is_told_apart_from_one_that_ended(by: Server) -> None:
    ended: list[str] = []

    async def handler(request: Request) -> Response:
        try:
            return await_all([piece async for piece in request.body])
        except Refused as error:
            ended.append(error.code)
            raise

    def await_all(pieces: list[bytes]) -> Response:
        return Response(200, body=b"".join(pieces))

    async with edge(handler, server=by) as server:
        async with await server.connect() as stream:
            await stream.send_all(b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
        with trio.fail_after(5):
            while not ended:
                await trio.lowlevel.checkpoint()
    assert ended == ["IncompleteBody"]


@BOTH
async def test_connections_over_the_cap_get_503(by: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        edge(server=by, connections_max=2) as server,
        await server.connect() as one,
        await server.connect() as two,
    ):
        for stream in (one, two):
            await stream.send_all(GET + b"\r\n")
            await read_answer(stream)
        answer = await server.say(b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"connections_max":2' in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        request_id = msgspec.json.decode(body)["request_id"]
        assert f"x-request-id: {request_id}".encode() in head
        said = capsys.readouterr()
        assert request_id in said.out + said.err


@BOTH
async def test_connections_of_one_address_over_its_cap_get_503_and_others_are_served(by: Server) -> None:
    async with edge(server=by, connections_per_address_max=1) as server, await server.connect() as one:
        await one.send_all(GET + b"\r\n")
        await read_answer(one)
        assert (await server.say(b"")).startswith(b"HTTP/1.1 503 ")
        async with await server.connect("127.0.7.7") as other:
            await other.send_all(GET + b"\r\n")
            assert (await read_answer(other))[0] == 200


@BOTH
async def test_requests_over_the_cap_get_503_slow_down(by: Server) -> None:
    inside, go_on = trio.Event(), trio.Event()

    async def handler(request: Request) -> Response:
        inside.set()
        await go_on.wait()
        return Response(200)

    async with edge(handler, server=by, requests_in_flight_max=1) as server, await server.connect() as one:
        await one.send_all(GET + b"\r\n")
        await inside.wait()
        async with await server.connect() as two:
            await two.send_all(GET + b"\r\n")
            status, headers, body = await read_answer(two)
            assert (status, msgspec.json.decode(body)["code"]) == (503, "SlowDown")
            assert headers["retry-after"] == "1"
        go_on.set()
        assert (await read_answer(one))[0] == 200


@BOTH
async def test_a_client_that_never_reads_is_dropped_and_holds_little(by: Server) -> None:
    pulled = 0
    failed = trio.Event()

    async def handler(request: Request) -> Response:
        @asynccontextmanager
        async def stream() -> AsyncIterator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncGenerator[bytes]:
                nonlocal pulled
                while True:
                    pulled += 1_000_000
                    yield bytes(1_000_000)

            try:
                async with aclosing(pieces()) as opened:
                    yield opened
            finally:
                failed.set()

        return Response(200, stream=stream, length=10**12)

    async with edge(handler, server=by, send_idle_s=0.2) as server, await server.connect() as stream:
        await stream.send_all(GET + b"\r\n")
        with trio.fail_after(10):
            await failed.wait()
    assert pulled < 50_000_000


@BOTH
async def test_a_body_broken_in_the_middle_breaks_the_connection_before_its_end(by: Server) -> None:
    async def handler(request: Request) -> Response:
        @asynccontextmanager
        async def stream() -> AsyncIterator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncGenerator[bytes]:
                if request.path.endswith(b"late"):
                    yield b"good"
                raise Corrupt("NoGoodCopy", "all copies are bad")

            yield pieces()

        return Response(200, stream=stream, length=100)

    async with edge(handler, server=by) as server:
        answer = await server.say(GET.replace(b"/a", b"/late") + b"\r\n")
        assert answer.partition(b"\r\n\r\n")[2] == b"good"
        async with await server.connect() as stream:
            await stream.send_all(GET + b"\r\n")
            status, _, body = await read_answer(stream)
            assert (status, msgspec.json.decode(body)["code"]) == (500, "NoGoodCopy")


@BOTH
async def test_idle_connections_end_at_once_when_the_server_stops(by: Server) -> None:
    async with edge(server=by) as server, await server.connect() as stream:
        await stream.send_all(GET + b"\r\n")
        await read_answer(stream)
        server.stopping.set()
        with trio.fail_after(2):
            assert await stream.receive_some(10) == b""


@BOTH
async def test_a_client_that_never_reads_does_not_hold_up_the_end(by: Server) -> None:
    ended = trio.Event()

    async def handler(request: Request) -> Response:
        @asynccontextmanager
        async def stream() -> AsyncIterator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncGenerator[bytes]:
                while True:
                    yield bytes(1_000_000)

            try:
                async with aclosing(pieces()) as opened:
                    yield opened
            finally:
                ended.set()

        return Response(200, stream=stream, length=10**12)

    async with edge(handler, server=by, graceful_s=0.2) as server, await server.connect() as stream:
        await stream.send_all(GET + b"\r\n")
        assert await stream.receive_some(1)
        server.stopping.set()
        with trio.fail_after(5):
            await ended.wait()


async def test_what_a_client_says_during_its_answer_is_its_next_request() -> None:
    async with edge() as server, await server.connect() as stream:
        await stream.send_all(b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /ob")
        assert (await read_answer(stream))[2] == b"/objects/a 3"
        await stream.send_all(b"jects/b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(stream))[2] == b"/objects/b 0"


async def test_slow_heads_and_idle_connections_are_ended(autojump_clock: trio.testing.MockClock) -> None:
    limits = Limits()
    stopping = trio.Event()
    app = ObjectPort(
        echo, lambda error, request_id, _scope: error_response(error, request_id), limits, request_ids(), deadline_s=5
    )
    connections = Connections(limits)
    for sent, least, most in ((b"", 75, 77), (b"GET /", 5.5, 7)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
        client.sendall(sent)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connections.watch)
            await Connection(stream, app, connections, request_ids(), stopping).run()  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()
        assert least <= trio.current_time() - began <= most
        with client:
            assert client.recv(10) == b""


@BOTH
async def test_head_has_no_body_and_the_length_of_a_get(by: Server) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, length=5) if request.method == "HEAD" else Response(200, body=b"hello", length=5)

    async with edge(handler, server=by) as server, await server.connect() as stream:
        await stream.send_all(b"HEAD /objects/a HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some(1000)
        assert b"content-length: 5" in head.lower()
        await stream.send_all(GET + b"\r\n")
        assert (await read_answer(stream))[2] == b"hello"


def in_pieces(*pieces: bytes) -> Response:
    """An answer whose length is not known before its end."""

    @asynccontextmanager
    async def stream() -> AsyncIterator[AsyncIterator[bytes]]:
        async def all_of_them() -> AsyncGenerator[bytes]:
            for piece in pieces:
                yield piece

        async with aclosing(all_of_them()) as opened:
            yield opened

    return Response(200, stream=stream)


@BOTH
async def test_an_answer_of_unknown_length_is_sent_in_chunks_and_the_connection_goes_on(by: Server) -> None:
    big = bytes(100_000)

    async def handler(request: Request) -> Response:
        return in_pieces(b"one", b"", b"two", big) if request.path == b"/a" else Response(200, body=b"next")

    async with edge(handler, server=by) as server:
        answer = await server.say(
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head.lower()
    assert b"content-length" not in head.lower()
    chunks = b"3\r\none\r\n3\r\ntwo\r\n186a0\r\n" + big + b"\r\n0\r\n\r\n"
    assert rest.startswith(chunks)
    assert rest.removeprefix(chunks).startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b"\r\n\r\nnext")


@BOTH
async def test_an_answer_of_unknown_length_to_http_1_0_ends_with_its_connection(by: Server) -> None:
    async def handler(_request: Request) -> Response:
        return in_pieces(b"one", b"two")

    async with edge(handler, server=by) as server:
        answer = await server.say(b"GET /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"onetwo"


@BOTH
async def test_head_of_an_answer_of_unknown_length_has_no_body(by: Server) -> None:
    async def handler(_request: Request) -> Response:
        return in_pieces(b"one")

    async with edge(handler, server=by) as server:
        answer = await server.say(b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert body == b""
