"""Times as the bodies of answers show them: ISO 8601 with milliseconds, UTC. Pure."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache


def iso_time(time_ms: int) -> str:
    """A time in milliseconds since the epoch, such as `2026-01-31T12:00:00.000Z`."""
    second, ms = divmod(time_ms, 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    """The objects of a listing were often made within few seconds."""
    at = time.gmtime(second)
    return f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def parse_iso_ms(text: str) -> int | None:
    """A time in ISO 8601 (UTC, if it does not say) in milliseconds since the epoch, None if it is none."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    at = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
