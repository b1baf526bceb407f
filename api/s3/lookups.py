"""The version that a request means, and refusals of it in S3's words."""

from dataclasses import replace

import trio

from api.conditions import http_date
from api.operations.calls import Call
from api.operations.reads import Reads
from api.s3.exchange import Exchange
from api.s3.fields import version_of
from cluster.errors import Refused, Unavailable
from metaraft.commands import (
    Condition,
)
from metaraft.queries import ObjectFound

CHECK_S = 2.0
"""For a look at what a refused condition was about; the request's own time may be over (chosen)."""


async def find(
    objects: Reads, exchange: Exchange, *, with_holders: bool = False, offset: int = 0, part: int | None = None
) -> ObjectFound:
    """The version that a request names, or the current one.

    Raises Refused (NoSuchBucket, NoSuchKey, NoSuchVersion, InvalidArgument; MethodNotAllowed for a delete marker).
    """
    version = version_of(exchange.query)
    try:
        return await objects.find(
            exchange.bucket,
            exchange.key,
            exchange.call,
            with_holders=with_holders,
            version=version,
            offset=offset,
            part=part,
        )
    except Refused as error:
        raise in_words(error, exchange.key) from None


def in_words(error: Refused, key: str) -> Refused:
    """A refusal of a version that is not there, or is a delete marker, as S3 says it."""
    detail = dict(error.detail or {})
    if error.code in _MISSING:
        return Refused(error.code, _MISSING[error.code], detail={**detail, "key": key})
    if error.code == "MethodNotAllowed" and "delete_marker" in detail:
        made_ms = detail.pop("last_modified_ms", None)
        detail |= {"allow": "DELETE"} | ({} if made_ms is None else {"last_modified": http_date(int(made_ms))})
        message = "The specified method is not allowed against this resource: it is a delete marker."
        return Refused("MethodNotAllowed", message, detail=detail)
    return error


_MISSING = {
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchVersion": "The specified version does not exist.",
}


async def missing_instead(objects: Reads, exchange: Exchange, condition: Condition, error: Refused) -> Refused:
    """The refusal of a write's condition: S3 says NoSuchKey where If-Match finds nothing."""
    if error.code != "PreconditionFailed" or condition.if_match is None:
        return error
    if await exists(objects, exchange.bucket, exchange.key, exchange.call):
        return error
    return Refused("NoSuchKey", _MISSING["NoSuchKey"], detail={"key": exchange.key})


async def exists(objects: Reads, bucket: str, key: str, call: Call) -> bool:
    """Whether a key has a current version now; True if that cannot be told."""
    renewed = replace(call, deadline=max(call.deadline, trio.current_time() + CHECK_S))
    try:
        await objects.find(bucket, key, renewed)
    except Refused as error:
        return error.code != "NoSuchKey"
    except Unavailable:
        return True
    return True
