"""The dialect as it is composed in the process, over real chunk daemons and the real state machine.

But for who asks, which is told by the test; forms are signed. What handlers read of a request's headers is noted.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, ItemsView, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from api.access.gate import Gate
from api.access.keys import Keyring
from api.messages import Response
from api.s3.composition import s3_parts
from api.s3.dialect import Handler, S3Dialect
from api.s3.exchange import Exchange
from api.s3.waiting import LongAnswers
from cluster.identity import Credentials
from cluster.limits import Limits
from cluster.sealing import Sealer
from tests.api.operating import Operating, operating
from tests.api.s3.asks import LIMITS, Ask, configure, prepare
from tests.api.s3.speaking import Answer
from tests.api.s3.storing import Storing
from tests.api.whole import ACCESS, CLUSTER_KEY, SECRET


class Composed(Storing):
    """One who calls the dialect. `read` has the names of headers that handlers asked for, by operation."""

    def __init__(self, do: Operating, limits: Limits, answers: LongAnswers) -> None:
        super().__init__(do, limits, answers)
        self.read: dict[str, set[str]] = defaultdict(set)
        self.words: dict[str, str] = {}
        keyring = Keyring(do.meta, Sealer(CLUSTER_KEY), Credentials(ACCESS, SECRET), trio.current_time)
        parts = s3_parts(do.disks.config, "host-1", do.do, keyring, Gate(do.do.buckets), answers)
        handlers = {name: self._noting(handler) for name, handler in parts.handlers.items()}
        self.dialect = S3Dialect(replace(parts, authentication=self._told, handlers=handlers))

    def _noting(self, handler: Handler) -> Handler:
        async def noting(exchange: Exchange) -> Response:
            headers = _Noted(exchange.headers, self.read[exchange.operation.name])
            return await handler(replace(exchange, request=replace(exchange.request, headers=headers)))

        return noting

    async def prepare(self) -> None:
        """Have all that `tests.api.s3.asks` is about, again if something of it is gone."""
        self.words = await prepare(self)
        await configure(self)

    async def ask(self, ask: Ask) -> Answer:
        """A request with the words filled in."""
        ask = ask.filled(self.words)
        return await self.call(ask.method, ask.target, ask.body, ask.headers, length=ask.length)


class _Noted(Mapping[str, str]):
    """Headers; the names that are asked for one by one are noted. Who reads them all is after a family of names."""

    def __init__(self, headers: Mapping[str, str], read: set[str]) -> None:
        self._headers = headers
        self._read = read

    def __getitem__(self, name: str) -> str:
        self._read.add(name)
        return self._headers[name]

    def __contains__(self, name: object) -> bool:
        self._read.add(str(name))
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def items(self) -> ItemsView[str, str]:
        """All, noting none."""
        return self._headers.items()


@asynccontextmanager
async def composed(root: Path, *, limits: Limits = LIMITS) -> AsyncGenerator[Composed]:
    """The dialect over three daemons in a folder, with all that `tests.api.s3.asks` is about."""
    async with operating(root, limits=limits) as do, trio.open_nursery() as nursery:
        answers = LongAnswers("host-1")
        await nursery.start(answers.run)
        s3 = Composed(do, limits, answers)
        await s3.prepare()
        yield s3
        nursery.cancel_scope.cancel()
