"""Who may talk to whom: hellos, certificates, files of keys, sockets."""

import json
import os
import socket
import ssl
import stat
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.config import Address, ApiConfig, ChunkdConfig, Config, MemberConfig, TcpAddress, UnixAddress
from cluster.errors import Refused, Unavailable
from cluster.frames import HELLO_BYTES_MAX, PROTOCOL_VERSION, Kind, decode_error, encode
from cluster.hello import Hello, greet, receive_frame, refusal
from cluster.identity import (
    NodeIdentity,
    bring_cluster_key,
    bring_credentials,
    load_identity,
    make_ca,
    make_cluster_key,
    make_credentials,
    make_node_certificate,
    operator_identity,
    peer_name,
    read_cluster_key,
    read_credentials,
    tls_identity,
)
from cluster.limits import Limits, Timings
from cluster.links import Link
from cluster.rpc import Channel, TransferPool
from cluster.sockets import dial, open_listener
from tests.cluster.pairs import CLUSTER, Pair, identity, running, short_folder
from tests.cluster.worlds import ECHO, World, settle, soon

HELLO = Hello(CLUSTER, "test", "mux", "client", "server")


def changed(**fields: object) -> Hello:
    return msgspec.structs.replace(HELLO, **fields)


@pytest.mark.parametrize(
    ("hello", "code", "named"),
    [
        (changed(cluster_id="other"), "WrongCluster", "other"),
        (changed(service="metaraft"), "WrongService", "metaraft"),
        (changed(expects="somebody"), "WrongName", "somebody"),
        (changed(name=""), "WrongName", "no name"),
        (changed(protocol_min=PROTOCOL_VERSION + 1, protocol_max=9), "WrongProtocol", "2 to 9"),
        (changed(protocol_min=0, protocol_max=0), "WrongProtocol", "0 to 0"),
    ],
)
async def test_a_hello_that_does_not_fit_is_refused_with_the_reason(hello: Hello, code: str, named: str) -> None:
    async with running(World().service) as pair:
        link = await dial(pair.address, "server", pair.me)
        await link.send_all(encode(Kind.HELLO, body=msgspec.msgpack.encode(hello)))
        frame = await receive_frame(link, HELLO_BYTES_MAX)
        assert frame is not None
        assert frame.kind == Kind.ERROR
        error = decode_error(frame.body)
        assert (error.kind, error.code) == ("refused", code)
        assert named in error.message
        assert await link.receive_some(10) == b""
        link.close()


def test_a_fitting_hello_is_welcome_also_from_a_newer_node() -> None:
    me = NodeIdentity(CLUSTER, "server")
    assert refusal(HELLO, "test", me, None) is None
    assert refusal(changed(protocol_max=99), "test", me, "client") is None


def test_a_name_that_the_certificate_does_not_have_is_refused() -> None:
    refused = refusal(HELLO, "test", NodeIdentity(CLUSTER, "server"), "another")
    assert refused is not None
    assert refused.code == "WrongName"


async def test_a_channel_to_the_wrong_cluster_never_connects_and_says_why() -> None:
    async with running(World().service) as pair:
        channel = Channel(pair.address, "server", "test", NodeIdentity("other", "client"), pair.limits, pair.timings)
        pair.nursery.start_soon(channel.run)
        await settle(lambda: channel.failure is not None)
        assert not channel.connected
        assert "cluster-1" in str(channel.failure)
        with pytest.raises(Unavailable, match="cluster-1"):
            await channel.call(ECHO, b"", deadline=soon())


async def test_a_pool_to_the_wrong_service_is_refused() -> None:
    async with running(World().service) as pair:
        pool = TransferPool(pair.address, "server", "chunkd", pair.me, pair.limits, pair.timings)
        with pytest.raises(Refused, match="serves test"):
            await pool.open().__aenter__()
        pool.close()


@pytest.mark.parametrize(
    "poison", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", bytes(64), b"\xff" * 64, encode(Kind.REQUEST, 1, 1, b"x")]
)
async def test_whoever_does_not_begin_with_a_hello_is_told_and_closed(poison: bytes) -> None:
    world = World()
    async with running(world.service) as pair:
        link = await dial(pair.address, "server", pair.me)
        await link.send_all(poison)
        with trio.fail_after(5):
            frame = await receive_frame(link, HELLO_BYTES_MAX)
            assert frame is not None
            assert decode_error(frame.body).code == "BadHello"
            assert not await closed(link)
        link.close()
        assert world.peers == []


async def closed(link: Link) -> bytes:
    """What still comes before the end."""
    try:
        return await link.receive_some(100)
    except trio.BrokenResourceError:
        return b""


async def test_a_newer_protocol_is_told_which_one_is_spoken_here() -> None:
    async with running(World().service) as pair:
        link = await dial(pair.address, "server", pair.me)
        hello = bytearray(encode(Kind.HELLO, body=msgspec.msgpack.encode(HELLO)))
        hello[4] = PROTOCOL_VERSION + 1
        await link.send_all(hello)
        frame = await receive_frame(link, HELLO_BYTES_MAX)
        assert frame is not None
        assert "protocol version 2" in decode_error(frame.body).message
        link.close()


async def test_whoever_says_nothing_is_closed(autojump_clock: object) -> None:
    async with running(World().service) as pair:
        link = await dial(pair.address, "server", pair.me)
        assert await link.receive_some(100) == b""
        assert trio.current_time() > 0
        link.close()


# ---- TLS


async def attempt(pair: Pair, me: NodeIdentity, peer: str = "server") -> Exception | None:
    """What becomes of a client with that identity."""
    try:
        link = await dial(pair.address, peer, me)
        try:
            await greet(link, "test", "mux", peer, me)
        finally:
            link.close()
    except (Refused, Unavailable) as error:
        return error
    return None


async def test_tls_peers_of_the_same_cluster_talk_in_tls_1_3() -> None:
    async with running(World().service, "tls") as pair:
        assert await attempt(pair, pair.me) is None
        for context in (pair.me.client_context, pair.me.server_context):
            assert context is not None
            assert context.minimum_version == ssl.TLSVersion.TLSv1_3
            assert context.verify_mode == ssl.CERT_REQUIRED
            assert context.verify_flags & ssl.VERIFY_X509_STRICT


async def test_a_certificate_of_another_authority_gets_not_a_byte_of_the_protocol() -> None:
    world = World()
    async with running(world.service, "tls") as pair:
        with short_folder() as folder:
            make_ca(folder, CLUSTER)
            make_node_certificate(folder, "client")
            stranger = tls_identity(folder, CLUSTER, "client")
        assert isinstance(await attempt(pair, stranger), Unavailable)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that takes any server: the server must refuse it
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        assert isinstance(await attempt(pair, NodeIdentity(CLUSTER, "client", None, context)), Unavailable)
        assert world.peers == []


async def test_a_server_with_another_name_than_dialled_is_not_spoken_to() -> None:
    async with running(World().service, "tls") as pair:
        error = await attempt(pair, pair.me, "another")
        assert isinstance(error, Unavailable)
        assert "certificate" in error.message


async def test_a_client_cannot_say_another_name_than_its_certificates() -> None:
    async with running(World().service, "tls") as pair:
        liar = NodeIdentity(CLUSTER, "meta-1", pair.me.server_context, pair.me.client_context)
        error = await attempt(pair, liar)
        assert isinstance(error, Refused)
        assert error.code == "WrongName"


async def test_clear_text_on_a_tls_port_is_answered_by_no_frame() -> None:
    async with running(World().service, "tls") as pair:
        assert isinstance(pair.address, TcpAddress)
        stream = await trio.open_tcp_stream(pair.address.host, pair.address.port)
        await stream.send_all(encode(Kind.HELLO, body=b""))
        received = b""
        try:
            while data := await stream.receive_some(1000):
                received += data
        except trio.BrokenResourceError:
            await stream.aclose()
        await stream.aclose()
        assert received == b"" or received[0] == 21  # a TLS alert record (RFC 8446, 5.1)


async def test_tcp_without_certificates_is_refused_on_both_sides() -> None:
    me = NodeIdentity(CLUSTER, "server")
    with pytest.raises(Refused, match="without TLS"):
        await dial(TcpAddress("127.0.0.1", 1), "peer", me)
    with pytest.raises(Refused, match="without TLS"):
        await open_listener(TcpAddress("127.0.0.1", 0), me).__aenter__()


def test_the_name_of_a_peer_is_the_one_dns_name_of_its_certificate() -> None:
    with short_folder() as folder:
        make_ca(folder, CLUSTER)
        make_node_certificate(folder, "node-7")
        for name, expected in (("node-7", "node-7"), ("ca", None)):
            der = ssl.PEM_cert_to_DER_cert((folder / f"{name}.pem").read_text())
            if expected is None:
                with pytest.raises(Refused):
                    peer_name(der)
            else:
                assert peer_name(der) == expected
    with pytest.raises(Refused):
        peer_name(None)


def test_keys_are_private_and_made_once() -> None:
    with short_folder() as folder:
        make_ca(folder, CLUSTER)
        make_node_certificate(folder, "n1")
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert set(before) == {"ca.pem", "ca.key", "n1.pem", "n1.key"}
        for name in ("ca.key", "n1.key"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        make_ca(folder, CLUSTER)
        make_node_certificate(folder, "n1")
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["", "../x", "a b", "a.b", "x" * 64, "ä", "a/b", "*"])
def test_a_name_that_is_no_host_label_gets_no_certificate(name: str) -> None:
    with short_folder() as folder:
        make_ca(folder, CLUSTER)
        with pytest.raises(Refused, match="cannot be certified"):
            make_node_certificate(folder, name)


def test_keys_that_others_can_read_or_that_are_not_there_are_refused() -> None:
    with short_folder() as folder:
        with pytest.raises(Refused, match="cannot be used"):
            tls_identity(folder, CLUSTER, "n1")
        with pytest.raises(Refused, match=r"ca\.pem"):
            make_node_certificate(folder, "n1")
        make_ca(folder, CLUSTER)
        make_node_certificate(folder, "n1")
        (folder / "n1.key").chmod(0o640)
        with pytest.raises(Refused, match="0600"):
            tls_identity(folder, CLUSTER, "n1")


def test_an_identity_needs_tls_files_only_where_a_node_is_reached_by_tcp() -> None:
    def config(listen: str, dialled: str = "") -> Config:
        node = ChunkdConfig(name="n1", disk_id="00", listen=listen, dial=dialled, directory="d")
        return Config(format=1, cluster_id=CLUSTER, chunkd=(node,), base="/nowhere")

    assert load_identity(config("unix:/tmp/x"), "n1").server_context is None
    for listen, dialled in (("tcp:127.0.0.1:1", ""), ("unix:/tmp/x", "tcp:h:1")):
        with pytest.raises(Refused, match="/nowhere/tls"):
            load_identity(config(listen, dialled), "n1")


# ---- the root key


def test_a_command_speaks_as_a_node_of_its_host_and_on_one_machine_as_the_operator(tmp_path: Path) -> None:
    member = MemberConfig(name="m", slot=1, incarnation="00", listen="unix:m", directory="m")
    chunkd = ChunkdConfig(name="c", disk_id="00", listen="unix:c", directory="c")
    api = ApiConfig(name="a")
    config = Config(format=1, cluster_id=CLUSTER, member=(member,), chunkd=(chunkd,), api=(api,), base=str(tmp_path))
    assert operator_identity(config) == NodeIdentity(CLUSTER, "operator")
    config = msgspec.structs.replace(config, member=(msgspec.structs.replace(member, listen="tcp:127.0.0.1:1"),))
    with pytest.raises(Refused, match="holds the keys of no node"):
        operator_identity(config)
    make_ca(tmp_path / "tls", CLUSTER)
    make_node_certificate(tmp_path / "tls", "c")
    found = operator_identity(config)
    assert (found.name, found.client_context is not None) == ("c", True)
    make_node_certificate(tmp_path / "tls", "a")
    assert operator_identity(config).name == "a"
    make_node_certificate(tmp_path / "tls", "m")
    assert operator_identity(config).name == "m"


def test_keys_of_another_cluster_are_brought_but_never_over_others(tmp_path: Path) -> None:
    for name in ("old", "other"):
        make_cluster_key(tmp_path / f"{name}.key")
        make_credentials(tmp_path / f"{name}.json")
    for _ in range(2):
        bring_cluster_key(tmp_path / "old.key", tmp_path / "cluster.key")
        bring_credentials(tmp_path / "old.json", tmp_path / "credentials.json")
    for file in ("cluster.key", "credentials.json"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600
    assert read_cluster_key(tmp_path / "cluster.key") == read_cluster_key(tmp_path / "old.key")
    assert read_credentials(tmp_path / "credentials.json") == read_credentials(tmp_path / "old.json")
    with pytest.raises(Refused, match="another cluster key"):
        bring_cluster_key(tmp_path / "other.key", tmp_path / "cluster.key")
    with pytest.raises(Refused, match="another root key"):
        bring_credentials(tmp_path / "other.json", tmp_path / "credentials.json")
    with pytest.raises(Refused, match="is missing"):
        bring_cluster_key(tmp_path / "none", tmp_path / "new.key")


def test_the_root_key_is_random_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    made = make_credentials(path)
    assert read_credentials(path) == made
    assert set(json.loads(path.read_text())) == {"access_key", "secret_key"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.secret_key not in repr(made)
    assert len(made.access_key) == 20
    assert len(made.secret_key) == 40
    with pytest.raises(Refused, match="already"):
        make_credentials(path)
    assert make_credentials(tmp_path / "other.json") != made
    assert sorted(os.listdir(tmp_path)) == ["credentials.json", "other.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"access_key": "a"}', '{"access_key": 1, "secret_key": "s3cr3t"}'])
def test_a_bad_file_of_the_root_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Refused) as caught:
        read_credentials(path)
    assert caught.value.code == "NoKeys"
    assert "s3cr3t" not in caught.value.message


def test_a_root_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    make_credentials(path)
    path.chmod(0o644)
    with pytest.raises(Refused, match="0600"):
        read_credentials(path)
    with pytest.raises(Refused, match="cannot be read"):
        read_credentials(tmp_path / "none.json")


# ---- the cluster key


def test_the_cluster_key_is_random_private_and_never_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "cluster.key", tmp_path / "other.key"
    make_cluster_key(path)
    make_cluster_key(other)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == read_cluster_key(path).hex() + "\n"
    assert len(read_cluster_key(path)) == 32
    assert read_cluster_key(path) != read_cluster_key(other)
    with pytest.raises(Refused, match="already"):
        make_cluster_key(path)
    assert sorted(os.listdir(tmp_path)) == ["cluster.key", "other.key"]


@pytest.mark.parametrize("text", ["", "5ec2e7" * 10, "5ec2e7" * 11, "5ec2e7zz" * 8, "5ec2e7é", "\xff5ec2e7", "\0" * 64])
def test_a_bad_file_of_the_cluster_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(Refused, match="64 hex digits") as caught:
        read_cluster_key(path)
    assert caught.value.code == "NoClusterKey"
    assert "5ec2e7" not in caught.value.message


def test_a_cluster_key_that_others_can_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    with pytest.raises(Refused, match="missing"):
        read_cluster_key(path)
    make_cluster_key(path)
    path.chmod(0o640)
    with pytest.raises(Refused, match="0600"):
        read_cluster_key(path)
    with pytest.raises(Refused, match="cannot be read"):
        read_cluster_key(path / "below")


# ---- Unix sockets


async def listens(address: Address) -> None:
    async with open_listener(address, NodeIdentity(CLUSTER, "server")):
        await trio.lowlevel.checkpoint()


async def test_a_socket_needs_a_folder_that_is_only_ours() -> None:
    with short_folder() as folder:
        address = UnixAddress(str(folder / "s"))
        for mode in (0o755, 0o770, 0o701):
            folder.chmod(mode)
            with pytest.raises(Refused) as caught:
                await listens(address)
            assert caught.value.code == "UnsafeFolder"
        folder.chmod(0o700)
        await listens(address)
        await listens(UnixAddress(str(folder / "made" / "s")))
        assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o700


async def test_a_socket_is_removed_at_the_end_and_a_dead_ones_file_is_replaced() -> None:
    with short_folder() as folder:
        path = folder / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert path.is_socket()
        await listens(UnixAddress(str(path)))
        assert os.listdir(folder) == []


async def test_a_socket_of_a_living_process_is_not_taken() -> None:
    with short_folder() as folder:
        address = UnixAddress(str(folder / "s"))
        me = NodeIdentity(CLUSTER, "server")
        async with open_listener(address, me):
            with pytest.raises(Refused) as caught:
                await listens(address)
            assert caught.value.code == "AddressInUse"
            assert (folder / "s").is_socket()
            link = await dial(address, "server", me)
            link.close()


async def test_a_file_that_is_no_socket_is_never_removed() -> None:
    with short_folder() as folder:
        path = folder / "precious"
        path.write_text("data")
        with pytest.raises(Refused):
            await listens(UnixAddress(str(path)))
        assert path.read_text() == "data"
        assert os.listdir(folder) == ["precious"]


async def test_a_tcp_port_in_use_is_refused() -> None:
    me = identity("server", "tls")
    async with open_listener(TcpAddress("127.0.0.1", 0), me) as listener:
        assert isinstance(listener.address, TcpAddress)
        assert listener.address.port > 0
        with pytest.raises(Refused) as caught:
            await open_listener(listener.address, me).__aenter__()
        assert caught.value.code == "AddressInUse"


async def test_dialling_nobody_is_unavailable() -> None:
    with short_folder() as folder:
        with pytest.raises(Unavailable):
            await dial(UnixAddress(str(folder / "none")), "server", NodeIdentity(CLUSTER, "client"))
        with pytest.raises(Unavailable):
            await dial(TcpAddress("127.0.0.1", 1), "server", identity("client", "tls"))
        channel = Channel(
            UnixAddress(str(folder / "none")), "server", "test", identity("client", "unix"), Limits(), Timings()
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(channel.run)
            await settle(lambda: channel.failure is not None)
            nursery.cancel_scope.cancel()
