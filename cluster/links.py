"""Byte links under the frames: a Unix socket, or TCP inside TLS.

Sockets are driven directly, without trio's stream classes, and TLS through memory buffers: a system call tries first
and the task waits only if it must, many records are read at a time, and bytes go straight into the caller's buffer.
(Measured: trio.SSLStream takes two to three times the CPU per small call, and half as much again per byte.)

Sources: unix(7), tcp(7), trio.lowlevel, ssl.SSLObject.
"""

import socket
import ssl
from collections.abc import Awaitable, Buffer, Callable
from typing import Self, cast

import trio

READ_BYTES = 256 * 1024
"""One read of frames takes up to this."""


class Link:
    """One connected socket. Errors of the connection are trio's BrokenResourceError, also for an own `close`.

    A send that was cancelled may have sent a part: close the link then.
    """

    peer_name: str | None = None
    """From the peer's certificate; None on a Unix socket, where the peer's hello is believed."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._buffer: memoryview | None = None
        self._drained = False

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self.socket.fileno() < 0

    @property
    def unsent(self) -> bool:
        """Something that a send took is still on this side: see `drain`. Only inside TLS."""
        return False

    async def receive(self) -> Buffer:
        """What has arrived, up to READ_BYTES; empty at the end. Valid until the next call."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(READ_BYTES))
        if self._drained:
            await self.wait(trio.lowlevel.wait_readable)  # saves a try that would fail
        size = await self.receive_into(self._buffer, waited=self._drained)
        self._drained = size < READ_BYTES
        return self._buffer[:size]

    async def receive_into(self, view: memoryview, *, waited: bool = False) -> int:
        """Receive at least one byte into `view`; 0 at the end. `waited`: there was a checkpoint just now."""
        if not waited:
            await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                size = self.socket.recv_into(view)
            except BlockingIOError:
                await self.wait(trio.lowlevel.wait_readable)
                waited = True
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return size

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive at least one byte as a new object; nothing at the end."""
        view = memoryview(bytearray(max_bytes))
        return bytes(view[: await self.receive_into(view)])

    def send_nowait(self, *parts: Buffer) -> int:
        """How many bytes of all the parts were taken; 0 if there is no room."""
        try:
            return self.socket.sendmsg(parts) if len(parts) > 1 else self.socket.send(parts[0])
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
            await self.wait(trio.lowlevel.wait_writable)
            waited = True

    async def send_all(self, data: Buffer) -> None:
        """Send everything."""
        view = memoryview(data).cast("B")
        while view:
            view = view[await self.send_some(view) :]

    async def drain(self) -> None:
        """Wait until nothing is `unsent`."""
        await trio.lowlevel.checkpoint()

    def idle(self) -> bool:
        """The peer has neither closed nor sent anything: a pooled connection in this state can be used again."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close at once; tasks that wait on the link get BrokenResourceError. May be repeated."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    async def wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Wait for trio's readable or writable."""
        if self.closed:
            raise trio.BrokenResourceError("the link was closed")
        try:
            await wait(self.socket)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError("the link was closed") from error


type _Wait = Callable[[socket.socket], Awaitable[None]]


class TlsLink(Link):
    """A link inside TLS; made by `handshake`.

    The end of the stream is believed without TLS's farewell: frames say by themselves where they end.
    """

    _TAKE_BYTES = 128 * 1024  # encrypted at once: progress is seen, and the copy stays small

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, peer: str | None) -> None:
        """`peer` is the server's name that a client expects; None on the server's side."""
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=peer is None, server_hostname=peer)
        self._cipher = memoryview(bytearray(READ_BYTES))
        self._tail = memoryview(b"")

    async def handshake(self, name_of: Callable[[bytes | None], str]) -> Self:
        """Both sides show their certificates. Raises BrokenResourceError, or what `name_of` does."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.drain()
                if not await self._fetch():
                    raise trio.BrokenResourceError("the peer closed the connection during the handshake") from None
            except ssl.SSLError as error:
                self._pass_on()  # the alert that says why
                raise trio.BrokenResourceError(str(error)) from error
        await self.drain()
        self.peer_name = name_of(self._tls.getpeercert(binary_form=True))
        return self

    async def receive(self) -> Buffer:
        """See Link."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(READ_BYTES))
        size = await self.receive_into(self._buffer)
        return self._buffer[:size]

    async def receive_into(self, view: memoryview, *, waited: bool = False) -> int:
        """See Link."""
        await trio.lowlevel.checkpoint_if_cancelled()
        size = self._decrypt(view)
        if size or size is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while not size:
            if size is None or not await self._fetch():
                return 0
            size = self._decrypt(view)
        return size

    @property
    def unsent(self) -> bool:
        """See Link."""
        return bool(self._tail) or self._outgoing.pending > 0

    def send_nowait(self, *parts: Buffer) -> int:
        """See Link; what is taken may be `unsent`."""
        self._pass_on()
        if self.unsent:
            return 0
        taken = 0
        for part in parts:
            view = memoryview(part)[: self._TAKE_BYTES - taken]
            if view:
                self._encrypt(view)
                taken += len(view)
        self._pass_on()
        return taken

    async def send_some(self, data: memoryview) -> int:
        """See Link; all that is taken is sent."""
        await self.drain()
        size = self.send_nowait(data)
        if self.unsent:
            await self.drain()
        return size

    async def drain(self) -> None:
        """See Link."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._pass_on()
        if not self.unsent:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while self.unsent:
            await self.wait(trio.lowlevel.wait_writable)
            self._pass_on()

    def idle(self) -> bool:
        """See Link."""
        return super().idle() and not self._incoming.pending and not self._tls.pending()

    async def _fetch(self) -> bool:
        """Receive ciphertext. False at the end."""
        size = await super().receive_into(self._cipher)
        self._incoming.write(self._cipher[:size])
        return size > 0

    def _decrypt(self, view: memoryview) -> int | None:
        """Fill `view` as far as what was fetched goes. None: the peer said farewell."""
        start = 0
        try:
            while start < len(view):
                size = cast(int, self._tls.read(len(view) - start, view[start:]))  # typeshed knows only bytes
                if size == 0:
                    return start or None
                start += size
        except ssl.SSLWantReadError:
            return start
        except ssl.SSLZeroReturnError:
            return start or None
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        finally:
            if self._outgoing.pending:  # an answer of TLS's own
                self._pass_on()
        return start

    def _encrypt(self, view: memoryview) -> None:
        try:
            written = self._tls.write(view)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        assert written == len(view), "a memory buffer takes everything"

    def _pass_on(self) -> None:
        """Give the kernel what it takes of the ciphertext."""
        while True:
            if not self._tail:
                if not self._outgoing.pending:
                    return
                self._tail = memoryview(self._outgoing.read())
            size = super().send_nowait(self._tail)
            self._tail = self._tail[size:]
            if self._tail:
                return
