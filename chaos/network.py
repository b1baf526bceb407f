"""A cluster whose nodes meet through proxies: one for each that dials a member, so that any link can be bad by itself.

Members, and the API, reach members over TCP and TLS as separate hosts do, at addresses of proxies in this process: each
has a configuration of its own. Chunk daemons are reached directly.
"""

import itertools
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec
import trio

from chaos.proxy import Proxy
from chaos.roles import Roles
from cluster.config import Config, TcpAddress, address, dump
from cluster.create import Shape
from cluster.ports import free_ports


class Network:
    """All processes of a cluster made in `folder`, and the links to its members."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.roles = Roles(folder, Shape(transport="tcp"))
        self.members = [member.name for member in self.config.member]
        self.api = self.config.api[0].name
        diallers = [*self.members, *(api.name for api in self.config.api)]
        pairs = [(who, whom) for who, whom in itertools.product(diallers, self.members) if who != whom]
        ports = dict(zip(pairs, free_ports(len(pairs)), strict=True))
        self._proxies = {pair: Proxy(port, self._port(pair[1]), dice) for pair, port in ports.items()}
        for who in diallers:
            self.roles.files[who] = file = folder / f"cluster-{who}.toml"
            file.write_text(dump(_dialling(self.config, {whom: ports[who, whom] for by, whom in pairs if by == who})))

    @property
    def config(self) -> Config:
        """What all of them share; its members are dialled directly."""
        return self.roles.config

    def _port(self, name: str) -> int:
        found = next(address(member.listen, self.config.base) for member in self.config.member if member.name == name)
        assert isinstance(found, TcpAddress)
        return found.port

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, dice: random.Random) -> AsyncIterator[Self]:
        """Everything up and ready inside; on leaving all processes are ended."""
        network = cls(folder, dice)
        async with trio.open_nursery() as nursery:
            for proxy in network._proxies.values():
                await nursery.start(proxy.run)
            async with network.roles.running():
                try:
                    yield network
                finally:
                    network.heal()
            nursery.cancel_scope.cancel()

    def link(self, who: str, whom: str) -> Proxy:
        """The way on which one sends to a member."""
        return self._proxies[who, whom]

    def between(self, ones: Iterable[str], others: Iterable[str]) -> list[Proxy]:
        """All links between two sides, both ways."""
        ones, others = list(ones), list(others)
        pairs = {*itertools.product(ones, others), *itertools.product(others, ones)}
        return [proxy for pair, proxy in self._proxies.items() if pair in pairs]

    def joined(self, one: str, other: str) -> bool:
        """Whether two members can talk, both ways."""
        return self.link(one, other).open and self.link(other, one).open

    def heal(self) -> None:
        """Make all links good."""
        for proxy in self._proxies.values():
            proxy.heal()

    def ended(self) -> list[str]:
        """Processes that are gone; none should be."""
        return [
            f"{name} ended with {process.returncode}"
            for name, process in self.roles.processes.items()
            if process.poll() is not None
        ]


def _dialling(config: Config, ports: dict[str, int]) -> Config:
    members = tuple(
        msgspec.structs.replace(member, dial=f"tcp:127.0.0.1:{ports[member.name]}") if member.name in ports else member
        for member in config.member
    )
    return msgspec.structs.replace(config, member=members)
