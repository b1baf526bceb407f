"""Listening sockets of HTTP, bound by the role itself."""

import socket

from cluster.errors import Refused
from cluster.ports import join_listen, parse_listen

BACKLOG = 1024


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
    return join_listen(host, port)
