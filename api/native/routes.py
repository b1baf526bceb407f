"""What a path names. Pure.

A key is exactly the percent-decoded bytes behind `/objects/`; the key of an upload is its query parameter `key`.

    /objects                                        list the bucket `default`
    /objects/{key}                                  an object of it
    /buckets                                        list buckets
    /buckets/{bucket}                               a bucket
    /buckets/{bucket}/objects                       list it
    /buckets/{bucket}/objects/{key}                 an object of it
    /buckets/{bucket}/versions                      list its versions
    /buckets/{bucket}/versioning                    whether it keeps versions
    /buckets/{bucket}/uploads                       list its uploads, begin one
    /buckets/{bucket}/uploads/{id}?key=             an upload
    /buckets/{bucket}/uploads/{id}/parts/{n}?key=   a part of it
"""

from typing import Literal, NamedTuple

from metaraft.model import DEFAULT_BUCKET

type Target = Literal["buckets", "bucket", "listing", "object", "versions", "versioning", "uploads", "upload", "part"]

PREFIXES = (b"/objects", b"/buckets")
"""What paths of this dialect begin with."""

_DEFAULT = DEFAULT_BUCKET.encode()


class Route(NamedTuple):
    """What a path names; all of it is still encoded."""

    target: Target
    bucket: bytes = b""
    key: bytes = b""
    upload: bytes = b""
    part: bytes = b""


def match_path(path: bytes) -> Route | None:
    """The route of a raw path, or None."""
    if path.startswith(b"/objects/"):
        return Route("object", _DEFAULT, path[9:])
    if path == b"/objects":
        return Route("listing", _DEFAULT)
    if path == b"/buckets":
        return Route("buckets")
    if not path.startswith(b"/buckets/"):
        return None
    bucket, slash, rest = path[9:].partition(b"/")
    if not slash:
        return Route("bucket", bucket)
    return Route("object", bucket, rest[8:]) if rest.startswith(b"objects/") else _in_bucket(bucket, rest)


def _in_bucket(bucket: bytes, rest: bytes) -> Route | None:
    match rest.split(b"/"):
        case [b"objects"]:
            return Route("listing", bucket)
        case [b"versions"]:
            return Route("versions", bucket)
        case [b"versioning"]:
            return Route("versioning", bucket)
        case [b"uploads"]:
            return Route("uploads", bucket)
        case [b"uploads", upload]:
            return Route("upload", bucket, upload=upload)
        case [b"uploads", upload, b"parts", part]:
            return Route("part", bucket, upload=upload, part=part)
        case _:
            return None
