"""One steward from start to end: what must run, and its work while it holds the stewardship."""

import os
import signal

import msgspec
import trio

from api.nodes import Nodes
from api.peers import TimedMetadata
from api.steward.collector import Collector, Tally
from api.steward.horizon import Horizon
from api.steward.stewardship import Stewardship
from api.steward.strays import Strays
from cluster.config import Config, StewardConfig
from cluster.errors import TrilithError
from cluster.identity import NodeIdentity
from cluster.limits import Timings
from cluster.log import get_logger
from cluster.process import tell_ready
from metaraft.client import MetaClient

SAMPLES = 60
"""How often the horizon's time is looked at within it, and so how often there is a round (chosen)."""

PERIOD_S_MIN = 1.0
"""No round begins sooner after the last one, however short the horizon is (chosen)."""

_log = get_logger("steward")


async def run_role(config: Config, node: StewardConfig, me: NodeIdentity) -> None:
    """Work until SIGTERM or SIGINT. What is under way then is cut off, which is harmless."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_steward, config, node, me)
            _log.info("ready", pid=os.getpid())
            tell_ready()
            async for number in signals:
                _log.info("stopping", signal=signal.Signals(number).name)
                break
            nursery.cancel_scope.cancel()


async def run_steward(
    config: Config,
    node: StewardConfig,
    me: NodeIdentity,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Work, or wait for the stewardship, until cancelled; started when the connections are under way."""
    timings = config.timings
    meta = MetaClient(config, me)
    nodes = Nodes.of(config, me, meta)
    horizon = Horizon(int(timings.horizon_s * 1000))
    rounds = Rounds(Collector(meta, nodes, horizon, timings), timings)
    strays = Strays(meta, nodes, timings)

    async def work(epoch: int) -> None:
        async with trio.open_nursery() as beside:
            beside.start_soon(strays.run)
            await rounds.run(epoch)
            beside.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(meta.run)
        await nursery.start(nodes.run)
        nursery.start_soon(keep_horizon, horizon, meta, nodes, timings)
        task_status.started()
        await Stewardship(node.name, meta, timings).hold(work)


async def keep_horizon(horizon: Horizon, meta: TimedMetadata, nodes: Nodes, timings: Timings) -> None:
    """Note the newest revision now and again, steward or not: who takes over need not wait for an hour to pass."""
    said = ""
    while True:
        began = trio.current_time()
        try:
            space = await nodes.space.read(since=began)
            horizon.note(meta.state_time_ms, space.revision)
            said = ""
        except TrilithError as error:
            if error.code != said:
                _log.info("revision_not_read", code=error.code, reason=error.message)
            said = error.code
        await trio.sleep_until(began + period_s(timings))


def period_s(timings: Timings) -> float:
    """Seconds from the beginning of a round to that of the next."""
    return max(PERIOD_S_MIN, timings.horizon_s / SAMPLES)


class Rounds:
    """Round after round of a collector."""

    def __init__(self, collector: Collector, timings: Timings) -> None:
        self._collector = collector
        self._timings = timings

    async def run(self, epoch: int) -> None:
        """Work as the steward of that epoch; returns when there is another one. A round that fails is tried again,
        after waits that double."""
        said, backoff_s = "", self._timings.reconnect_s
        while True:
            until = trio.current_time() + period_s(self._timings)
            tally = Tally()
            try:
                await self._collector.round(epoch, tally)
                said, backoff_s = "", self._timings.reconnect_s
            except TrilithError as error:
                if error.code != said:
                    _log.warning("round_failed", epoch=epoch, code=error.code, reason=error.message)
                if error.code == "StaleSteward":
                    return
                until = trio.current_time() + backoff_s
                said, backoff_s = error.code, min(2 * backoff_s, period_s(self._timings))
            finally:
                if tally.something:
                    _log.info("round", epoch=epoch, **msgspec.structs.asdict(tally))
            await trio.sleep_until(until)
