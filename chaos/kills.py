"""kill -9 under load: the leader, a follower, each chunk daemon, the API, or all at once, again and again.

After each kill it waits until writes are acknowledged again (how long that took is the figure) and all processes are
back. At the end every key is read once more and every key's history is judged. A kill counts only if it hit what it
should: a process that was there and, for the leader, that the cluster had to elect another.
"""

import random
from collections.abc import Callable
from pathlib import Path

import trio

from chaos import ledger
from chaos.ledger import Run
from chaos.load import Load
from chaos.local import LocalCluster
from chaos.members import PATIENCE_S, Members
from chaos.turns import Extent, run_turns

KINDS = ("leader", "follower", "chunkd", "api", "all")

TARGETS = (*KINDS, "each")
"""What is killed; `each`: all kinds in turn."""

_OF_METADATA = frozenset({"leader", "follower"})
"""Targets whose load is nearly all metadata."""


async def run(
    folder: Path,
    target: str,
    extent: Extent,
    *,
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
    large: bool | None = None,
) -> Run:
    """Kill again and again in a fresh cluster under `folder` and judge. The cluster is ended, its folder kept."""
    cluster = LocalCluster(folder)
    async with cluster.running(), Members.connected(cluster.config) as members:
        load = Load(
            cluster.access(),
            clients=clients,
            keys=40,
            seed=seed,
            large=target not in _OF_METADATA if large is None else large,
        )
        found = ledger.begun("kill", target, seed=seed, clients=clients)
        kills = _Kills(cluster, members, load, found, random.Random(seed), say)
        return await run_turns(found, load, members, extent, kills.turn, say)


class _Kills:
    def __init__(
        self,
        cluster: LocalCluster,
        members: Members,
        load: Load,
        found: Run,
        pauses: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._members = members
        self._load = load
        self._run = found
        self._pauses = pauses
        self._say = say

    async def turn(self, number: int) -> float | None:
        """One kill and all that follows from it."""
        await trio.sleep(self._pauses.uniform(0.3, 1.5))
        leader = await self._members.leader()
        victims = self._victims(number, leader.name)
        pids = {name: self._cluster.signal(name) for name in victims}
        killed = trio.current_time()
        await self._load.progress.acknowledged_since(killed)
        silence = trio.current_time() - killed
        await self._all_back(pids)
        terms = (await self._members.leader()).term - leader.term
        if None in pids.values() or (leader.name in pids and terms == 0):
            return None
        self._run.sample(ledger.SILENCE, silence)
        self._run.sample("terms", terms)
        self._say(f"{number + 1}: killed {', '.join(victims)}; writes resumed after {silence:.2f} s")
        return killed

    def _victims(self, number: int, leader: str) -> list[str]:
        config, target = self._cluster.config, self._run.target
        if target == "each":
            number, kind = divmod(number, len(KINDS))
            target = KINDS[kind]
        match target:
            case "leader":
                return [leader]
            case "follower":
                followers = [member.name for member in config.member if member.name != leader]
                return [followers[number % len(followers)]]
            case "chunkd":
                return [config.chunkd[number % len(config.chunkd)].name]
            case "api":
                return [config.api[number % len(config.api)].name]
            case "all":
                return [node.name for node in config.nodes]
            case _:
                raise ValueError(f"target {target!r} is none of {', '.join(TARGETS)}")

    async def _all_back(self, pids: dict[str, int | None]) -> None:
        """Wait until the killed processes were replaced and the cluster says that all are up."""
        with trio.fail_after(PATIENCE_S):
            while True:
                replaced = all(self._cluster.pid(name) not in (None, pid) for name, pid in pids.items())
                if replaced and await trio.to_thread.run_sync(self._cluster.all_up):
                    break
                await trio.sleep(0.05)
        await self._members.wait_up()
