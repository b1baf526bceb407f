"""Late acknowledgements: told in batches, tried again, never more than the queue holds."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from api import late_holders
from api.late_holders import LateHolders
from cluster.errors import Unavailable
from metaraft.commands import (
    Ack,
    AddHolders,
    Command,
    StoredChunk,
)
from metaraft.model import Copies
from metaraft.queries import (
    Answer,
    Query,
)
from metaraft.results import (
    Done,
    Result,
)
from tests.chunkd.worlds import make_config


class Listener:
    """Metadata that hears late holders, and at first fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.heard: list[tuple[float, AddHolders]] = []

    async def commit(self, command: Command, *, deadline: float, trace_id: str = "") -> Result:
        """Note it, with the time."""
        await trio.lowlevel.checkpoint()
        assert isinstance(command, AddHolders)
        if self.failures:
            self.failures -= 1
            raise Unavailable("NoQuorum", "not now")
        self.heard.append((trio.current_time(), command))
        return Done(1)

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Nobody asks."""
        raise AssertionError(query)


def chunk(number: int) -> StoredChunk:
    return StoredChunk(number.to_bytes(32), 1, (Ack(b"d" * 16, 1),))


async def later(clock: trio.testing.MockClock, seconds: int) -> None:
    """Let time go by in steps, each time until nothing more happens."""
    for _ in range(10 * seconds):
        clock.jump(0.1)
        await trio.testing.wait_all_tasks_blocked()


def start(nursery: trio.Nursery, meta: Listener, numbers: Sequence[int] = ()) -> LateHolders:
    late = LateHolders(meta, make_config(Path("/nowhere")))
    nursery.start_soon(late.run)
    for number in numbers:
        late.add(Copies(3), chunk(number))
    return late


async def test_what_comes_together_is_told_together(nursery: trio.Nursery, mock_clock: trio.testing.MockClock) -> None:
    meta = Listener()
    late = start(nursery, meta, range(5))
    await later(mock_clock, 1)
    late.add(Copies(3), chunk(9))
    late.add(Copies(2), chunk(10))
    await later(mock_clock, 1)
    told = [(command.scheme, [int.from_bytes(c.chunk_id) for c in command.chunks]) for _, command in meta.heard]
    assert told == [(Copies(3), [0, 1, 2, 3, 4]), (Copies(3), [9]), (Copies(2), [10])]
    assert 0.2 <= meta.heard[0][0] < 0.4  # late_holders_s of virtual time, and a step


async def test_a_command_is_never_longer_than_a_batch(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_holders, "_BATCH_MAX", 3)
    meta = Listener()
    start(nursery, meta, range(8))
    await later(mock_clock, 5)
    assert [len(command.chunks) for _, command in meta.heard] == [3, 3, 2]


async def test_they_are_told_again_after_a_failure_and_left_to_repair_after_some(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    meta = Listener(failures=2)
    late = start(nursery, meta, [1])
    await later(mock_clock, 10)
    assert len(meta.heard) == 1
    meta.failures = 3
    late.add(Copies(3), chunk(2))
    await later(mock_clock, 10)
    late.add(Copies(3), chunk(3))
    await later(mock_clock, 10)
    assert [int.from_bytes(c.chunk_id) for _, command in meta.heard for c in command.chunks] == [1, 3]


async def test_a_full_queue_takes_no_more(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_holders, "_QUEUE_MAX", 4)
    meta = Listener()
    start(nursery, meta, range(9))
    await later(mock_clock, 5)
    assert sum(len(command.chunks) for _, command in meta.heard) == 4
