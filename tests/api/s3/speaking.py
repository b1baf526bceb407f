"""The S3 dialect over one member's rows in memory, or over any. Who asks is told by the test, and not signed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from api.access.decisions import ANONYMOUS, Principal
from api.access.gate import Gate
from api.messages import Request, Response, parse_headers
from api.operations.buckets import Buckets
from api.operations.listing import Listing
from api.operations.upload_reads import UploadReads
from api.s3 import xml
from api.s3.authentication import SignedPayload
from api.s3.body import open_body
from api.s3.buckets import BucketHandlers
from api.s3.configurations import ConfigurationHandlers
from api.s3.cors_handlers import CorsHandlers
from api.s3.dialect import Authenticated, Handler, Parts, S3Dialect
from api.s3.listings import ListingHandlers
from api.s3.payload import payload_of
from metaraft.commands import (
    Command,
    CreateBucket,
)
from metaraft.model import Copies
from metaraft.results import (
    Result,
)
from tests.api.local_metadata import LocalMetadata

ROOT = Principal("ROOTKEY", "root", "root")
ALICE = Principal("a" * 64, "user", "Alice")
BOB = Principal("b" * 64, "user", "Bob")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def tree(self) -> xml.Node:
        """The body as XML, whatever its root is."""
        return xml.parse(self.body, self.body.partition(b"\n<")[2].partition(b">")[0].split(b" ")[0].decode())

    @property
    def code(self) -> str:
        """The error's code; of a HEAD, from its header."""
        if self.status < 400:
            return ""
        return self.tree.value("Code") or "" if self.body else self.headers["x-error-code"]

    def texts(self, element: str, inner: str = "Key") -> list[str]:
        """The text of `inner` in each `element`."""
        return [node.value(inner) or "" for node in self.tree.all(element)]


class _Body:
    """A body in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class Told:
    """Authentication by the test's word."""

    def __init__(self) -> None:
        self.principal = ANONYMOUS

    async def authenticate(self, request: Request, bucket: str | None) -> Authenticated:
        """The principal of this call."""
        del bucket
        await trio.lowlevel.checkpoint()
        body = open_body(request, payload_of(request.headers), None)
        return Authenticated(self.principal, SignedPayload(body), request)


class NoPosts:
    """Upload forms are not spoken here."""

    async def answer(self, request: Request, bucket: str) -> Response:
        """Never."""
        raise AssertionError(f"a form for {bucket}: {request}")


class Dialect:
    """The dialect over operations on buckets, and who asks it."""

    def __init__(self, buckets: Buckets, listing: Listing, uploads: UploadReads, region: str) -> None:
        self._told = Told()
        cors = CorsHandlers(buckets)
        self.handlers: dict[str, Handler] = {
            **BucketHandlers(buckets, region).table(),
            **ListingHandlers(buckets, listing, uploads).table(),
            **ConfigurationHandlers(buckets).table(),
            **cors.table(),
        }
        parts = Parts(self._told, Gate(buckets), buckets, cors, NoPosts(), self.handlers, ("s3.test",), "host-1")
        self._dialect = S3Dialect(parts)

    async def call(
        self, method: str, target: str, body: bytes | str = b"", *, by: Principal = ROOT, **headers: str
    ) -> Answer:
        """One request; headers are named with underscores for hyphens."""
        sent = body.encode() if isinstance(body, str) else body
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return await self.send(method, target.encode(), sent, fields, by=by)

    async def send(
        self, method: str, target: bytes, body: bytes, fields: Iterable[tuple[bytes, bytes]], *, by: Principal = ROOT
    ) -> Answer:
        """One request in bytes. Raises Refused (InvalidHeader), as the port does before any dialect."""
        path, _, query = target.partition(b"?")
        request = Request(
            method=method,
            path=path,
            query=query,
            headers={"host": "test"} | parse_headers(fields),
            body=_Body([body[:1], body[1:]]),
            length=len(body),
            client="127.0.0.1",
            request_id="00000000000000ab",
            deadline=trio.current_time() + 5,
        )
        self._told.principal = by
        response = await self._dialect.answer(request)
        assert response.stream is None
        if response.length is not None and method != "HEAD":
            assert response.length == len(response.body)
        return Answer(response.status, dict(response.headers), response.body)


class Speaking(Dialect):
    """The dialect, and the rows under it."""

    def __init__(
        self,
        region: str = "us-east-1",
        *,
        meta: LocalMetadata | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.meta = meta or LocalMetadata()
        buckets = Buckets(self.meta, Copies(3), trio.current_time)
        super().__init__(buckets, Listing(self.meta, clock), UploadReads(self.meta, clock), region)

    def do(self, command: Command) -> Result:
        """A command on the rows."""
        return self.meta.machine.do(command)

    def bucket(self, name: str = "bucket", owner: Principal = ROOT) -> None:
        """Make a bucket without the dialect."""
        self.do(CreateBucket(name, owner.name, Copies(3)))
