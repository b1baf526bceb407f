"""Writes: cuts a body in chunks, stores each on a quorum of disks, and digests the whole.

Rules: a body of up to `limits.inline_bytes` becomes part of the metadata and touches no daemon. A larger one flows
through a bounded number of buffers of the process's one budget, whatever its size and whoever is slow: while a chunk is
being stored the next is received, and no more than that. Fewer than W disks up is said before a byte is read. Digests
are compared before anything can be visible. Until the commit the chunks are renewed; after it the last copies may still
arrive, and are told to the metadata. A body that ends early, is too long, or breaks, leaves nothing but unreferenced
chunks.
"""

import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import trio

from api.budget import Budget
from api.digests import ContentDigests, ExpectedDigests
from api.holding import Holding
from api.late_holders import LateHolders
from api.nodes import Nodes
from api.peers import Metadata
from api.replication import Replication
from api.upload import Packet, Received, Resources, Upload, check_size
from cluster.config import Config
from cluster.errors import Refused, Unavailable
from metaraft.commands import (
    StoredChunk,
)
from metaraft.model import Body, Bucket, Checksum, ChecksumAlgorithm, Copies, Inline, Part, Parts

_RELIEVE_S = 0.5


class Stored:
    """A body that is stored and not yet committed: as a `body` of its own, or as a `part` of an upload.

    `etag` is S3's without quotes; `checksums` are in the order in which they were asked for.
    """

    def __init__(self, received: Received, expected: ExpectedDigests, scheme: Copies, holding: Holding) -> None:
        self.size: int = received.size
        self.digests: ContentDigests = received.digests
        self.etag: str = received.digests.md5.hex()
        self.checksums: dict[ChecksumAlgorithm, Checksum] = received.digests.checksums(expected.algorithms)
        self.is_committed = False
        self._inline = received.inline
        self._refs = received.chunks
        self._scheme = scheme
        self._holding = holding

    @property
    def body(self) -> Body:
        """Where the bytes are, as a version says it."""
        return Parts((self.part,)) if self._inline is None else Inline(self._inline)

    @property
    def part(self) -> Part:
        """The chunks, as a part of an upload has them; the body is none that lies in the metadata."""
        assert self._inline is None, "this body is not in chunks"
        return Part(
            size=self.size, md5=self.digests.md5, chunks=self._refs, scheme=self._scheme, checksums=self.checksums
        )

    def chunks(self) -> tuple[StoredChunk, ...]:
        """The chunks with all acknowledgements known now: call it when the command is built, each time."""
        return self._holding.chunks()

    async def put_again(self) -> None:
        """Renew all chunks under the present revision, after the commit said PutAgain; then `chunks` anew.

        Raises Unavailable (PutAgain) when some are gone and only the client could send them again.
        """
        await self._holding.put_again()

    def committed(self) -> None:
        """The command built from the last `chunks()` is committed: copies still under way may arrive, and are told."""
        self.is_committed = True
        self._holding.committed()


class Writer:
    """The writer of one API process. `run` must be running."""

    def __init__(self, nodes: Nodes, meta: Metadata, budget: Budget, config: Config) -> None:
        self._nodes = nodes
        self._budget = budget
        self._config = config
        self._late = LateHolders(meta, config)
        self._threads = trio.CapacityLimiter(max(2, os.cpu_count() or 2))
        self._resources: Resources | None = None
        self._laggards: dict[Replication, None] = {}
        self._uploads: dict[Upload, None] = {}
        budget.on_shortage(self._make_room)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The home of all that goes on beside a request: copies under way, digests, late acknowledgements."""
        async with trio.open_nursery() as nursery:
            self._resources = Resources(self._nodes, self._budget, self._config, self._threads, nursery, self._changed)
            try:
                nursery.start_soon(self._late.run)
                task_status.started()
                await self._relieve()
            finally:
                self._resources = None

    @asynccontextmanager
    async def store(
        self,
        body: AsyncIterable[Packet],
        *,
        bucket: Bucket,
        size: int | None,
        expected: ExpectedDigests,
        trace_id: str,
        inline: bool = True,
    ) -> AsyncIterator[Stored]:
        """Read the whole body and store it; what is given can be committed while the context is open.

        What is expected of the body, and late of what comes behind it, is compared when all of it was read.
        Not `inline`: in chunks, however small it is, as the parts of uploads are. Raises Refused (BadDigest,
        IncompleteBody, EntityTooLarge), Unavailable (NoSpace, TooFewDisks, SlowDown, what the metadata says), and
        whatever the body raises. Left without `committed`, all that is under way is dropped.
        """
        if self._resources is None:
            raise Unavailable("ShuttingDown", "this process takes no uploads now", retry_after_s=1.0)
        scheme = bucket.scheme
        if not isinstance(scheme, Copies):
            raise Refused("UnknownScheme", f"bucket {bucket.name!r} has the scheme {scheme!r}; known is copies(n)")
        check_size(self._config.limits, size or 0)
        holding = Holding(
            self._nodes, self._late, self._config.timings, scheme=scheme, space=bucket.space, trace_id=trace_id
        )
        upload = Upload(
            self._resources,
            holding,
            scheme,
            bucket.space,
            trace_id,
            inline_max=self._config.limits.inline_bytes if inline else -1,
            algorithms=expected.needed(),
        )
        stored: Stored | None = None
        self._uploads[upload] = None
        try:
            received = await upload.receive(body, size)
            received.digests.check(expected)
            if expected.late is not None:
                received.digests.check(expected.late())
            stored = Stored(received, expected, scheme, holding)
            yield stored
        finally:
            del self._uploads[upload]
            upload.close()
            if stored is None or not stored.is_committed:
                holding.drop()

    async def _relieve(self) -> None:
        """While somebody waits for memory, look again who has held some for too long by now."""
        while True:
            await trio.sleep(_RELIEVE_S)
            if self._budget.waiting:
                self._make_room()

    def _changed(self, replication: Replication) -> None:
        if not replication.lagging:
            self._laggards.pop(replication, None)
        elif self._budget.waiting:
            replication.drop()
        else:
            self._laggards[replication] = None

    def _make_room(self) -> None:
        """Somebody waits for a buffer: drop the oldest laggard, or have an upload store the part it has."""
        for replication in self._laggards:
            del self._laggards[replication]
            replication.drop()
            return
        for upload in self._uploads:
            if upload.maybe_cut_nowait():
                return
