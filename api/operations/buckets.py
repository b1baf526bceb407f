"""Buckets: make, find, list, set, remove."""

from collections.abc import Callable
from typing import Literal

from api.names import check_bucket
from api.operations.calls import Call
from api.operations.metadata import Metadata
from cluster.errors import Refused
from metaraft.commands import (
    Command,
    CreateBucket,
    DeleteBucket,
    SetBucketSetting,
    SetVersioning,
)
from metaraft.model import Bucket, Scheme
from metaraft.queries import (
    BucketFound,
    BucketSettingFound,
    BucketsFound,
    GetBucket,
    GetBucketSetting,
    ListBuckets,
)
from metaraft.results import (
    BucketDone,
    Result,
)

CACHE_S = 10.0
"""A bucket's row may be this old where the commit checks it again (chosen)."""
_CACHE_MAX = 1024


class Buckets:
    """Operations on buckets. Keeps rows for a short while for writers; reads always ask."""

    def __init__(self, meta: Metadata, scheme: Scheme, clock: Callable[[], float]) -> None:
        self._meta = meta
        self._scheme = scheme
        self._clock = clock
        self._cache: dict[str, tuple[float, Bucket]] = {}

    async def create(self, name: str, call: Call, scheme: Scheme | None = None) -> Bucket:
        """Make a bucket; `scheme` None: the cluster's. Raises Refused (InvalidBucketName, BucketAlreadyExists)."""
        check_bucket(name)
        command = CreateBucket(name=name, owner=call.principal.name, scheme=scheme or self._scheme)
        done = await self._commit(command, call, call.commit_key("CreateBucket", name, "", command.scheme))
        assert isinstance(done, BucketDone)
        return done.bucket

    async def delete(self, name: str, call: Call) -> None:
        """Remove an empty bucket. Raises Refused (NoSuchBucket, BucketNotEmpty)."""
        _known_name(name)
        self._cache.pop(name, None)
        await self._commit(DeleteBucket(name=name), call, call.commit_key("DeleteBucket", name, "", None))

    async def find(self, name: str, call: Call) -> BucketFound:
        """The bucket that was decided on, or that has the name, and its usage. Raises Refused (NoSuchBucket)."""
        found = await self.now(name, call)
        call.check(found.bucket)
        return found

    async def now(self, name: str, call: Call) -> BucketFound:
        """The bucket that has the name now, to decide on. Raises Refused (NoSuchBucket)."""
        _known_name(name)
        found = await self._meta.read(GetBucket(name=name), deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, BucketFound)
        return found

    async def list(
        self, after: str, limit: int, call: Call, *, prefix: str = "", owner: str | None = None
    ) -> BucketsFound:
        """Buckets behind `after` in order of their names, at most `limit`; `owner`: only those of that owner."""
        query = ListBuckets(after=after, limit=limit, prefix=prefix, owner=owner)
        found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, BucketsFound)
        return found

    async def set_versioning(self, name: str, versioning: Literal["enabled", "suspended"], call: Call) -> None:
        """Keep versions from now on, or no more new ones. Raises Refused (NoSuchBucket)."""
        _known_name(name)
        command = SetVersioning(bucket=name, versioning=versioning)
        await self._commit(command, call, call.commit_key("SetVersioning", name, "", versioning))

    async def setting(self, name: str, setting: str, call: Call) -> BucketSettingFound:
        """A bucket with one of its settings, as it was set. Raises Refused (NoSuchBucket)."""
        _known_name(name)
        query = GetBucketSetting(bucket=name, name=setting)
        found = await self._meta.read(query, deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, BucketSettingFound)
        call.check(found.bucket)
        return found

    async def set_setting(self, name: str, setting: str, value: bytes | None, call: Call) -> None:
        """Set it, or (None) take it away; what it means is the caller's. Raises Refused (NoSuchBucket, BadSetting)."""
        _known_name(name)
        command = SetBucketSetting(bucket=name, name=setting, value=value)
        await self._commit(command, call, call.commit_key("SetBucketSetting", name, "", (setting, value)))

    async def _commit(self, command: Command, call: Call, key: bytes | None) -> Result:
        return await self._meta.commit(
            command, deadline=call.deadline, key=key, trace_id=call.trace_id, buckets=call.admitted
        )

    async def for_writing(self, name: str, call: Call) -> Bucket:
        """A bucket's row for a command that names its id, and so is refused if this row is out of date."""
        kept = self._cache.get(name)
        if kept is not None and kept[0] > self._clock() and call.admitted.get(name) in (None, kept[1].bucket_id):
            return kept[1]
        bucket = (await self.find(name, call)).bucket
        self.keep(bucket)
        return bucket

    def keep(self, bucket: Bucket) -> None:
        """Note a row that a read has just brought."""
        if len(self._cache) >= _CACHE_MAX:
            self._cache.clear()
        self._cache[bucket.name] = (self._clock() + CACHE_S, bucket)

    def forget(self, name: str) -> bool:
        """Drop a row that turned out to be out of date; whether there was one."""
        return self._cache.pop(name, None) is not None


def _known_name(name: str) -> None:
    """A name that no bucket can have is not looked up."""
    try:
        check_bucket(name)
    except Refused:
        raise Refused("NoSuchBucket", f"there is no bucket {name[:80]!r}") from None
