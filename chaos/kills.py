"""kill -9 under load: the leader, a follower, each chunk daemon, the API, or all at once, again and again.

After each kill it waits until writes are acknowledged again (how long that took is the figure) and the process is back.
At the end every key is read once more and every key's history is judged.
"""

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from chaos.check import check_key
from chaos.load import Load
from chaos.local import LocalCluster
from cluster.errors import TrilithError

TARGETS = ("leader", "follower", "chunkd", "api", "all")


class KillReport(msgspec.Struct, kw_only=True):
    """What a run of kills showed. Seconds of silence are from a kill to the acknowledgement of a write begun after
    it."""

    target: str
    kills: int
    seed: int
    seconds: float
    acknowledged_writes: int
    keys: int
    outcomes: dict[str, int]
    silence_median_s: float
    silence_worst_s: float
    violations: list[str]


def victims(cluster: LocalCluster, target: str, turn: int) -> list[str]:
    """The nodes to kill in this turn."""
    config = cluster.config
    members = [member.name for member in config.member]
    chunkds = [chunkd.name for chunkd in config.chunkd]
    apis = [api.name for api in config.api]
    stewards = [steward.name for steward in config.steward]
    match target:
        case "leader":
            return [cluster.leader()]
        case "follower":
            followers = [name for name in members if name != cluster.leader()]
            return [followers[turn % len(followers)]]
        case "chunkd":
            return [chunkds[turn % len(chunkds)]]
        case "api":
            return [apis[turn % len(apis)]]
        case "all":
            return [*members, *chunkds, *apis, *stewards]
        case _:
            raise ValueError(f"target {target!r} is none of {', '.join(TARGETS)}")


async def run(
    folder: Path,
    target: str,
    *,
    kills: int,
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
    large: bool = True,
) -> KillReport:
    """Kill `kills` times in a fresh cluster under `folder` and judge. The cluster is ended, its folder kept."""
    cluster = LocalCluster(folder)
    await trio.to_thread.run_sync(cluster.up)
    try:
        return await _run(cluster, target, kills, seed, clients, say, large)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(cluster.down)


async def _run(
    cluster: LocalCluster, target: str, kills: int, seed: int, clients: int, say: Callable[[str], None], large: bool
) -> KillReport:
    load = Load(cluster.access(), clients=clients, keys=40, seed=seed, large=large)
    pauses = random.Random(seed)
    silences: list[float] = []
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        for turn in range(kills):
            await load.progress.acknowledged_since(trio.current_time())
            await trio.sleep(pauses.uniform(0.3, 1.5))
            names = await trio.to_thread.run_sync(victims, cluster, target, turn)
            pids = {name: cluster.signal(name) for name in names}
            killed = trio.current_time()
            await load.progress.acknowledged_since(killed)
            silences.append(trio.current_time() - killed)
            say(f"{turn + 1}/{kills}: killed {', '.join(names)}; writes resumed after {silences[-1]:.2f} s")
            await _all_back(cluster, pids)
        nursery.cancel_scope.cancel()
    await load.read_back()
    return _judge(load, target, kills, seed, time.monotonic() - began, silences)


async def _all_back(cluster: LocalCluster, pids: dict[str, int | None]) -> None:
    """Wait until the killed processes were replaced and the cluster says that all are up."""
    with trio.fail_after(60):
        while True:
            replaced = all(cluster.pid(name) not in (None, pid) for name, pid in pids.items())
            facts = await trio.to_thread.run_sync(_status, cluster) if replaced else None
            if facts is not None and all(node["up"] for kind in ("members", "chunkds") for node in facts[kind]):
                return
            await trio.sleep(0.05)


def _status(cluster: LocalCluster) -> dict[str, Any] | None:
    try:
        return cluster.status()
    except TrilithError:
        return None


def _judge(load: Load, target: str, kills: int, seed: int, seconds: float, silences: list[float]) -> KillReport:
    violations = list(load.history.violations)
    for key, operations in load.history.operations.items():
        verdict = check_key(operations)
        if verdict != "linearizable":
            violations.append(f"{key}: {verdict}: {operations}")
    return KillReport(
        target=target,
        kills=kills,
        seed=seed,
        seconds=round(seconds, 1),
        acknowledged_writes=load.progress.acknowledged,
        keys=len(load.history.operations),
        outcomes=dict(sorted(load.history.counts.items())),
        silence_median_s=round(statistics.median(silences), 3),
        silence_worst_s=round(max(silences), 3),
        violations=violations,
    )
