"""A bad network under load: partitions whole, one-way and partial, slow links, damaged bytes.

How well the cluster did is told by two shares of the time from a fault until all is whole: in which it had a leader
that could commit, of that in which a majority could talk both ways (`chaos.watch`), and in which writes were
acknowledged.

Members that are cut off from the majority are asked for reads and commits all the time, straight, as a client on their
side would: before the network heals none may succeed. A leader among them must say in time that it leads no more; the
fault lasts until that is judged, however short it was to be. After each fault all members follow one leader again.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from chaos import ledger
from chaos.ledger import Run
from chaos.load import Load
from chaos.members import Members
from chaos.network import Network
from chaos.proxy import DAMAGES, Damaged, Flow, Proxy
from chaos.turns import Extent, run_turns
from chaos.watch import Watch

TARGETS = ("minority", "majority", "one-way", "partial", "swizzle", "slow", "stalls", "damage")

SILENT_S_MAX = 2.0
"""How long after `leader_fallback_s` a leader without a majority may still say that it leads."""

DROPPED_S_MAX = 30.0
"""A flipped bit in a record's length shows when that many bytes have come: 16 KiB of heartbeats."""

SLOW: tuple[tuple[str, float, float], ...] = (
    ("50 ms", 0.05, float("inf")),
    ("200 ms", 0.2, float("inf")),
    ("64 KiB/s", 0.0, 65536.0),
)

STALL_S = 0.3

type During = Callable[[], Awaitable[None]]
"""What is done while a fault lasts; it is cancelled at its end, and what it shields of itself puts that off."""

_WHO = -3  # the client's number of reads from the cut off


async def run(
    folder: Path,
    target: str,
    extent: Extent,
    *,
    seconds: tuple[float, float],
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
) -> Run:
    """Faults of one kind, each of a length between two `seconds`, in a fresh cluster under `folder`; judge."""
    async with Network.running(folder, random.Random(seed)) as network:
        return await run_in(network, target, extent, seconds=seconds, seed=seed, clients=clients, say=say)


async def run_in(
    network: Network,
    target: str,
    extent: Extent,
    *,
    seconds: tuple[float, float],
    seed: int,
    clients: int = 16,
    say: Callable[[str], None],
) -> Run:
    """The same in a cluster that is up, whose links are good before and after."""
    async with Members.connected(network.config) as members, trio.open_nursery() as nursery:
        load = Load(network.roles.access(), clients=clients, keys=40, seed=seed, large=False)
        watch = Watch(members, load.history, network.joined)
        nursery.start_soon(watch.run)
        found = ledger.begun("net", target, seed=seed, clients=clients)
        faults = _Faults(network, members, load, watch, found, seconds, random.Random(seed), say)
        began = trio.current_time()
        await run_turns(found, load, members, extent, faults.turn, say)
        led_s, unled_s = watch.times(began, faults.whole_at)
        if led_s + unled_s:
            found.sample("run_led_share", led_s / (led_s + unled_s))
        nursery.cancel_scope.cancel()
    return found


async def stepped_down(leads: Callable[[], Awaitable[bool]], longest_s: float) -> float | None:
    """Seconds until one that is cut off says that it leads no more; None: it does not within `longest_s`.

    It is not cancelled: a fault that ended earlier would let all pass.
    """
    began = trio.current_time()
    with trio.CancelScope(shield=True):
        while await leads():
            if trio.current_time() - began > longest_s:
                return None
            await trio.sleep(0.02)
    return trio.current_time() - began


class _Faults:
    def __init__(
        self,
        network: Network,
        members: Members,
        load: Load,
        watch: Watch,
        found: Run,
        seconds: tuple[float, float],
        dice: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._network = network
        self._members = members
        self._load = load
        self._watch = watch
        self._run = found
        self._seconds = seconds
        self._dice = dice
        self._say = say
        self._slots = {name: slot for slot, name in members.names.items()}
        self.whole_at = 0.0
        """When all was whole again after the latest fault."""

    async def turn(self, number: int) -> float | None:
        """One fault, and all until the network and the cluster are whole again."""
        await trio.sleep(self._dice.uniform(0.5, 1.5))
        leader = await self._members.leader()
        lasting = self._dice.uniform(*self._seconds)
        began = trio.current_time()
        what, during = self._fault(number, leader.name, lasting)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._silence, began)
            with trio.move_on_after(lasting):
                await during()
            self._network.heal()
            healed = trio.current_time()
        await self._members.wait_up()
        self.whole_at = whole = trio.current_time()
        self._run.sample("whole_again_s", whole - healed)
        self._run.sample("terms", (await self._members.leader()).term - leader.term)
        led_s, unled_s = self._watch.times(began, whole)
        served = self._load.progress.served(began, whole)
        self._run.sample("unled_s", unled_s)
        if led_s + unled_s:
            self._run.sample("led_share", led_s / (led_s + unled_s))
        self._run.sample("served_share", served)
        self._load.history.violations += self._network.ended()
        lasted = f"{healed - began:.1f} s"
        self._say(f"{number + 1}: {what} for {lasted}; writes in {served:.0%} of the time until all was whole")
        return began

    def _fault(self, number: int, leader: str, lasting: float) -> tuple[str, During]:
        """Begin a fault: what it is, and what is to be done until it ends."""
        followers = [name for name in self._network.members if name != leader]
        self._dice.shuffle(followers)
        match self._run.target:
            case "minority":
                return self._isolate(leader, followers, self._led_by_the_cut_off)
            case "majority":
                alone, *others = followers
                return self._isolate(alone, [leader, *others], self._ask_the_cut_off)
            case "one-way":
                return self._deafen(number, leader, followers)
            case "partial":
                how = self._break(self._network.between([leader], followers[:1]))
                return f"{leader} and {followers[0]} {how} apart", trio.sleep_forever
            case "slow":
                name, delay_s, bytes_per_s = SLOW[number % len(SLOW)]
                for flow in _flows(self._member_links()):
                    flow.delay_s, flow.bytes_per_s = delay_s, bytes_per_s
                return name, trio.sleep_forever
            case "swizzle":
                return "links held one by one and let go in another order", partial(self._swizzle, lasting)
            case "stalls":
                return f"links that stall for {STALL_S} s now and then", self._stall
            case "damage":
                return "pieces damaged", self._damage
            case target:
                raise ValueError(f"target {target!r} is none of {', '.join(TARGETS)}")

    # ---- partitions

    def _isolate(self, alone: str, others: Sequence[str], ask: Callable[[int], Awaitable[None]]) -> tuple[str, During]:
        """Cut one off from all members, and half of the time from the API."""
        links = self._network.between([alone], others)
        with_api = self._dice.random() < 0.5
        if with_api:
            links.append(self._network.link(self._network.api, alone))
        how = self._break(links)
        return f"{alone} {how} off{' from the API too' if with_api else ''}", partial(ask, self._slots[alone])

    def _break(self, links: Sequence[Proxy]) -> str:
        """Either everything is silent and comes later, or connections are reset."""
        held = self._dice.random() < 0.5
        for link in links:
            if held:
                link.hold()
            else:
                link.cut()
        return "held" if held else "cut"

    def _deafen(self, number: int, leader: str, followers: Sequence[str]) -> tuple[str, During]:
        """What one sends does not arrive, what it is sent does."""
        first, pair = followers[0], self._network.link
        what, links = (
            (f"{first} does not hear {leader}", [pair(leader, first)]),
            (f"{leader} does not hear {first}", [pair(first, leader)]),
            (f"nobody hears {leader}", [pair(leader, other) for other in followers]),
            (f"{leader} hears nobody", [pair(other, leader) for other in followers]),
        )[number % 4]
        for link in links:
            link.forward.hold()
        return what, trio.sleep_forever

    async def _led_by_the_cut_off(self, slot: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._time_step_down, slot)
            nursery.start_soon(self._ask_the_cut_off, slot)

    async def _time_step_down(self, slot: int) -> None:
        async def leads() -> bool:
            status = await self._members.status(slot)
            return status is None or status.role == "leader"

        longest_s = self._network.config.timings.leader_fallback_s + SILENT_S_MAX
        took = await stepped_down(leads, longest_s)
        if took is None:
            self._load.history.violations.append(f"slot {slot} was cut off and led on for over {longest_s:.1f} s")
        else:
            self._run.sample("stepped_down_s", took)

    async def _ask_the_cut_off(self, slot: int) -> None:
        """Reads and commits; whichever is answered before the heal is a violation."""
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(self._read_on, slot)
                nursery.start_soon(self._commit_on, slot)

    async def _read_on(self, slot: int) -> None:
        async def etag(key: str) -> str | None:
            return await self._members.etag(slot, self._load.bucket, key, seconds=1.0)

        while True:
            key = self._dice.choice(self._load.keys_in_use())
            if await self._load.observed(key, _WHO, etag):
                self._load.history.violations.append(f"slot {slot} was cut off and answered a read of {key}")
            self._run.count("reads asked of the cut off")
            await trio.sleep(0.05)

    async def _commit_on(self, slot: int) -> None:
        while True:
            if await self._members.commits(slot, seconds=1.0):
                self._load.history.violations.append(f"slot {slot} was cut off and acknowledged a commit")
            self._run.count("commits asked of the cut off")
            await trio.sleep(0.05)

    # ---- links that come and go

    def _member_links(self) -> list[Proxy]:
        return self._network.between(self._network.members, self._network.members)

    async def _swizzle(self, lasting: float) -> None:
        """Hold links one by one in some order, and let them go in another (after FoundationDB's swizzle-clogging)."""
        links = self._member_links()
        rest = lasting / (2 * len(links) + 1)
        for change in (Proxy.hold, Proxy.heal):
            self._dice.shuffle(links)
            for link in links:
                change(link)
                await trio.sleep(rest)

    async def _stall(self) -> None:
        """Each link by itself: nothing for a moment, then a long while everything."""
        async with trio.open_nursery() as nursery:
            for link in self._member_links():
                nursery.start_soon(self._stall_one, link)

    async def _stall_one(self, link: Proxy) -> None:
        while True:
            await trio.sleep(self._dice.expovariate(1 / (STALL_S * 19)))  # so 5 % of the time
            link.hold()
            await trio.sleep(STALL_S)
            link.heal()

    # ---- damage

    async def _damage(self) -> None:
        """One piece after the other, on links that carry something."""
        while True:
            leader = (await self._members.leader()).name
            follower = self._dice.choice([name for name in self._network.members if name != leader])
            to_leader = self._network.link(self._network.api, leader)
            flow = self._dice.choice(
                [
                    self._network.link(leader, follower).forward,
                    self._network.link(follower, leader).forward,
                    to_leader.forward,
                    to_leader.back,
                ]
            )
            damaged = flow.damage(self._dice.choice(DAMAGES))
            try:
                await damaged.done.wait()
            finally:
                if damaged.done.is_set():
                    await self._dropped(damaged)
            await trio.sleep(0.2)

    async def _dropped(self, damaged: Damaged) -> None:
        """Wait for the end of a connection, though the fault is over by then: the heal comes after it."""
        self._run.count("pieces damaged")
        with trio.move_on_after(DROPPED_S_MAX, shield=True) as waited:
            await damaged.dropped.wait()
            self._run.count("connections dropped for it")
        if waited.cancelled_caught:
            self._load.history.violations.append(
                f"a connection went on for {DROPPED_S_MAX} s after damage: {damaged.kind}"
            )

    # ---- notes

    async def _silence(self, began: float) -> None:
        await self._load.progress.acknowledged_since(began)
        self._run.sample(ledger.SILENCE, trio.current_time() - began)


def _flows(links: Sequence[Proxy]) -> list[Flow]:
    return [flow for link in links for flow in (link.forward, link.back)]
