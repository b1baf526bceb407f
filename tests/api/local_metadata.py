"""The state machine and its queries over rows in memory, called as `metaraft.client.MetaClient` is."""

from collections.abc import Mapping

import trio

from cluster.errors import Refused, TrilithError, Unavailable
from metaraft.commands import (
    Command,
)
from metaraft.queries import Answer, Query
from metaraft.results import (
    Failed,
    Result,
)
from tests.metaraft.metadata import Metadata


class LocalMetadata:
    """One member in this process. `gone`: no quorum. `reads`: what was asked. An answer waits for `answering`."""

    rows_max = 10_000

    def __init__(self) -> None:
        self.machine = Metadata()
        self.reads: list[Query] = []
        self.gone = False
        self.answering = trio.Event()
        self.answering.set()

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
        self._reach()
        result = self.machine.do(command, key=key, buckets=buckets)
        if isinstance(result, Failed):
            raise _failure(result)
        return result

    async def read(self, query: Query, *, deadline: float, trace_id: str = "") -> Answer:
        """Answer a query as of its arrival."""
        await trio.lowlevel.checkpoint()
        self._reach()
        self.reads.append(query)
        answer = self.machine.ask(query, rows_max=self.rows_max)
        await self.answering.wait()
        if isinstance(answer, Failed):
            raise _failure(answer)
        return answer

    def _reach(self) -> None:
        if self.gone:
            raise Unavailable("NoQuorum", "no leader answered before the deadline")


def _failure(failed: Failed) -> TrilithError:
    kind = Refused if failed.kind == "refused" else Unavailable
    return kind(failed.code, failed.message)
