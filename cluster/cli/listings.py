"""The listings of the commands, read page by page: buckets, objects, versions, uploads under way."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from cluster.cli.http import Client, decode
from cluster.cli.names import Name
from cluster.cli.paths import bucket_path, uploads_path

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
    """One page of objects."""

    objects: list[Entry]
    prefixes: list[str]
    cursor: str | None


class VersionEntry(msgspec.Struct):
    """A version or delete marker in a listing."""

    key: str
    version_id: str
    latest: bool
    delete_marker: bool
    size: int
    created: str
    etag: str | None = None
    sha256: str | None = None
    revision: int | str | None = None


class VersionPage(msgspec.Struct):
    """One page of versions."""

    versions: list[VersionEntry]
    prefixes: list[str]
    cursor: str | None


class UploadEntry(msgspec.Struct):
    """An upload under way."""

    upload_id: str
    bucket: str
    key: str
    created: str


class UploadPage(msgspec.Struct):
    """One page of uploads."""

    uploads: list[UploadEntry]
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
    for page in pages(client, "/buckets", Buckets, {"limit": str(LIST_PAGE)}):
        yield from page.buckets


def objects(client: Client, name: Name, delimiter: str = "") -> Iterator[Page]:
    """All pages of the objects whose key begins with the name's key."""
    return pages(client, bucket_path(name.bucket) + "/objects", Page, _query(name, delimiter))


def keys(client: Client, name: Name) -> Iterator[Entry]:
    """All objects whose key begins with the name's key."""
    for page in objects(client, name):
        yield from page.objects


def versions(client: Client, name: Name, delimiter: str = "") -> Iterator[VersionPage]:
    """All pages of the versions of keys that begin with the name's key, the newest of a key first."""
    return pages(client, bucket_path(name.bucket) + "/versions", VersionPage, _query(name, delimiter))


def uploads(client: Client, name: Name) -> Iterator[UploadEntry]:
    """All uploads under way of keys that begin with the name's key."""
    for page in pages(client, uploads_path(name.bucket), UploadPage, _query(name)):
        yield from page.uploads


class Paged(Protocol):
    """What one page of any listing has."""

    cursor: str | None


def pages[P: Paged](client: Client, path: str, shape: type[P], query: dict[str, str]) -> Iterator[P]:
    """All pages of a listing; a parameter that is empty is not sent."""
    cursor: str | None = ""
    while cursor is not None:
        given = {name: value for name, value in {**query, "cursor": cursor}.items() if value}
        page = decode(client.call("GET", path, query=given), shape)
        yield page
        cursor = page.cursor


def _query(name: Name, delimiter: str = "") -> dict[str, str]:
    return {"limit": str(LIST_PAGE), "prefix": name.key, "delimiter": delimiter}
