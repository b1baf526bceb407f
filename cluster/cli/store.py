"""The object calls of the commands, over `http.Client`: put, get, copy, list, remove, stat.

What is fetched is checked against the object's SHA-256 before it gets its final name.
"""

import contextlib
import mimetypes
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cluster.cli.http import Client, bucket_path, decode, digest_header, new_sha256, object_path
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.errors import Corrupt, Refused

LIST_PAGE = 1000


class Entry(msgspec.Struct):
    """An object in a listing."""

    key: str
    size: int
    etag: str
    created: str
    sha256: str | None = None
    content_type: str | None = None
    revision: int | str | None = None


class Page(msgspec.Struct):
    """One page of a listing."""

    objects: list[Entry]
    prefixes: list[str]
    cursor: str | None


class BucketEntry(msgspec.Struct):
    """A bucket in the list of buckets."""

    name: str
    created: str


class Buckets(msgspec.Struct):
    """One page of buckets."""

    buckets: list[BucketEntry]
    cursor: str | None = None


def buckets(client: Client) -> Iterator[BucketEntry]:
    """All buckets by name."""
    cursor: str | None = None
    while True:
        query = {"cursor": cursor} if cursor else None
        page = decode(client.call("GET", "/buckets", query=query), Buckets)
        yield from page.buckets
        cursor = page.cursor
        if cursor is None:
            return


def pages(client: Client, bucket: str, prefix: str, delimiter: str = "") -> Iterator[Page]:
    """All pages of a listing."""
    cursor: str | None = None
    while True:
        query = {"limit": str(LIST_PAGE), "prefix": prefix, "delimiter": delimiter, "cursor": cursor or ""}
        given = {name: value for name, value in query.items() if value}
        page = decode(client.call("GET", bucket_path(bucket) + "/objects", query=given), Page)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def keys(client: Client, name: Name) -> Iterator[Entry]:
    """All objects whose key begins with the name's key."""
    for page in pages(client, name.bucket, name.key):
        yield from page.objects


def put_file(client: Client, file: Path, target: Name, meter: Meter, headers: dict[str, str]) -> dict[str, Any]:
    """Store a regular file; its size is fixed when it is opened."""
    if not file.is_file():
        raise Refused("NoSuchFile" if not file.exists() else "NotAFile", f"{file} is not a file that can be read")
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        meter.start(target.key, size)

        def source() -> "_Metered":
            opened.seek(0)
            meter.start(target.key, size)
            return _Metered(opened, meter)

        sent = {"Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream", **headers}
        answer = client.call("PUT", object_path(target.bucket, target.key), headers=sent, body=source, size=size)
        return decode(answer, dict[str, Any])


def put_stream(client: Client, target: Name, meter: Meter, headers: dict[str, str]) -> dict[str, Any]:
    """Store standard input, of unknown length; it cannot be repeated."""
    meter.start(target.key, None)
    sent = {"Content-Type": "application/octet-stream", **headers}
    answer = client.call(
        "PUT",
        object_path(target.bucket, target.key),
        headers=sent,
        body=lambda: _Metered(sys.stdin.buffer, meter),
        repeatable=False,
    )
    return decode(answer, dict[str, Any])


class _Metered:
    def __init__(self, source: Any, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, size: int, /) -> bytes:
        piece: bytes = self._source.read(size)
        self._meter.add(len(piece))
        return piece


def get_file(client: Client, source: Name, file: Path, meter: Meter) -> int:
    """Fetch an object into a file: a temporary one beside it, checked, synced, renamed. Returns the size."""
    if file.is_dir():
        raise Refused("NotAFile", f"{file} is a folder; name a file")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            size = _fetch(client, source, opened, meter)
            opened.flush()
            os.fsync(opened.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
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


def _fetch(client: Client, source: Name, sink: Any, meter: Meter) -> int:
    answer = client.call("GET", object_path(source.bucket, source.key))
    length = answer.headers.get("Content-Length", "")
    meter.start(source.key, int(length) if length.isdigit() else None)
    hasher = new_sha256()
    size = 0
    for piece in answer.pieces():
        hasher.update(piece)
        sink.write(piece)
        size += len(piece)
        meter.add(len(piece))
    told = answer.headers.get("Repr-Digest", "")
    if told.startswith("sha-256=") and told != digest_header(hasher):
        raise Corrupt("BadDigest", f"{source}: the bytes received are not those of its SHA-256")
    return size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copy(client: Client, source: Name, target: Name) -> dict[str, Any]:
    """Copy an object inside the store; no byte is moved."""
    header = object_path(source.bucket, source.key).removeprefix("/buckets/").replace("/objects/", "/", 1)
    answer = client.call("PUT", object_path(target.bucket, target.key), headers={"X-Copy-Source": header})
    return decode(answer, dict[str, Any])


def remove(client: Client, name: Name) -> None:
    """Delete an object; a missing one is no error."""
    client.call("DELETE", object_path(name.bucket, name.key)).body()


def stat(client: Client, name: Name) -> dict[str, Any]:
    """An object's metadata, or its bucket's if there is no key."""
    if not name.key:
        return decode(client.call("GET", bucket_path(name.bucket)), dict[str, Any])
    return decode(client.call("GET", object_path(name.bucket, name.key), query={"metadata": ""}), dict[str, Any])
