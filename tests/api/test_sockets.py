"""Where the API listens: loopback, or another address by an explicit word; TLS speaks HTTP/1.1 only."""

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from api.edge.asgi import ObjectPort
from api.edge.bounds import Connections, tls_context
from api.edge.identifiers import request_ids
from api.edge.serving import serve
from api.edge.sockets import address_of, bind
from api.native.errors import error_response
from cluster.config import ApiConfig
from cluster.errors import Refused
from cluster.identity import make_ca, make_node_certificate
from cluster.limits import Limits
from cluster.ports import check_exposure, parse_listen
from tests.api.edge_server import echo, with_lifespan


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:9000", "[::1]:9000", "localhost:9000"])
def test_loopback_needs_no_word(listen: str) -> None:
    check_exposure(ApiConfig(name="a"), listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:9000", "[::]:9000", "192.0.2.1:9000", "example.org:9000"])
def test_another_address_needs_tls_or_an_explicit_word(listen: str) -> None:
    with pytest.raises(Refused, match="insecure_listen"):
        check_exposure(ApiConfig(name="a"), listen)
    check_exposure(ApiConfig(name="a", insecure_listen=True), listen)
    check_exposure(ApiConfig(name="a", tls_cert="c", tls_key="k"), listen)


@pytest.mark.parametrize("listen", ["", "9000", ":9000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_listen_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(Refused, match="HOST:PORT"):
        parse_listen(listen)


def test_processes_share_a_port_only_when_they_say_so() -> None:
    with bind("127.0.0.1:0", shared=True) as one:
        listen = address_of(one)
        with bind(listen, shared=True) as other:
            assert address_of(other) == listen
        with pytest.raises(Refused, match="cannot listen"):
            bind(listen, shared=False)


async def test_tls_serves_and_offers_no_http2(tmp_path: Path) -> None:
    make_ca(tmp_path, "c")
    make_node_certificate(tmp_path, "api-1")
    server = tls_context(str(tmp_path / "api-1.pem"), str(tmp_path / "api-1.key"))
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client.set_alpn_protocols(["h2", "http/1.1"])
    ids = request_ids()
    limits = Limits()
    app = ObjectPort(
        echo, lambda error, request_id, _scope: error_response(error, request_id), limits, ids, deadline_s=5
    )
    stopping = trio.Event()

    async with trio.open_nursery() as nursery:
        bound = bind("127.0.0.1:0", shared=False)
        listener = trio.SSLListener(
            trio.SocketListener(trio.socket.from_stdlib_socket(bound)), server, https_compatible=True
        )
        start = partial(
            serve, "edge", with_lifespan(app), [listener], Connections(limits), ids, stopping=stopping, graceful_s=1
        )
        await nursery.start(start)
        plain = await trio.open_tcp_stream("127.0.0.1", bound.getsockname()[1])
        stream = trio.SSLStream(plain, client, server_hostname="api-1", https_compatible=True)
        async with stream:
            body = bytes(3_000_000)
            request = b"PUT /objects/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
                body
            )
            await stream.send_all(request + body)
            answer = b""
            while piece := await stream.receive_some(65536):
                answer += piece
            assert stream.selected_alpn_protocol() == "http/1.1"
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"/objects/a 3000000")
        stopping.set()
