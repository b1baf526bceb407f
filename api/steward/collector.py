"""Garbage: abandoned uploads are aborted, references are taken down, and chunks that nobody refers to are deleted.

A round does these in turn, in small steps, each of which is harmless when it is repeated or cut off: what was not done
is told again by the next round. The horizon z is a revision that was the newest `timings.horizon_s` ago.

Why a chunk that is referenced is never deleted, whoever is paused, restarted, late or sent twice:

* A daemon is told to delete a name only after `condemn` was applied, at a place p in the log, with the horizon z raised
  and no reference to the name's row at p. It obeys only if every acknowledgement it ever gave for the name had a
  `seen < z`; what it forgot in a restart counts as seen at a revision that was read after that restart, which is not
  below any `seen` before it.
* A commit after p that refers to the chunk is refused unless each of its acknowledgements has a `seen >= z`. So each
  disk that it names will refuse to delete under z: now, and however late the call comes. If the daemon deleted first,
  it was put anew, for put, renew and delete of one name go one after the other. The row was condemned, and so its
  holders are those disks alone; a late holder is taken only with such a `seen` as well.
* A commit before p that still refers to the chunk keeps its count above 0, and then p does not condemn it. A copy or
  a copied part refers to what has a count above 0, and raises it.
* One file serves all schemes: a disk that another scheme's living row names is not told to delete at p, and one that
  such a row names later has a `seen >= z`.
* `DropHolder`, the word that a copy is gone, carries z too and is void for a row that was referenced since p. So no
  disk is taken out of a row for a copy that it got anew.

None of this rests on an epoch or a clock: these only keep two stewards from doing the same work, and give writers and
readers their time. A daemon that refuses (the name was put or renewed after z) is asked again under a later horizon,
if the chunk is still condemned then; one that is down, when it is back.
"""

from collections.abc import Iterable
from itertools import batched

import msgspec
import trio

from api.nodes import Nodes
from api.peers import Node, TimedMetadata
from api.steward.horizon import Horizon
from api.steward.politeness import polite
from cluster.errors import Refused, TrilithError
from cluster.limits import Timings
from cluster.log import get_logger
from metaraft.commands import (
    AbortUpload,
    Command,
    Condemn,
    Dereference,
    DropHolder,
)
from metaraft.queries import ListStaleUploads, StaleUploadsFound
from metaraft.results import (
    Condemned,
    CondemnedChunk,
    Dereferenced,
    Result,
)

REFERENCES = 1000
"""References that one command takes down: all that it may."""

CONDEMNED = 250
"""Chunks in one answer (chosen): it is kept as the result of its command, and has about 100 bytes for each."""

DELETED = 100
"""Chunks in one call to a daemon (chosen): each is a rename on its disk."""

_log = get_logger("steward")


class Tally(msgspec.Struct):
    """What a round did. Copies are counted, each on its disk: `deleted`; `kept`, because they were put or renewed too
    lately; `waiting` for a daemon that is down or failed."""

    uploads: int = 0
    references: int = 0
    deleted: int = 0
    kept: int = 0
    waiting: int = 0

    @property
    def something(self) -> bool:
        """Whether anything was changed."""
        return bool(self.uploads or self.references or self.deleted)


class Collector:
    """The rounds of one steward. `horizon` is kept up by somebody else."""

    def __init__(self, meta: TimedMetadata, nodes: Nodes, horizon: Horizon, timings: Timings) -> None:
        self._meta = meta
        self._nodes = nodes
        self._horizon = horizon
        self._timings = timings
        self._said: dict[str, str] = {}
        self._silent: set[bytes] = set()

    async def round(self, epoch: int, tally: Tally) -> None:
        """Do all there is to do now, counted into `tally`.

        Raises Refused (StaleSteward) when another process is the steward, and what the metadata raises; what was done
        by then stays done.
        """
        await self._abort_abandoned(epoch, tally)
        await self._dereference(epoch, tally)
        await self._delete(epoch, tally)

    # ---- uploads and references

    async def _abort_abandoned(self, epoch: int, tally: Tally) -> None:
        """As S3's AbortIncompleteMultipartUpload: it counts when an upload was begun, not what it got since."""
        now_ms = self._meta.state_time_ms
        if not now_ms:
            return
        made_before_ms = now_ms - int(self._timings.upload_abandoned_s * 1000)
        cursor: bytes | None = b""
        while cursor is not None:
            async with polite():
                found = await self._meta.read(ListStaleUploads(made_before_ms, cursor), deadline=self._deadline())
            assert isinstance(found, StaleUploadsFound)
            for bucket, key, upload_id in found.uploads:
                async with polite():
                    tally.uploads += await self._abort(AbortUpload(bucket, key, upload_id, made_before_ms, epoch))
            cursor = found.cursor

    async def _abort(self, command: AbortUpload) -> bool:
        try:
            await self._commit(command)
        except Refused as error:
            if error.code in ("NoSuchUpload", "NoSuchBucket"):  # completed or aborted meanwhile
                return False
            raise
        return True

    async def _dereference(self, epoch: int, tally: Tally) -> None:
        more = True
        while more:
            async with polite():
                done = await self._commit(Dereference(REFERENCES, epoch))
            assert isinstance(done, Dereferenced)
            tally.references += done.references
            more = done.more

    # ---- chunks

    async def _delete(self, epoch: int, tally: Tally) -> None:
        """A walk over all that is condemned. The horizon that is in force is as good as one that is old enough: a
        steward that has just begun goes on with what others condemned."""
        self._silent.clear()
        space = await self._nodes.space.read()
        horizon = max(space.horizon, self._horizon.at(self._meta.state_time_ms))
        cursor: bytes | None = b""
        while cursor is not None:
            async with polite():
                page = await self._commit(Condemn(horizon, CONDEMNED, cursor, epoch))
            assert isinstance(page, Condemned)
            for disk_id, chunks in _by_disk(page.chunks).items():
                await self._delete_at(disk_id, chunks, page.horizon, epoch, tally)
            cursor = page.cursor

    async def _delete_at(
        self, disk_id: bytes, chunks: list[CondemnedChunk], horizon: int, epoch: int, tally: Tally
    ) -> None:
        node = self._nodes.node(disk_id)
        for some in batched(chunks, DELETED, strict=False):
            if node is None or not node.connected or disk_id in self._silent:
                tally.waiting += len(some)
                continue
            async with polite():
                gone = await self._deleted(node, some, horizon)
                if gone is None:
                    self._silent.add(disk_id)  # for the rest of the round: the others are not to wait for it
                    tally.waiting += len(some)
                    continue
                tally.deleted += len(gone)
                tally.kept += len(some) - len(gone)
                await self._commit_all(
                    DropHolder(chunk.scheme, chunk.chunk_id, disk_id, horizon, epoch) for chunk in gone
                )

    async def _deleted(
        self, node: Node, chunks: tuple[CondemnedChunk, ...], horizon: int
    ) -> list[CondemnedChunk] | None:
        """Those that the daemon does not have any more; None if it does not say."""
        try:
            answers = await node.delete([chunk.chunk_id for chunk in chunks], horizon, deadline=self._deadline())
        except TrilithError as error:
            if self._said.get(node.name) != error.code:
                _log.warning("chunks_not_deleted", node=node.name, code=error.code, reason=error.message)
            self._said[node.name] = error.code
            return None
        self._said.pop(node.name, None)
        return [chunk for chunk, gone in zip(chunks, answers, strict=True) if gone]

    # ---- commands

    async def _commit_all(self, commands: Iterable[Command]) -> None:
        """Commit at once what may come in any order. Raises one of the errors, when all have ended."""
        errors: list[TrilithError] = []

        async def commit(command: Command) -> None:
            try:
                await self._commit(command)
            except TrilithError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for command in commands:
                nursery.start_soon(commit, command)
        if errors:
            raise errors[0]

    async def _commit(self, command: Command) -> Result:
        return await self._meta.commit(command, deadline=self._deadline())

    def _deadline(self) -> float:
        return trio.current_time() + self._timings.metadata_deadline_s


def _by_disk(chunks: Iterable[CondemnedChunk]) -> dict[bytes, list[CondemnedChunk]]:
    found: dict[bytes, list[CondemnedChunk]] = {}
    for chunk in chunks:
        for disk_id in chunk.holders:
            found.setdefault(disk_id, []).append(chunk)
    return found
