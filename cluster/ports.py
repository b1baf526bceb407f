"""Ports: what a listen address of HTTP means, where keys may not cross in clear, and which ports are held or free.

A port that this module found free stays so until it is bound: it is held (HTTP), or lies outside the range from which
the kernel takes ports for outgoing connections (nodes).
"""

import contextlib
import errno
import ipaddress
import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.config import ApiConfig
from cluster.errors import Refused

_EPHEMERAL_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_240
_TRIES = 2_000


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises Refused (BadAddress)."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise Refused("BadAddress", f"listen address {text!r} is not HOST:PORT (port 0: any free one)")
    return host, int(port)


def join_listen(host: str, port: int) -> str:
    """`HOST:PORT`, with brackets about an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_exposure(node: ApiConfig, listen: str) -> None:
    """Raises Refused (InsecureListen) where keys would cross a network in clear."""
    host, _ = parse_listen(listen)
    if node.tls_cert or node.insecure_listen or _is_loopback(host):
        return
    raise Refused(
        "InsecureListen",
        f"{listen} is not a loopback address, and keys would cross the network in clear: give tls_cert and tls_key "
        "in cluster.toml, or insecure_listen = true (--insecure-listen)",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(listen: str) -> str:
    """`HOST:PORT` that a client on this machine can ask, for an address that may be a wildcard."""
    host, port = parse_listen(listen)
    return join_listen({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104


@contextlib.contextmanager
def reserved_ports(apis: Sequence[ApiConfig]) -> Iterator[dict[str, tuple[str, str]]]:
    """Real `host:port` of each API's object and operator listener, held until the context is left.

    Port 0 becomes a free one. A socket that is bound (SO_REUSEPORT) but does not listen takes no connections, and keeps
    the port for the API's next start. Processes with the same configured address share the port.
    Raises Refused (InsecureListen, BadAddress, PortInUse, CannotListen).
    """
    for api in apis:
        for listen in (api.object_listen, api.operator_listen):
            check_exposure(api, listen)
    with contextlib.ExitStack() as stack:
        taken: dict[tuple[str, str], str] = {}

        def reserve(purpose: str, listen: str) -> str:
            if (purpose, listen) not in taken:
                taken[purpose, listen] = _hold(listen, stack)
            return taken[purpose, listen]

        yield {
            api.name: (reserve("object", api.object_listen), reserve("operator", api.operator_listen)) for api in apis
        }


def _hold(listen: str, stack: contextlib.ExitStack) -> str:
    host, port = parse_listen(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if port != 0:  # without SO_REUSEPORT this fails where somebody else's listener would share with ours
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        held = stack.enter_context(socket.socket(family, kind, protocol))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "choose another with --port or --admin-port (0: any free one)"
            raise Refused("PortInUse", f"cannot listen on {listen}: the port is in use; {hint}") from error
        raise Refused("CannotListen", f"cannot listen on {listen}: {error.strerror}") from error
    return join_listen(host, held.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody has now. Drawn below the kernel's range for outgoing connections, so that none of
    those takes one later. Raises Refused (NoFreePorts)."""
    top = int(_EPHEMERAL_FILE.read_text().split()[0])
    candidates = range(_LOWEST, top) if top - _LOWEST >= 4 * count else range(_LOWEST, 65536)
    found: set[int] = set()
    for _ in range(_TRIES):
        port = random.choice(candidates)  # noqa: S311 - no secret: two clusters made at once should not meet
        if port not in found and _is_free(port):
            found.add(port)
        if len(found) == count:
            return sorted(found)
    raise Refused("NoFreePorts", f"fewer than {count} free ports were found from {candidates[0]} to {candidates[-1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
