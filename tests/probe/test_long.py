"""What takes minutes: the largest body one request can have, and many slow ones."""

import os
import socket
import threading
import time

import pytest

from chaos.roles import Roles

pytestmark = [pytest.mark.probe, pytest.mark.long]

GIB = 1024**3


def test_five_gib_body_grows_the_api_by_less_than_100_mib(roles: Roles) -> None:
    access = roles.access()
    host, _, port = access.endpoint.removeprefix("http://").partition(":")
    size = 5 * GIB
    piece = bytearray(os.urandom(1024 * 1024))
    baseline = roles.resident_bytes("api-1")
    worst = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal worst
        while not done.wait(0.2):
            worst = max(worst, roles.resident_bytes("api-1"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with socket.create_connection((host, int(port)), timeout=300) as raw:
            head = (
                f"PUT /objects/huge HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
                f"Authorization: Bearer {access.access_key}:{access.secret_key}\r\n\r\n"
            )
            raw.sendall(head.encode())
            for number in range(size // len(piece)):
                piece[:8] = number.to_bytes(8)
                raw.sendall(piece)
            answer = raw.recv(65536)
    finally:
        done.set()
        watcher.join()
    assert answer.startswith(b"HTTP/1.1 20"), answer
    assert worst - baseline < 100 * 1024 * 1024, f"grew by {(worst - baseline) / 1e6:.0f} MB"


def test_slow_uploads_are_bounded_in_memory(roles: Roles) -> None:
    access = roles.access()
    host, _, port = access.endpoint.removeprefix("http://").partition(":")
    baseline = roles.resident_bytes("api-1")
    head = (
        "PUT /objects/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
        f"Authorization: Bearer {access.access_key}:{access.secret_key}\r\n\r\n"
    ).encode()
    raws = [socket.create_connection((host, int(port)), timeout=30) for _ in range(64)]
    try:
        for raw in raws:
            raw.sendall(head + bytes(100_000))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for raw in raws:
                raw.settimeout(0.05)
                try:
                    raw.send(bytes(100_000))
                except (TimeoutError, OSError):
                    continue
        assert roles.resident_bytes("api-1") - baseline < 320 * 1024 * 1024
    finally:
        for raw in raws:
            raw.close()
