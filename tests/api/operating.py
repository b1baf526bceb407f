"""Operations over real daemons and the real state machine, which runs in memory without a log."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from api.access.decisions import Principal
from api.conditions import NO_CONDITION
from api.digests import Digester, ExpectedDigests
from api.operations.calls import Call
from api.operations.composition import Operations
from api.operations.values import Description, NamedPart, Written
from api.ranges import Span
from cluster.errors import Refused, Unavailable
from cluster.limits import Limits
from metaraft.commands import (
    Command,
)
from metaraft.model import ChecksumAlgorithm, Copies, Upload, Which
from metaraft.queries import Answer, ObjectFound, Query
from metaraft.results import (
    Failed,
    Result,
)
from tests.api.disks import World, world
from tests.metaraft.metadata import Metadata

PLAIN = Description("text/plain", {}, {})
NOTHING_EXPECTED = ExpectedDigests()
PART_BYTES_MIN = 1000
LIMITS = Limits(disk_reserve_bytes=0, part_bytes_min=PART_BYTES_MIN)


class MachineMetadata:
    """The metadata of one member that commits at once; `commits` and `asked` have all commands and queries.

    `before` is awaited before each of them is looked at, `after` when a command was applied and not answered yet. State
    time moves only where a test moves it.
    """

    def __init__(self) -> None:
        self.state = Metadata()
        self.before: Callable[[Command | Query], Awaitable[None]] | None = None
        self.after: Callable[[Command], Awaitable[None]] | None = None
        self.commits: list[Command] = []
        self.asked: list[Query] = []

    async def commit(
        self,
        command: Command,
        *,
        deadline: float,
        key: bytes | None = None,
        trace_id: str = "",
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        """Apply a command."""
        await trio.lowlevel.checkpoint()
        if self.before is not None:
            await self.before(command)
        self.commits.append(command)
        result = self.state.do(command, key=key, buckets=buckets)
        if self.after is not None:
            await self.after(command)
        return _raised(result)

    @property
    def state_time_ms(self) -> int:
        """State time."""
        return self.state.now_ms

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Answer a query."""
        await trio.lowlevel.checkpoint()
        if self.before is not None:
            await self.before(query)
        self.asked.append(query)
        return _raised(self.state.ask(query))


def _raised[T](answer: T) -> T:
    if isinstance(answer, Failed):
        raise (Refused if answer.kind == "refused" else Unavailable)(answer.code, answer.message)
    return answer


class Body:
    """A body in packets."""

    def __init__(self, data: bytes, packet_bytes: int = 65536) -> None:
        self._data = data
        self._packet_bytes = packet_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), self._packet_bytes):
            yield self._data[start : start + self._packet_bytes]
            await trio.lowlevel.checkpoint()


class Operator:
    """One who calls the operations, with the shortest way to say what is called most."""

    def __init__(self, do: Operations) -> None:
        self.do = do

    def call(self, idempotency: str | None = None) -> Call:
        """A call of root's."""
        return Call(Principal("root", "root"), trio.current_time() + 10, "", idempotency)

    async def put(self, key: str, data: bytes, bucket: str = "bucket", description: Description = PLAIN) -> Written:
        """Write an object."""
        return await self.do.objects.put(
            bucket,
            key,
            description,
            Body(data),
            size=len(data),
            expected=NOTHING_EXPECTED,
            condition=NO_CONDITION,
            call=self.call(),
        )

    async def find(
        self,
        key: str,
        bucket: str = "bucket",
        *,
        version: Which | None = None,
        offset: int = 0,
        part: int | None = None,
    ) -> ObjectFound:
        """A version as a GET finds it."""
        return await self.do.objects.find(
            bucket, key, self.call(), with_holders=True, version=version, offset=offset, part=part
        )

    async def get(self, key: str, bucket: str = "bucket", version: Which | None = None) -> bytes:
        """The bytes of a version."""
        return await self.content(await self.find(key, bucket, version=version))

    async def content(self, found: ObjectFound, start: int = 0, stop: int | None = None) -> bytes:
        """A span of what was found."""
        span = Span(start, found.version.size if stop is None else stop)
        content = self.do.objects.content(found, span, self.call())
        if isinstance(content, bytes):
            return content
        data = bytearray()
        async with content() as pieces:
            async for piece in pieces:
                data += piece
        return bytes(data)

    async def begin(self, key: str, bucket: str = "bucket") -> Upload:
        """Begin an upload that says nothing on checksums."""
        return await self.do.uploads.create(bucket, key, PLAIN, None, self.call())

    async def part(
        self,
        upload: Upload,
        number: int,
        data: bytes,
        bucket: str = "bucket",
        algorithms: tuple[ChecksumAlgorithm, ...] = (),
    ) -> NamedPart:
        """Put a part; what names it afterwards."""
        stored = await self.do.uploads.put_part(
            bucket,
            upload.key,
            upload.upload_id,
            number,
            Body(data),
            size=len(data),
            expected=ExpectedDigests(algorithms=algorithms),
            call=self.call(),
        )
        return NamedPart(number, f'"{stored.etag}"')

    async def complete(self, upload: Upload, *parts: NamedPart, bucket: str = "bucket") -> Written:
        """Complete an upload without a condition."""
        return await self.do.uploads.complete(
            bucket, upload.key, upload.upload_id, parts, condition=NO_CONDITION, call=self.call()
        )

    async def upload(self, key: str, *datas: bytes, bucket: str = "bucket") -> Written:
        """An object made of parts 1, 2, ..."""
        upload = await self.begin(key, bucket)
        parts = [await self.part(upload, number, data, bucket) for number, data in enumerate(datas, 1)]
        return await self.complete(upload, *parts, bucket=bucket)


class Operating(Operator):
    """The operations of one API process over `meta` and the daemons of `disks`. There is a bucket `bucket`."""

    def __init__(self, disks: World, meta: MachineMetadata) -> None:
        super().__init__(
            Operations.over(
                meta,
                disks.writer,
                disks.reader,
                scheme=Copies(3),
                limits=disks.config.limits,
                clock=trio.current_time,
                commit_s=10,
            )
        )
        self.disks = disks
        self.meta = meta

    def chunks_on_disks(self) -> set[str]:
        """The names of all chunks that are on any disk."""
        return {path.name for path in Path(self.disks.config.base).glob("*/space-1/??/*")}


@asynccontextmanager
async def operating(root: Path, *, limits: Limits = LIMITS, up: bool = True) -> AsyncGenerator[Operating]:
    """Operations on three daemons, which are up or not."""
    meta = MachineMetadata()
    async with world(root, limits=limits, metadata=meta, up=None if up else []) as disks:
        found = Operating(disks, meta)
        await found.do.buckets.create("bucket", found.call())
        yield found


def etag_of(*datas: bytes) -> str:
    """The ETag of an object of these parts, as S3's documentation has it."""
    digests = b"".join(hashlib.md5(data).digest() for data in datas)
    return f"{hashlib.md5(digests).hexdigest()}-{len(datas)}"


def digest(algorithm: ChecksumAlgorithm, data: bytes) -> bytes:
    """The plain digest of some bytes."""
    digester = Digester((algorithm,))
    digester.update(data)
    return digester.digests().values[algorithm]
