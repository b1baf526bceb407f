"""Handlers of buckets and listings."""

import msgspec

from api.messages import Request, Response, parse_query
from api.native import values
from api.native.cursors import Cursors
from api.native.fields import known_parameters, page_limit
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.listing import Listing
from cluster.errors import UNDECODABLE, Refused
from cluster.limits import KEY_BYTES_MAX, LIST_LIMIT_MAX, Limits
from metaraft.model import Copies

_JSON = ("content-type", "application/json")


class NewBucket(msgspec.Struct, forbid_unknown_fields=True):
    """The optional JSON body of a bucket's PUT: how many copies of its objects there are."""

    copies: int | None = None


class BucketHandlers:
    """Requests on buckets."""

    def __init__(self, buckets: Buckets, listing: Listing, cursors: Cursors, limits: Limits, copies_max: int) -> None:
        self._buckets = buckets
        self._listing = listing
        self._cursors = cursors
        self._limits = limits
        self._copies_max = copies_max

    async def put(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """Make a bucket: 201."""
        del key
        known_parameters(parse_query(request.query))
        asked = await self._asked(request)
        scheme = None if asked.copies is None else Copies(asked.copies)
        made = await self._buckets.create(bucket, call, scheme)
        return _json(201, values.encode(values.bucket_entry(made)))

    async def _asked(self, request: Request) -> NewBucket:
        body = await read_whole(request, self._limits.json_body_bytes_max)
        if not body:
            return NewBucket()
        try:
            asked = msgspec.json.decode(body, type=NewBucket)
        except UNDECODABLE as error:
            raise Refused("MalformedJSON", f"the body is not the JSON of a bucket ({error}); known: copies") from None
        if asked.copies is not None and not 1 <= asked.copies <= self._copies_max:
            raise Refused(
                "InvalidArgument",
                f"copies is {asked.copies}; 1 to {self._copies_max} are possible with the disks there are",
                limit={"copies_max": self._copies_max},
            )
        return asked

    async def get(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """A bucket with its usage; also HEAD."""
        del key
        known_parameters(parse_query(request.query))
        found = await self._buckets.find(bucket, call)
        return _json(200, values.encode(values.bucket_metadata(found.bucket, found.usage)))

    async def delete(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """Remove an empty bucket: 204."""
        del key
        known_parameters(parse_query(request.query))
        await self._buckets.delete(bucket, call)
        return Response(204)

    async def list_buckets(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """All buckets, page by page; to a user those that it owns."""
        del bucket, key
        query = parse_query(request.query)
        known_parameters(query, "limit", "after", "cursor")
        limit = page_limit(query, LIST_LIMIT_MAX)
        owner = call.principal.name if call.principal.kind == "user" else None
        scope = ("buckets", owner or "")
        found = await self._buckets.list(self._marker(query, scope), limit, call, owner=owner)
        full = len(found.buckets) == limit  # what was looked at last may be another's bucket, whose name is not told
        marker = found.buckets[-1].name if found.more and full else found.next_after
        cursor = None if marker is None else self._cursors.seal(scope, marker)
        page = values.BucketPage([values.bucket_entry(bucket) for bucket in found.buckets], cursor)
        return _json(200, values.encode(page))

    async def list_objects(self, request: Request, bucket: str, key: str, call: Call) -> Response:
        """A bucket's objects, page by page, in byte order."""
        del key
        query = parse_query(request.query)
        known_parameters(query, "limit", "prefix", "delimiter", "after", "cursor")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        for name in ("prefix", "delimiter", "after"):
            _short_enough(name, query.get(name, ""))
        scope = ("objects", bucket, prefix, delimiter)
        page = await self._listing.page(
            bucket, prefix, delimiter, self._marker(query, scope), page_limit(query, LIST_LIMIT_MAX), call
        )
        cursor = None if page.next_after is None else self._cursors.seal(scope, page.next_after)
        answer = values.ObjectPage([values.entry(listed) for listed in page.objects], page.prefixes, cursor)
        return _json(200, values.encode(answer))

    def _marker(self, query: dict[str, str], scope: tuple[str, ...]) -> str:
        if "cursor" not in query:
            return query.get("after", "")
        if "after" in query:
            raise Refused("InvalidArgument", "cursor and after exclude each other; a cursor has its own beginning")
        return self._cursors.open(scope, query["cursor"])


async def read_whole(request: Request, bytes_max: int) -> bytes:
    """A small body. Raises Refused (EntityTooLarge)."""
    size = request.length or 0
    body = bytearray()
    if size <= bytes_max:
        async for piece in request.body:
            body += piece
            if len(body) > bytes_max:
                break
    if max(size, len(body)) > bytes_max:
        raise Refused(
            "EntityTooLarge",
            f"the body has more than {bytes_max} bytes, which is the limit for this call",
            limit={"json_body_bytes_max": bytes_max},
        )
    return bytes(body)


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


def _json(status: int, body: bytes) -> Response:
    return Response(status, (_JSON,), body, length=len(body))
