"""URL paths and parameters of the native dialect; every byte of a name survives. Pure."""

from urllib.parse import quote

from cluster.cli.names import Name


def bucket_path(bucket: str) -> str:
    """The path of a bucket."""
    return f"/buckets/{quote(bucket, safe='')}"


def object_path(name: Name) -> str:
    """The path of an object."""
    return f"{bucket_path(name.bucket)}/objects/{quote(name.key, safe='/')}"


def version_query(name: Name) -> dict[str, str]:
    """The parameters that say which version of an object."""
    return {} if name.version is None else {"version": name.version}


def copy_headers(source: Name) -> dict[str, str]:
    """The headers that say what is copied."""
    headers = {"X-Copy-Source": f"{quote(source.bucket, safe='')}/{quote(source.key, safe='/')}"}
    return headers if source.version is None else headers | {"X-Copy-Source-Version": source.version}


def uploads_path(bucket: str) -> str:
    """The path of a bucket's uploads."""
    return f"{bucket_path(bucket)}/uploads"


def upload_path(bucket: str, upload_id: str) -> str:
    """The path of an upload; its key is a parameter."""
    return f"{uploads_path(bucket)}/{quote(upload_id, safe='')}"


def part_path(bucket: str, upload_id: str, number: int) -> str:
    """The path of a part of an upload."""
    return f"{upload_path(bucket, upload_id)}/parts/{number}"
