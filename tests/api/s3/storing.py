"""The S3 dialect over real chunk daemons and the real state machine. Who asks is told by the test, and not signed."""

import base64
import hashlib
import zlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from api.access.decisions import Principal
from api.access.gate import Gate
from api.messages import Request, parse_headers
from api.operations.composition import Operations
from api.s3.buckets import BucketHandlers
from api.s3.cors_handlers import CorsHandlers
from api.s3.dialect import Parts, S3Dialect
from api.s3.listings import ListingHandlers
from api.s3.object_handlers import object_handlers
from api.s3.waiting import LongAnswers
from cluster.limits import Limits
from tests.api.operating import LIMITS, Operating, operating
from tests.api.s3.speaking import ROOT, Answer, NoPosts, Told

BUCKET = "/bucket"
DOMAINS = ("s3.test",)


class Caller:
    """One who calls the dialect over some operations. Helpers that name no bucket are about `bucket`."""

    def __init__(self, operations: Operations, limits: Limits, answers: LongAnswers) -> None:
        buckets = operations.buckets
        gate, cors = Gate(buckets), CorsHandlers(buckets)
        handlers = {
            **BucketHandlers(buckets, "us-east-1").table(),
            **ListingHandlers(buckets, operations.listing, operations.uploads).table(),
            **cors.table(),
            **object_handlers(operations, gate, limits, answers, DOMAINS),
        }
        self._told = Told()
        self.dialect = S3Dialect(Parts(self._told, gate, buckets, cors, NoPosts(), handlers, DOMAINS, "host-1"))

    async def call(
        self,
        method: str,
        target: str | bytes,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        by: Principal = ROOT,
        length: int | None = -1,
    ) -> Answer:
        """One request. `length`: what its Content-Length says, None for a body in chunks; else the body's."""
        raw = target.encode() if isinstance(target, str) else target
        path, _, query = raw.partition(b"?")
        sent = body.encode() if isinstance(body, str) else body
        given = {"host": "s3.test:9000", **(headers or {})}
        request = Request(
            method=method,
            path=path,
            query=query,
            headers=parse_headers([(name.encode(), value.encode()) for name, value in given.items()]),
            body=Pieces([sent[start : start + 65_536] for start in range(0, len(sent), 65_536)]),
            length=len(sent) if length == -1 else length,
            client="127.0.0.1",
            request_id="00000000000000a1",
            deadline=trio.current_time() + 10,
        )
        self._told.principal = by
        response = await self.dialect.answer(request)
        got = response.body
        if response.stream is not None and method != "HEAD":
            async with response.stream() as pieces:
                got = b"".join([bytes(piece) async for piece in pieces])
        if response.length is not None and method != "HEAD":
            assert response.length == len(got)
        fields = dict(response.headers)
        assert len(fields) == len(response.headers), "no header comes twice"
        if response.length is not None:
            fields["content-length"] = str(response.length)
        return Answer(response.status, fields, got)

    async def put(self, target: str, data: bytes | str = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """A PUT that must succeed, on a path below the bucket."""
        answer = await self.call("PUT", f"{BUCKET}/{target}", data, headers)
        assert answer.status == 200, answer.body
        return answer

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A GET on a path below the bucket."""
        return await self.call("GET", f"{BUCKET}/{target}", headers=headers)

    async def head(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A HEAD on a path below the bucket."""
        return await self.call("HEAD", f"{BUCKET}/{target}", headers=headers)

    async def delete(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A DELETE on a path below the bucket."""
        return await self.call("DELETE", f"{BUCKET}/{target}", headers=headers)

    async def versioning(self, status: str = "Enabled") -> None:
        """Change the bucket's versioning."""
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        assert (await self.call("PUT", f"{BUCKET}?versioning", body)).status == 200

    async def begin(self, key: str, headers: Mapping[str, str] | None = None) -> str:
        """Begin an upload; its id."""
        answer = await self.call("POST", f"{BUCKET}/{key}?uploads", headers=headers)
        assert answer.status == 200, answer.body
        return answer.tree.value("UploadId") or ""

    async def upload(self, key: str, *datas: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """An object made of parts 1, 2, ..., with no word on checksums of parts."""
        upload = await self.begin(key, headers)
        etags = [
            (await self.put(f"{key}?partNumber={number}&uploadId={upload}", data)).headers["etag"]
            for number, data in enumerate(datas, 1)
        ]
        return await self.complete(key, upload, enumerate(etags, 1))

    async def complete(
        self, key: str, upload: str, parts: Iterable[tuple[int, str]], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Complete an upload of parts by number and ETag."""
        return await self.call("POST", f"{BUCKET}/{key}?uploadId={upload}", completion(*parts), headers)


class Storing(Caller):
    """One who calls the dialect over `do`."""

    def __init__(self, do: Operating, limits: Limits, answers: LongAnswers) -> None:
        super().__init__(do.do, limits, answers)
        self.do = do


def completion(*parts: tuple[int, str] | tuple[int, str, str]) -> str:
    """The document that completes an upload; a third text is more elements of the part."""
    inner = "".join(
        f"<Part><PartNumber>{part[0]}</PartNumber><ETag>{part[1]}</ETag>{''.join(part[2:])}</Part>" for part in parts
    )
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>"


class Pieces:
    """A body in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


@asynccontextmanager
async def storing(root: Path, *, limits: Limits = LIMITS, disks: bool = True) -> AsyncGenerator[Storing]:
    """The dialect over three daemons in a folder. Without `disks`: none is up, so only small objects can be stored."""
    async with operating(root, limits=limits, up=disks) as do, trio.open_nursery() as nursery:
        answers = LongAnswers("host-1")
        await nursery.start(answers.run)
        yield Storing(do, limits, answers)
        nursery.cancel_scope.cancel()


def b64(raw: bytes) -> str:
    """Bytes as checksum headers have them."""
    return base64.b64encode(raw).decode()


def md5(data: bytes) -> str:
    """The MD5 as Content-MD5 has it."""
    return b64(hashlib.md5(data).digest())


def crc32(data: bytes) -> str:
    """The CRC32 as its header has it."""
    return b64(zlib.crc32(data).to_bytes(4, "big"))


def sha256(data: bytes) -> str:
    """The SHA-256 as its header has it."""
    return b64(hashlib.sha256(data).digest())


def sha1(data: bytes) -> str:
    """The SHA-1 as its header has it."""
    return b64(hashlib.sha1(data).digest())
