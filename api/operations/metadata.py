"""What the operations need of the metadata: the shape of `metaraft.client.MetaClient`."""

from collections.abc import Mapping
from typing import Protocol

from metaraft.commands import (
    Command,
)
from metaraft.queries import (
    Answer,
    Query,
)
from metaraft.results import (
    Result,
)


class Metadata(Protocol):
    """The replicated metadata."""

    async def commit(
        self,
        command: Command,
        *,
        deadline: float,
        key: bytes | None = None,
        trace_id: str = "",
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        """Commit a command through the log, once per key; what it refuses is raised.

        `buckets`: ids that names must still have, else it is refused (NoSuchBucket).
        """

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Answer a query, linearizably; what it refuses is raised."""
