"""The commands' HTTP client against a server that refuses, breaks off and lies: what is tried again, what is told."""

import io
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.messages import percent_decode
from api.native.fields import copy_source as parsed_copy_source
from api.native.routes import match_path
from cluster.cli.access import Access
from cluster.cli.http import ATTEMPTS, Client, Source, decode
from cluster.cli.names import Name
from cluster.cli.paths import bucket_path, copy_headers, object_path
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.identity import make_ca, make_node_certificate
from tests.cluster.http_script import (
    Script,
    Seen,
    Step,
    answering,
    error,
    hanging_up,
    listening_on,
    read_body,
    scripted,
)

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)


def client_of(script: Script, pauses: list[float] | None = None) -> Client:
    noted: list[float] = [] if pauses is None else pauses
    return Client(Access(script.endpoint, "AK", "SK"), timeout_s=60, pause=noted.append)


def body_of(data: bytes) -> Callable[[], Source]:
    return lambda: io.BytesIO(data)


def put(client: Client, data: bytes = b"abc") -> int:
    return client.call("PUT", "/objects/x", body=body_of(data), size=len(data)).status


def test_what_did_not_happen_is_tried_again_under_one_key() -> None:
    pauses: list[float] = []
    busy = answering(503, error("SlowDown"), headers="Retry-After: 2\r\n")
    with scripted(busy, busy, answering(201)) as script, client_of(script, pauses) as client:
        assert put(client) == 201
    assert [seen.body for seen in script.seen] == [b"abc"] * 3
    assert len({seen.header("Idempotency-Key") for seen in script.seen}) == 1
    assert script.seen[0].header("Idempotency-Key") != ""
    assert script.seen[0].header("Authorization") == "Bearer AK:SK"
    assert pauses == [2, 2]


def test_no_server_makes_us_wait_for_an_hour() -> None:
    pauses: list[float] = []
    busy = answering(503, error("SlowDown"), headers="Retry-After: 3600\r\n")
    with scripted(busy, answering(200)) as script, client_of(script, pauses) as client:
        client.call("GET", "/status")
    assert pauses == [10]


def test_attempts_end() -> None:
    steps = [answering(503, error("NoQuorum"))] * ATTEMPTS
    with scripted(*steps) as script, client_of(script) as client, pytest.raises(Unavailable, match="told so") as raised:
        put(client)
    assert len(script.seen) == ATTEMPTS
    assert raised.value.detail == {"status": "503", "request_id": "r1"}


@pytest.mark.parametrize("first", [hanging_up, answering(503, error("OutcomeUnknown"))])
def test_unknown_outcome_is_asked_again_under_the_same_key(first: Step) -> None:
    with scripted(first, answering(200)) as script, client_of(script) as client:
        assert put(client) == 200
    assert script.seen[0].header("Idempotency-Key") == script.seen[1].header("Idempotency-Key")


def test_write_that_may_have_happened_is_never_told_as_not_happened() -> None:
    with (
        scripted(hanging_up) as script,  # and then nobody listens
        client_of(script) as client,
        pytest.raises(OutcomeUnknown),
    ):
        put(client)


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (412, "PreconditionFailed"), (409, "Conflict")])
def test_refusal_after_an_unknown_outcome_may_be_our_own_doing(status: int, code: str) -> None:
    with (
        scripted(hanging_up, answering(status, error(code))) as script,
        client_of(script) as client,
        pytest.raises(OutcomeUnknown, match="earlier attempt") as raised,
    ):
        put(client)
    assert raised.value.code == code


def test_reads_have_no_unknown_outcome() -> None:
    with scripted(hanging_up, answering(404, error("NoSuchKey"))) as script, client_of(script) as client:
        with pytest.raises(Refused) as refused:
            client.call("GET", "/objects/x")
        assert refused.value.code == "NoSuchKey"
    with (
        scripted(hanging_up) as script,
        client_of(script) as client,
        pytest.raises(Unavailable) as unavailable,
    ):
        client.call("GET", "/objects/x", repeatable=False)
    assert unavailable.value.code == "ConnectionLost"


def test_what_cannot_be_repeated_is_tried_once() -> None:
    with scripted(answering(503, error("SlowDown"))) as script, client_of(script) as client, pytest.raises(Unavailable):
        client.call("PUT", "/objects/x", body=body_of(b"x"), repeatable=False)
    assert len(script.seen) == 1


def test_full_disks_are_not_asked_again_at_once() -> None:
    with scripted(answering(507, error("NoSpace"))) as script, client_of(script) as client, pytest.raises(Unavailable):
        put(client)
    assert len(script.seen) == 1


def test_attempts_may_be_more() -> None:
    steps = [*[answering(503, error("NoQuorum"))] * ATTEMPTS, answering(200)]
    with scripted(*steps) as script:
        access = Access(script.endpoint, "AK", "SK")
        with Client(access, timeout_s=60, attempts=ATTEMPTS + 1, pause=lambda _: None) as client:
            assert put(client) == 200


@pytest.mark.parametrize("secure", [False, True])
def test_who_waits_for_an_answer_can_be_interrupted_by_another_thread(tmp_path: Path, secure: bool) -> None:
    waiting: list[Client] = []
    context, certificate = server_context(tmp_path, "c") if secure else (None, None)

    def interrupt(sock: socket.socket, seen: Seen) -> None:
        read_body(sock, seen)
        waiting[0].interrupt()
        listening_on(sock, seen)  # which ends because the client has gone

    with scripted(interrupt, tls=context) as script:
        endpoint = f"https://127.0.0.1:{script.port}" if secure else script.endpoint
        client = Client(Access(endpoint, "AK", "SK", certificate=certificate))
        waiting.append(client)
        with pytest.raises(OutcomeUnknown):
            client.call("PUT", "/objects/x", body=body_of(b"abc"), size=3, repeatable=False)
        client.interrupt()  # nobody waits


def test_early_refusal_is_heard_while_the_body_is_sent() -> None:
    read = 0

    class Endless:
        def read(self, size: int, /) -> bytes:
            nonlocal read
            read += size
            return bytes(size)

    size = 10**12
    refusing = answering(413, error("EntityTooLarge"), read=False)
    with scripted(refusing) as script, client_of(script) as client, pytest.raises(Refused) as raised:
        client.call("PUT", "/objects/x", body=Endless, size=size)
    assert raised.value.code == "EntityTooLarge"
    assert read < size / 1000


def test_body_that_was_not_sent_whole_did_not_happen() -> None:
    def hang_up_in_the_body(sock: socket.socket, seen: Seen) -> None:
        seen.body = sock.recv(10)

    with (
        scripted(hang_up_in_the_body) as script,
        client_of(script) as client,
        pytest.raises(Unavailable) as raised,
    ):
        client.call("PUT", "/objects/x", body=lambda: io.BytesIO(bytes(64 * 1024 * 1024)), size=64 * 1024 * 1024)
    assert raised.value.code in ("ConnectionLost", "CannotConnect")


@pytest.mark.parametrize(
    ("method", "answer", "kind", "code"),
    [
        ("GET", answering(500, error("InternalError")), Unavailable, "InternalError"),
        ("PUT", answering(500, error("InternalError")), OutcomeUnknown, "InternalError"),
        ("GET", answering(500, error("NoGoodCopy")), Corrupt, "NoGoodCopy"),
        ("PUT", answering(502, b"<html>"), OutcomeUnknown, "Http502"),
        ("GET", answering(504), Unavailable, "Http504"),
        ("GET", answering(404, b"<html>not here"), Refused, "NotFound"),
        ("GET", answering(401, b"\xff"), Refused, "Unauthorized"),
        ("GET", answering(400, b"[1]"), Refused, "Http400"),
        ("PUT", answering(301, headers="Location: http://elsewhere.invalid/\r\n"), Refused, "Http301"),
        ("GET", answering(403, b"cut", length=100), Refused, "AccessDenied"),
    ],
)
def test_each_answer_is_one_of_the_four_kinds(method: str, answer: Step, kind: type[TrilithError], code: str) -> None:
    with scripted(answer) as script, client_of(script) as client, pytest.raises(kind) as raised:
        client.call(method, "/objects/x", repeatable=False)
    assert raised.value.code == code


def chunks_cut(sock: socket.socket, seen: Seen) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nnot all")


@pytest.mark.parametrize("step", [answering(200, b"hello", length=10), chunks_cut])
def test_download_that_breaks_off_is_no_download(step: Step) -> None:
    with scripted(step) as script, client_of(script) as client, pytest.raises(Unavailable) as raised:
        client.call("GET", "/objects/x").body()
    assert raised.value.code == "BrokenBody"


def test_body_of_unknown_size_arrives_whole() -> None:
    data = bytes(range(256)) * 10_000
    with scripted(answering(201)) as script, client_of(script) as client:
        client.call("PUT", "/objects/x", body=body_of(data))
    assert script.seen[0].body == data


def test_empty_bodies_are_said_to_be_empty() -> None:
    with scripted(answering(201), answering(200), answering(204)) as script, client_of(script) as client:
        assert put(client, b"") == 201
        client.call("PUT", "/buckets/b")
        client.call("DELETE", "/buckets/b")
    assert [seen.header("Content-Length") for seen in script.seen] == ["0", "0", ""]


def test_file_that_shrinks_or_cannot_be_read_is_told_at_once() -> None:
    class Unreadable:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    for source, size, code in ((body_of(b"ab"), 3, "FileChanged"), (Unreadable, 3, "CannotRead")):
        with scripted(listening_on) as script, client_of(script) as client, pytest.raises(Refused) as raised:
            client.call("PUT", "/objects/x", body=source, size=size)
        assert raised.value.code == code
        assert len(script.seen) == 1


def test_header_that_no_header_can_be_is_refused_before_anything_is_sent() -> None:
    with Client(Access("http://127.0.0.1:1", "AK", "SK")) as client:
        for value in ("a\nInjected: b", "ü"):
            with pytest.raises(Refused, match="Content-Type"):
                client.call("PUT", "/objects/x", headers={"Content-Type": value})


def test_answer_that_is_not_what_was_asked_for_is_no_success() -> None:
    for body in (b"not JSON", b'{"a": 1}', b"\xff\xfe"):
        with scripted(answering(200, body)) as script, client_of(script) as client, pytest.raises(Corrupt):
            decode(client.call("GET", "/buckets"), list[str])


def server_context(folder: Path, cluster: str) -> tuple[ssl.SSLContext, bytes]:
    make_ca(folder, cluster)
    make_node_certificate(folder, "api-1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "api-1.pem", folder / "api-1.key")
    return context, ssl.PEM_cert_to_DER_cert((folder / "api-1.pem").read_text())


def test_local_cluster_is_known_by_its_very_certificate(tmp_path: Path) -> None:
    context, certificate = server_context(tmp_path / "ours", "c")
    other, _ = server_context(tmp_path / "other", "c")

    def client(script: Script) -> Client:
        return Client(Access(f"https://127.0.0.1:{script.port}", "AK", "SK", certificate=certificate))

    with scripted(answering(200, b"hello"), tls=context) as script, client(script) as trusting:
        assert trusting.call("GET", "/x").body() == b"hello"
    with scripted(answering(200), tls=other) as script, client(script) as wary, pytest.raises(Refused) as raised:
        wary.call("GET", "/x")
    assert raised.value.code == "WrongCertificate"
    assert script.seen == []  # no key was sent


@given(KEYS)
def test_every_key_survives_its_path_and_its_copy_header(key: str) -> None:
    path = object_path(Name("box", key)).encode()
    route = match_path(path)
    assert route is not None
    assert (route.target, route.bucket) == ("object", b"box")
    assert percent_decode(route.key).decode() == key
    assert parsed_copy_source(copy_headers(Name("box", key))["X-Copy-Source"]) == ("box", key)


@pytest.mark.parametrize(
    "key", ["a/objects/b", "objects/", "buckets/x/objects/y", "/", "//a", "..", "a%2Fb", "a?b#c+d"]
)
def test_keys_that_look_like_paths_survive_too(key: str) -> None:
    assert parsed_copy_source(copy_headers(Name("box", key))["X-Copy-Source"]) == ("box", key)
    route = match_path(object_path(Name("box", key)).encode())
    assert route is not None
    assert percent_decode(route.key).decode() == key


def test_bucket_is_one_segment_of_the_path() -> None:
    assert bucket_path("a/objects/b") == "/buckets/a%2Fobjects%2Fb"
