"""`trilith init up down` and `trilith node cert`: a cluster of one machine, from its making to its end."""

import contextlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog
import trio

from cluster import identity
from cluster.cli import running
from cluster.cli.access import directory_of
from cluster.cli.output import command, say
from cluster.cli.shapes import shape_of, shape_options
from cluster.config import FILE_NAME, ApiConfig, Config, load
from cluster.create import STEWARD_NAME, create, have_cluster_key
from cluster.endpoints import ENDPOINTS_FILE, read_endpoints
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.limits import Timings
from cluster.log import configure
from cluster.ports import join_listen, parse_listen, reserved_ports
from cluster.process import opened_process, read_pid
from cluster.supervisor import PID_FILE, RUN_NAME, Supervisor, locked


@click.command()
@click.argument("directory", required=False)
@shape_options()
@command
def init(directory: str | None, **shape: Any) -> None:
    """Make a cluster in DIRECTORY (default ./data) without starting it."""
    folder = directory_of(directory)
    with locked(folder / RUN_NAME):
        made = create(folder, shape_of(shape))
    click.echo(f"made cluster {made.cluster_id} in {made.base}")


@click.command()
@click.argument("directory", required=False)
@click.option("--detach", is_flag=True, help="Return when it is ready; `trilith down` ends it.")
@shape_options()
@command
def up(directory: str | None, detach: bool, **shape: Any) -> None:
    """Run the cluster of DIRECTORY (default ./data; made at the first start) until Ctrl-C."""
    folder = directory_of(directory)
    if detach:
        _detach(folder, shape)
        return
    with locked(folder / RUN_NAME), _supervisor_log(folder):
        config = _config(folder, shape)
        if have_cluster_key(config):
            say(f"made {config.identity.cluster_key}; if users had keys under another one, they need that file back")
        running.refuse_what_cannot_start(config)
        if not config.steward:
            say(_without_steward(config))
        with reserved_ports(config.api) as ports, running.socket_folders(config):
            supervisor = Supervisor(config, say=say, ports=ports)
            try:
                trio.run(running.run, supervisor, config, folder)
            except* (OSError, TrilithError) as errors:
                raise _first(errors) from errors
    say("stopped")


def _without_steward(config: Config) -> str:
    """What to tell whose folder is older than stewards."""
    keys = f", and run `trilith node cert {STEWARD_NAME}`" if config.member[0].listen.startswith("tcp:") else ""
    return (
        f"there is no steward in {FILE_NAME}, so nothing frees disk space; "
        f'add a section [[steward]] with name = "{STEWARD_NAME}"{keys}'
    )


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def _supervisor_log(folder: Path) -> Iterator[None]:
    with (folder / RUN_NAME / "supervisor.log").open("a", buffering=1) as file:
        configure("supervisor", "supervisor")
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file))
        yield


def _config(folder: Path, shape: dict[str, Any]) -> Config:
    """The cluster's configuration, made at the first start. The ports and listen address can be given anew at each
    start; the rest of the shape is what it was made with."""
    if not (folder / FILE_NAME).exists():
        return create(folder, shape_of(shape))
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
    old_host, old_port = parse_listen(configured)
    return join_listen(old_host if host is None else host, old_port if port is None else port)


def _detach(folder: Path, shape: dict[str, Any]) -> None:
    """Start `up` in a session of its own, and wait until it is ready or has ended."""
    with locked(folder / RUN_NAME):  # refuse here, before the output of the one that runs is touched
        pass
    output = folder / RUN_NAME / "supervisor.out"
    with output.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", "cluster.cli.main", "up", *_options(shape), "--", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    deadline = time.monotonic() + running.READY_S
    try:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                click.echo(output.read_text(errors="replace").strip(), err=True)
                sys.exit(process.returncode if process.returncode > 0 else 1)
            if read_pid(folder / RUN_NAME / PID_FILE) == process.pid and (folder / ENDPOINTS_FILE).exists():
                endpoints = read_endpoints(folder)
                click.echo(f"Trilith is ready: objects {endpoints.object}, operator {endpoints.operator}")
                click.echo(f"keys {folder / 'credentials.json'}")
                return
            time.sleep(0.05)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    said = output.read_text(errors="replace").strip()
    raise Unavailable(
        "NotReady",
        f"the cluster is not ready after {running.READY_S:.0f} s and still starting; `trilith down {folder}` ends it; "
        f"logs are in {folder / RUN_NAME}{': ' + said if said else ''}",
    )


def _options(shape: dict[str, Any]) -> list[str]:
    """A shape as the options that gave it."""
    options: list[str] = []
    for name, value in shape.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            options.append(option)
        elif value is not None and value is not False:
            options += [option, str(value)]
    return options


@click.command()
@click.argument("directory", required=False)
@command
def down(directory: str | None) -> None:
    """End the cluster of DIRECTORY (default ./data), in order."""
    folder = directory_of(directory)
    with opened_process(folder / RUN_NAME / PID_FILE) as handle:
        if handle is None:
            say(f"no cluster runs in {folder}")
            return
        patience = 3 * _shutdown_s(folder) + 10
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], patience)[0]:
            raise Unavailable(
                "StillRunning", f"the supervisor has not ended after {patience:.0f} s; see {folder / RUN_NAME}"
            )
    click.echo(f"the cluster in {folder} has ended")


def _shutdown_s(folder: Path) -> float:
    """How long a role may take to end. A file that was edited wrongly is no reason to let a cluster run."""
    try:
        return load(folder / FILE_NAME).timings.shutdown_s
    except Refused:
        return Timings().shutdown_s


@click.group()
def node() -> None:
    """Nodes of a cluster on several hosts."""


@node.command()
@click.argument("name")
@click.option("--dir", "directory", help="Folder of the cluster (or TRILITH_DIR; default ./data).")
@command
def cert(name: str, directory: str | None) -> None:
    """Make the key and certificate of node NAME, signed by the cluster's CA."""
    config = load(directory_of(directory) / FILE_NAME)
    is_api = isinstance(config.role(name), ApiConfig)
    folder = config.path(config.identity.tls)
    if not (folder / "ca.pem").exists():
        identity.make_ca(folder, config.cluster_id)
        say(f"made the cluster's CA in {folder}; if the cluster has one on another host, make certificates there")
    made = not (folder / f"{name}.pem").exists()
    identity.make_node_certificate(folder, name)
    verb = "made" if made else "there already:"
    click.echo(f"{verb} {folder / name}.pem and {folder / name}.key; ca.pem goes with them, ca.key stays here")
    if is_api:
        click.echo(f"an API needs {config.identity.credentials} and {config.identity.cluster_key} of this cluster too")
