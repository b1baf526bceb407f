"""The decision before every handler, with what it rests on: who owns the bucket.

Root's requests cost no look-up. A user's ask for the bucket linearizably, so a bucket that has just changed hands is
never taken for the former owner's; the call remembers which bucket that was, and what is read or written then is of
that very bucket, or nothing is, however long the request takes. To a user a bucket that is missing is told as missing,
and another's as denied, as S3 does; without a key nothing is told.
"""

from api.access.decisions import OWNER_ACTIONS, Action, Context, Resource, require
from api.operations.buckets import Buckets
from api.operations.calls import Call


class Gate:
    """Asks before a handler runs."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def require(self, action: Action, bucket: str, key: str, call: Call, context: Context) -> None:
        """Return if `call.principal` may do it. Raises Refused (Unauthorized, AccessDenied, NoSuchBucket) and
        Unavailable."""
        if call.principal.kind == "user" and action in OWNER_ACTIONS:
            found = (await self._buckets.now(bucket, call)).bucket
            self._buckets.keep(found)
            require(call.principal, action, Resource(bucket, key, found.owner), context)
            call.admit(found)
            return
        require(call.principal, action, Resource(bucket, key), context)
