"""What the scenarios share: names, content, checks of errors, and a report of the steps that were done.

Run by clients' own Pythons, from 3.11 on, with nothing but the standard library and what the scenario itself needs:

    python -m tests.clients.scenarios.NAME http://127.0.0.1:9000

with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A step is a function that fails by an assertion.
"""

import random
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable

KIB, MIB = 1024, 1024 * 1024

KEYS = ("plain", "a/b/c", "a b+c&d=e?f#g%20", "ключ/鍵/🔑 – é", "dots/./../x", "double//slash", "'quote\"<xml>&amp;")
"""Keys that clients are known to get wrong, or that name a path of a file system."""


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that no compression or deduplication makes small, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def new_name(purpose: str) -> str:
    """The name of a bucket that was never there."""
    return f"{purpose}-{uuid.uuid4().hex[:12]}"


def refused(code: str, call: Callable[[], object], *, kinds: type[Exception] | tuple[type[Exception], ...]) -> None:
    """The call is refused with S3's error code (HEAD has only a status) in an exception of the client's."""
    try:
        answer = call()
    except kinds as error:
        assert re.search(rf"\b{code}\b", f"{error!r} {error}"), error  # noqa: PT017 - no pytest in this environment
        return
    raise AssertionError(f"not refused with {code}: {answer!r}")


def run(steps: Iterable[Callable[[], object]]) -> None:
    """Do the steps in order, and tell what was done and how long it took."""
    for step in steps:
        began = time.monotonic()
        step()
        print(f"{getattr(step, '__name__', step)}: {time.monotonic() - began:.1f} s")  # noqa: T201 - its report
        sys.stdout.flush()
