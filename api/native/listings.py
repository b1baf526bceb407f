"""Handlers of listings: objects, versions, uploads under way; page by page, keys in byte order."""

from collections.abc import Mapping
from dataclasses import dataclass

from api.messages import Response
from api.native import values
from api.native.answers import json_response
from api.native.cursors import Cursors
from api.native.exchange import Exchange
from api.native.fields import known_parameters, page_limit
from api.native.upload_values import UploadPage, upload_entry
from api.operations.listing import Listing
from api.operations.uploads import Uploads
from cluster.errors import Refused
from cluster.limits import KEY_BYTES_MAX, LIST_LIMIT_MAX
from metaraft.model import Which

_KEY_END = "\0"
"""Between a key and what else a marker has, which has none."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which page; `scope` is that of its cursors, and `marker` where it begins."""

    prefix: str
    delimiter: str
    limit: int
    scope: tuple[str, ...]
    marker: str


class ListingHandlers:
    """Requests for listings of a bucket."""

    def __init__(self, listing: Listing, uploads: Uploads, cursors: Cursors) -> None:
        self._listing = listing
        self._uploads = uploads
        self._cursors = cursors

    async def objects(self, exchange: Exchange) -> Response:
        """Objects, by their current versions."""
        asked = self._asked(exchange, "objects", "after")
        page = await self._listing.page(
            exchange.bucket, asked.prefix, asked.delimiter, asked.marker, asked.limit, exchange.call
        )
        cursor = None if page.next_after is None else self._cursors.seal(asked.scope, page.next_after)
        return json_response(
            200, values.ObjectPage([values.entry(listed) for listed in page.objects], page.prefixes, cursor)
        )

    async def versions(self, exchange: Exchange) -> Response:
        """Versions and delete markers, the newest of a key first."""
        asked = self._asked(exchange, "versions")
        key, _, revision = asked.marker.rpartition(_KEY_END)
        after = Which(int(revision)) if revision else None
        found = await self._listing.versions(
            exchange.bucket, asked.prefix, asked.delimiter, key, after, asked.limit, exchange.call
        )
        cursor = None
        if found.next_after is not None:
            last, at = found.next_after
            cursor = self._cursors.seal(asked.scope, f"{last}{_KEY_END}{'' if at is None else at}")
        entries = [values.version_entry(listed) for listed in found.versions]
        return json_response(200, values.VersionPage(entries, found.prefixes, cursor))

    async def uploads(self, exchange: Exchange) -> Response:
        """Uploads under way, the oldest of a key first."""
        asked = self._asked(exchange, "uploads")
        key, _, upload = asked.marker.rpartition(_KEY_END)
        found = await self._uploads.list(
            exchange.bucket, asked.prefix, asked.delimiter, key, bytes.fromhex(upload), asked.limit, exchange.call
        )
        cursor = None
        if found.next_after is not None:
            last, at = found.next_after
            cursor = self._cursors.seal(asked.scope, f"{last}{_KEY_END}{at.hex()}")
        return json_response(
            200, UploadPage([upload_entry(exchange.bucket, each) for each in found.uploads], found.prefixes, cursor)
        )

    def _asked(self, exchange: Exchange, what: str, *more: str) -> _Asked:
        query = exchange.query
        known_parameters(query, "limit", "prefix", "delimiter", "cursor", *more)
        for name in ("prefix", "delimiter", *more):
            _short_enough(name, query.get(name, ""))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        scope = (what, exchange.bucket, prefix, delimiter)
        limit = page_limit(query, LIST_LIMIT_MAX)
        return _Asked(prefix, delimiter, limit, scope, marker(self._cursors, query, scope))


def marker(cursors: Cursors, query: Mapping[str, str], scope: tuple[str, ...]) -> str:
    """Where a listing begins: as its cursor says, or its `after`. Raises Refused (InvalidArgument, InvalidCursor)."""
    if "cursor" not in query:
        return query.get("after", "")
    if "after" in query:
        raise Refused("InvalidArgument", "cursor and after exclude each other; a cursor has its own beginning")
    return cursors.open(scope, query["cursor"])


def _short_enough(name: str, value: str) -> None:
    size = len(value.encode())
    if size > KEY_BYTES_MAX:
        raise Refused(
            "InvalidArgument",
            f"{name} has {size} bytes; keys have at most {KEY_BYTES_MAX}",
            limit={"key_bytes_max": KEY_BYTES_MAX},
        )
    if "\0" in value:
        raise Refused("InvalidArgument", f"{name} has a NUL, which no key has")
