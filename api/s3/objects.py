"""Writing and deleting one object: PutObject, DeleteObject."""

from collections.abc import Mapping
from dataclasses import replace

from api.conditions import parse_conditions, parse_date_ms
from api.messages import Response
from api.operations.objects import Objects
from api.operations.values import Deleted, Description, Written
from api.s3.answers import done, gone
from api.s3.checksums import DEFAULT, expected_digests, headers_of
from api.s3.exchange import Exchange, Payload
from api.s3.fields import description, no_version, version_of
from api.s3.lookups import exists, missing_instead
from api.s3.paging import invalid_argument
from api.s3.tagging import parse_header
from cluster.errors import Refused
from cluster.limits import Limits
from metaraft.commands import (
    Condition,
)

_IF_MADE = "x-amz-if-match-last-modified-time"
_IF_SIZE = "x-amz-if-match-size"
_SIZE_DIGITS_MAX = 18


class ObjectHandlers:
    """Requests that write or delete one object."""

    def __init__(self, objects: Objects, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits

    async def put(self, exchange: Exchange) -> Response:
        """PutObject."""
        no_version(exchange.query)
        size = body_size(exchange.payload, self._limits)
        described = with_tags(description(exchange.headers, self._limits), exchange.headers)
        expected = expected_digests(exchange.headers, exchange.payload, DEFAULT)
        condition = parse_conditions(exchange.headers)
        try:
            written = await self._objects.put(
                exchange.bucket,
                exchange.key,
                described,
                exchange.payload.body(digested=True),
                size=size,
                expected=expected,
                condition=condition,
                call=exchange.call,
            )
        except Refused as error:
            raise await missing_instead(self._objects, exchange, condition, error) from None
        return done(*written_headers(written), *headers_of(written.checksums))

    async def delete(self, exchange: Exchange) -> Response:
        """DeleteObject: 204, whether there was one or not."""
        condition = _delete_condition(exchange.headers)
        version = version_of(exchange.query)
        try:
            deleted = await self._objects.delete(
                exchange.bucket, exchange.key, condition, exchange.call, version=version
            )
        except Refused as error:
            if not holds_without_object(condition, error):
                raise
            if await exists(self._objects, exchange.bucket, exchange.key, exchange.call):
                raise
            return gone()
        return gone(*deleted_headers(deleted))


def holds_without_object(condition: Condition, error: Refused) -> bool:
    """Whether a refused condition would hold if there is no object: times and sizes are conditions on one that is
    there (S3: DeleteObject), If-Match is not."""
    only_facts = condition.if_match is None and condition.if_none_match is None
    return error.code == "PreconditionFailed" and only_facts


def _delete_condition(headers: Mapping[str, str]) -> Condition:
    condition = parse_conditions(headers)
    made, size = headers.get(_IF_MADE), headers.get(_IF_SIZE)
    if made is None and size is None:
        return condition
    return Condition(
        if_match=condition.if_match,
        if_none_match=condition.if_none_match,
        if_modified_since_ms=condition.if_modified_since_ms,
        if_unmodified_since_ms=condition.if_unmodified_since_ms,
        if_made_ms=None if made is None else _date_ms(made),
        if_size=None if size is None else byte_count(_IF_SIZE, size),
    )


def _date_ms(text: str) -> int:
    found = parse_date_ms(text)
    if found is None:
        raise invalid_argument(_IF_MADE, text, f"{_IF_MADE} is no HTTP date")
    return found


def byte_count(name: str, text: str) -> int:
    """A number of bytes. Raises Refused (InvalidArgument)."""
    if not (text.isascii() and text.isdigit() and len(text) <= _SIZE_DIGITS_MAX):
        raise invalid_argument(name, text, f"{name} is not a number of bytes")
    return int(text)


def body_size(payload: Payload, limits: Limits) -> int:
    """How many bytes will come. Raises Refused (MissingContentLength, EntityTooLarge) before any of them is read."""
    size = payload.size
    if size is None:
        raise Refused("MissingContentLength", "You must provide the Content-Length HTTP header.")
    if size > limits.put_bytes_max:
        raise Refused(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            limit={"put_bytes_max": limits.put_bytes_max},
            detail={"ProposedSize": str(size), "MaxSizeAllowed": str(limits.put_bytes_max)},
        )
    return size


def with_tags(described: Description, headers: Mapping[str, str]) -> Description:
    """The description with the tags of `x-amz-tagging`. Raises Refused (InvalidArgument, InvalidTag)."""
    text = headers.get("x-amz-tagging")
    return described if text is None else replace(described, tags=parse_header(text))


def written_headers(written: Written) -> list[tuple[str, str]]:
    """ETag and id of a version that was made."""
    return [("etag", f'"{written.etag}"'), *version_headers(written.version_id)]


def version_headers(version_id: str | None) -> list[tuple[str, str]]:
    """The header that tells a version's id."""
    return [] if version_id is None else [("x-amz-version-id", version_id)]


def deleted_headers(deleted: Deleted) -> list[tuple[str, str]]:
    """What a delete did."""
    headers = version_headers(deleted.version_id)
    return [*headers, ("x-amz-delete-marker", "true")] if deleted.delete_marker else headers
