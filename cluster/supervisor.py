"""The local supervisor: starts the processes of one machine, restarts what dies, ends all in order.

Rules: a role that ends with a code of `NOT_RESTARTED` stays down and is named, until somebody who has seen to it asks
for it (`ask_to_start`: a file NAME.start beside its lock, and SIGUSR1; it counts too while the role is about to end,
and is met once the role has said that it serves); any other end is followed by a restart with
back-off (doubling, and back to the least once it has said that it serves, or after some seconds of life). All start at
once, and end in order: HTTP and background work, then consensus, then data. It knows no role's inside: it starts
modules by name (`python -P -m ROLE`). Its own lock file says that it lives; its children die with it, and the next
supervisor waits for those that are still at it. No full disk and no closed terminal ends it: what it cannot write down
it does without.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
import trio

from cluster.config import FILE_NAME, ApiConfig, ChunkdConfig, Config, MemberConfig, NodeConfig, StewardConfig
from cluster.endpoints import ENDPOINTS_FILE, Endpoints
from cluster.errors import Refused
from cluster.exits import NOT_RESTARTED, RoleExit
from cluster.ports import reachable
from cluster.process import READY_VARIABLE, end_with_parent, opened_process, read_pid, write_pid

RUN_NAME = "run"
"""Folder beside the configuration: the supervisor's lock, pid file and log, and requests to it. It cannot be set, for
whoever edits the configuration would hide a supervisor that runs. Sockets, pid files and logs of the roles lie there by
default (`Config.run`)."""

LOCK_FILE = "supervisor.lock"
PID_FILE = "supervisor.pid"
START_SUFFIX = ".start"
_STEADY_S = 5.0  # a life this long is no crash at the start: the back-off begins anew, as after readiness
_LOG_BYTES_MAX = 64 * 1024 * 1024  # a log that is larger is set aside; so two of these per process
_LOG_CHECK_S = 30.0
_ENDING = (("api", "api.steward"), ("metaraft",), ("chunkd",))  # whoever asks ends before whom it asks
_REASON_BYTES = 16 * 1024  # of the end of a log, where the last line is looked for

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

type End = int | OSError
"""How a life ended: an exit code (negative: a signal), or why there was none."""


def role_of(node: NodeConfig) -> str:
    """The module that runs a node."""
    match node:
        case MemberConfig():
            return "metaraft"
        case ChunkdConfig():
            return "chunkd"
        case ApiConfig():
            return "api"
        case StewardConfig():
            return "api.steward"


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
    was_ready: bool = False  # in its last life
    stopping: trio.Event = field(default_factory=trio.Event)
    wanted: trio.Event = field(default_factory=trio.Event)  # it is to be started though it ended for good

    @property
    def name(self) -> str:
        """The node's name; its pid and log file are called so."""
        return self.node.name


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the folder's supervisor lock; a request to start a role (`ask_to_start`) kills nobody who has it.

    For the main thread. Raises Refused (AlreadyRunning).
    """
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(run / LOCK_FILE, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = read_pid(run / PID_FILE)
            raise Refused(
                "AlreadyRunning", f"a supervisor (process {pid}) already runs the cluster in {run.parent}"
            ) from None
        # One that was killed left it; whoever sees our pid file sees only endpoints of ours.
        (run.parent / ENDPOINTS_FILE).unlink(missing_ok=True)
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until it is handled: who sees the pid file may send it
        try:
            write_pid(run / PID_FILE, os.getpid())
            yield
        finally:
            (run / PID_FILE).unlink(missing_ok=True)
            signal.signal(signal.SIGUSR1, before)


def ask_to_start(run: Path, name: str) -> bool:
    """Have the supervisor start a role that it has given up. False: none runs here, and nothing was asked."""
    with opened_process(run / PID_FILE) as handle:
        if handle is None:
            return False
        (run / (name + START_SUFFIX)).touch()
        try:
            signal.pidfd_send_signal(handle, signal.SIGUSR1)
        except ProcessLookupError:
            return False
        return True


class Supervisor:
    """Runs all processes of `config` until it is told to stop. `ports` are the real listeners of each API."""

    def __init__(self, config: Config, *, say: Callable[[str], None], ports: Mapping[str, tuple[str, str]]) -> None:
        self._config = config
        self._run = config.path(config.run)
        self._say_to_person = say
        self._file = Path(config.base, FILE_NAME)
        self._ports = ports
        self._tie = end_with_parent()
        self.children = [Child(node, self._command(node)) for node in config.nodes]

    def _command(self, node: NodeConfig) -> list[str]:
        extra: list[str] = []
        if isinstance(node, ApiConfig):
            object_listen, operator_listen = self._ports[node.name]
            extra = ["--object-listen", object_listen, "--operator-listen", operator_listen]
            if node.insecure_listen:
                extra.append("--insecure-listen")
        return role_command(role_of(node), self._file, node.name, *extra)

    @property
    def endpoints(self) -> Endpoints:
        """Where the first API answers."""
        first = self._config.api[0]
        object_listen, operator_listen = self._ports[first.name]
        scheme = "https" if first.tls_cert else "http"
        return Endpoints(
            object=f"{scheme}://{reachable(object_listen)}", operator=f"{scheme}://{reachable(operator_listen)}"
        )

    @property
    def given_up(self) -> frozenset[str]:
        """Names of the children that ended for good."""
        return frozenset(child.name for child in self.children if child.given_up is not None)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All processes kept up inside; on leaving they are ended in order and waited for."""
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._take_requests)
            nursery.start_soon(self._bound_logs)
            for child in self.children:
                nursery.start_soon(self._keep, child)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self.end()
                nursery.cancel_scope.cancel()

    async def end(self) -> None:
        """End all in order and wait for them, as `_ENDING` says. None is started again."""
        for child in self.children:
            child.stopping.set()
            child.wanted.set()
        for roles in _ENDING:
            async with trio.open_nursery() as nursery:
                for child in self.children:
                    if role_of(child.node) in roles:
                        nursery.start_soon(self._end, child)

    async def _keep(self, child: Child) -> None:
        timings = self._config.timings
        backoff = timings.restart_backoff_min_s
        await self._end_earlier(child)
        while not child.stopping.is_set():
            started = trio.current_time()
            end = await self._live(child)
            if child.stopping.is_set():
                return
            if end in NOT_RESTARTED:
                assert isinstance(end, int)
                child.given_up = end
                why = last_reason(self.log_file(child.name))
                self._say(
                    f"{child.name} {how_it_ended(end)} and is not restarted{': ' + why if why else ''}; "
                    f"see {self.log_file(child.name)}"
                )
                await child.wanted.wait()
                child.given_up = None
                backoff = timings.restart_backoff_min_s
                continue
            child.restarts += 1
            if end == RoleExit.AGAIN:  # it asked for it
                self._say(f"{child.name} {how_it_ended(end)} and is started again at once")
                continue
            if child.was_ready or trio.current_time() - started >= _STEADY_S:
                backoff = timings.restart_backoff_min_s
            self._say(f"{child.name} {how_it_ended(end)}; restarting it in {backoff:.1f} s")
            with trio.move_on_after(backoff):
                await child.stopping.wait()
            backoff = min(backoff * 2, timings.restart_backoff_max_s)

    async def _take_requests(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGUSR1) as asked:
            self._look_for_requests()  # those that came before are met: all roles are started now
            task_status.started()
            async for _ in asked:
                self._look_for_requests()

    def _look_for_requests(self) -> None:
        for child in self.children:
            with self._tolerated(f"the request to start {child.name}"):
                request = Path(self._config.base, RUN_NAME, child.name + START_SUFFIX)
                if request.exists():
                    request.unlink()
                    child.wanted.set()

    async def _end_earlier(self, child: Child) -> None:
        """A process that outlived its supervisor (killed with -9) has been told to end; it may still hold the node's
        folder and sockets, and a second one would be refused there."""
        with opened_process(self._pid_file(child.name)) as handle:
            if handle is None:
                return
            self._say(f"{child.name} of an earlier supervisor still runs and is ended first")
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGTERM)
            with trio.move_on_after(self._config.timings.shutdown_s):
                await _readable(handle)
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            await _readable(handle)

    async def _live(self, child: Child) -> End:
        """One life of a child, from start to end."""
        log_file, pid_file = self.log_file(child.name), self._pid_file(child.name)
        child.was_ready = False
        if not child.stopping.is_set():
            child.wanted = trio.Event()
        try:
            child.process, ready = self._start(child.command, log_file)
        except OSError as error:  # no process, memory or file left: later, perhaps
            await trio.lowlevel.checkpoint()
            return error
        self._note("started", node=child.name, pid=child.process.pid)
        with self._tolerated(f"the pid file of {child.name}"):
            write_pid(pid_file, child.process.pid)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_readiness, child, ready)
                code = await _ended(child.process)
                nursery.cancel_scope.cancel()
            return code
        finally:
            child.was_ready |= _said_ready(ready)
            os.close(ready)
            with self._tolerated(f"the pid file of {child.name}"):
                pid_file.unlink(missing_ok=True)

    async def _watch_readiness(self, child: Child, ready: int) -> None:
        """Note that a child serves. Whoever asked for it before has it."""
        await _readable(ready)
        if _said_ready(ready):
            child.was_ready = True
            if not child.stopping.is_set():
                child.wanted = trio.Event()

    def _start(self, command: list[str], log_file: Path) -> tuple[subprocess.Popen[bytes], int]:
        """The process, and the end of a pipe on which it says that it serves. Raises OSError."""
        ready, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return self._spawn(command, log_file, told), ready
        except OSError:
            os.close(ready)
            raise
        finally:
            os.close(told)

    def _spawn(self, command: list[str], log_file: Path, told: int) -> subprocess.Popen[bytes]:
        # In the main thread: the tie to the parent is to the thread that forks. In a process group of its own:
        # Ctrl-C on the terminal is the supervisor's to handle.
        with open(log_file, "ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._config.base,
                env={**os.environ, READY_VARIABLE: str(told)},
                pass_fds=(told,),
                process_group=0,
                preexec_fn=self._tie,  # noqa: PLW1509 - one prctl, looked up before the fork
            )

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

    async def _bound_logs(self) -> None:
        while True:
            for child in self.children:
                with self._tolerated(f"setting aside the log of {child.name}"):
                    await trio.to_thread.run_sync(set_aside, self.log_file(child.name), _LOG_BYTES_MAX)
            await trio.sleep(_LOG_CHECK_S)

    def log_file(self, name: str) -> Path:
        """Where a node's output goes."""
        return self._run / f"{name}.log"

    def _pid_file(self, name: str) -> Path:
        return self._run / f"{name}.pid"

    def _say(self, text: str) -> None:
        self._note(text)
        with contextlib.suppress(OSError):  # the terminal is gone
            self._say_to_person(text)

    def _note(self, event: str, **facts: object) -> None:
        with contextlib.suppress(OSError):  # the disk is full: the log can wait, the processes cannot
            _log.info(event, **facts)

    @contextlib.contextmanager
    def _tolerated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._say(f"{what}: {error}")


def how_it_ended(end: End) -> str:
    """A process's end in words."""
    match end:
        case OSError():
            return f"could not be started ({end})"
        case code if code >= 0:
            known = RoleExit(code).name if code in RoleExit else "unknown"
            return f"ended with code {code} ({known})"
        case _:
            names = {number.value: number.name for number in signal.Signals}
            return f"was killed by {names.get(-end, f'signal {-end}')}"


def last_reason(log_file: Path) -> str:
    """The `reason` (or else the event) that the last line of a role's log gives, or nothing."""
    return reason_in(_end_of(log_file))


def last_complaint(log_file: Path) -> str:
    """The same if that line is an error, else nothing."""
    text = _end_of(log_file)
    return reason_in(text) if _entry_in(text).get("level") in ("error", "critical") else ""


def _end_of(log_file: Path) -> bytes:
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _REASON_BYTES))
            return log.read()
    except OSError:
        return b""


def reason_in(text: bytes) -> str:
    """The same of a log's text. What is no JSON line is given as it is."""
    lines = text.splitlines()
    entry = _entry_in(text)
    if not entry and lines:
        return lines[-1].decode("utf-8", "replace").strip()
    return str(entry.get("reason") or entry.get("event") or "")


def _entry_in(text: bytes) -> dict[str, object]:
    """The last line of a log, if it is JSON."""
    lines = text.splitlines()
    try:
        return msgspec.json.decode(lines[-1], type=dict[str, object]) if lines else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def set_aside(log_file: Path, bytes_max: int) -> None:
    """Copy a log that is larger to `.log.1` and empty it. Its writer appends and goes on undisturbed; lines written
    in between are lost."""
    if log_file.exists() and log_file.stat().st_size > bytes_max:
        shutil.copyfile(log_file, log_file.with_suffix(".log.1"))
        os.truncate(log_file, 0)


def _said_ready(descriptor: int) -> bool:
    """Whether anything was written into the pipe, whose end this is, since it was asked last."""
    try:
        return bool(os.read(descriptor, 1))
    except BlockingIOError:  # a child of the child still holds the other end
        return False


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child's exit by its pidfd (pidfd_open(2)); several may wait."""
    while True:
        code = process.poll()
        if code is not None:
            return code
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        try:
            await _readable(handle)
        finally:
            os.close(handle)


async def _readable(handle: int) -> None:
    """Wait until the process of a handle has ended, or something stands in a pipe."""
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        trio.lowlevel.notify_closing(handle)
