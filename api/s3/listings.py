"""Listings of a bucket: objects (both versions of the call), all their versions, uploads under way.

A page is truncated exactly if something follows, or if it was cut short because what it looked at was long: then it
carries its marker even where S3 would leave that out, because clients find no other in a page without entries.
"""

from dataclasses import replace

from api.messages import Response
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.listing import Listing, Page
from api.operations.upload_reads import UploadReads
from api.operations.versions import parse_upload_id, parse_version
from api.s3 import pages
from api.s3.answers import answer
from api.s3.dialect import Handler
from api.s3.exchange import Exchange
from api.s3.paging import Asked, asked, invalid_argument, marker, plain_text
from api.s3.tokens import seal, unseal
from cluster.errors import Refused
from metaraft.model import Which
from metaraft.queries import UploadsFound, VersionsFound

_NOTHING = Page((), (), None)


class ListingHandlers:
    """Requests that list what is in a bucket."""

    def __init__(self, buckets: Buckets, listing: Listing, uploads: UploadReads) -> None:
        self._buckets = buckets
        self._listing = listing
        self._uploads = uploads

    def table(self) -> dict[str, Handler]:
        """Handlers by operation."""
        return {
            "ListObjects": self.objects_v1,
            "ListObjectsV2": self.objects_v2,
            "ListObjectVersions": self.versions,
            "ListMultipartUploads": self.uploads,
        }

    async def objects_v1(self, exchange: Exchange) -> Response:
        """Objects behind `marker`."""
        wanted = asked(exchange.query, "max-keys")
        after = marker(exchange.query, "marker")
        page = await self._page(exchange.bucket, wanted, after, exchange.call)
        owners = pages.Owners(exchange.call.principal)
        return answer(pages.objects_v1(exchange.bucket, wanted, after, page, _next_marker(wanted, page), owners))

    async def objects_v2(self, exchange: Exchange) -> Response:
        """Objects behind `continuation-token`, or else `start-after`."""
        query = exchange.query
        wanted = asked(query, "max-keys")
        token, after = query.get("continuation-token", ""), plain_text(query, "start-after")
        page = await self._page(exchange.bucket, wanted, unseal(token) if token else after, exchange.call)
        owners = pages.Owners(exchange.call.principal) if query.get("fetch-owner") == "true" else None
        following = None if page.next_after is None else seal(page.next_after)
        return answer(pages.objects_v2(exchange.bucket, wanted, query, page, following, owners))

    async def _page(self, bucket: str, wanted: Asked, after: str, call: Call) -> Page:
        if wanted.limit == 0:
            await self._buckets.find(bucket, call)
            return _NOTHING
        page = await self._listing.page(bucket, wanted.prefix, wanted.delimiter, after, wanted.limit, call)
        if page.next_after is None or not _is_full(wanted, page) or page.next_after == _last(page):
            return page
        # Behind its last entry the page has looked at rows that are no entries, and perhaps all that follow are none.
        ahead = await self._listing.page(bucket, wanted.prefix, wanted.delimiter, page.next_after, 1, call)
        follows = ahead.objects or ahead.prefixes or ahead.next_after is not None
        return page if follows else replace(page, next_after=None)

    async def versions(self, exchange: Exchange) -> Response:
        """Versions and delete markers behind one of a key, or behind all of it."""
        query, call = exchange.query, exchange.call
        wanted = asked(query, "max-keys")
        key_marker, version_marker = marker(query, "key-marker"), query.get("version-id-marker", "")
        which = _version_marker(key_marker, version_marker)
        if wanted.limit == 0:
            found = VersionsFound((await self._buckets.find(exchange.bucket, call)).bucket, (), (), None)
        else:
            found = await self._listing.versions(
                exchange.bucket, wanted.prefix, wanted.delimiter, key_marker, which, wanted.limit, call
            )
        owners = pages.Owners(call.principal)
        return answer(pages.versions(exchange.bucket, wanted, key_marker, version_marker, found, owners))

    async def uploads(self, exchange: Exchange) -> Response:
        """Uploads behind one of a key, or behind all of it."""
        query, call = exchange.query, exchange.call
        wanted = asked(query, "max-uploads")
        key_marker = marker(query, "key-marker")
        id_marker = query.get("upload-id-marker", "") if key_marker else ""  # S3 passes over one without a key
        after_id = _upload_marker(id_marker) if id_marker else b""
        if wanted.limit == 0:
            found = UploadsFound((await self._buckets.find(exchange.bucket, call)).bucket, (), (), None)
        else:
            found = await self._uploads.list(
                exchange.bucket, wanted.prefix, wanted.delimiter, key_marker, after_id, wanted.limit, call
            )
        return answer(pages.uploads(exchange.bucket, wanted, key_marker, id_marker, found, call.principal))


def _is_full(wanted: Asked, page: Page) -> bool:
    return len(page.objects) + len(page.prefixes) >= wanted.limit


def _last(page: Page) -> str:
    """The last entry of a page; strings compare as their UTF-8 does."""
    return max(page.objects[-1].key if page.objects else "", page.prefixes[-1] if page.prefixes else "")


def _next_marker(wanted: Asked, page: Page) -> str | None:
    """S3 gives one only with a delimiter; without one, the last key is meant."""
    if page.next_after is None:
        return None
    if not _is_full(wanted, page):
        return page.next_after
    return _last(page) if wanted.delimiter else None


def _version_marker(key_marker: str, text: str) -> Which | None:
    if not text:
        return None
    if not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise invalid_argument("version-id-marker", text, message)
    try:
        return parse_version(text)
    except Refused:
        raise invalid_argument("version-id-marker", text, "Invalid version id specified") from None


def _upload_marker(text: str) -> bytes:
    try:
        return parse_upload_id(text)
    except Refused:
        raise invalid_argument("upload-id-marker", text, "Invalid uploadId marker") from None
