"""One line of the log per request, the same JSON as all others, by a short way: it is on the path of each request.

No query, no header and no key of a client goes in.
"""

import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
import structlog

encode = msgspec.json.Encoder().encode


class RequestLog:
    """Writes the lines to standard error. The role and node are those bound by `cluster.log.configure`."""

    def __init__(self) -> None:
        self._bound = structlog.contextvars.get_contextvars()
        self._log = structlog.wrap_logger(
            structlog.BytesLogger(sys.stderr.buffer),
            processors=[self._render],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=True,
        ).bind()

    def request(
        self, request_id: str, method: str, path: bytes, status: int, size: int, seconds: float, code: str
    ) -> None:
        """One request that was answered. `size` is the bytes of its body; `code` an error's, or empty."""
        facts: dict[str, Any] = {
            "request_id": request_id,
            "method": method,
            "path": path.decode("latin-1"),
            "status": status,
            "bytes": size,
            "ms": round(seconds * 1000, 2),
        }
        if code:
            facts["code"] = code
        self._log.info("request", **facts)

    def _render(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
        now = time.time()
        second = int(now)
        line = {**event, **self._bound, "level": "info", "part": "http"}
        line["time"] = f"{_second(second)}.{int((now - second) * 1_000_000):06d}Z"
        return encode(line)


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
