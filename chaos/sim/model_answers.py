"""What each query finds in the model: the judge's own opinion. Refusals are compared by their code alone."""

from collections.abc import Callable, Iterable
from typing import Any

from chaos.sim.model import CHUNK_BYTES, ROWS_MAX, Model, names_of, refused, same
from metaraft.model import (
    Assembled,
    ChunkRef,
    Parts,
    SpaceInfo,
    UploadedPart,
    Usage,
    Version,
)
from metaraft.queries import (
    Answer,
    BucketFound,
    BucketsFound,
    GetBucket,
    GetHolders,
    GetObject,
    GetSpace,
    HoldersFound,
    ListBuckets,
    ListedObject,
    ListObjects,
    ListParts,
    ObjectFound,
    ObjectsFound,
    PartsListed,
    Query,
    SpaceFound,
)


def agrees(model: Model, query: Query, answer: Answer) -> bool:
    """Whether the query is answered so here."""
    return same(said(model, query), answer)


def said(model: Model, query: Query) -> Answer:
    """What the query finds."""
    found: Answer = _SAY[type(query)](model, query)
    return found


def _get_bucket(model: Model, query: GetBucket) -> Answer:
    """A bucket and what is in it."""
    bucket = model.buckets.get(query.name)
    if bucket is None:
        return refused("NoSuchBucket")
    sizes = [version.size for (name, _), version in model.objects.items() if name == query.name]
    return BucketFound(bucket, Usage(sum(sizes), len(sizes)))


def _list_buckets(model: Model, _query: ListBuckets) -> Answer:
    """All buckets: they are few."""
    return BucketsFound(tuple(model.buckets[name] for name in sorted(model.buckets)), more=False)


def _get_object(model: Model, query: GetObject) -> Answer:
    """The current version, its parts if it is an upload's, and who holds its chunks."""
    bucket = model.buckets.get(query.bucket)
    if bucket is None:
        return refused("NoSuchBucket")
    version = model.objects.get((query.bucket, query.key))
    if version is None:
        return refused("NoSuchKey")
    names: tuple[bytes, ...] = ()
    parts: tuple[UploadedPart, ...] = ()
    match version.body if query.with_holders else None:
        case Parts(own):
            names = tuple(ref.chunk_id for part in own for ref in part.chunks)
        case Assembled(upload_id):
            completed = model.completed[upload_id].parts
            parts = tuple(UploadedPart(head, _references(chunks)) for head, chunks in completed)
            names = names_of(completed)
    return ObjectFound(bucket, version, {name: model.chunks[name].holders for name in names}, parts)


def _get_holders(model: Model, query: GetHolders) -> Answer:
    """Chunks with their counts."""
    return HoldersFound({name: model.chunks[name] for name in query.chunk_ids if name in model.chunks})


def _get_space(model: Model, _query: GetSpace) -> Answer:
    """Counters and disks."""
    disks = tuple(model.disks[disk_id] for disk_id in sorted(model.disks))
    return SpaceFound(SpaceInfo(1, model.revision, model.horizon, disks))


def _list_parts(model: Model, query: ListParts) -> Answer:
    """A page of parts."""
    bucket = model.buckets.get(query.bucket)
    if bucket is None:
        return refused("NoSuchBucket")
    begun = model.begun(query.bucket, query.key, query.upload_id)
    if begun is None:
        return refused("NoSuchUpload")
    heads = [begun.parts[number][0] for number in sorted(begun.parts) if number > query.after]
    return PartsListed(bucket, begun.upload, tuple(heads[: query.limit]), more=len(heads) > query.limit)


def _list_objects(model: Model, query: ListObjects) -> Answer:
    """A page of keys and common prefixes."""
    bucket = model.buckets.get(query.bucket)
    if bucket is None:
        return refused("NoSuchBucket")
    objects: list[ListedObject] = []
    prefixes: list[str] = []
    last: str | None = None
    passed = _group(query.after, query) if query.after else None
    more = False
    for key in sorted(key for name, key in model.objects if name == query.bucket):
        group = _group(key, query)
        if not key.startswith(query.prefix) or key <= query.after or (group is not None and group == passed):
            continue
        if len(objects) + len(prefixes) == min(query.limit, ROWS_MAX):
            more = True
            break
        if group is None:
            objects.append(_listed(key, model.objects[query.bucket, key]))
            last = key
        else:
            prefixes.append(group)
            last = passed = group
    return ObjectsFound(tuple(objects), tuple(prefixes), last if more else None, bucket)


def _references(names: Iterable[bytes]) -> tuple[ChunkRef, ...]:
    return tuple(ChunkRef(name, 0, CHUNK_BYTES, CHUNK_BYTES) for name in names)


def _group(key: str, query: ListObjects) -> str | None:
    """The common prefix under which a key is listed."""
    if not query.delimiter or not key.startswith(query.prefix):
        return None
    head, found, _ = key[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + found if found else None


def _listed(key: str, version: Version) -> ListedObject:
    return ListedObject(
        key, version.revision, version.created_ms, version.size, version.etag, version.content_type, version.owner, None
    )


_SAY: dict[type[Any], Callable[[Model, Any], Answer]] = {
    GetBucket: _get_bucket,
    ListBuckets: _list_buckets,
    GetObject: _get_object,
    GetHolders: _get_holders,
    GetSpace: _get_space,
    ListParts: _list_parts,
    ListObjects: _list_objects,
}
