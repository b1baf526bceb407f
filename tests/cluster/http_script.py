"""A tiny HTTP server that follows a script: one step per connection, then it no longer listens."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Seen:
    """A request as it arrived: its head, and the body as far as the step read it."""

    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        for line in self.head.decode().split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name.lower():
                return value
        return ""

    @property
    def target(self) -> str:
        """The request line's second word."""
        return self.head.decode().split(" ")[1]


type Step = Callable[[socket.socket, Seen], None]


@dataclass
class Script:
    """Where it listens, and what it saw."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """Serve one connection after the other, each by its step. Every step must be taken."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(60)
    script = Script(listener.getsockname()[1])

    def serve() -> None:
        for number, step in enumerate(steps, 1):
            accepted, _ = listener.accept()
            if number == len(steps):
                listener.close()  # who comes later is refused
            accepted.settimeout(60)
            with accepted:
                try:
                    _serve_one(accepted if tls is None else tls.wrap_socket(accepted, server_side=True), step, script)
                except OSError:
                    continue  # the client went away, which some tests are about

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield script
    finally:
        thread.join()
        listener.close()


def _serve_one(sock: socket.socket, step: Step, script: Script) -> None:
    with sock:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            if not byte:
                return
            head += byte
        seen = Seen(head)
        script.seen.append(seen)
        step(sock, seen)


def answering(
    status: int, body: bytes = b"", *, headers: str = "", length: int | None = None, read: bool = True
) -> Step:
    """Answer once, with the body read before (by its length or to its last chunk) or not, and close."""

    def step(sock: socket.socket, seen: Seen) -> None:
        if read:
            read_body(sock, seen)
        size = len(body) if length is None else length
        sock.sendall(f"HTTP/1.1 {status} Script\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body)

    return step


def hanging_up(sock: socket.socket, seen: Seen) -> None:
    """Read the whole request and close without a word."""
    read_body(sock, seen)


def listening_on(sock: socket.socket, seen: Seen) -> None:
    """Read until the client closes."""
    while piece := sock.recv(65536):
        seen.body += piece


def read_body(sock: socket.socket, seen: Seen) -> None:
    """Read the request's body into `seen`."""
    if seen.header("Transfer-Encoding") == "chunked":
        raw = b""
        while not raw.endswith(b"0\r\n\r\n"):
            raw += sock.recv(65536)
        while raw:
            size, _, raw = raw.partition(b"\r\n")
            seen.body += raw[: int(size, 16)]
            raw = raw[int(size, 16) + 2 :]
        return
    left = int(seen.header("Content-Length") or 0)
    while left:
        piece = sock.recv(min(65536, left))
        assert piece, "the client ended its body early"
        seen.body += piece
        left -= len(piece)


def error(code: str, message: str = "told so") -> bytes:
    """An error's JSON as the API writes it."""
    return f'{{"code":"{code}","message":"{message}","request_id":"r1"}}'.encode()
