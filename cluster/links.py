"""Byte links under the frames: Unix sockets on one machine, TCP with mutual TLS between machines.

Rules: a Unix socket lies in a folder of mode 0700 that is ours, and both ends check that the other runs as this user
(or root); TCP without TLS contexts is refused, so nothing is ever sent in clear to another host; a peer's name on TCP
is that of its certificate. A socket file that a dead process left is replaced under a lock file.

Sockets are driven directly, without trio's stream classes: one system call tries first and the task waits only if it
must. Sources: unix(7), tcp(7), trio.lowlevel.
"""

import errno
import fcntl
import os
import socket
import ssl
import stat
import struct
from collections.abc import AsyncGenerator, Awaitable, Buffer, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from cluster.config import Address, TcpAddress, UnixAddress
from cluster.errors import Refused, Unavailable
from cluster.identity import NodeIdentity, peer_name

READ_BYTES = 256 * 1024
"""One read of frames takes up to this."""

SOCKET_BUFFER_BYTES = 1024 * 1024
"""Asked for on Unix sockets (the kernel caps it at net.core.wmem_max): fewer wake-ups per chunk body."""

_BACKLOG = 1024
_UCRED = struct.Struct("3i")


class Link(trio.abc.Stream):
    """One connected socket. Errors of the connection are trio's BrokenResourceError, also for an own `close`.

    A send that was cancelled may have sent a part: close the link then.
    """

    direct = True
    """`send_nowait` can take bytes."""

    peer_name: str | None = None
    """From the peer's certificate; None on a Unix socket, where the peer's hello is believed."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._buffer: memoryview | None = None
        self._drained = False

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._socket.fileno() < 0

    async def receive(self) -> Buffer:
        """What has arrived, up to READ_BYTES; empty at the end. Valid until the next call."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(READ_BYTES))
        if self._drained:
            await self._wait(trio.lowlevel.wait_readable)  # saves a try that would fail
        size = await self.receive_into(self._buffer, waited=self._drained)
        self._drained = size < READ_BYTES
        return self._buffer[:size]

    async def receive_into(self, view: memoryview, *, waited: bool = False) -> int:
        """Receive at least one byte into `view`; 0 at the end. `waited`: there was a checkpoint just now."""
        if not waited:
            await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                size = self._socket.recv_into(view)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_readable)
                waited = True
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return size

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """For trio's SSLStream."""
        view = memoryview(bytearray(max_bytes or 65536))
        return bytes(view[: await self.receive_into(view)])

    def send_nowait(self, *parts: Buffer) -> int:
        """How many bytes of all the parts the kernel took; 0 if it has no room."""
        try:
            return self._socket.sendmsg(parts) if len(parts) > 1 else self._socket.send(parts[0])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_some(self, data: memoryview) -> int:
        """Send at least one byte of `data`, which must not be empty."""
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            size = self.send_nowait(data)
            if size:
                if not waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return size
            await self._wait(trio.lowlevel.wait_writable)
            waited = True

    async def send_all(self, data: Buffer) -> None:
        """Send everything."""
        view = memoryview(data).cast("B")
        while view:
            view = view[await self.send_some(view) :]

    async def wait_send_all_might_not_block(self) -> None:
        """For trio's SSLStream."""
        await self._wait(trio.lowlevel.wait_writable)

    def idle(self) -> bool:
        """The peer has neither closed nor sent anything: a pooled connection in this state can be used again."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close at once; tasks that wait on the link get BrokenResourceError. May be repeated."""
        if not self.closed:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """Close, as trio's streams do."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def _wait(self, wait: "_Wait") -> None:
        if self.closed:
            raise trio.BrokenResourceError("the link was closed")
        try:
            await wait(self._socket)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError("the link was closed") from error


type _Wait = Callable[[socket.socket], Awaitable[None]]


class TlsLink(Link):
    """A link inside TLS."""

    direct = False
    _RECORDS = 64 * 1024  # sent at once, so that progress is seen

    def __init__(self, plain: Link, stream: "trio.SSLStream[Link]", name: str) -> None:
        self._plain = plain
        self._stream = stream
        self.peer_name = name

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._plain.closed

    async def receive(self) -> Buffer:
        """What has arrived; empty at the end."""
        return await self.receive_some(READ_BYTES)

    async def receive_into(self, view: memoryview, *, waited: bool = False) -> int:
        """Receive at least one byte into `view`; 0 at the end."""
        data = await self.receive_some(len(view))
        view[: len(data)] = data
        return len(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte; nothing at the end."""
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.ClosedResourceError, ssl.SSLError) as error:
            raise trio.BrokenResourceError(str(error)) from error

    def send_nowait(self, *parts: Buffer) -> int:
        """Nothing: encryption may need to wait."""
        return 0

    async def send_some(self, data: memoryview) -> int:
        """Send a part of `data`."""
        part = data[: self._RECORDS]
        try:
            await self._stream.send_all(part)
        except (trio.ClosedResourceError, ssl.SSLError) as error:
            raise trio.BrokenResourceError(str(error)) from error
        return len(part)

    def idle(self) -> bool:
        """See Link."""
        return self._plain.idle()

    def close(self) -> None:
        """Close at once, without the TLS farewell: frames say by themselves where they end."""
        self._plain.close()


async def dial(address: Address, peer: str, me: NodeIdentity) -> Link:
    """Connect. Raises Unavailable (NotConnected), or Refused (TlsRequired, WrongOwner)."""
    if isinstance(address, UnixAddress):
        return await _dial_unix(address)
    if me.client_context is None:
        raise Refused("TlsRequired", f"{address} is not dialled without TLS: node {me.name} has no certificate")
    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
        plain = _tcp_link(socket.socket(fileno=stream.socket.detach()))
    except OSError as error:
        raise Unavailable("NotConnected", f"no connection to {peer} at {address}: {error}") from error
    return await _encrypt(plain, me.client_context, peer, server_side=False)


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
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    return Link(sock)


def _tcp_link(sock: socket.socket) -> Link:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host that vanished is noticed in about 5 s
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
    return Link(sock)


async def _encrypt(plain: Link, context: ssl.SSLContext, peer: str | None, *, server_side: bool) -> Link:
    stream = trio.SSLStream(plain, context, server_hostname=peer, server_side=server_side)
    try:
        await stream.do_handshake()
        return TlsLink(plain, stream, peer_name(stream.getpeercert(binary_form=True)))
    except (trio.BrokenResourceError, ssl.SSLError) as error:
        plain.close()
        reason = error.__cause__ or error
        raise Unavailable("NotConnected", f"no TLS connection with {peer or 'a client'}: {reason}") from error
    except BaseException:
        plain.close()
        raise


class Listener:
    """A listening socket; `address` is where it really listens (a TCP port 0 is resolved)."""

    def __init__(self, sock: socket.socket, address: Address, me: NodeIdentity) -> None:
        self._socket = sock
        self._me = me
        self.address = address

    async def accept(self) -> Link:
        """The next connection, not yet encrypted: see `welcome`. OSError if the process is out of files."""
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
            return Link(sock)

    async def welcome(self, link: Link) -> Link:
        """Check an accepted link's owner (Unix) or do the TLS handshake (TCP). Raises Refused or Unavailable."""
        if isinstance(self.address, UnixAddress):
            _unix_link(link._socket)
            return link
        assert self._me.server_context is not None
        _tcp_link(link._socket)
        return await _encrypt(link, self._me.server_context, None, server_side=True)


@asynccontextmanager
async def open_listener(address: Address, me: NodeIdentity) -> AsyncGenerator[Listener]:
    """Listen until the context is left; a Unix socket file is removed then.

    Raises Refused (TlsRequired, UnsafeFolder, AddressInUse, BadAddress).
    """
    if isinstance(address, UnixAddress):
        with _unix_socket(address) as sock:
            yield Listener(sock, address, me)
        return
    if me.server_context is None:
        raise Refused("TlsRequired", f"{address} is not listened on without TLS: node {me.name} has no certificate")
    sock = await _tcp_socket(address)
    try:
        yield Listener(sock, TcpAddress(address.host, sock.getsockname()[1]), me)
    finally:
        trio.lowlevel.notify_closing(sock)
        sock.close()


async def _tcp_socket(address: TcpAddress) -> socket.socket:
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
def _unix_socket(address: UnixAddress) -> Generator[socket.socket]:
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
