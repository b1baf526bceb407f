"""Which dialect a request is in: a host that names a bucket, or a path that is not the native dialect's, is S3."""

from typing import Protocol

from hypercorn.typing import HTTPScope

from api.messages import Request, Response
from api.s3.address import bucket_of_host
from cluster.errors import TrilithError


class Dialect(Protocol):
    """What is needed of a dialect."""

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""

    def error(self, error: TrilithError, request_id: str, method: str, path: bytes) -> Response:
        """The answer that an error stands for."""


class Front:
    """The dialects side by side on one port."""

    def __init__(self, native: Dialect, s3: Dialect, domains: tuple[str, ...]) -> None:
        self._native = native
        self._s3 = s3
        self._domains = domains

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        return await self._dialect(request.path, request.headers.get("host", "")).answer(request)

    def error(self, error: TrilithError, request_id: str, scope: HTTPScope) -> Response:
        """The answer to a request that failed outside of its dialect, in that dialect's words."""
        return self._dialect(scope["raw_path"], host_of(scope)).error(
            error, request_id, scope["method"], scope["raw_path"]
        )

    def _dialect(self, path: bytes, host: str) -> Dialect:
        if not is_native(path) or bucket_of_host(host, self._domains) is not None:
            return self._s3
        return self._native


def host_of(scope: HTTPScope) -> str:
    """The Host header, '' if there is none."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")


def is_native(path: bytes) -> bool:
    """Whether a path is the native dialect's: it begins with `objects` or `buckets`, which no bucket is called."""
    return path.split(b"/", 2)[1:2] in ([b"objects"], [b"buckets"])
