"""All operations of one API process, put together over the metadata and the data path."""

from collections.abc import Callable
from dataclasses import dataclass

from api.operations.buckets import Buckets
from api.operations.commits import Commits
from api.operations.listing import Listing
from api.operations.metadata import Metadata
from api.operations.objects import Objects
from api.operations.uploads import Uploads
from api.reader import Reader
from api.writer import Writer
from cluster.limits import Limits
from metaraft.model import Scheme


@dataclass(frozen=True, slots=True)
class Operations:
    """What the dialects call."""

    buckets: Buckets
    objects: Objects
    uploads: Uploads
    listing: Listing

    @classmethod
    def over(
        cls,
        meta: Metadata,
        writer: Writer,
        reader: Reader,
        *,
        scheme: Scheme,
        limits: Limits,
        clock: Callable[[], float],
        commit_s: float,
    ) -> "Operations":
        """The operations over these parts. `scheme` is that of new buckets, `commit_s` the time for a commit after a
        body."""
        buckets = Buckets(meta, scheme, clock)
        commits = Commits(meta, clock, commit_s)
        objects = Objects(meta, buckets, writer, reader, commits)
        uploads = Uploads(meta, objects, writer, commits, limits, clock)
        return cls(buckets, objects, uploads, Listing(meta, clock))
