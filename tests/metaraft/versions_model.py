"""Values of the plain model of versions and uploads: what lies in chunks is laid out byte by byte."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from metaraft.model import ChunkRef, Copies, Upload
from metaraft.results import (
    ObjectDone,
)
from tests.metaraft.metadata import COPIES, chunk_id
from tests.metaraft.versions import CHUNK, counted

type Counts = Counter[tuple[bytes, bytes]]
"""References by (scheme, chunk id)."""


@dataclass(frozen=True)
class Run:
    """Bytes that lie in chunks under one scheme."""

    scheme: Copies
    refs: tuple[ChunkRef, ...]

    @property
    def size(self) -> int:
        return sum(ref.length for ref in self.refs)

    def counts(self) -> Counts:
        return counted(self.scheme, self.refs)


@dataclass(frozen=True)
class Made:
    """A version: with bytes in its row, in chunks, or in the parts of an upload; else a delete marker."""

    revision: int
    null: bool
    etag: str = ""
    size: int = 0
    owner: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    run: Run | None = None
    upload_id: bytes | None = None
    marker: bool = False


@dataclass
class UnderWay:
    """An upload and its parts."""

    upload: Upload
    generation: int = 0
    parts: dict[int, Run] = field(default_factory=dict)


@dataclass
class Shared:
    """The parts of a completed upload, and what its completion was told."""

    parts: dict[int, Run]
    answer: ObjectDone
    count: int = 1


def whole_chunks(scheme: Copies, names: Sequence[str]) -> Run:
    return Run(scheme, tuple(ChunkRef(chunk_id(name), 0, CHUNK, CHUNK) for name in names))


def cut(runs: Sequence[Run], start: int, stop: int) -> Run | None:
    """Bytes [start, stop) of runs, found by laying all bytes out; None if they are under two schemes."""
    laid = [
        (place, run.scheme, ref, ref.offset + byte)
        for place, (run, ref) in enumerate((run, ref) for run in runs for ref in run.refs)
        for byte in range(ref.length)
    ][start:stop]
    schemes = list(dict.fromkeys(scheme for _, scheme, _, _ in laid))
    if len(schemes) > 1:
        return None
    refs = []
    for _, group in groupby(laid, key=lambda byte: byte[0]):
        some = list(group)
        refs.append(ChunkRef(some[0][2].chunk_id, some[0][3], len(some), CHUNK))
    return Run(schemes[0] if schemes else COPIES, tuple(refs))
