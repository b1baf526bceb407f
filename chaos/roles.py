"""The processes of a cluster without a supervisor, each started, stopped and watched by itself.

This is how separate hosts run them: `python -P -m ROLE --config FILE --node NAME`. What is killed here stays dead until
`start` is called.
"""

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import trio

from cluster import identity
from cluster.cli.access import Access
from cluster.cli.http import Client, decode
from cluster.config import FILE_NAME, Config
from cluster.create import Shape, create
from cluster.errors import Unavailable
from cluster.ports import free_ports
from cluster.process import end_with_parent
from cluster.supervisor import role_command, role_of


class Roles:
    """All roles of a cluster made in `folder` on free ports; a context manager that starts and ends them."""

    def __init__(self, folder: Path, shape: Shape | None = None, *, wrap: dict[str, list[str]] | None = None) -> None:
        self.folder = folder
        port, admin_port = free_ports(2)
        shape = dataclasses.replace(shape or Shape(), port=port, admin_port=admin_port)
        self.config: Config = create(folder, shape)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.files: dict[str, Path] = {}  # the configuration of a role that has another one than the rest
        self._wrap = wrap or {}
        (folder / "run").mkdir(mode=0o700, exist_ok=True)

    def __enter__(self) -> Self:
        try:
            for node in self.config.nodes:
                self.start(node.name, wait=False)
            for node in self.config.nodes:
                self.wait_ready(node.name)
            self.wait_cluster_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The same for a program on trio. The processes are started in its own thread: each is tied to the thread that
        made it."""
        try:
            for node in self.config.nodes:
                self.start(node.name, wait=False)
            for node in self.config.nodes:
                await trio.to_thread.run_sync(self.wait_ready, node.name)
            await trio.to_thread.run_sync(self.wait_cluster_ready)
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.end)

    def end(self) -> None:
        """End all that still run."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        deadline = time.monotonic() + 20
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log_file(self, name: str) -> Path:
        """Where a role's output goes; begun anew at each start."""
        return self.folder / "run" / f"{name}.log"

    def start(self, name: str, *, wait: bool = True, wrap: Sequence[str] = ()) -> None:
        """Start one role, below the command `wrap`."""
        file = self.files.get(name, self.folder / FILE_NAME)
        command = role_command(role_of(self.config.role(name)), file, name)
        with self.log_file(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own modules
                [*self._wrap.get(name, []), *wrap, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, looked up before the fork
            )
        if wait:
            self.wait_ready(name)

    def wait_ready(self, name: str, *, timeout_s: float = 120.0) -> None:
        """Wait until a role has said that it serves."""
        deadline = time.monotonic() + timeout_s
        while not self.said(name, "ready"):
            if self.processes[name].poll() is not None:
                raise RuntimeError(
                    f"{name} ended with {self.processes[name].returncode}: {self.log_file(name).read_text()[-3000:]}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{name} is not ready after {timeout_s} s: {self.log_file(name).read_text()[-3000:]}"
                )
            time.sleep(0.02)

    def mend(self) -> None:
        """Start what is dead, continue what is stopped, and wait until all is up again."""
        dead = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in set(self.processes).difference(dead):
            self.kill(name, signal.SIGCONT)
        for name in dead:
            self.start(name, wait=False)
        for name in dead:
            self.wait_ready(name)
        self.wait_cluster_ready()

    def wait_cluster_ready(self, *, timeout_s: float = 60.0) -> None:
        """Wait until an API says that the default bucket is there and that every role is up: they serve before, and a
        write in that time has fewer copies."""
        deadline = time.monotonic() + timeout_s
        with Client(self.access(operator=True)) as client:
            while True:
                try:
                    facts = decode(client.call("GET", "/status", repeatable=False), dict[str, Any])
                except Unavailable:
                    facts = {}
                if facts.get("ready") and facts.get("state") == "ok":
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the cluster is not ready after {timeout_s} s: {facts}")
                time.sleep(0.05)

    def said(self, name: str, event: str) -> list[dict[str, object]]:
        """The log lines of a role's present life with this event."""
        found = []
        for line in self.log_file(name).read_text(errors="replace").splitlines():
            if event in line:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("event") == event:
                    found.append(entry)
        return found

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a role; for SIGKILL and SIGTERM wait for its end."""
        process = self.processes[name]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(30)

    def stop(self, name: str) -> None:
        """End a role in order, and wait for it."""
        self.kill(name, signal.SIGTERM)

    def resident_bytes(self, name: str) -> int:
        """Resident memory of a role (proc(5), statm)."""
        pages = int(Path(f"/proc/{self.processes[name].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def access(self, *, operator: bool = False) -> Access:
        """The first API's endpoint and the root key."""
        api = self.config.api[0]
        keys = identity.read_credentials(self.config.path(self.config.identity.credentials))
        listen = api.operator_listen if operator else api.object_listen
        return Access(f"http://{listen}", keys.access_key, keys.secret_key)
