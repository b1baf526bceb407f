"""The object calls of the commands, over `http.Client`: put, get, copy, remove, stat.

What is fetched is checked against the object's SHA-256, or its CRC-64/NVME if it was stored in parts, before it gets
its final name, and what is stored against the SHA-256 of what was sent.
"""

import contextlib
import mimetypes
import os
import sys
import tempfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from cluster.cli.http import (
    ATTEMPTS,
    Answer,
    Client,
    decode,
    digest_header,
    new_sha256,
)
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.cli.paths import bucket_path, copy_headers, object_path, version_query
from cluster.errors import Corrupt, Refused, Unavailable


def put_file(client: Client, file: Path, target: Name, meter: Meter, headers: dict[str, str]) -> dict[str, Any]:
    """Store a regular file; its size is fixed when it is opened."""
    if not file.is_file():
        raise Refused("NoSuchFile" if not file.exists() else "NotAFile", f"{file} is not a file that can be read")
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        sources: list[_Metered] = []

        def source() -> "_Metered":
            opened.seek(0)
            meter.start(target.key, size)
            sources[:] = [_Metered(opened.read, meter)]
            return sources[0]

        sent = {"Content-Type": content_type(file.name), **headers}
        answer = client.call("PUT", object_path(target), headers=sent, body=source, size=size)
        return _verified(decode(answer, dict[str, Any]), sources[0], target)


def content_type(name: str) -> str:
    """What a file of that name probably is."""
    kind, encoding = mimetypes.guess_file_type(name)
    return kind if kind is not None and encoding is None else "application/octet-stream"  # a .tar.gz is no tar


def put_stream(client: Client, target: Name, meter: Meter, headers: dict[str, str]) -> dict[str, Any]:
    """Store standard input, of unknown length; it cannot be repeated."""
    meter.start(target.key, None)
    source = _Metered(cast(BufferedReader, sys.stdin.buffer).read1, meter)  # what a slow pipe has is sent at once
    sent = {"Content-Type": "application/octet-stream", **headers}
    answer = client.call("PUT", object_path(target), headers=sent, body=lambda: source, repeatable=False)
    return _verified(decode(answer, dict[str, Any]), source, target)


def _verified(stored: dict[str, Any], sent: "_Metered", target: Name) -> dict[str, Any]:
    """Raises Corrupt (BadDigest) if what was stored is not what was read here."""
    if stored.get("sha256") not in (None, sent.sha256.hexdigest()):
        raise Corrupt("BadDigest", f"{target}: the bytes stored are not those that were sent; delete the object")
    return stored


class _Metered:
    """Counts and hashes what is read."""

    def __init__(self, read: Callable[[int], bytes], meter: Meter) -> None:
        self._read = read
        self._meter = meter
        self.sha256 = new_sha256()

    def read(self, size: int, /) -> bytes:
        piece = self._read(size)
        self.sha256.update(piece)
        self._meter.add(len(piece))
        return piece


def get_file(client: Client, source: Name, file: Path, meter: Meter) -> int:
    """Fetch an object into a file: a temporary one beside it, checked, synced, renamed. Returns the size.

    A link is followed, and what is no regular file (/dev/null, a named pipe) is written to and not replaced.
    """
    if file.is_dir():
        raise Refused("NotAFile", f"{file} is a folder; name a file")
    if file.exists() and not file.is_file():
        with file.open("wb") as special:
            return _fetch(client, source, special, meter)
    file = Path(os.path.realpath(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".trilith-")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            size = _fetch_again(client, source, opened, meter)
            opened.flush()
            os.fchmod(opened.fileno(), 0o666 & ~_umask())
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return size


def get_stream(client: Client, source: Name, meter: Meter) -> int:
    """Fetch an object to standard output; a wrong checksum is told by the exit code, after the bytes."""
    size = _fetch(client, source, sys.stdout.buffer, meter)
    sys.stdout.buffer.flush()
    return size


def _fetch_again(client: Client, source: Name, sink: BinaryIO, meter: Meter) -> int:
    """Fetch, from the beginning again where the connection breaks in the middle."""
    for attempt in range(1, ATTEMPTS):
        try:
            return _fetch(client, source, sink, meter)
        except Unavailable as error:
            client.close()
            if error.code != "BrokenBody":
                raise
            client.pause(attempt)
            sink.seek(0)
            sink.truncate()
    return _fetch(client, source, sink, meter)


def _fetch(client: Client, source: Name, sink: BinaryIO, meter: Meter) -> int:
    answer = client.call("GET", object_path(source), query=version_query(source))
    length = answer.headers.get("Content-Length", "")
    meter.start(source.key, int(length) if length.isdigit() else None)
    check = _Check(answer)
    size = 0
    for piece in answer.pieces():
        check.update(piece)
        sink.write(piece)
        size += len(piece)
        meter.add(len(piece))
    if not check.holds():
        raise Corrupt("BadDigest", f"{source}: the bytes received are not those of its checksum")
    return size


class _Check:
    """Computes what an answer says of its whole body: the SHA-256, or the CRC."""

    def __init__(self, answer: Answer) -> None:
        told = answer.headers.get("Repr-Digest", "")
        self._sha256 = told if told.startswith("sha-256=") else ""
        self._hasher = new_sha256()
        self._crc = "" if self._sha256 else answer.headers.get("X-Crc64nvme", "")
        self._value = 0
        if self._crc:
            from awscrt.checksums import crc64nvme

            self._add: Callable[[bytes, int], int] = crc64nvme

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        if self._crc:
            self._value = self._add(piece, self._value)
        elif self._sha256:
            self._hasher.update(piece)

    def holds(self) -> bool:
        """Whether the bytes are those that were meant, as far as that is told."""
        if self._crc:
            return self._crc == f"{self._value:016x}"
        return not self._sha256 or self._sha256 == digest_header(self._hasher)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copy(client: Client, source: Name, target: Name) -> dict[str, Any]:
    """Copy an object inside the store; no byte is moved."""
    return decode(client.call("PUT", object_path(target), headers=copy_headers(source)), dict[str, Any])


def remove(client: Client, name: Name) -> None:
    """Delete an object, or a version for good; a missing one is no error."""
    client.call("DELETE", object_path(name), query=version_query(name)).body()


def stat(client: Client, name: Name) -> dict[str, Any]:
    """An object's metadata, or its bucket's if there is no key."""
    if not name.key:
        return decode(client.call("GET", bucket_path(name.bucket)), dict[str, Any])
    query = {"metadata": "", **version_query(name)}
    return decode(client.call("GET", object_path(name), query=query), dict[str, Any])
