"""One works, the others wait; who is cut off stops, and is replaced."""

import math
from collections.abc import Mapping

import trio
from trio.testing import MockClock

from api.steward.stewardship import RENEW_S, Stewardship
from cluster.errors import Unavailable
from cluster.limits import Timings
from metaraft.commands import (
    Command,
    TakeStewardship,
)
from metaraft.model import STEWARD_LEASE_MS
from metaraft.results import (
    Result,
)
from tests.api.operating import MachineMetadata
from tests.metaraft.metadata import START_MS

LEASE_S = STEWARD_LEASE_MS / 1000


class Clocked(MachineMetadata):
    """Its state time is trio's. Whoever is named in `cut_off` does not reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.cut_off: set[str] = set()

    async def commit(
        self,
        command: Command,
        *,
        deadline: float,
        key: bytes | None = None,
        trace_id: str = "",
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        """Apply a command now."""
        assert isinstance(command, TakeStewardship)
        if command.holder in self.cut_off:
            await trio.sleep_until(deadline)
            raise Unavailable("NoQuorum", "cut off")
        self.state.now_ms = START_MS + math.ceil(trio.current_time() * 1000)
        return await super().commit(command, deadline=deadline, key=key, trace_id=trace_id, buckets=buckets)


class Worker:
    """Holds the stewardship, and notes when it worked under which epoch."""

    def __init__(self, name: str, meta: Clocked) -> None:
        self.spans: list[tuple[int, float, float]] = []
        self.lost = trio.Event()
        self._stewardship = Stewardship(name, meta, Timings())
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            await self._stewardship.hold(self._work)

    async def _work(self, epoch: int) -> None:
        began = trio.current_time()
        try:
            await self.lost.wait()
        finally:
            self.spans.append((epoch, began, trio.current_time()))
            self.lost = trio.Event()


async def test_one_works_and_another_takes_over_when_it_is_gone(autojump_clock: MockClock) -> None:
    meta = Clocked()
    first, second = Worker("a", meta), Worker("b", meta)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await trio.sleep(1)
        nursery.start_soon(second.run)
        await trio.sleep(100)
        first.scope.cancel()
        await trio.sleep(LEASE_S + RENEW_S)
        second.scope.cancel()
    [(epoch, began, ended)] = first.spans
    assert (epoch, began) == (1, 0)
    [(epoch, began, _)] = second.spans
    assert epoch == 2
    assert LEASE_S - RENEW_S <= began - ended <= LEASE_S + RENEW_S


async def test_who_cannot_renew_goes_on_until_it_hears_that_another_has_taken_over(autojump_clock: MockClock) -> None:
    meta = Clocked()
    first, second = Worker("a", meta), Worker("b", meta)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await trio.sleep(20)
        meta.cut_off.add("a")
        await trio.sleep(60)
        assert first.spans == [], "nobody else is there"
        nursery.start_soon(second.run)
        await trio.sleep(1)
        meta.cut_off.clear()
        await trio.sleep(LEASE_S)
        assert [epoch for epoch, _, _ in first.spans] == [1]
        second.scope.cancel()
        await trio.sleep(LEASE_S + 2 * RENEW_S)
        first.scope.cancel()
    assert [epoch for epoch, _, _ in second.spans] == [2]
    assert [epoch for epoch, _, _ in first.spans] == [1, 3]


async def test_a_late_renewal_is_enough_when_nobody_took_over(autojump_clock: MockClock) -> None:
    meta = Clocked()
    worker = Worker("a", meta)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await trio.sleep(20)
        meta.cut_off.add("a")
        await trio.sleep(60)
        meta.cut_off.clear()
        await trio.sleep(60)
        assert worker.spans == []
        worker.scope.cancel()


async def test_work_that_learns_first_that_it_is_stale_waits_for_its_turn(autojump_clock: MockClock) -> None:
    meta = Clocked()
    worker = Worker("a", meta)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await trio.sleep(20)
        worker.lost.set()
        await trio.sleep(LEASE_S + 2 * RENEW_S)
        worker.scope.cancel()
    assert [epoch for epoch, _, _ in worker.spans] == [1, 2]
    assert worker.spans[1][1] - worker.spans[0][2] > LEASE_S - RENEW_S - 0.01


async def test_it_is_taken_as_soon_as_there_is_a_quorum(autojump_clock: MockClock) -> None:
    meta = Clocked()
    meta.cut_off.add("a")
    worker = Worker("a", meta)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await trio.sleep(60)
        meta.cut_off.clear()
        await trio.sleep(10)
        worker.scope.cancel()
    assert [epoch for epoch, _, _ in worker.spans] == [1]
