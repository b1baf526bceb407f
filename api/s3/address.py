"""Which bucket and key a request names: path style, or virtual-host style under the configured domains. Pure.

Source: S3, 'Virtual hosting of general purpose buckets'. The key is the percent-decoded rest of the raw path, exactly
once, and nothing normalises it.
"""

from typing import NamedTuple
from urllib.parse import quote

from api.messages import percent_decode


class Address(NamedTuple):
    """Bucket and key, still as bytes; None where the request names none. `virtual`: the bucket is in the host."""

    bucket: bytes | None
    key: bytes | None
    virtual: bool = False


def resolve(host: str, path: bytes, domains: tuple[str, ...]) -> Address:
    """The address in a Host header's value and a raw path."""
    bucket = bucket_of_host(host, domains)
    if bucket is not None:
        key = percent_decode(path[1:])
        return Address(bucket.encode(), key or None, virtual=True)
    first, _, rest = path[1:].partition(b"/")
    if not first:
        return Address(b"" if rest else None, percent_decode(rest) or None)
    return Address(percent_decode(first), percent_decode(rest) or None)


def bucket_of_host(host: str, domains: tuple[str, ...]) -> str | None:
    """The bucket that a Host header names before one of the domains, or None (path style)."""
    name = host_name(host)
    for domain in domains:
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return None


def host_name(host: str) -> str:
    """A Host header's name in lower case, without its port, which may be empty, and without the root's dot."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else host).lower().removesuffix(".")


def object_url(scheme: str, host: str, domains: tuple[str, ...], bucket: str, key: str) -> str:
    """An object's URL, in the style of a request with that Host header. A slash of the key is encoded too, as S3 does
    where it tells of an upload."""
    folder = "" if bucket_of_host(host, domains) is not None else f"/{quote(bucket)}"
    return f"{scheme}://{host}{folder}/{quote(key, safe='')}"
