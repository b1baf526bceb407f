"""How a file is cut into parts, and threads that store them: what is sent, what stops them."""

import hashlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli.access import Access
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.cli.parts import (
    PART_BYTES,
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    PartEntry,
    Sender,
    Upload,
    part_bytes_for,
    pieces,
)
from cluster.errors import Corrupt, Refused
from cluster.limits import GIB, MIB, UPLOAD_PARTS_MAX
from tests.cluster.http_script import Script, Seen, Step, answering, error, scripted

X = Name("box", "a/b ü")
DATA = b"first one" + b"second 1!" + b"last"


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_the_parts_are_the_file(size: int, part_bytes: int) -> None:
    part_bytes = max(part_bytes, -(-size // 1000))
    cut = pieces(size, part_bytes)
    assert [piece.number for piece in cut] == list(range(1, len(cut) + 1))
    assert [piece.offset for piece in cut] == [part_bytes * number for number in range(len(cut))]
    assert all(piece.size == part_bytes for piece in cut[:-1])
    assert 0 < cut[-1].size <= part_bytes
    assert sum(piece.size for piece in cut) == size


@given(st.integers(64 * MIB, 5 * 1024 * GIB))
def test_no_file_has_too_many_parts(size: int) -> None:
    part_bytes = part_bytes_for(size, None)
    assert PART_BYTES <= part_bytes <= PART_BYTES_MAX
    assert -(-size // part_bytes) <= UPLOAD_PARTS_MAX
    least = max(PART_BYTES_MIN, -(-size // UPLOAD_PARTS_MAX))
    assert part_bytes_for(size, least) == least
    for asked in (0, least - 1, PART_BYTES_MAX + 1):
        with pytest.raises(Refused, match="not possible"):
            part_bytes_for(size, asked)


def part(data: bytes, number: int = 1, other: dict[str, object] | None = None) -> bytes:
    """A part as the server tells it."""
    facts = {"number": number, "size": len(data), "etag": hashlib.md5(data).hexdigest()}
    facts |= {"sha256": hashlib.sha256(data).hexdigest(), **(other or {})}
    return json.dumps(facts).encode()


class Count(Meter):
    """What was counted."""

    def __init__(self) -> None:
        super().__init__(None)
        self.bytes = 0

    def add(self, count: int) -> None:
        """More bytes, or fewer."""
        self.bytes += count


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[BinaryIO]:
    """A file of DATA."""
    (tmp_path / "file").write_bytes(DATA)
    with (tmp_path / "file").open("rb") as file:
        yield file


def sender(script: Script, opened: BinaryIO, meter: Meter, *there: PartEntry) -> Sender:
    """One that sends DATA in parts of nine bytes."""
    upload = Upload(X, "cafe", 9, {entry.number: entry for entry in there})
    return Sender(Access(script.endpoint, "AK", "SK"), opened.fileno(), upload, meter)


def test_parts_are_sent_with_their_numbers_and_those_that_are_there_are_not(opened: BinaryIO) -> None:
    there = PartEntry(2, 9, hashlib.md5(DATA[9:18]).hexdigest())
    with scripted(answering(200, part(DATA[:9])), answering(200, part(DATA[18:], 3))) as script:
        meter = Count()
        sending = sender(script, opened, meter, there)
        sending.run(pieces(len(DATA), 9), 1)
    assert [(seen.target, seen.body) for seen in script.seen] == [
        ("/buckets/box/uploads/cafe/parts/1?key=a%2Fb%20%C3%BC", DATA[:9]),
        ("/buckets/box/uploads/cafe/parts/3?key=a%2Fb%20%C3%BC", DATA[18:]),
    ]
    assert (sending.etags[2], len(sending.etags), sending.resumed) == (there.etag, 3, 1)
    assert meter.bytes == len(DATA)


def test_bytes_that_are_sent_again_count_once(opened: BinaryIO) -> None:
    other = PartEntry(1, 9, hashlib.md5(b"different").hexdigest())
    busy = answering(503, error("SlowDown"), headers="Retry-After: 0\r\n")
    with scripted(busy, answering(200, part(DATA[:9]))) as script:
        meter = Count()
        sending = sender(script, opened, meter, other)
        sending.run(pieces(len(DATA), 9)[:1], 1)
    assert [seen.body for seen in script.seen] == [DATA[:9]] * 2
    assert (meter.bytes, sending.resumed) == (9, 0)


@pytest.mark.parametrize("wrong", [{"etag": "0" * 32}, {"sha256": "0" * 64}, {"size": 8}])
def test_a_part_that_is_not_stored_as_it_was_sent_is_told(opened: BinaryIO, wrong: dict[str, object]) -> None:
    with scripted(answering(200, part(DATA[:9], other=wrong))) as script:
        sending = sender(script, opened, Meter(None))
        with pytest.raises(Corrupt, match="part 1 of box/a/b"):
            sending.run(pieces(len(DATA), 9)[:1], 1)
    assert sending.etags == {}


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_one_that_fails_stops_the_others(opened: BinaryIO, jobs: int) -> None:
    before = set(threading.enumerate())  # others in this process may end meanwhile, as idle workers do
    with scripted(answering(403, error("AccessDenied"))) as script:  # nobody listens any more to the others
        sending = sender(script, opened, Meter(None))
        with pytest.raises(Refused) as refused:
            sending.run(pieces(len(DATA), 9), jobs)
    assert refused.value.code == "AccessDenied"
    assert sending.etags == {}
    assert set(threading.enumerate()) <= before


def interrupting(sock: socket.socket, seen: Seen) -> None:
    """Interrupt the client in the middle of its request, and never answer it."""
    os.kill(os.getpid(), signal.SIGINT)
    while sock.recv(65536):
        pass


def test_an_interrupt_ends_those_who_wait_for_an_answer(opened: BinaryIO) -> None:
    before = set(threading.enumerate())
    steps: list[Step] = [answering(200, part(DATA[:9])), interrupting]
    with scripted(*steps) as script:
        sending = sender(script, opened, Meter(None))
        with pytest.raises(KeyboardInterrupt):
            sending.run(pieces(len(DATA), 9), 1)
        assert list(sending.etags) == [1]
    assert set(threading.enumerate()) <= before
