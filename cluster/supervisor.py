"""The local supervisor: starts the processes of one machine, restarts what dies, ends all in order.

Rules: a role that ends with a code of `NOT_RESTARTED` stays down and is named; any other end is followed by a
restart with back-off (doubling, and back to the least after a minute of life). It starts data before consensus
before HTTP and ends in the opposite order. It knows no role's inside: it starts modules by name
(`python -P -m ROLE`) and asks the API over HTTP whether the cluster is there. Its own lock file says that it
lives; its children die with it.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
import trio

from cluster.config import FILE_NAME, ApiConfig, ChunkdConfig, Config, MemberConfig, NodeConfig
from cluster.errors import Refused, Unavailable
from cluster.exits import NOT_RESTARTED, RoleExit
from cluster.process import end_with_parent, read_pid, write_pid

LOCK_FILE = "supervisor.lock"
PID_FILE = "supervisor.pid"
ENDPOINTS_FILE = "endpoints.json"
_STEADY_S = 60.0  # a life this long resets the back-off
_LOG_BYTES_MAX = 64 * 1024 * 1024  # a log larger than this is set aside at the next start

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoints.json`: where the cluster answers. Written only while all of it is ready."""

    object: str
    operator: str


def role_of(node: NodeConfig) -> str:
    """The module that runs a node."""
    match node:
        case MemberConfig():
            return "metaraft"
        case ChunkdConfig():
            return "chunkd"
        case ApiConfig():
            return "api"


def role_command(role: str, config_file: Path, name: str, *arguments: str) -> list[str]:
    """The command line that runs one role in this environment."""
    return [sys.executable, "-P", "-m", role, "--config", str(config_file), "--node", name, *arguments]


@dataclass
class Child:
    """One supervised process and its history."""

    node: NodeConfig
    command: list[str]
    restarts: int = 0
    given_up: int | None = None  # the exit code that ended it for good
    process: subprocess.Popen[bytes] | None = None
    stopping: trio.Event = field(default_factory=trio.Event)

    @property
    def name(self) -> str:
        """The node's name; its pid and log file are called so."""
        return self.node.name


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the folder's supervisor lock. Raises Refused (AlreadyRunning)."""
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(run / LOCK_FILE, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = read_pid(run / PID_FILE)
            raise Refused(
                "AlreadyRunning", f"a supervisor (process {pid}) already runs the cluster in {run.parent}"
            ) from None
        write_pid(run / PID_FILE, os.getpid())
        try:
            yield
        finally:
            (run / PID_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def reserved_ports(apis: Sequence[ApiConfig]) -> Iterator[dict[str, tuple[str, str]]]:
    """Real `host:port` of each API's two listeners, held for the supervisor's life.

    Port 0 becomes a free one. A socket that is bound (SO_REUSEPORT) but does not listen takes no connections, and keeps
    the port for the API's next start. Processes with the same configured address share the port.
    Raises Refused (PortInUse).
    """
    with contextlib.ExitStack() as stack:
        taken: dict[tuple[str, str], str] = {}

        def reserve(purpose: str, listen: str) -> str:
            if (purpose, listen) not in taken:
                taken[purpose, listen] = _bind(listen, stack)
            return taken[purpose, listen]

        yield {
            api.name: (reserve("object", api.object_listen), reserve("operator", api.operator_listen)) for api in apis
        }


def _bind(listen: str, stack: contextlib.ExitStack) -> str:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    with probe:  # without SO_REUSEPORT this fails where somebody else's listener would share with ours
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise Refused(
                "PortInUse",
                f"cannot listen on {listen}: {error.strerror}; "
                "choose another with --port or --admin-port (0: any free one)",
            ) from error
        number = probe.getsockname()[1]
    held = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, number))
    return f"[{host}]:{number}" if family == socket.AF_INET6 else f"{host}:{number}"


class Supervisor:
    """Runs the processes of `config` that belong to `host` until it is told to stop."""

    def __init__(self, config: Config, *, say: Callable[[str], None], ports: Mapping[str, tuple[str, str]]) -> None:
        self._config = config
        self._run = config.path(config.run)
        self._say = say
        self._file = Path(config.base, FILE_NAME)
        self._ports = ports
        self._tie = end_with_parent()
        self.children = [Child(node, self._command(node)) for node in config.nodes]

    def _command(self, node: NodeConfig) -> list[str]:
        extra: tuple[str, ...] = ()
        if isinstance(node, ApiConfig):
            object_listen, operator_listen = self._ports[node.name]
            extra = ("--object-listen", object_listen, "--operator-listen", operator_listen)
        return role_command(role_of(node), self._file, node.name, *extra)

    @property
    def endpoints(self) -> Endpoints:
        """Where the first API answers."""
        first = self._config.api[0]
        object_listen, operator_listen = self._ports[first.name]
        scheme = "https" if first.tls_cert else "http"
        return Endpoints(
            object=f"{scheme}://{_reachable(object_listen)}", operator=f"{scheme}://{_reachable(operator_listen)}"
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All processes kept up inside; on leaving they are ended in order and waited for."""
        async with trio.open_nursery() as nursery:
            for child in self.children:
                nursery.start_soon(self._keep, child)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self._end_all()
                nursery.cancel_scope.cancel()

    async def _keep(self, child: Child) -> None:
        timings = self._config.timings
        backoff = timings.restart_backoff_min_s
        while not child.stopping.is_set():
            started = trio.current_time()
            code = await self._live(child)
            if child.stopping.is_set():
                return
            if code in NOT_RESTARTED:
                child.given_up = code
                self._say(
                    f"{child.name} ended with code {code} ({RoleExit(code).name}) and is not restarted; "
                    f"see {self.log_file(child.name)}"
                )
                return
            if trio.current_time() - started >= _STEADY_S:
                backoff = timings.restart_backoff_min_s
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            self._say(f"{child.name} {how}; restarting it in {backoff:.1f} s")
            with trio.move_on_after(backoff):
                await child.stopping.wait()
            backoff = min(backoff * 2, timings.restart_backoff_max_s)
            child.restarts += 1

    async def _live(self, child: Child) -> int:
        """One life of a child, from start to exit code."""
        log_file = self.log_file(child.name)
        if log_file.exists() and log_file.stat().st_size > _LOG_BYTES_MAX:
            log_file.replace(log_file.with_suffix(".log.1"))
        pid_file = self._run / f"{child.name}.pid"
        child.process = self._start(child.command, log_file)
        _log.info("started", node=child.name, pid=child.process.pid)
        write_pid(pid_file, child.process.pid)
        try:
            return await _ended(child.process)
        finally:
            pid_file.unlink(missing_ok=True)

    def _start(self, command: list[str], log_file: Path) -> subprocess.Popen[bytes]:
        # In the main thread: the tie to the parent is to the thread that forks. In a process group of its own:
        # Ctrl-C on the terminal is the supervisor's to handle.
        with open(log_file, "ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._config.base,
                process_group=0,
                preexec_fn=self._tie,  # noqa: PLW1509 - one prctl, looked up before the fork
            )

    async def _end_all(self) -> None:
        for child in self.children:
            child.stopping.set()
        for role in ("api", "metaraft", "chunkd"):
            async with trio.open_nursery() as nursery:
                for child in self.children:
                    if role_of(child.node) == role:
                        nursery.start_soon(self._end, child)

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with trio.move_on_after(self._config.timings.shutdown_s):
            await _ended(process)
            return
        self._say(f"{child.name} did not end within {self._config.timings.shutdown_s:.0f} s and is killed")
        process.kill()
        await _ended(process)

    def log_file(self, name: str) -> Path:
        """Where a node's output goes."""
        return self._run / f"{name}.log"


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child's exit by its pidfd (pidfd_open(2)); several may wait."""
    while True:
        code = process.poll()
        if code is not None:
            return code
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        try:
            await trio.lowlevel.wait_readable(fd)
        finally:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)


def _reachable(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "") else f"[::1]:{port}" if host == "[::]" else listen  # noqa: S104


def write_endpoints(directory: Path, endpoints: Endpoints) -> None:
    """Publish where the cluster answers, atomically."""
    temporary = directory / f".{ENDPOINTS_FILE}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(endpoints)) + b"\n")
    temporary.replace(directory / ENDPOINTS_FILE)


def read_endpoints(directory: Path) -> Endpoints:
    """Where the cluster in `directory` answers. Raises Unavailable (NotRunning)."""
    try:
        return msgspec.json.decode((directory / ENDPOINTS_FILE).read_bytes(), type=Endpoints)
    except FileNotFoundError:
        raise Unavailable(
            "NotRunning", f"no cluster is ready in {directory}; `trilith up {directory}` starts one"
        ) from None
