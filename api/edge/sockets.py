"""Listening sockets, bound by the role itself: loopback, or another address with TLS or an explicit word."""

import ipaddress
import socket

from cluster.config import ApiConfig
from cluster.errors import Refused

BACKLOG = 1024


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises Refused (BadAddress)."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise Refused("BadAddress", f"listen address {text!r} is not HOST:PORT (port 0: any free one)")
    return host, int(port)


def check_exposure(node: ApiConfig, listen: str) -> None:
    """Raises Refused (InsecureListen) where keys would cross a network in clear."""
    host, _ = parse_listen(listen)
    if node.tls_cert or node.insecure_listen or _is_loopback(host):
        return
    raise Refused(
        "InsecureListen",
        f"{listen} is not a loopback address, and keys would cross the network in clear: "
        "give tls_cert and tls_key, or insecure_listen = true",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(listen: str, *, shared: bool) -> socket.socket:
    """A listening socket. `shared`: other processes of this cluster listen on the same port, too.

    Raises Refused (CannotListen).
    """
    host, port = parse_listen(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Refused("CannotListen", f"cannot listen on {listen}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise Refused("CannotListen", f"cannot listen on {listen}: {error.strerror}") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """`HOST:PORT` as it really is."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
