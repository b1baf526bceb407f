"""Handlers of buckets."""

from typing import Literal

import msgspec

from api.messages import Response
from api.native import values
from api.native.answers import json_response
from api.native.bodies import read_json
from api.native.cursors import Cursors
from api.native.exchange import Exchange
from api.native.fields import known_parameters, page_limit
from api.native.listings import marker
from api.operations.buckets import Buckets
from cluster.errors import Refused
from cluster.limits import LIST_LIMIT_MAX, Limits
from metaraft.model import Copies


class NewBucket(msgspec.Struct, forbid_unknown_fields=True):
    """The optional JSON body of a bucket's PUT: how many copies of its objects there are."""

    copies: int | None = None


class NewVersioning(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body of versioning's PUT. What was enabled once is suspended, and never off again."""

    versioning: Literal["enabled", "suspended"]


class BucketHandlers:
    """Requests on buckets."""

    def __init__(self, buckets: Buckets, cursors: Cursors, limits: Limits, copies_max: int) -> None:
        self._buckets = buckets
        self._cursors = cursors
        self._limits = limits
        self._copies_max = copies_max

    async def put(self, exchange: Exchange) -> Response:
        """Make a bucket: 201."""
        known_parameters(exchange.query)
        asked = await self._asked(exchange)
        scheme = None if asked.copies is None else Copies(asked.copies)
        made = await self._buckets.create(exchange.bucket, exchange.call, scheme)
        return json_response(201, values.bucket_entry(made))

    async def _asked(self, exchange: Exchange) -> NewBucket:
        most = self._limits.json_body_bytes_max
        asked = await read_json(exchange.request, NewBucket, most, what="a bucket, whose only field is copies")
        if asked is None:
            return NewBucket()
        if asked.copies is not None and not 1 <= asked.copies <= self._copies_max:
            raise Refused(
                "InvalidArgument",
                f"copies is {asked.copies}; 1 to {self._copies_max} are possible with the disks there are",
                limit={"copies_max": self._copies_max},
            )
        return asked

    async def get(self, exchange: Exchange) -> Response:
        """A bucket with its usage; also HEAD."""
        known_parameters(exchange.query)
        found = await self._buckets.find(exchange.bucket, exchange.call)
        return json_response(200, values.bucket_metadata(found.bucket, found.usage))

    async def delete(self, exchange: Exchange) -> Response:
        """Remove an empty bucket: 204."""
        known_parameters(exchange.query)
        await self._buckets.delete(exchange.bucket, exchange.call)
        return Response(204)

    async def list_buckets(self, exchange: Exchange) -> Response:
        """All buckets, page by page; to a user those that it owns."""
        query, call = exchange.query, exchange.call
        known_parameters(query, "limit", "after", "cursor")
        limit = page_limit(query, LIST_LIMIT_MAX)
        owner = call.principal.name if call.principal.kind == "user" else None
        scope = ("buckets", owner or "")
        found = await self._buckets.list(marker(self._cursors, query, scope), limit, call, owner=owner)
        full = len(found.buckets) == limit  # what was looked at last may be another's bucket, whose name is not told
        behind = found.buckets[-1].name if found.more and full else found.next_after
        cursor = None if behind is None else self._cursors.seal(scope, behind)
        return json_response(200, values.BucketPage([values.bucket_entry(bucket) for bucket in found.buckets], cursor))

    async def get_versioning(self, exchange: Exchange) -> Response:
        """Whether a bucket keeps versions."""
        known_parameters(exchange.query)
        found = await self._buckets.find(exchange.bucket, exchange.call)
        return json_response(200, values.BucketVersioning(found.bucket.versioning))

    async def put_versioning(self, exchange: Exchange) -> Response:
        """Keep versions from now on, or make no new ones."""
        known_parameters(exchange.query)
        asked = await read_json(
            exchange.request,
            NewVersioning,
            self._limits.json_body_bytes_max,
            what="versioning, which is enabled or suspended",
        )
        if asked is None:
            raise Refused("MalformedJSON", 'the body is empty; it must be {"versioning": "enabled"} or "suspended"')
        await self._buckets.set_versioning(exchange.bucket, asked.versioning, exchange.call)
        return json_response(200, values.BucketVersioning(asked.versioning))
