"""Holding the stewardship: taken when it is free, renewed while the work goes on, and the work ends when it is lost.

That two processes take themselves for the steward at the same time cannot be ruled out by any clock, and need not be:
the commands of one that was replaced are refused by their epoch (`metaraft.commands.TakeStewardship`).
"""

from collections.abc import Awaitable, Callable

import trio

from api.peers import Metadata
from cluster.errors import Refused, TrilithError
from cluster.limits import Timings
from cluster.log import get_logger
from metaraft.commands import (
    TakeStewardship,
)
from metaraft.model import STEWARD_LEASE_MS
from metaraft.results import (
    StewardDone,
)

RENEW_S = STEWARD_LEASE_MS / 1000 / 3
"""Two renewals may fail before the lease is over. Who waits for the stewardship asks as often."""

_log = get_logger("steward")


class Stewardship:
    """One process's claim on the stewardship, under its node's name."""

    def __init__(self, holder: str, meta: Metadata, timings: Timings) -> None:
        self._holder = holder
        self._meta = meta
        self._timings = timings

    async def hold(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Take it and do `work(epoch)`, again and again. The work is cancelled when the stewardship is lost, and
        returns when it learns of that first."""
        while True:
            epoch = await self._take()
            _log.info("stewardship_taken", epoch=epoch)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._renew, epoch, nursery.cancel_scope)
                await work(epoch)
                nursery.cancel_scope.cancel()
            _log.warning("stewardship_lost", epoch=epoch)

    async def _take(self) -> int:
        said = ""
        while True:
            try:
                return await self._ask(0)
            except TrilithError as error:
                if error.code != said:
                    _log.info("stewardship_not_taken", code=error.code, reason=error.message)
                said = error.code
                await trio.sleep(RENEW_S if isinstance(error, Refused) else self._timings.reconnect_s)

    async def _renew(self, epoch: int, work: trio.CancelScope) -> None:
        said = ""
        wait_s = RENEW_S
        while True:
            await trio.sleep(wait_s)
            try:
                await self._ask(epoch)
                said, wait_s = "", RENEW_S
            except Refused as error:
                _log.info("stewardship_not_renewed", code=error.code, reason=error.message)
                work.cancel()
                return
            except TrilithError as error:
                if error.code != said:
                    _log.info("stewardship_not_renewed", code=error.code, reason=error.message)
                said, wait_s = error.code, self._timings.reconnect_s

    async def _ask(self, epoch: int) -> int:
        deadline = trio.current_time() + self._timings.metadata_deadline_s
        done = await self._meta.commit(TakeStewardship(self._holder, epoch), deadline=deadline)
        assert isinstance(done, StewardDone)
        return done.epoch
