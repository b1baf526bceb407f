"""Kinds of a bucket's settings: the name under which the metadata keeps one, and the type of what is kept.

A setting is read as it is at that moment (linearizably), so one that was made or taken away holds for the next request.
"""

import msgspec

from api.operations.buckets import Buckets
from api.operations.calls import Call
from cluster.errors import UNDECODABLE, Corrupt


class Setting[T]:
    """One kind of setting. The name is part of the format."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self._name = name
        self._decode = msgspec.msgpack.Decoder(kind).decode

    async def get(self, buckets: Buckets, bucket: str, call: Call) -> T | None:
        """What a bucket has, None if it has none. Raises Refused (NoSuchBucket), Corrupt (UnreadableSetting)."""
        found = await buckets.setting(bucket, self._name, call)
        if found.value is None:
            return None
        try:
            return self._decode(found.value)
        except UNDECODABLE as error:
            raise Corrupt("UnreadableSetting", f"setting {self._name!r} of bucket {bucket!r} is unreadable") from error

    async def put(self, buckets: Buckets, bucket: str, value: T | None, call: Call) -> None:
        """Set it, or (None) take it away. Raises Refused (NoSuchBucket, BadSetting)."""
        encoded = None if value is None else msgspec.msgpack.encode(value)
        await buckets.set_setting(bucket, self._name, encoded, call)
