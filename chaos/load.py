"""A load of writers and readers that records what it was told.

Every client writes and reads keys that others use too; a key is left after `OPS_PER_KEY_MAX` operations, so that the
checker's search stays small. Bodies are `payload`s: a read is judged at once for wrong or torn bytes, and its
value number later for its place in the order.
"""

import math
import random
from dataclasses import dataclass, field

import trio

from chaos import payload
from chaos.client import Answer, Broken, Connection, object_path
from chaos.history import ABSENT, History, Operation
from cluster.cli.access import Access

OPS_PER_KEY_MAX = 60
_SIZES = ((0.55, 40, 4096), (0.25, 4097, 65536), (0.15, 65537, 1_500_000), (0.05, 8_000_000, 9_500_000))


@dataclass
class Progress:
    """Which writes were acknowledged; a fault's length of silence is read from it."""

    acknowledged: int = 0
    begun: float = -math.inf  # when the latest of the acknowledged writes began
    changed: trio.Event = field(default_factory=trio.Event)

    def note(self, begun: float) -> None:
        """A write that began at this time was acknowledged."""
        self.acknowledged += 1
        self.begun = max(self.begun, begun)
        self.changed.set()
        self.changed = trio.Event()

    async def acknowledged_since(self, moment: float) -> None:
        """Wait until a write that began after `moment` was acknowledged: one that was already under way tells nothing
        of what came after."""
        while self.begun <= moment:
            await self.changed.wait()


class Load:
    """`clients` connections that put, get and delete until cancelled."""

    def __init__(
        self, access: Access, *, clients: int, keys: int, seed: int, bucket: str = "default", large: bool = True
    ) -> None:
        self.history = History()
        self.progress = Progress()
        self._access = access
        self._clients = clients
        self._random = random.Random(seed)
        self._bucket = bucket
        self._large = large
        self._run = f"{seed:08x}"
        self._made = 0
        self._keys = [self._new_key() for _ in range(keys)]
        self._used: dict[str, int] = {}
        self._values: dict[str, int] = {}

    def _new_key(self) -> str:
        self._made += 1
        return f"load/{self._run}/{self._made:06d}"

    async def run(self) -> None:
        """All clients, until the caller cancels."""
        async with trio.open_nursery() as nursery:
            for who in range(self._clients):
                nursery.start_soon(self._client, who)

    async def _client(self, who: int) -> None:
        connection = Connection(self._access)
        try:
            while True:
                key = self._choose_key()
                dice = self._random.random()
                if dice < 0.45:
                    await self._put(connection, key, who)
                elif dice < 0.93:
                    await self._get(connection, key, who)
                else:
                    await self._delete(connection, key, who)
        finally:
            connection.close_nowait()

    def _choose_key(self) -> str:
        place = self._random.randrange(len(self._keys))
        key = self._keys[place]
        self._used[key] = self._used.get(key, 0) + 1
        if self._used[key] >= OPS_PER_KEY_MAX:
            self._keys[place] = self._new_key()
        return key

    def _size(self) -> int:
        dice = self._random.random()
        for share, least, most in _SIZES:
            if dice < share:
                size = self._random.randint(least, most)
                return size if self._large else min(size, 65536)
            dice -= share
        return 40

    async def _put(self, connection: Connection, key: str, who: int) -> None:
        value = self._values[key] = self._values.get(key, 0) + 1
        body = payload.make(key, value, self._size())
        operation = self.history.begin("put", key, value, trio.current_time(), who)
        await self._write(connection, operation, "PUT", body)

    async def _delete(self, connection: Connection, key: str, who: int) -> None:
        operation = self.history.begin("delete", key, ABSENT, trio.current_time(), who)
        await self._write(connection, operation, "DELETE", b"")

    async def _write(self, connection: Connection, operation: Operation, method: str, body: bytes) -> None:
        try:
            answer = await connection.request(method, object_path(self._bucket, operation.key), body=body)
        except Broken:
            self.history.count(f"{method} broken")
            await trio.sleep(0.02)
            return
        self.history.count(f"{method} {answer.status}")
        if answer.status < 300:
            operation.end = trio.current_time()
            self.progress.note(operation.begin)
        elif answer.status in (503, 507) and b'"OutcomeUnknown"' not in answer.body:
            self.history.forget(operation)  # it says that it did not happen, and is held to that
            await trio.sleep(0.02)
        elif answer.status not in (503, 507):
            self.history.violations.append(f"{method} {operation.key}: {_shown(answer)}")
            self.history.forget(operation)

    async def _get(self, connection: Connection, key: str, who: int) -> None:
        operation = self.history.begin("get", key, ABSENT, trio.current_time(), who)
        try:
            answer = await connection.request("GET", object_path(self._bucket, key))
        except Broken:
            self.history.forget(operation)
            self.history.count("GET broken")
            await trio.sleep(0.02)
            return
        self.history.count(f"GET {answer.status}")
        if answer.status == 404:
            operation.end = trio.current_time()
            return
        value = payload.read(key, answer.body) if answer.status == 200 else None
        if value is not None:
            operation.value, operation.end = value, trio.current_time()
            return
        self.history.forget(operation)
        if answer.status == 200:
            self.history.violations.append(f"GET {key}: wrong bytes, {answer.size} of them")
        elif answer.status == 503:
            await trio.sleep(0.02)
        else:
            self.history.violations.append(f"GET {key}: {_shown(answer)}")

    async def read_back(self) -> None:
        """Read every key once more, until it answers: what was acknowledged is still there."""
        limiter = trio.CapacityLimiter(8)
        async with trio.open_nursery() as nursery:
            for key in list(self.history.operations):
                nursery.start_soon(self._read_back, key, limiter)

    async def _read_back(self, key: str, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            connection = Connection(self._access)
            for _ in range(100):
                before = len(self.history.operations[key])
                await self._get(connection, key, -1)
                if len(self.history.operations[key]) > before:
                    connection.close_nowait()
                    return
                await trio.sleep(0.1)
            self.history.violations.append(f"GET {key}: no answer after the faults had ended")


def _shown(answer: Answer) -> str:
    return f"{answer.status} {answer.body[:300]!r}"
