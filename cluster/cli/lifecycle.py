"""`trilith init up down status` and `trilith node cert`: a cluster of one machine, from its making to its end."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog
import trio

from cluster import identity
from cluster.cli.access import Access, directory_of, find
from cluster.cli.http import Client, decode
from cluster.cli.output import command, human_bytes, print_json, say
from cluster.config import FILE_NAME, Config, UnixAddress, address, load
from cluster.create import Shape, create, ensure_private_folder
from cluster.errors import Refused, Unavailable
from cluster.log import configure
from cluster.process import read_pid
from cluster.supervisor import (
    ENDPOINTS_FILE,
    PID_FILE,
    Supervisor,
    locked,
    read_endpoints,
    reserved_ports,
    write_endpoints,
)

_READY_S = 120.0  # a start that takes longer is reported, and goes on


def _shape_options[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """What a new cluster looks like; an existing one keeps its shape."""
    options = (
        click.option("--members", type=click.Choice(["1", "3", "5"]), help="Metadata members (default 3)."),
        click.option("--chunkds", type=click.IntRange(1, 64), help="Chunk daemons (default 3)."),
        click.option("--apis", type=click.IntRange(1, 64), help="API processes, sharing the ports (default 1)."),
        click.option(
            "--transport",
            type=click.Choice(["unix", "tcp"]),
            help="Between nodes: Unix sockets (default), or loopback TCP with mutual TLS.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="S3 and native objects (default 9000; 0: any free one)."
        ),
        click.option(
            "--admin-port", type=click.IntRange(0, 65535), help="Operator API (default 9001; 0: any free one)."
        ),
        click.option("--listen", help="Address of the object port (default 127.0.0.1)."),
        click.option("--insecure-listen", is_flag=True, help="Allow clear HTTP on an address that is not loopback."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _shape(given: dict[str, Any]) -> Shape:
    values = {name: value for name, value in given.items() if value is not None}
    if "members" in values:
        values["members"] = int(values["members"])
    return Shape(**values)


def _folder(directory: str | None) -> Path:
    return directory_of(directory)


@click.command()
@click.argument("directory", required=False)
@_shape_options
@command
def init(directory: str | None, **shape: Any) -> None:
    """Make a cluster in DIRECTORY (default ./data) without starting it."""
    made = create(_folder(directory), _shape(shape))
    click.echo(f"made cluster {made.cluster_id} in {made.base}")


@click.command()
@click.argument("directory", required=False)
@click.option("--detach", is_flag=True, help="Return when it is ready; `trilith down` ends it.")
@_shape_options
@command
def up(directory: str | None, detach: bool, **shape: Any) -> None:
    """Run the cluster of DIRECTORY (default ./data; made at the first start) until Ctrl-C."""
    folder = _folder(directory)
    if detach:
        _detach(folder, shape)
        return
    with locked(folder / "run"):
        configure("supervisor", "supervisor")
        structlog.configure(
            logger_factory=structlog.PrintLoggerFactory((folder / "run" / "supervisor.log").open("a", buffering=1))
        )
        config = _config(folder, shape)
        _private_socket_folders(config)
        (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
        with reserved_ports(config.api) as ports:
            trio.run(_supervise, Supervisor(config, say=say, ports=ports), folder)
    say("stopped")


def _config(folder: Path, shape: dict[str, Any]) -> Config:
    """The cluster's configuration, made at the first start. The ports and listen address can be given anew at each
    start; the rest of the shape is what it was made with."""
    if not (folder / FILE_NAME).exists():
        return create(folder, _shape(shape))
    config = load(folder / FILE_NAME)
    counts = {"members": len(config.member), "chunkds": len(config.chunkd), "apis": len(config.api)}
    for name, count in counts.items():
        if shape[name] is not None and int(shape[name]) != count:
            raise Refused("ShapeFixed", f"this cluster was made with --{name} {count}; {shape[name]} was asked for")
    made_with = "unix" if config.member[0].listen.startswith("unix:") else "tcp"
    if shape["transport"] not in (None, made_with):
        raise Refused("ShapeFixed", f"this cluster was made with --transport {made_with}")
    apis = tuple(
        msgspec.structs.replace(
            api,
            object_listen=_listen(api.object_listen, shape["listen"], shape["port"]),
            operator_listen=_listen(api.operator_listen, None, shape["admin_port"]),
            insecure_listen=api.insecure_listen or shape["insecure_listen"],
        )
        for api in config.api
    )
    return msgspec.structs.replace(config, api=apis)


def _listen(configured: str, host: str | None, port: int | None) -> str:
    old_host, _, old_port = configured.rpartition(":")
    new_host = old_host if host is None else f"[{host}]" if ":" in host else host
    return f"{new_host}:{old_port if port is None else port}"


def _private_socket_folders(config: Config) -> None:
    for listen in [member.listen for member in config.member] + [chunkd.listen for chunkd in config.chunkd]:
        match address(listen, config.base):
            case UnixAddress(path):
                ensure_private_folder(Path(path).parent)


async def _supervise(supervisor: Supervisor, folder: Path) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with supervisor.running():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_announce, supervisor, folder)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()
            (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
            say("stopping")


async def _announce(supervisor: Supervisor, folder: Path) -> None:
    """Wait until all are ready, then publish the endpoints and say how to begin."""
    endpoints = supervisor.endpoints
    started = trio.current_time()
    late = False
    while (missing := await trio.to_thread.run_sync(_missing, folder, endpoints.operator)) is not None:
        if not late and trio.current_time() - started > _READY_S:
            late = True
            say(f"not ready after {_READY_S:.0f} s, still trying: {missing}; logs are in {folder / 'run'}")
        await trio.sleep(0.1)
    write_endpoints(folder, endpoints)
    config_folder = "" if str(folder) == "data" else f" --dir {folder}"
    say(
        f"""Trilith is ready.
  objects   {endpoints.object}
  operator  {endpoints.operator}
  keys      {folder / "credentials.json"}
  logs      {folder / "run"}
Try:
  trilith put README.md default/readme.md{config_folder}
  trilith ls default{config_folder}
  trilith get default/readme.md -{config_folder}"""
    )


def _missing(folder: Path, operator: str) -> str | None:
    """What is not ready yet, or None."""
    try:
        facts = _status(folder, operator)
    except (Unavailable, Refused) as error:
        return error.message
    down = [node["name"] for kind in ("members", "chunkds") for node in facts[kind] if not node["up"]]
    if down:
        return f"{', '.join(down)} not up"
    if facts["leader"] is None:
        return "no leader yet"
    return None if facts["ready"] else "disks and the default bucket are not registered yet"


def _status(folder: Path, operator: str) -> dict[str, Any]:
    keys = identity.read_credentials(folder / "credentials.json")
    with Client(Access(operator, keys.access_key, keys.secret_key)) as client:
        return decode(client.call("GET", "/status", repeatable=False), dict[str, Any])


def _detach(folder: Path, shape: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    options: list[str] = []
    for name, value in shape.items():
        if value is True:
            options.append("--" + name.replace("_", "-"))
        elif value is not None and value is not False:
            options += ["--" + name.replace("_", "-"), str(value)]
    output = folder / "run" / "supervisor.out"
    with output.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", "cluster.cli.main", "up", str(folder), *options],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Refused(
                "StartFailed", output.read_text(errors="replace").strip() or f"it ended with {process.returncode}"
            )
        if read_pid(folder / "run" / PID_FILE) == process.pid and (folder / ENDPOINTS_FILE).exists():
            endpoints = read_endpoints(folder)
            click.echo(f"Trilith is ready: objects {endpoints.object}, operator {endpoints.operator}")
            click.echo(f"keys {folder / 'credentials.json'}")
            return
        time.sleep(0.05)
    raise Unavailable(
        "NotReady", f"the cluster is not ready after {_READY_S:.0f} s and still starting; see {folder / 'run'}"
    )


@click.command()
@click.argument("directory", required=False)
@command
def down(directory: str | None) -> None:
    """End the cluster of DIRECTORY (default ./data), in order."""
    folder = _folder(directory)
    pid = read_pid(folder / "run" / PID_FILE)
    if pid is None:
        say(f"no cluster runs in {folder}")
        return
    config = load(folder / FILE_NAME)
    patience = 3 * config.timings.shutdown_s + 10
    with _process_handle(pid) as handle:
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], patience)[0]:
                raise Unavailable(
                    "StillRunning", f"supervisor {pid} has not ended after {patience:.0f} s; see {folder / 'run'}"
                )
    click.echo(f"the cluster in {folder} has ended")


@contextlib.contextmanager
def _process_handle(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


@click.command()
@click.argument("directory", required=False)
@click.option("--dir", "dir_option", help="The same as DIRECTORY (or TRILITH_DIR; default ./data).")
@click.option("--endpoint", help="URL of the operator port; keys from the usual AWS variables.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
def status(directory: str | None, dir_option: str | None, endpoint: str | None, as_json: bool) -> None:
    """Show every process, leader, term, indices, and the chunk daemons' space."""
    access = find(directory or dir_option, endpoint, operator=True)
    with Client(access) as client:
        facts = decode(client.call("GET", "/status"), dict[str, Any])
    if endpoint is None:
        facts["processes"] = list(_processes(_folder(directory or dir_option)))
    if as_json:
        print_json(facts)
        return
    _print_status(facts)


def _processes(folder: Path) -> Iterator[dict[str, Any]]:
    """The processes of this machine by their pid files."""
    config = load(folder / FILE_NAME)
    run = config.path(config.run)
    for name in ("supervisor", *(node.name for node in config.nodes)):
        pid = read_pid(run / f"{name}.pid")
        yield {"name": name, "pid": pid, "state": "running" if pid is not None else "not running"}


def _print_status(facts: dict[str, Any]) -> None:
    click.echo(f"cluster {facts['cluster_id']}  leader {facts['leader'] or 'none'}  term {facts['term']}")
    for member in facts["members"]:
        if not member["up"]:
            click.echo(f"  {member['name']:<10} down")
            continue
        click.echo(
            f"  {member['name']:<10} {member['role']:<10} term {member['term']}  commit {member['commit']}"
            f"  applied {member['applied']}  log {human_bytes(member['log_bytes'])}"
        )
    for chunkd in facts["chunkds"]:
        if not chunkd["up"]:
            click.echo(f"  {chunkd['name']:<10} down")
            continue
        click.echo(
            f"  {chunkd['name']:<10} {chunkd['state']:<10} {chunkd['chunks']} chunks"
            f"  {human_bytes(chunkd['bytes_free'])} free of {human_bytes(chunkd['bytes_total'])}"
        )
    for process in facts.get("processes", []):
        click.echo(f"  {process['name']:<10} {process['state']:<12} pid {process['pid'] or '-'}")


@click.group()
def node() -> None:
    """Nodes of a cluster on several hosts."""


@node.command()
@click.argument("name")
@click.option("--dir", "directory", help="Folder of the cluster (or TRILITH_DIR; default ./data).")
@command
def cert(name: str, directory: str | None) -> None:
    """Make the key and certificate of node NAME, signed by the cluster's CA."""
    config = load(_folder(directory) / FILE_NAME)
    config.role(name)
    folder = config.path(config.identity.tls)
    if not (folder / "ca.pem").exists():
        identity.make_ca(folder, config.cluster_id)
    identity.make_node_certificate(folder, name)
    click.echo(f"made {folder / name}.pem and {folder / name}.key; ca.pem goes with them, ca.key stays here")
