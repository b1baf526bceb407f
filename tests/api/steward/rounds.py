"""A steward's rounds over real daemons and the real state machine, with time that a test moves."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from api.conditions import NO_CONDITION
from api.steward.collector import Collector, Tally
from api.steward.horizon import Horizon
from cluster.errors import Unavailable
from metaraft.commands import (
    Command,
    TakeStewardship,
)
from metaraft.model import Chunk
from metaraft.queries import Query
from metaraft.results import (
    StewardDone,
)
from metaraft.rows import Kind
from tests.api.disks import random_bytes
from tests.api.operating import Operating, operating

HOUR_MS = 3_600_000
DATA_BYTES = 20_000


class Steward:
    """A steward's rounds, and the time that passes between them."""

    def __init__(self, o: Operating, epoch: int) -> None:
        self._o = o
        self.epoch = epoch
        self.horizon = Horizon(HOUR_MS)
        self.collector = self.with_timings()

    def with_timings(self, **timings: float) -> Collector:
        """The same steward's collector with some other timings."""
        changed = msgspec.structs.replace(self._o.disks.config.timings, **timings)
        return Collector(self._o.meta, self._o.disks.nodes, self.horizon, changed)

    async def round(self) -> Tally:
        """One round."""
        tally = Tally()
        await self.collector.round(self.epoch, tally)
        return tally

    async def later(self) -> None:
        """Somebody else writes something, and then an hour passes."""
        await self._o.put(f"unrelated-{self._o.meta.state.machine.revision()}", b"small")
        state = self._o.meta.state
        self.horizon.note(state.now_ms, state.machine.revision())
        state.now_ms += HOUR_MS

    async def rounds(self, count: int = 3) -> Tally:
        """Rounds with an hour between them; the last one's tally."""
        tally = await self.round()
        for _ in range(count - 1):
            await self.later()
            tally = await self.round()
        return tally


@asynccontextmanager
async def steward(root: Path) -> AsyncGenerator[tuple[Operating, Steward]]:
    """Operations, and the steward of epoch 1."""
    async with operating(root) as o:
        await introduced(o)
        yield o, Steward(o, await take(o, "s"))


async def introduced(o: Operating) -> None:
    """Every daemon was told the present revision."""
    with trio.fail_after(60):
        while True:
            deadline = trio.current_time() + 5
            try:
                for client in o.disks.clients:
                    await client.delete([bytes(32)], 0, deadline=deadline)
            except Unavailable:
                await trio.lowlevel.checkpoint()
            else:
                return


async def take(o: Operating, holder: str) -> int:
    """Become the steward."""
    done = await o.meta.commit(TakeStewardship(holder, 0), deadline=trio.current_time() + 5)
    assert isinstance(done, StewardDone)
    return done.epoch


def copies(o: Operating, folder: str = "space-1/??") -> Counter[str]:
    """How many disks have a chunk, for each that is on any."""
    return Counter(path.name[-64:] for path in Path(o.disks.config.base).glob(f"*/{folder}/*"))


def rows(o: Operating) -> dict[str, Chunk]:
    """The chunk rows."""
    return {
        key[8:].hex(): msgspec.msgpack.decode(value, type=Chunk)
        for key, value in o.meta.state.rows.items()
        if key[0] == Kind.CHUNK
    }


async def stored(o: Operating, key: str, data: bytes | None = None) -> bytes:
    """An object of one chunk that is on all three disks, and in the row as such."""
    data = random_bytes(DATA_BYTES) if data is None else data
    await o.put(key, data)
    await settled(o)
    return data


async def settled(o: Operating, disks: int = 3) -> None:
    """All copies that were on their way have arrived, and are in the rows of what is referenced."""
    with trio.fail_after(60):
        while any(row.count and len(row.holders) < disks for row in rows(o).values()):
            await trio.lowlevel.checkpoint()


async def until_lost(o: Operating, number: int) -> None:
    """End a daemon, and wait until that is seen."""
    await o.disks.stop(number)
    with trio.fail_after(60):
        while o.disks.clients[number].connected:
            await trio.lowlevel.checkpoint()


async def delete(o: Operating, *keys: str) -> None:
    """Delete objects."""
    for key in keys:
        await o.do.objects.delete("bucket", key, NO_CONDITION, o.call())


def once(kind: type[Command], do: Callable[[], Awaitable[object]]) -> Callable[[Command | Query], Awaitable[None]]:
    """For `before` and `after`: at the first command of a kind, something else happens."""
    left = [do]

    async def happen(command: Command | Query) -> None:
        if isinstance(command, kind) and left:
            await left.pop()()

    return happen


async def whole_and_held(o: Operating, key: str, data: bytes, disks: int = 3) -> None:
    """An object can be read, and every disk that is said to have its chunks has them."""
    await settled(o, disks)
    found = await o.find(key)
    for chunk_id, holders in found.holders.items():
        row = rows(o)[chunk_id.hex()]
        assert row.count
        assert not row.condemned
        assert len(holders) >= 2
        for number, client in enumerate(o.disks.clients):
            if client.disk_id in holders:
                assert o.disks.chunk_file(number, chunk_id).exists()
    assert await o.get(key) == data
