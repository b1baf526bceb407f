"""A cluster in the foreground: kept up until a signal, announced when it is ready, ended in order.

Ready is: every member and chunk daemon that has not ended for good is up and known, there is a leader, and each API
process has answered. Nobody waits for a steward, whose work is behind the scenes. It is asked over HTTP, as any client
would. A signal that was ignored when we were started (nohup, `&`) stays so.
"""

import contextlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from cluster.cli.access import local
from cluster.cli.http import Client, decode
from cluster.cli.output import say
from cluster.config import Config, UnixAddress, address
from cluster.create import ensure_private_folder
from cluster.endpoints import ENDPOINTS_FILE, write_endpoints
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.identity import read_cluster_key
from cluster.supervisor import Supervisor

READY_S = 120.0  # a start that takes longer is reported, and goes on
_ASK_S = 5.0  # an API that does not answer for this long is asked anew
_POLL_S = 0.1

Facts = dict[str, Any]


@contextlib.contextmanager
def socket_folders(config: Config) -> Iterator[None]:
    """The private folders of the nodes' Unix sockets; one outside of the cluster's own folder goes at the end."""
    listens = [member.listen for member in config.member] + [chunkd.listen for chunkd in config.chunkd]
    places = {address(listen, config.base) for listen in listens}
    folders = {Path(place.path).parent for place in places if isinstance(place, UnixAddress)}
    for folder in folders:
        ensure_private_folder(folder)
    try:
        yield
    finally:
        for folder in folders:
            if not folder.is_relative_to(config.base):
                with contextlib.suppress(OSError):  # not empty: somebody else is in it
                    folder.rmdir()


async def run(supervisor: Supervisor, config: Config, folder: Path) -> None:
    """Keep the cluster up until SIGINT, SIGTERM or SIGHUP. Raises Unavailable (StartFailed) if it cannot begin."""
    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    failure: TrilithError | None = None
    with trio.open_signal_receiver(*wanted) as signals:
        async with trio.open_nursery() as draining, supervisor.running():
            async with trio.open_nursery() as nursery:

                async def announce() -> None:
                    nonlocal failure
                    try:
                        await _announce(supervisor, config, folder)
                    except (TrilithError, OSError) as error:
                        failure = error if isinstance(error, TrilithError) else Unavailable("StartFailed", str(error))
                        nursery.cancel_scope.cancel()

                nursery.start_soon(announce)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()
            (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
            say("stopping")
            draining.start_soon(_drain, signals)
            await supervisor.end()
            draining.cancel_scope.cancel()
    if failure is not None:
        raise failure


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def _drain(signals: Any) -> None:
    """Further signals change nothing: it is ending already."""
    async for number in signals:
        say(f"{signal.Signals(number).name}: still stopping")


async def _announce(supervisor: Supervisor, config: Config, folder: Path) -> None:
    """Wait until all are ready, then publish the endpoints and say how to begin."""
    endpoints = supervisor.endpoints
    access = local(config, endpoints.operator)
    logs = config.path(config.run)
    started = trio.current_time()
    late = False
    seen: set[str] = set()
    apis = {api.name for api in config.api}

    def ask() -> Facts | str:
        try:
            with Client(access, timeout_s=_ASK_S) as client:
                return decode(client.call("GET", "/status", repeatable=False), Facts)
        except TrilithError as error:
            return error.message

    while True:
        gone = supervisor.given_up
        if apis <= gone:
            raise Unavailable("StartFailed", f"no API process can run; see above, and the logs in {logs}")
        found = await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
        if isinstance(found, str):
            trouble: str | None = found
        else:
            seen.add(found["api"]["name"])
            trouble = missing(found, gone, apis - seen)
        if trouble is None:
            break
        if not late and trio.current_time() - started > READY_S:
            late = True
            say(f"not ready after {READY_S:.0f} s, still trying: {trouble}; logs are in {logs}")
        await trio.sleep(_POLL_S)
    write_endpoints(folder, endpoints)
    say(welcome(folder, logs, endpoints.object, endpoints.operator, sorted(supervisor.given_up)))


def missing(facts: Facts, given_up: frozenset[str], apis_unseen: set[str]) -> str | None:
    """What is not ready by the facts of `/status`, or None. Nobody waits for those that ended for good."""
    down = [node["name"] for kind in ("members", "chunkds") for node in facts[kind] if not node["up"]]
    waited = sorted({*down, *apis_unseen} - given_up)
    if waited:
        return f"{', '.join(waited)} not up"
    if facts["leader"] is None:
        return "no leader yet"
    return None if facts["ready"] else "disks and the default bucket are not registered yet"


def welcome(folder: Path, logs: Path, object_url: str, operator_url: str, given_up: list[str]) -> str:
    """Where all is, and commands that can be copied as they stand."""
    program = "trilith" if shutil.which("trilith") else _shortest(Path(sys.executable).with_name("trilith"))
    where = "" if folder == Path("data") else f" --dir {shlex.quote(str(folder))}"
    command = shlex.quote(program)
    without = f"\nTrilith runs without {', '.join(given_up)}." if given_up else ""
    return f"""Trilith is ready.{without}
  objects   {object_url}
  operator  {operator_url}
  keys      {folder / "credentials.json"}
  logs      {logs}
Try:
  date | {command} put - default/hello.txt{where}
  {command} ls default{where}
  {command} get default/hello.txt -{where}"""


def _shortest(path: Path) -> str:
    return min(os.path.relpath(path), str(path), key=len)


def refuse_what_cannot_start(config: Config) -> None:
    """Raises Refused for what every role, or each API process, would end of."""
    if not config.api:
        raise Refused("BadConfig", f"{config.base} has no [[api]] process, so nobody could reach it")
    local(config, "http:")  # keys that can be read
    read_cluster_key(config.path(config.identity.cluster_key))
