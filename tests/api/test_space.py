"""The view of a space: who waits for it is refused in time, however many wait."""

import pytest
import trio
from trio.testing import MockClock

from api.space import SpaceView
from cluster.config import FORMAT, Config
from cluster.errors import Unavailable
from metaraft.commands import Command
from metaraft.model import SpaceInfo
from metaraft.queries import Answer, Query, SpaceFound
from metaraft.results import Result

CONFIG = Config(format=FORMAT, cluster_id="0" * 32)


class Silent:
    """Metadata without a quorum, until somebody says that there is one."""

    def __init__(self) -> None:
        self.there = False

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        if self.there:
            return SpaceFound(SpaceInfo(0, 7, 0, ()))
        await trio.sleep_until(deadline)
        raise Unavailable("NoQuorum", "no leader answered before the deadline")

    async def commit(self, command: Command, *, deadline: float, trace_id: str = "") -> Result:
        raise AssertionError("a view writes nothing")


async def test_all_who_wait_are_refused_within_the_deadline_of_one(autojump_clock: MockClock) -> None:
    meta = Silent()
    view = SpaceView(meta, CONFIG)
    refused: list[float] = []

    async def read(after: float) -> None:
        await trio.sleep(after)
        began = trio.current_time()
        with pytest.raises(Unavailable, match="before the deadline"):
            await view.read()
        refused.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(read, number / 8)
    assert len(refused) == 16
    assert max(refused) < CONFIG.timings.metadata_deadline_s
    meta.there = True
    assert (await view.read()).revision == 7
