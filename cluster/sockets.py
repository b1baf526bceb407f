"""Where nodes meet: dialling and listening, on Unix sockets and on TCP with mutual TLS.

Rules: a Unix socket lies in a folder of mode 0700 that is ours, and both ends check that the other runs as this user
(or root); TCP without TLS contexts is refused, so nothing is ever sent in clear to another host; a peer's name on TCP
is that of its certificate. A socket file that a dead process left is replaced under a lock file.
"""

import errno
import fcntl
import os
import socket
import ssl
import stat
import struct
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from cluster.config import Address, TcpAddress, UnixAddress
from cluster.errors import Refused, Unavailable
from cluster.identity import NodeIdentity, peer_name
from cluster.links import Link, TlsLink

_SOCKET_BUFFER_BYTES = 1024 * 1024
"""Asked for on Unix sockets (the kernel caps it at net.core.wmem_max): fewer wake-ups per chunk body."""

_BACKLOG = 1024
_UCRED = struct.Struct("3i")


async def dial(address: Address, peer: str, me: NodeIdentity) -> Link:
    """Connect. Raises Unavailable (NotConnected), or Refused (TlsRequired, WrongOwner)."""
    if isinstance(address, UnixAddress):
        return await _dial_unix(address)
    if me.client_context is None:
        raise Refused("TlsRequired", f"{address} is not dialled without TLS: node {me.name} has no certificate")
    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
        sock = _tcp_socket(socket.socket(fileno=stream.socket.detach()))
    except OSError as error:
        raise Unavailable("NotConnected", f"no connection to {peer} at {address}: {error}") from error
    return await _encrypt(sock, me.client_context, peer)


async def _dial_unix(address: UnixAddress) -> Link:
    await trio.lowlevel.checkpoint()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # connect(2) on a Unix socket never waits: a full backlog is an error
        sock.connect(address.path)
        return _unix_link(sock)
    except OSError as error:
        sock.close()
        raise Unavailable("NotConnected", f"no connection to {address}: {error}") from error
    except BaseException:
        sock.close()
        raise


def _unix_link(sock: socket.socket) -> Link:
    """Raises Refused (WrongOwner) if the other end is another user's process."""
    _pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in (os.geteuid(), 0):
        raise Refused("WrongOwner", f"the peer's process belongs to user {uid}; this one to {os.geteuid()}")
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    return Link(sock)


def _tcp_socket(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host that vanished is noticed in about 5 s
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
    return sock


async def _encrypt(sock: socket.socket, context: ssl.SSLContext, peer: str | None) -> Link:
    link = TlsLink(sock, context, peer)
    try:
        return await link.handshake(peer_name)
    except trio.BrokenResourceError as error:
        link.close()
        raise Unavailable("NotConnected", f"no TLS connection with {peer or 'a client'}: {error}") from error
    except BaseException:
        link.close()
        raise


class Listener:
    """A listening socket; `address` is where it really listens (a TCP port 0 is resolved)."""

    def __init__(self, sock: socket.socket, address: Address, me: NodeIdentity) -> None:
        self._socket = sock
        self._me = me
        self.address = address

    async def accept(self) -> socket.socket:
        """The next connection, for `welcome`. OSError if the process is out of files."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EPROTO):
                    continue
                raise
            await trio.lowlevel.cancel_shielded_checkpoint()
            return sock

    async def welcome(self, sock: socket.socket) -> Link:
        """Check the owner of an accepted socket (Unix) or do the TLS handshake (TCP).

        Raises Refused or Unavailable; the socket is closed then.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if isinstance(self.address, UnixAddress):
                return _unix_link(sock)
            assert self._me.server_context is not None
            return await _encrypt(_tcp_socket(sock), self._me.server_context, None)
        except OSError as error:
            raise Unavailable("NotConnected", f"the client is gone: {error}") from error
        except BaseException:
            sock.close()
            raise


@asynccontextmanager
async def open_listener(address: Address, me: NodeIdentity) -> AsyncGenerator[Listener]:
    """Listen until the context is left; a Unix socket file is removed then.

    Raises Refused (TlsRequired, UnsafeFolder, AddressInUse, BadAddress).
    """
    if isinstance(address, UnixAddress):
        with _unix_listener(address) as sock:
            yield Listener(sock, address, me)
        return
    if me.server_context is None:
        raise Refused("TlsRequired", f"{address} is not listened on without TLS: node {me.name} has no certificate")
    sock = await _tcp_listener(address)
    try:
        yield Listener(sock, TcpAddress(address.host, sock.getsockname()[1]), me)
    finally:
        trio.lowlevel.notify_closing(sock)
        sock.close()


async def _tcp_listener(address: TcpAddress) -> socket.socket:
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise Refused("BadAddress", f"{address} cannot be listened on: {error}") from error
    family, kind, protocol, _name, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        code = "AddressInUse" if error.errno == errno.EADDRINUSE else "BadAddress"
        raise Refused(code, f"{address} cannot be listened on: {error}") from error
    return sock


@contextmanager
def _unix_listener(address: UnixAddress) -> Generator[socket.socket]:
    path = Path(address.path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(path.parent)
    lock = Path(f"{path}.lock")
    held = _lock(lock, address)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise Refused("BadAddress", f"{path} is there and is no socket")
            path.unlink()  # we hold the lock: its process is dead
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.bind(address.path)
            sock.listen(_BACKLOG)
            try:
                yield sock
            finally:
                trio.lowlevel.notify_closing(sock)
                with suppress(FileNotFoundError):
                    path.unlink()
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
        os.close(held)


def _check_folder(folder: Path) -> None:
    facts = folder.stat()
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        mode = oct(stat.S_IMODE(facts.st_mode))
        raise Refused(
            "UnsafeFolder",
            f"{folder} has mode {mode} and owner {facts.st_uid}; sockets need a folder of mode 0o700 that is ours",
        )


def _lock(lock: Path, address: UnixAddress) -> int:
    """Hold the lock file. It is removed while held, so whoever gets one checks that it is still the one there."""
    while True:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(held)
            raise Refused("AddressInUse", f"another process listens on {address}") from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.stat(lock)):
                return held
        os.close(held)
