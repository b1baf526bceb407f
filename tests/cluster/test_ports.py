"""Ports: held before anything starts, shared only by those that said so, free where a node is to listen."""

import socket
from pathlib import Path

import pytest

from api.edge.sockets import bind
from cluster.config import ApiConfig
from cluster.errors import Refused
from cluster.ports import free_ports, join_listen, reachable, reserved_ports

ANY = "127.0.0.1:0"


def test_port_zero_becomes_a_free_one_that_stays_ours() -> None:
    with reserved_ports([ApiConfig(name="a", object_listen=ANY, operator_listen=ANY)]) as ports:
        object_listen, operator_listen = ports["a"]
        assert object_listen != operator_listen
        assert not object_listen.endswith(":0")
        for _ in range(2):  # the API may go and come again
            with bind(object_listen, shared=True) as served, socket.create_connection(("127.0.0.1", port(served))):
                pass
        with pytest.raises(Refused), reserved_ports([ApiConfig(name="b", object_listen=object_listen)]):
            pass
    with bind(object_listen, shared=False):
        pass  # free again


def port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def test_processes_of_one_cluster_share_their_ports() -> None:
    apis = [ApiConfig(name=name, object_listen=ANY, operator_listen=ANY) for name in ("a", "b")]
    with reserved_ports(apis) as ports:
        assert ports["a"] == ports["b"]


def test_port_in_use_is_refused_also_where_it_could_be_shared() -> None:
    with bind(ANY, shared=True) as other:
        listen = f"127.0.0.1:{port(other)}"
        with (
            pytest.raises(Refused, match="--port") as raised,
            reserved_ports([ApiConfig(name="a", object_listen=listen, operator_listen=ANY)]),
        ):
            pass
    assert raised.value.code == "PortInUse"


def test_both_listeners_on_one_port_are_refused() -> None:
    [number] = free_ports(1)
    listen = f"127.0.0.1:{number}"
    with (
        pytest.raises(Refused) as raised,
        reserved_ports([ApiConfig(name="a", object_listen=listen, operator_listen=listen)]),
    ):
        pass
    assert raised.value.code == "PortInUse"


@pytest.mark.parametrize(
    ("listen", "code"),
    [
        ("0.0.0.0:9000", "InsecureListen"),
        (":9000", "BadAddress"),
        ("127.0.0.1", "BadAddress"),
        ("127.0.0.1:9000:9000", "InsecureListen"),
    ],
)
def test_address_that_cannot_be_is_refused_before_anything_starts(listen: str, code: str) -> None:
    with (
        pytest.raises(Refused) as raised,
        reserved_ports([ApiConfig(name="a", object_listen=listen, operator_listen=ANY)]),
    ):
        pass
    assert raised.value.code == code


def test_address_of_another_machine_cannot_be_listened_on() -> None:
    api = ApiConfig(name="a", object_listen="192.0.2.1:9000", operator_listen=ANY, insecure_listen=True)
    with pytest.raises(Refused) as raised, reserved_ports([api]):
        pass
    assert raised.value.code == "CannotListen"


def test_free_ports_are_out_of_reach_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert lowest_outgoing < 11_000 or max(ports) < lowest_outgoing
    for number in ports:
        with socket.create_server(("127.0.0.1", number)):
            pass


@pytest.mark.parametrize(
    ("listen", "dial"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("[::1]:1", "[::1]:1"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("host:1", "host:1"),
    ],
)
def test_wildcard_is_dialled_as_loopback(listen: str, dial: str) -> None:
    assert reachable(listen) == dial


def test_brackets_are_for_ipv6() -> None:
    assert (join_listen("::1", 9), join_listen("127.0.0.1", 9)) == ("[::1]:9", "127.0.0.1:9")
