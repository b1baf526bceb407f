"""Commits of what a request has stored or read before: they have time of their own, and may be told to try again."""

from collections.abc import Callable
from dataclasses import replace

from api.operations.calls import Call
from api.operations.metadata import Metadata
from api.writer import Stored
from cluster.errors import Unavailable
from metaraft.commands import (
    Command,
)
from metaraft.results import (
    Result,
)


class Commits:
    """Commits through the metadata."""

    def __init__(self, meta: Metadata, clock: Callable[[], float], commit_s: float) -> None:
        self._meta = meta
        self._clock = clock
        self._commit_s = commit_s

    def renewed(self, call: Call) -> Call:
        """The same call with time for the metadata left, however long the bytes have taken."""
        deadline = max(call.deadline, self._clock() + self._commit_s)
        return replace(call, deadline=deadline)

    def is_over(self, call: Call) -> bool:
        """There is no time left for another try."""
        return self._clock() >= call.deadline

    async def commit(self, command: Command, call: Call, key: bytes | None) -> Result:
        """Commit once under the key. Raises what the metadata says."""
        return await self._meta.commit(
            command, deadline=call.deadline, key=key, trace_id=call.trace_id, buckets=call.admitted
        )

    async def commit_stored(
        self, stored: Stored, build: Callable[[], Command], call: Call, key: bytes | None
    ) -> Result:
        """Commit a command that references what was stored; it is built anew, with the acknowledgements known then,
        each time the metadata says PutAgain.

        The key stays: what is unavailable did not happen, and its result is not kept.
        """
        while True:
            try:
                done = await self.commit(build(), call, key)
            except Unavailable as error:
                if error.code != "PutAgain" or self.is_over(call):
                    raise
                await stored.put_again()
            else:
                stored.committed()
                return done
