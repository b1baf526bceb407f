"""What must be refused."""

from collections.abc import Awaitable

import pytest

from cluster.errors import TrilithError


async def refusal(code: str, of: Awaitable[object]) -> TrilithError:
    """Await what must fail with this code; the error."""
    with pytest.raises(TrilithError) as caught:
        await of
    assert caught.value.code == code, caught.value.message
    return caught.value
