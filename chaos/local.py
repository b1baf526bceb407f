"""A whole local cluster as a test fixture: made in a folder of its own on free ports, faulted by process id.

Only processes of the cluster's own pid files are ever signalled.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
import trio

from cluster.cli.access import Access, find
from cluster.cli.http import Client, decode
from cluster.config import FILE_NAME, Config, dump, load
from cluster.errors import TrilithError
from cluster.process import read_pid


class LocalCluster:
    """`trilith up --detach` in `folder`; a context manager that ends it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The same for a program on trio. It ends however this is left, also before it was ready."""
        try:
            await trio.to_thread.run_sync(self.up)
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(self.command, "down", str(self.folder), check=False))
            raise
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.down)

    def command(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `trilith ...` and return what it printed."""
        line = [sys.executable, "-P", "-m", "cluster.cli.main", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=check, **options)  # noqa: S603 - ourselves

    def up(self) -> None:
        """Start it (again), on the options it was made with; returns when all is ready."""
        done = self.command(
            "up", str(self.folder), "--detach", "--port", "0", "--admin-port", "0", *self._options, check=False
        )
        if done.returncode != 0:
            self.command("down", str(self.folder), check=False)  # it may be starting still
            raise RuntimeError(f"the cluster did not start: {done.stderr}{self.logs()}")

    def down(self) -> None:
        """End it in order."""
        self.command("down", str(self.folder))

    @property
    def config(self) -> Config:
        """Its cluster.toml."""
        return load(self.folder / FILE_NAME)

    def access(self, *, operator: bool = False) -> Access:
        """The endpoint and the root key."""
        return find(str(self.folder), None, operator=operator)

    def status(self) -> dict[str, Any]:
        """`/status` of the operator port. Raises Unavailable."""
        with Client(self.access(operator=True)) as client:
            return decode(client.call("GET", "/status", repeatable=False), dict[str, Any])

    def pid(self, name: str) -> int | None:
        """A node's process, if it lives."""
        return read_pid(self.folder / "run" / f"{name}.pid")

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Send a signal to a node's process; its id, or None if there was none."""
        pid = self.pid(name)
        if pid is None:
            return None
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return None
        return pid

    def leader(self, *, timeout_s: float = 30.0) -> str:
        """The name of the present leader."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = self.status()["leader"]
            except TrilithError:
                found = None
                if time.monotonic() > deadline:
                    raise
            if found is not None:
                return str(found)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no leader after {timeout_s} s{self.logs()}")
            time.sleep(0.05)

    def all_up(self) -> bool:
        """Whether an API says that all members and chunk daemons are up."""
        try:
            facts = self.status()
        except TrilithError:
            return False
        return all(node["up"] for kind in ("members", "chunkds") for node in facts[kind])

    def logs(self, *, bytes_max: int = 3000) -> str:
        """The ends of all logs, for the message of a failed test."""
        texts = [
            f"\n--- {file.name}\n{file.read_text(errors='replace')[-bytes_max:]}"
            for file in sorted((self.folder / "run").glob("*.log"))
        ]
        return "".join(texts)

    def set_limits(self, **values: int | float) -> None:
        """Change limits in cluster.toml; they hold from the next start."""
        self._replace("limits", values)

    def set_timings(self, **values: float) -> None:
        """Change timings in cluster.toml; they hold from the next start."""
        self._replace("timings", values)

    def _replace(self, section: str, values: dict[str, Any]) -> None:
        config = self.config
        changed = msgspec.structs.replace(getattr(config, section), **values)
        (self.folder / FILE_NAME).write_text(dump(msgspec.structs.replace(config, **{section: changed})))
