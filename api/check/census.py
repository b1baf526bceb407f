"""Holds the metadata against the disks: which chunks that something refers to are where, and what lacks some.

Rules:
* A copy counts if the metadata names the disk for it and the disk's daemon says that it is there; its bytes are not
  read (every byte is verified whenever it is).
* A chunk without any copy is **missing**, one with fewer than a write needs is **thin**. Both are traced back to the
  versions and uploads that refer to them; what only deleted versions refer to is no loss.
* A copy on a disk that the metadata does not name, which an older state of it may well not know of, can be told to it:
  the daemon renews it under the present revision, and that acknowledgement goes through the log as a late one does.
* Nothing is lost or deleted by any of this, and the walk gives way to clients. The cluster may serve meanwhile: no
  chunk is deleted within `timings.horizon_s` of its last reference, so what is found missing was referred to lately.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import trio

from api.operations.versions import version_id
from api.peers import Metadata
from api.steward.politeness import polite
from cluster.errors import TrilithError
from cluster.limits import Timings
from metaraft.commands import Ack, AddHolders, StoredChunk
from metaraft.model import Scheme
from metaraft.queries import (
    ChunksFound,
    GetSpace,
    ListChunks,
    ListedChunk,
    ListReferences,
    Reference,
    ReferencesFound,
    SpaceFound,
)

NAMED_MAX = 100_000
"""Objects that are named one by one (chosen: some 30 MB); all are counted."""

LACKING_MAX = 1_000_000
"""Chunks that are traced back to what refers to them (chosen: some 300 MB); all are counted."""


class Disk(Protocol):
    """What is needed of a chunk daemon: see `chunkd.client.ChunkClient`."""

    name: str
    disk_id: bytes

    async def have(self, ids: Sequence[bytes], *, deadline: float) -> list[bool]:
        """Which chunks are there."""

    async def renew(self, ids: Sequence[bytes], seen: int, *, deadline: float) -> list[bool]:
        """Acknowledge again those that are there."""


class Affected(msgspec.Struct, frozen=True):
    """A version, or (`upload_id`) an upload under way, and how many of its chunks are missing and thin."""

    bucket: str
    key: str
    version_id: str
    upload_id: str
    missing: int
    thin: int


class Report(msgspec.Struct):
    """What was found. `untold`: copies that the metadata does not know of; `told`: those that it was told of.
    `silent`: daemons that did not answer, so what they have is not known. `untraced`: lacking chunks beyond
    `LACKING_MAX`; what refers to no other lacking chunk is not in `objects`, nor counted in `objects_*`."""

    chunks: int = 0
    missing: int = 0
    thin: int = 0
    untold: int = 0
    told: int = 0
    silent: list[str] = []
    objects_missing: int = 0
    objects_thin: int = 0
    objects: list[Affected] = []
    untraced: int = 0

    @property
    def whole(self) -> bool:
        """Every version and upload has enough copies of all its chunks."""
        return self.objects_missing == self.objects_thin == self.untraced == 0


type _Chunk = tuple[Scheme, bytes]


@dataclass
class _Lacking:
    missing: set[_Chunk] = field(default_factory=set)
    thin: set[_Chunk] = field(default_factory=set)


class Census:
    """One walk over all chunks, and over all references if some chunk lacks copies."""

    def __init__(
        self,
        meta: Metadata,
        disks: Sequence[Disk],
        silent: Sequence[str],
        timings: Timings,
        *,
        tell: bool,
        on_chunks: Callable[[int], object],
    ) -> None:
        self._meta = meta
        self._disks = list(disks)
        self._timings = timings
        self._tell = tell
        self._on_chunks = on_chunks
        self._lacking = _Lacking()
        self.report = Report(silent=list(silent))

    async def run(self) -> Report:
        """Walk. Raises what the metadata raises."""
        cursor: bytes | None = b""
        while cursor is not None:
            async with polite():
                page = await self._meta.read(ListChunks(cursor), deadline=self._deadline())
                assert isinstance(page, ChunksFound)
                if page.chunks:
                    await self._look_at(page.chunks)
            self._on_chunks(len(page.chunks))
            cursor = page.cursor
        if self._lacking.missing or self._lacking.thin:
            await self._trace()
        return self.report

    # ---- chunks

    async def _look_at(self, chunks: Sequence[ListedChunk]) -> None:
        ids = list(dict.fromkeys(chunk.chunk_id for chunk in chunks))
        there: dict[bytes, set[bytes]] = {chunk_id: set() for chunk_id in ids}

        async def ask(disk: Disk) -> None:
            try:
                answers = await disk.have(ids, deadline=self._deadline())
            except TrilithError:
                self._fell_silent(disk)
                return
            for chunk_id, has in zip(ids, answers, strict=True):
                if has:
                    there[chunk_id].add(disk.disk_id)

        async with trio.open_nursery() as nursery:
            for disk in tuple(self._disks):
                nursery.start_soon(ask, disk)
        unknown = {
            (chunk.scheme, chunk.chunk_id): (chunk, there[chunk.chunk_id] - set(chunk.holders)) for chunk in chunks
        }
        self.report.untold += sum(len(disks) for _, disks in unknown.values())
        told = await self._tell_of(unknown) if self._tell else {}
        for chunk in chunks:
            known = there[chunk.chunk_id] & {*chunk.holders, *told.get((chunk.scheme, chunk.chunk_id), ())}
            self._count(chunk, len(known))

    def _count(self, chunk: ListedChunk, copies: int) -> None:
        self.report.chunks += 1
        if copies == 0:
            self.report.missing += 1
            self._will_trace(self._lacking.missing, chunk)
        elif copies < chunk.scheme.write_quorum:
            self.report.thin += 1
            self._will_trace(self._lacking.thin, chunk)

    def _will_trace(self, lacking: set[_Chunk], chunk: ListedChunk) -> None:
        if len(self._lacking.missing) + len(self._lacking.thin) < LACKING_MAX:
            lacking.add((chunk.scheme, chunk.chunk_id))
        else:
            self.report.untraced += 1

    async def _tell_of(self, unknown: dict[_Chunk, tuple[ListedChunk, set[bytes]]]) -> dict[_Chunk, set[bytes]]:
        """Have the copies renewed, and tell the metadata; which disks it knows now to have which chunks."""
        found = await self._meta.read(GetSpace(), deadline=self._deadline())
        assert isinstance(found, SpaceFound)
        registered = {disk.disk_id for disk in found.space.disks if disk.state != "removed"}
        told: dict[_Chunk, set[bytes]] = {}
        for disk in [disk for disk in self._disks if disk.disk_id in registered]:
            mine = [place for place, (_, disks) in unknown.items() if disk.disk_id in disks]
            if not mine:
                continue
            ids = [chunk_id for _, chunk_id in mine]
            try:
                renewed = await disk.renew(ids, found.space.revision, deadline=self._deadline())
            except TrilithError:
                self._fell_silent(disk)
                continue
            for place in (place for place, good in zip(mine, renewed, strict=True) if good):
                told.setdefault(place, set()).add(disk.disk_id)
        for scheme in {scheme for scheme, _ in told}:
            stored = tuple(
                StoredChunk(place[1], unknown[place][0].size, tuple(Ack(disk, found.space.revision) for disk in disks))
                for place, disks in told.items()
                if place[0] == scheme
            )
            await self._meta.commit(AddHolders(scheme, stored), deadline=self._deadline())
        count = sum(len(disks) for disks in told.values())
        self.report.told += count
        self.report.untold -= count
        return told

    def _fell_silent(self, disk: Disk) -> None:
        self._disks.remove(disk)
        self.report.silent.append(disk.name)

    # ---- what refers to those that lack copies

    async def _trace(self) -> None:
        cursor: bytes | None = b""
        last: Affected | None = None
        while cursor is not None:
            async with polite():
                page = await self._meta.read(ListReferences(cursor), deadline=self._deadline())
            assert isinstance(page, ReferencesFound)
            for reference in page.references:
                one = self._affected(reference)
                if one is None:
                    continue
                if last is not None and _same(last, one):
                    last = msgspec.structs.replace(last, missing=last.missing + one.missing, thin=last.thin + one.thin)
                    continue
                self._note(last)
                last = one
            cursor = page.cursor
        self._note(last)

    def _affected(self, reference: Reference) -> Affected | None:
        places = {(reference.scheme, chunk_id) for chunk_id in reference.chunk_ids}
        missing, thin = len(places & self._lacking.missing), len(places & self._lacking.thin)
        if not missing and not thin:
            return None
        under_way = bool(reference.upload_id)
        return Affected(
            bucket=reference.bucket,
            key=reference.key,
            version_id="" if under_way else version_id(reference.revision, reference.null),
            upload_id=reference.upload_id.hex(),
            missing=missing,
            thin=thin,
        )

    def _note(self, one: Affected | None) -> None:
        if one is None:
            return
        if one.missing:
            self.report.objects_missing += 1
        else:
            self.report.objects_thin += 1
        if len(self.report.objects) < NAMED_MAX:
            self.report.objects.append(one)

    def _deadline(self) -> float:
        return trio.current_time() + self._timings.metadata_deadline_s


def _same(one: Affected, other: Affected) -> bool:
    names = ("bucket", "key", "version_id", "upload_id")
    return all(getattr(one, name) == getattr(other, name) for name in names)
