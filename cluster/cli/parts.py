"""The parts of a large file: how it is cut, and how several threads store them at once.

Each thread has a connection of its own and takes the next part when it is done with one. A part that the server has
already is read and compared with it, and not sent. A thread that fails, and an interrupt, stop all others at once.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cluster.cli.access import Access
from cluster.cli.http import PIECE_BYTES, Client, decode
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.cli.paths import part_path
from cluster.errors import Corrupt, Refused
from cluster.limits import GIB, MIB, UPLOAD_PARTS_MAX

PART_BYTES = 16 * MIB
"""Of two whole chunks. When a client dies at most one part of each thread is sent again (chosen, not measured)."""

PART_BYTES_MIN = 5 * MIB
PART_BYTES_MAX = 5 * GIB
"""S3: Amazon S3 multipart upload limits."""

JOBS = 4
"""Threads: while one part is being committed, others are on their way."""

ATTEMPTS = 8
"""Of one call, over some 35 s: a server that was killed is back by then, and its back-off is 10 s at most."""


class PartEntry(msgspec.Struct, frozen=True):
    """A part as the server has it."""

    number: int
    size: int
    etag: str
    sha256: str | None = None


class Piece(NamedTuple):
    """The bytes of a file that are a part."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload under way, with the parts that the server has when it is resumed."""

    target: Name
    upload_id: str
    part_bytes: int
    there: Mapping[int, PartEntry]


def part_bytes_for(size: int, asked: int | None) -> int:
    """How large the parts of a file are. Raises Refused (InvalidArgument) for a size that no upload can have."""
    least = -(-size // UPLOAD_PARTS_MAX)
    if asked is None:
        return max(PART_BYTES, -(-least // MIB) * MIB)
    least = max(PART_BYTES_MIN, least)
    if not least <= asked <= PART_BYTES_MAX:
        raise Refused(
            "InvalidArgument",
            f"parts of {asked} bytes are not possible for {size} bytes: {least} to {PART_BYTES_MAX} are",
            limit={"part_bytes_min": least, "part_bytes_max": PART_BYTES_MAX},
        )
    return asked


def pieces(size: int, part_bytes: int) -> list[Piece]:
    """A file's parts in order; the last may be smaller."""
    starts = range(0, size, part_bytes)
    return [Piece(number, start, min(part_bytes, size - start)) for number, start in enumerate(starts, 1)]


class Sender:
    """Stores the parts of one upload from an open file. `etags` and `resumed` say, also after a failure, which are
    stored, and how many of these were there before."""

    def __init__(self, access: Access, descriptor: int, upload: Upload, meter: Meter) -> None:
        self._access = access
        self._descriptor = descriptor
        self._upload = upload
        self._meter = meter
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._waiting: Iterator[Piece] = iter(())
        self._clients: list[Client] = []
        self._failure: BaseException | None = None
        self.etags: dict[int, str] = {}
        self.resumed = 0

    def run(self, wanted: Sequence[Piece], jobs: int) -> None:
        """Store them all. Raises what the first thread that failed did; none runs any more when this returns."""
        self._waiting = iter(wanted)
        threads = min(jobs, len(wanted))
        with ThreadPoolExecutor(threads, thread_name_prefix="part") as pool:
            working = [pool.submit(self._work) for _ in range(threads)]
            try:
                wait(working, return_when=FIRST_EXCEPTION)
            finally:
                self._stop()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        with Client(self._access, attempts=ATTEMPTS, pause=self._pause) as client:
            with self._lock:
                self._clients.append(client)
            try:
                while (piece := self._next()) is not None:
                    etag = self._store(client, piece)
                    with self._lock:
                        self.etags[piece.number] = etag
            except BaseException as error:
                with self._lock:
                    self._failure = self._failure or error
                raise

    def _next(self) -> Piece | None:
        with self._lock:
            return next(self._waiting, None)

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _Stopped

    def _stop(self) -> None:
        self._stopping.set()
        with self._lock:
            for client in self._clients:
                client.interrupt()

    def _store(self, client: Client, piece: Piece) -> str:
        """Send a part unless it is there; its ETag, which is the MD5 of what was read here."""
        known = self._upload.there.get(piece.number)
        if known is not None and known.size == piece.size:
            reading = self._reading(piece)
            while reading.read(PIECE_BYTES):
                pass
            if reading.md5.hexdigest() == known.etag:
                with self._lock:
                    self.resumed += 1
                return known.etag
            reading.take_back()
        return self._send(client, piece)

    def _send(self, client: Client, piece: Piece) -> str:
        readings: list[_Reading] = []

        def source() -> "_Reading":
            for former in readings:
                former.take_back()
            readings[:] = [self._reading(piece)]
            return readings[0]

        target = self._upload.target
        path = part_path(target.bucket, self._upload.upload_id, piece.number)
        answer = client.call("PUT", path, query={"key": target.key}, body=source, size=piece.size)
        stored, sent = decode(answer, PartEntry), readings[0]
        md5 = sent.md5.hexdigest()
        if (stored.size, stored.etag) != (piece.size, md5) or stored.sha256 not in (None, sent.sha256.hexdigest()):
            raise Corrupt("BadDigest", f"part {piece.number} of {target} is not stored as it was sent")
        return md5

    def _reading(self, piece: Piece) -> "_Reading":
        return _Reading(self._descriptor, piece, self._meter, self._stopping)


class _Stopped(Exception):
    """Another thread failed, or all are to end."""


class _Reading:
    """Reads a part, counts and hashes it."""

    def __init__(self, descriptor: int, piece: Piece, meter: Meter, stopping: threading.Event) -> None:
        self._descriptor = descriptor
        self._at, self._stop = piece.offset, piece.offset + piece.size
        self._meter = meter
        self._stopping = stopping
        self._counted = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """The next bytes, empty at the end of the part or of the file."""
        if self._stopping.is_set():
            raise _Stopped
        data = os.pread(self._descriptor, min(size, self._stop - self._at), self._at)
        self._at += len(data)
        self.md5.update(data)
        self.sha256.update(data)
        self._counted += len(data)
        self._meter.add(len(data))
        return data

    def take_back(self) -> None:
        """What was read did not count."""
        self._meter.add(-self._counted)
        self._counted = 0
