"""A load of writers and readers that records what it was told.

Every client writes, reads and lists keys that others use too; a key is left after `OPS_PER_KEY_MAX` operations, so that
the checker's search stays small. Bodies are `payload`s: a read is judged at once for wrong or torn bytes, and its
value number later for its place in the order. Listings tell ETags, which are as good as value numbers: no two bodies
have the same. Conditional writes name what was seen last (If-Match), or that there is no object (If-None-Match).
"""

import hashlib
import random
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import msgspec
import trio

from chaos import payload
from chaos.client import Answer, Broken, Connection, Unreached, object_path
from chaos.history import ABSENT, History, Operation
from chaos.progress import Progress
from cluster.cli.access import Access

OPS_PER_KEY_MAX = 60
_SIZES = ((0.55, 40, 4096), (0.25, 4097, 65536), (0.15, 65537, 1_500_000), (0.05, 8_000_000, 9_500_000))
_MIX = (("put", 0.33), ("create", 0.07), ("replace", 0.08), ("get", 0.33), ("list", 0.12), ("delete", 0.07))
_GROUP = 8  # keys that one listing shows
_PAUSE_S = 0.02  # after an answer that tells to come again
_READ_BACK_S = 60.0  # without an answer to any key, and the others are given up


class Unanswered(Exception):
    """No leader could be asked: neither a value nor that there is none."""


class _Listed(msgspec.Struct):
    key: str
    etag: str


class _Page(msgspec.Struct):
    objects: list[_Listed]
    cursor: str | None


type Ask = Callable[[str], Awaitable[str | None]]
"""A way to read a key: its ETag, or None where there is no object. Raises Unanswered."""

_decode_page = msgspec.json.Decoder(_Page).decode


class Load:
    """`clients` connections that put, get, list and delete until cancelled.

    `large`: some bodies have many blocks, and few more than one chunk; else nearly all of the work is the metadata's.
    """

    def __init__(
        self, access: Access, *, clients: int, keys: int, seed: int, bucket: str = "default", large: bool = True
    ) -> None:
        self.history = History()
        self.progress = Progress()
        self.bucket = bucket
        self._access = access
        self._clients = clients
        self._random = random.Random(seed)
        self._large = large
        self._run = f"{seed:08x}"
        self._made = 0
        self._groups: dict[str, list[str]] = {}
        self._keys = [self._new_key() for _ in range(keys)]
        self._used: dict[str, int] = {}
        self._values: dict[str, dict[str, int]] = {}  # by key and ETag
        self._saw: dict[str, tuple[str, int]] = {}  # ETag and value that somebody saw last
        self._answered = 0.0  # when a key was read back

    def _new_key(self) -> str:
        group = f"load/{self._run}/{self._made // _GROUP:06d}/"
        key = f"{group}{self._made:07d}"
        self._made += 1
        self._groups.setdefault(group, []).append(key)
        return key

    async def run(self) -> None:
        """All clients, until the caller cancels."""
        async with trio.open_nursery() as nursery:
            for who in range(self._clients):
                nursery.start_soon(self._client, who)

    async def _client(self, who: int) -> None:
        connection = Connection(self._access)
        kinds, shares = [kind for kind, _ in _MIX], [share for _, share in _MIX]
        try:
            while True:
                key = self._choose_key()
                match self._random.choices(kinds, shares)[0]:
                    case "get":
                        await self._get(connection, key, who)
                    case "list":
                        await self._list(connection, key, who)
                    case "delete":
                        await self._delete(connection, key, who)
                    case kind:
                        await self._put(connection, key, who, kind)
        finally:
            connection.close_nowait()

    def _choose_key(self) -> str:
        place = self._random.randrange(len(self._keys))
        key = self._keys[place]
        self._used[key] = self._used.get(key, 0) + 1
        if self._used[key] >= OPS_PER_KEY_MAX:
            self._keys[place] = self._new_key()
        return key

    def keys_in_use(self) -> list[str]:
        """Keys that are written now."""
        return list(self._keys)

    def value_of(self, key: str, etag: str) -> int | None:
        """The value that an ETag stands for; None: nobody ever wrote that."""
        return self._values.get(key, {}).get(etag)

    # ---- writes

    def _size(self) -> int:
        dice = self._random.random()
        for share, least, most in _SIZES:
            if dice < share:
                size = self._random.randint(least, most)
                return size if self._large else min(size, 65536)
            dice -= share
        return 40

    async def _put(self, connection: Connection, key: str, who: int, kind: str) -> None:
        known = self._values.setdefault(key, {})
        value = len(known) + 1
        body = payload.make(key, value, self._size())
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        known[etag] = value
        expected, headers = None, ""
        if kind == "create":
            expected, headers = ABSENT, "If-None-Match: *\r\n"
        elif kind == "replace" and key in self._saw:
            there, expected = self._saw[key]
            headers = f'If-Match: "{there}"\r\n'
        operation = self.history.begin("put", key, value, trio.current_time(), who, expected)
        if await self._write(connection, operation, "PUT", body, headers):
            self._saw[key] = (etag, value)

    async def _delete(self, connection: Connection, key: str, who: int) -> None:
        operation = self.history.begin("delete", key, ABSENT, trio.current_time(), who)
        await self._write(connection, operation, "DELETE", b"")

    async def _write(
        self, connection: Connection, operation: Operation, method: str, body: bytes, headers: str = ""
    ) -> bool:
        """True: it was done."""
        what = f"{method} if" if headers else method
        try:
            answer = await connection.request(
                method, object_path(self.bucket, operation.key), body=body, headers=headers
            )
        except Broken as error:
            self.history.count(f"{what} broken")
            if isinstance(error, Unreached):
                self.history.forget(operation)
            await trio.sleep(_PAUSE_S)
            return False
        self.history.count(f"{what} {answer.status}")
        if answer.status < 300:
            operation.end = trio.current_time()
            self.progress.note(operation.begin, operation.end)
            return True
        if answer.status == 412 and operation.expected is not None:
            operation.kind, operation.end = "refused", trio.current_time()
        elif answer.status in (503, 507) and b'"OutcomeUnknown"' not in answer.body:
            self.history.forget(operation)  # it says that it did not happen, and is held to that
            await trio.sleep(_PAUSE_S)
        elif answer.status not in (503, 507):
            self.history.violations.append(f"{method} {operation.key}: {_shown(answer)}")
            self.history.forget(operation)
        return False

    # ---- reads

    async def _get(self, connection: Connection, key: str, who: int) -> None:
        operation = self.history.begin("get", key, ABSENT, trio.current_time(), who)
        try:
            answer = await connection.request("GET", object_path(self.bucket, key))
        except Broken:
            self.history.forget(operation)
            self.history.count("GET broken")
            await trio.sleep(_PAUSE_S)
            return
        self.history.count(f"GET {answer.status}")
        if answer.status == 404:
            operation.end = trio.current_time()
            return
        value = payload.read(key, answer.body) if answer.status == 200 else None
        if value is not None:
            operation.value, operation.end = value, trio.current_time()
            self._saw[key] = (answer.headers.get("etag", "").strip('"'), value)
            return
        self.history.forget(operation)
        if answer.status == 200:
            self.history.violations.append(f"GET {key}: wrong bytes, {answer.size} of them")
        elif answer.status == 503:
            await trio.sleep(_PAUSE_S)
        else:
            self.history.violations.append(f"GET {key}: {_shown(answer)}")

    async def _list(self, connection: Connection, key: str, who: int) -> None:
        """The key and its neighbours: each is read."""
        group = key[: key.rindex("/") + 1]
        now = trio.current_time()
        reads = [self.history.begin("get", each, ABSENT, now, who) for each in self._groups[group]]
        page = await self._page(connection, group)
        now = trio.current_time()
        found = {} if page is None else {entry.key: entry.etag for entry in page.objects}
        for operation in reads:
            value = self.value_of(operation.key, found[operation.key]) if operation.key in found else ABSENT
            if page is None or (page.cursor is not None and operation.key not in found):
                self.history.forget(operation)  # no answer, or the page ended before it
            elif value is None:
                self.history.forget(operation)
                self.history.violations.append(f"LIST {operation.key}: nobody wrote ETag {found[operation.key]}")
            else:
                operation.value, operation.end = value, now

    async def _page(self, connection: Connection, prefix: str) -> _Page | None:
        target = f"/buckets/{self.bucket}/objects?prefix={quote(prefix, safe='')}"
        try:
            answer = await connection.request("GET", target)
        except Broken:
            self.history.count("LIST broken")
            await trio.sleep(_PAUSE_S)
            return None
        self.history.count(f"LIST {answer.status}")
        if answer.status == 200:
            return _decode_page(answer.body)
        if answer.status == 503:
            await trio.sleep(_PAUSE_S)
        else:
            self.history.violations.append(f"LIST {prefix}: {_shown(answer)}")
        return None

    async def observed(self, key: str, who: int, ask: Ask) -> bool:
        """Record a read that took another way; False: it was not answered."""
        operation = self.history.begin("get", key, ABSENT, trio.current_time(), who)
        try:
            etag = await ask(key)
        except Unanswered:
            self.history.forget(operation)
            return False
        value = ABSENT if etag is None else self.value_of(key, etag)
        if value is None:
            self.history.forget(operation)
            self.history.violations.append(f"READ {key}: nobody wrote ETag {etag}")
            return True
        operation.value, operation.end = value, trio.current_time()
        return True

    async def read_back(self) -> None:
        """Read every key once more, until it answers: what was acknowledged is still there."""
        limiter = trio.CapacityLimiter(8)
        self._answered = trio.current_time()
        async with trio.open_nursery() as nursery:
            for key in list(self.history.operations):
                nursery.start_soon(self._read_back, key, limiter)

    async def _read_back(self, key: str, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            connection = Connection(self._access)
            while trio.current_time() - self._answered < _READ_BACK_S:
                before = len(self.history.operations[key])
                await self._get(connection, key, -1)
                if len(self.history.operations[key]) > before:
                    self._answered = trio.current_time()
                    break
                await trio.sleep(0.1)
            else:
                self.history.violations.append(f"GET {key}: no answer after the faults had ended")
            connection.close_nowait()


def _shown(answer: Answer) -> str:
    return f"{answer.status} {answer.body[:300]!r}"
