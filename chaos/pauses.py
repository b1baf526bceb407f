"""SIGSTOP under load: a process stands still for some seconds, in the middle of whatever it did, and goes on.

A leader that stood still believes for a moment that it leads. So reads are aimed at it: sent while it sleeps, to be
the first that it finds, and on and on when it wakes, straight to that very member, while clients ask the API as ever.
Each that it answers goes into the history, and there an old value is a violation. A follower or a chunk daemon that
stands still may cost time and nothing else: how much is told by writes before and in the pause.
"""

import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from chaos import ledger
from chaos.ledger import Run
from chaos.load import Load
from chaos.local import LocalCluster
from chaos.members import PATIENCE_S, Members
from chaos.turns import Extent, run_turns

TARGETS = ("leader", "follower", "chunkd")

READERS = 12
"""Direct reads at a time."""

AWAKE_S = 1.0
"""How long the one that woke is asked."""

ASK_EVERY_S = 0.01
"""A reader's rest: the member that woke has other things to do, and the checker too."""

SETTLED_S = 2.0
"""From then on a pause of another than the leader should not be felt (or from its middle on, if it is short)."""

_WHO = -2  # the client's number of direct reads


async def run(
    folder: Path,
    target: str,
    extent: Extent,
    *,
    seconds: Sequence[float],
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
) -> Run:
    """Stop and continue again and again, for each of `seconds` in turn, in a fresh cluster under `folder`; judge."""
    cluster = LocalCluster(folder)
    async with cluster.running(), Members.connected(cluster.config) as members:
        load = Load(cluster.access(), clients=clients, keys=40, seed=seed, large=target == "chunkd")
        found = ledger.begun("pause", target, seed=seed, clients=clients)
        pauses = _Pauses(cluster, members, load, found, seconds, random.Random(seed), say)
        return await run_turns(found, load, members, extent, pauses.turn, say)


class _Pauses:
    def __init__(
        self,
        cluster: LocalCluster,
        members: Members,
        load: Load,
        found: Run,
        seconds: Sequence[float],
        before: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._members = members
        self._load = load
        self._run = found
        self._seconds = seconds
        self._before = before
        self._say = say

    async def turn(self, number: int) -> float | None:
        """One pause and all that follows from it."""
        seconds = self._seconds[number % len(self._seconds)]
        await trio.sleep(self._before.uniform(0.3, 1.5))
        quiet = trio.current_time()
        if self._run.target != "leader":
            await trio.sleep(max(seconds, SETTLED_S))
        leader = await self._members.leader()
        victim = self._victim(number, leader.name)
        if victim == leader.name and not await self._ask(leader.slot, self._load.keys_in_use()[0]):
            return None  # one that does not lead any more, or could never be seen to lie
        if self._cluster.signal(victim, signal.SIGSTOP) is None:
            return None
        began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._silence, began, f"{number + 1}: {victim} stood still for {seconds:g} s")
                await trio.sleep(seconds)
                if victim == leader.name:
                    await self._wake_and_ask(victim, leader.slot)
        finally:
            self._cluster.signal(victim, signal.SIGCONT)
        ended = trio.current_time()
        await self._whole()
        if victim != leader.name:
            self._note_latency("before_p99_ms", quiet, began)
            self._note_latency("paused_p99_ms", began + min(SETTLED_S, seconds / 2), ended)
        return began

    def _victim(self, number: int, leader: str) -> str:
        config = self._cluster.config
        if self._run.target == "leader":
            return leader
        if self._run.target == "chunkd":
            return config.chunkd[number % len(config.chunkd)].name
        followers = [member.name for member in config.member if member.name != leader]
        return followers[number % len(followers)]

    async def _silence(self, began: float, what: str) -> None:
        await self._load.progress.acknowledged_since(began)
        silence = trio.current_time() - began
        self._run.sample(ledger.SILENCE, silence)
        self._say(f"{what}; writes resumed after {silence:.2f} s")

    async def _wake_and_ask(self, victim: str, slot: int) -> None:
        """Reads that lie before it when it wakes, and more while it finds out."""
        async with trio.open_nursery() as nursery:
            for key in self._load.keys_in_use():
                nursery.start_soon(self._ask, slot, key)
            await trio.sleep(0.05)  # they are in its socket
            self._cluster.signal(victim, signal.SIGCONT)
            for reader in range(READERS):
                nursery.start_soon(self._ask_on, slot, reader, trio.current_time() + AWAKE_S)

    async def _ask_on(self, slot: int, reader: int, until: float) -> None:
        while trio.current_time() < until:
            keys = self._load.keys_in_use()
            await self._ask(slot, keys[(reader + self._run.count("direct reads", 0)) % len(keys)])
            await trio.sleep(ASK_EVERY_S)

    async def _ask(self, slot: int, key: str) -> bool:
        async def etag(key: str) -> str | None:
            return await self._members.etag(slot, self._load.bucket, key, seconds=5.0)

        answered = await self._load.observed(key, _WHO, etag)
        self._run.count("direct reads")
        self._run.count("direct reads answered", answered)
        return answered

    def _note_latency(self, name: str, start: float, stop: float) -> None:
        found = self._load.progress.latency(start, stop, 0.99)
        if found is not None:
            self._run.sample(name, found * 1000)

    async def _whole(self) -> None:
        with trio.fail_after(PATIENCE_S):
            while True:
                if await trio.to_thread.run_sync(self._cluster.all_up):
                    break
                await trio.sleep(0.05)
        await self._members.wait_up()
