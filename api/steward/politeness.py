"""Background work that gives way: after each step a rest in proportion to how long the step took.

When clients load the cluster each step takes longer, and so does each rest. (The measure is that of Garage's
`src/util/tranquilizer.rs`.)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

REST_PER_STEP = 3.0
"""So the steward works a quarter of the time at most (chosen)."""


@asynccontextmanager
async def polite() -> AsyncIterator[None]:
    """One step of work inside, its rest at the end. After a step that failed there is none."""
    began = trio.current_time()
    yield
    await trio.sleep(REST_PER_STEP * (trio.current_time() - began))
