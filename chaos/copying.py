"""A cluster of members with a large database and a full tail of the log: how long they take to start, and what a copy
of the database costs the commits.

The database is made by the members' own state machine, once, and its file copied to each; their journals begin where
it ends, and hold a tail of small commands that no database has yet. So the first start is the worst there can be. Then
commits are timed alone, while the leader makes a copy, and while it sends one. Between, the processes are killed
with -9.
"""

import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import trio

from chaos.bench import Figure, timed
from chaos.roles import Roles
from cluster.config import Config, MemberConfig, address
from cluster.create import Shape
from cluster.errors import Unavailable
from cluster.identity import NodeIdentity, load_identity
from cluster.limits import KIB
from cluster.rpc import Channel
from metaraft.client import MetaClient
from metaraft.commands import Batch, Command, CreateBucket, Envelope, PutObject, Touch
from metaraft.journal import Journal
from metaraft.journal_records import Entry
from metaraft.model import Copies, Inline
from metaraft.server import journal_directory, store_directory
from metaraft.snapshot_copy import Copied
from metaraft.store import DATA_FILE, Store
from metaraft.wire import SERVICE, CopyPiece, CopyWanted, MemberStatus, Method, encode

INLINE_BYTES = 4 * KIB
"""Content of each object: the largest that lies in the metadata by default."""

BATCH = 400
"""Objects in one entry."""

PIECE_BYTES = 256 * KIB
STARTED_S_MAX = 300.0
COMMAND = Touch(padding=bytes(160))
"""200 bytes, encoded with its key."""

TERM = 1

_decode_copied = msgspec.msgpack.Decoder(Copied).decode


class Restart(msgspec.Struct, kw_only=True):
    """A start of killed members: seconds until one answered a commit and until all had applied all, how many terms that
    took, and the most memory that one of them had."""

    name: str
    answered_s: float
    applied_s: float
    terms: int
    resident_mib: float


class Report(msgspec.Struct, kw_only=True):
    """A whole run. `ratio` is p99 of commits during each part of a copy over p99 without one."""

    database_mib: float
    rows: int
    tail_mib: float
    tail_entries: int
    restarts: list[Restart]
    figures: list[Figure]
    copy_made_s: float
    copy_sent_mib_s: float


async def run(folder: Path, *, size: int, tail: int, seconds: float, say: Callable[[str], None]) -> Report:
    """Make the cluster under `folder`, and measure. Processes are ended; the folder is the caller's."""
    roles = Roles(folder, Shape(members=3, chunkds=1))
    config = roles.config
    began = time.monotonic()
    made = await trio.to_thread.run_sync(_fill, config, size, tail)
    say(f"{made[0] / 2**20:.0f} MiB, {made[1]} rows and {made[2]} entries made in {time.monotonic() - began:.0f} s")
    client = MetaClient(config, load_identity(config, config.api[0].name))
    report = Report(
        database_mib=round(made[0] / 2**20, 1),
        rows=made[1],
        tail_mib=round(tail / 2**20, 1),
        tail_entries=made[2],
        restarts=[],
        figures=[],
        copy_made_s=0.0,
        copy_sent_mib_s=0.0,
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            names = [member.name for member in config.member]
            await _start(roles, client, report, "all, with the tail to be applied", names, say)
            await _start(roles, client, report, "all again", names, say)
            leader = await _leader(client)
            followers = [member.name for member in config.member if member.slot != leader]
            await _start(roles, client, report, "one", followers[:1], say)
            await _time_copies(config, client, report, seconds, say)
            nursery.cancel_scope.cancel()
    finally:
        await trio.to_thread.run_sync(roles.end)
    return report


# ---- what there is before


def _fill(config: Config, size: int, tail: int) -> tuple[int, int, int]:
    """Databases and journals of all members. Blocking. The database's bytes and rows, and the tail's entries."""
    first, *others = config.member
    store = Store.open(store_directory(config, first), cluster_id=config.cluster_id, limits=config.limits)
    entries = _objects()
    while store.facts().used_bytes < size:
        store.apply([next(entries)])
    store.sync()
    facts = store.facts()
    store.close()
    for other in others:
        shutil.copyfile(store_directory(config, first) / DATA_FILE, store_directory(config, other) / DATA_FILE)
    return facts.used_bytes, facts.rows, max(_begin(config, member, facts.applied, tail) for member in config.member)


def _objects() -> Iterator[Entry]:
    """Entries that fill a database: a bucket, then objects of which each is a row and a half. A second of state time
    passes with each entry, so that few results are kept."""
    yield Entry(1, TERM, _batch(1, 1000, [CreateBucket("fill", "owner", Copies(3))]))
    index = 1
    while True:
        index += 1
        names = (f"{index:08}/{number:04}" for number in range(BATCH))
        yield Entry(index, TERM, _batch(index, 1000 * index, [_object(name) for name in names]))


def _object(name: str) -> PutObject:
    content = (name.encode() * INLINE_BYTES)[:INLINE_BYTES]
    return PutObject("fill", 1, name, INLINE_BYTES, "", "text/plain", Inline(content))


def _batch(index: int, time_ms: int, commands: Sequence[Command]) -> bytes:
    envelopes = [
        encode(Envelope(1, 1, index.to_bytes(8) + at.to_bytes(8), time_ms, command))
        for at, command in enumerate(commands)
    ]
    return encode(Batch(time_ms, tuple(msgspec.Raw(envelope) for envelope in envelopes)))


def _begin(config: Config, member: MemberConfig, applied: int, tail: int) -> int:
    """A journal that begins where the database ends and goes on for `tail` bytes, a small command each millisecond."""
    journal = Journal.open(
        journal_directory(config, member),
        cluster_id=config.cluster_id,
        slot=member.slot,
        incarnation=member.incarnation,
        limits=config.limits,
    )
    journal.set_term(TERM, None)
    journal.reset(applied, TERM)
    journal.sync()
    size, index = 0, applied
    while size < tail:
        index += 1
        data = _batch(index, 1000 * applied + index - applied, [Touch()])
        journal.add(index, TERM, data)
        size += len(data) + 40
        if index % 10_000 == 0:
            journal.sync()
    journal.sync()
    journal.close()
    return index - applied


# ---- starts


async def _start(
    roles: Roles, client: MetaClient, report: Report, name: str, members: list[str], say: Callable[[str], None]
) -> None:
    """Kill these members (if they run), start them, and note how long it takes."""
    term = max((status.term for status in await client.status()), default=0) if report.restarts else TERM
    for member in members:
        if member in roles.processes:
            roles.kill(member)
    began = trio.current_time()
    for member in members:
        roles.start(member, wait=False)
    resident = 0
    with trio.fail_after(STARTED_S_MAX):
        await client.commit(Touch(), deadline=trio.current_time() + STARTED_S_MAX)
        answered = trio.current_time() - began
        while not _all_applied(found := await client.status()):
            resident = max(resident, *(roles.resident_bytes(member) for member in members))
            await trio.sleep(0.05)
    done = Restart(
        name=name,
        answered_s=round(answered, 2),
        applied_s=round(trio.current_time() - began, 2),
        terms=max(status.term for status in found) - term,
        resident_mib=round(max(resident, *(roles.resident_bytes(member) for member in members)) / 2**20, 1),
    )
    report.restarts.append(done)
    say(msgspec.json.encode(done).decode())


def _all_applied(found: list[MemberStatus]) -> bool:
    commit = max(status.commit for status in found)
    return all(status.role != "unreachable" and status.applied >= commit > 0 for status in found)


async def _leader(client: MetaClient) -> int:
    await client.commit(Touch(), deadline=trio.current_time() + 30)
    assert client.leader is not None
    return client.leader


# ---- commits beside a copy


async def _time_copies(
    config: Config, client: MetaClient, report: Report, seconds: float, say: Callable[[str], None]
) -> None:
    def done(figure: Figure) -> None:
        if report.figures:
            figure.ratio = f"p99 {figure.p99_ms / report.figures[0].p99_ms:.2f} of it alone"
        report.figures.append(figure)
        say(msgspec.json.encode(figure).decode())

    async def make(_: int) -> Callable[[], Awaitable[None]]:
        async def commit() -> None:
            await client.commit(COMMAND, deadline=trio.current_time() + 30)

        return commit

    done(await timed("commit 200 B", 64, 200, seconds, make))
    leader = await _leader(client)
    asking = _Asking(config, leader)
    async with trio.open_nursery() as nursery:
        await nursery.start(asking.channel.run)
        await asking.channel.wait_connected()
        nursery.start_soon(asking.wait_made)
        done(await timed("... a copy is made", 64, 200, seconds, make))
        copied = await asking.made()
        report.copy_made_s = round(asking.took_s, 1)
        nursery.start_soon(asking.read, copied)
        done(await timed("... a copy is sent", 64, 200, seconds, make))
        report.copy_sent_mib_s = round(asking.sent / 2**20 / (trio.current_time() - asking.began), 1)
        nursery.cancel_scope.cancel()


class _Asking:
    """Asks the leader for a copy, as a member that lags would; what it gets is counted."""

    def __init__(self, config: Config, leader: int) -> None:
        target = next(member for member in config.member if member.slot == leader)
        me = next(member for member in config.member if member.slot != leader)
        self.channel = Channel(
            address(target.dial or target.listen, config.base),
            target.name,
            SERVICE,
            NodeIdentity(config.cluster_id, me.name),
            config.limits,
            config.timings,
        )
        self.sent = 0
        self.took_s = 0.0
        self.began = 0.0
        self._copied: Copied | None = None
        self._there = trio.Event()

    async def wait_made(self) -> None:
        """Until the copy is there."""
        began = trio.current_time()
        while self._copied is None:
            try:
                body = await self._ask(Method.COPY_OFFER, CopyWanted(1))
            except Unavailable as error:
                if error.code != "CopyUnderWay":
                    raise
                await trio.sleep(0.2)
            else:
                self._copied = _decode_copied(body)
        self.took_s = trio.current_time() - began
        self._there.set()

    async def made(self) -> Copied:
        """The copy."""
        await self._there.wait()
        assert self._copied is not None
        return self._copied

    async def read(self, copied: Copied) -> None:
        """Read it over and over."""
        self.began = trio.current_time()
        while True:
            for offset in range(0, copied.size, PIECE_BYTES):
                length = min(PIECE_BYTES, copied.size - offset)
                self.sent += len(await self._ask(Method.COPY_READ, CopyPiece(copied.blake3, offset, length)))

    async def _ask(self, method: Method, body: CopyWanted | CopyPiece) -> bytes:
        return await self.channel.call(method, encode(body), deadline=trio.current_time() + 30)
