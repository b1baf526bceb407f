"""A whole cluster in one trio run: members, daemons, stewards and the API's apps, over real sockets and folders."""

import base64
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from api.app import Apps, compose
from api.role import make_default_bucket
from api.steward.role import run_steward
from chunkd.server import ChunkServer
from cluster.config import ApiConfig, ChunkdConfig, Config, MemberConfig, StewardConfig
from cluster.identity import Credentials, NodeIdentity
from cluster.limits import Limits, Timings
from metaraft.queries import GetObject, ObjectFound
from metaraft.server import Member, prepare
from tests.chunkd.worlds import node_store

ACCESS, SECRET = "TESTACCESS", "test-secret-test-secret"
CLUSTER_KEY = bytes(range(32))
KEY = {"authorization": f"Bearer {ACCESS}:{SECRET}"}
BASIC = {"authorization": "Basic " + base64.b64encode(f"{ACCESS}:{SECRET}".encode()).decode()}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Whole:
    """The cluster. A call goes straight to the object app's ASGI interface."""

    def __init__(self, config: Config, apps: Apps, nursery: trio.Nursery) -> None:
        self.config = config
        self.apps = apps
        self._nursery = nursery
        self._running: dict[str, trio.CancelScope] = {}
        self._ended: dict[str, trio.Event] = {}

    async def start(self, name: str) -> None:
        """Start a member, a chunk daemon or a steward."""
        await self._nursery.start(self._run, name)

    async def stop(self, name: str) -> None:
        """End one; its connections break."""
        self._running.pop(name).cancel()
        await self._ended[name].wait()

    async def _run(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        node = self.config.role(name)
        me = NodeIdentity(self.config.cluster_id, name)
        self._ended[name] = trio.Event()
        with trio.CancelScope() as scope:
            self._running[name] = scope
            if isinstance(node, MemberConfig):
                member = Member(self.config, node, me)
                with contextlib.closing(member):
                    async with trio.open_nursery() as nursery:
                        await nursery.start(member.run)
                        task_status.started()
            elif isinstance(node, ChunkdConfig):
                with node_store(self.config, node) as store:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(ChunkServer(store, node, self.config, me).run)
                        task_status.started()
            elif isinstance(node, StewardConfig):
                async with trio.open_nursery() as nursery:
                    await nursery.start(run_steward, self.config, node, me)
                    task_status.started()
        self._ended[name].set()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        key: dict[str, str] | None = KEY,
        app: Any = None,
    ) -> Answer:
        """One request. A body of several pieces is sent without a length."""
        return await call_asgi(app or self.apps.object, method, path, body, {**(key or {}), **(headers or {})})

    async def put(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        """A PUT that must succeed."""
        answer = await self.call("PUT", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status in (200, 201), answer.body
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        """A GET with some headers."""
        return await self.call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def wait_for_copies(self, key: str, copies: int) -> None:
        """Wait until the metadata knows so many holders of each chunk of an object of the bucket `default`."""
        query = GetObject(bucket="default", key=key)
        with trio.fail_after(30):
            while True:
                found = await self.apps.meta.read(query, deadline=trio.current_time() + 5)
                assert isinstance(found, ObjectFound)
                if all(len(holders) >= copies for holders in found.holders.values()):
                    return


async def call_asgi(
    app: Any, method: str, target: str, body: bytes | Iterable[bytes] | None, headers: dict[str, str]
) -> Answer:
    """One request through an ASGI interface."""
    raw_path, _, query = target.encode("latin-1").partition(b"?")
    sent = [(name.encode(), value.encode(errors="surrogateescape")) for name, value in headers.items()]
    pieces = [body or b""] if body is None or isinstance(body, bytes) else list(body)
    if isinstance(body, bytes):
        sent.append((b"content-length", b"%d" % len(body)))
    elif body is not None and "content-length" not in headers:
        sent.append((b"transfer-encoding", b"chunked"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": sent if "host" in headers else [(b"host", b"test"), *sent],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
        "extensions": {},
    }
    events = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]
    status, got, found = 0, bytearray(), {}

    async def receive() -> Any:
        await trio.lowlevel.checkpoint()
        if not events:
            await trio.sleep_forever()
        return events.pop(0)

    async def send(message: Any) -> None:
        nonlocal status, found
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            status = message["status"]
            found = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            got.extend(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status, found, bytes(got))


@asynccontextmanager
async def whole(
    *,
    members: int = 1,
    chunkds: int = 3,
    stewards: int = 0,
    limits: Limits | None = None,
    ready: bool = True,
    **timings: float,
) -> AsyncIterator[Whole]:
    """A cluster with the default bucket; sockets and data in a short temporary folder. Stewards are not started."""
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    (root / "run").mkdir(mode=0o700)
    config = Config(
        format=1,
        cluster_id="test-cluster",
        member=tuple(
            MemberConfig(
                name=f"meta-{slot}",
                slot=slot,
                incarnation=f"{slot:032x}",
                listen=f"unix:{root}/run/m{slot}",
                directory=f"meta-{slot}",
            )
            for slot in range(1, members + 1)
        ),
        chunkd=tuple(
            ChunkdConfig(
                name=f"chunk-{number}",
                disk_id=f"{number:032x}",
                listen=f"unix:{root}/run/c{number}",
                directory=f"chunk-{number}",
                zone=f"z{number}",
            )
            for number in range(1, chunkds + 1)
        ),
        api=(ApiConfig(name="api-1"),),
        steward=tuple(StewardConfig(name=f"steward-{number}") for number in range(1, stewards + 1)),
        limits=limits or Limits(disk_reserve_bytes=0, free_bytes_min=0, free_percent_min=0, map_bytes=1 << 30),
        timings=Timings(
            **{
                "election_timeout_min_s": 0.1,
                "election_timeout_max_s": 0.2,
                "heartbeat_s": 0.03,
                "reconnect_s": 0.1,
                **timings,
            }
        ),
        base=str(root),
    )
    try:
        for member in config.member:
            prepare(config, member)
        apps = compose(
            config, "api-1", NodeIdentity(config.cluster_id, "api-1"), Credentials(ACCESS, SECRET), CLUSTER_KEY
        )
        async with trio.open_nursery() as nursery:
            found = Whole(config, apps, nursery)
            for name in [member.name for member in config.member] + [chunkd.name for chunkd in config.chunkd]:
                await found.start(name)
            for part in (apps.meta, apps.nodes, apps.writer, apps.reader, apps.s3.answers):
                await nursery.start(part.run)
            nursery.start_soon(make_default_bucket, apps, ACCESS, config)
            if ready:
                with trio.fail_after(30):
                    await apps.process.bucket_made.wait()
                    while not all(state.registered and state.connected for state in apps.nodes.status()):
                        await trio.lowlevel.checkpoint()
            yield found
            nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(root, ignore_errors=True)
