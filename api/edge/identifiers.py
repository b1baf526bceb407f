"""Request ids: unique in the cluster's life for all practical purposes, cheap, and telling nothing."""

import itertools
import secrets
from collections.abc import Iterator

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # odd, so that all 2^64 values come before one is repeated


def request_ids() -> Iterator[str]:
    """An endless row of ids of 16 hex digits, from a random beginning."""
    start = secrets.randbits(64)
    return (f"{(start + count * _STEP) & _MASK:016x}" for count in itertools.count())
