"""Making a cluster: its configuration, keys and prepared folders (`trilith init`, and the first `trilith up`).

Everything is made in a hidden folder beside the final places and the configuration is renamed into place last, so an
interrupted `init` leaves no half cluster that a later `up` would take for one. Journals are made here and nowhere else:
a member without one never votes.
"""

import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster import identity
from cluster.config import (
    FILE_NAME,
    FORMAT,
    ApiConfig,
    ChunkdConfig,
    Config,
    Identity,
    MemberConfig,
    dump,
    invalid,
    load,
)
from cluster.errors import Refused
from cluster.limits import UNIX_PATH_BYTES_MAX
from cluster.supervisor import role_command, role_of

_SOCKET_NAME_BYTES = 32  # room for the longest node name and its ending


@dataclass(frozen=True)
class Shape:
    """What a new local cluster looks like."""

    members: int = 3
    chunkds: int = 3
    apis: int = 1
    transport: Literal["unix", "tcp"] = "unix"
    listen: str = "127.0.0.1"
    port: int = 9000
    admin_port: int = 9001
    insecure_listen: bool = False


def create(directory: Path, shape: Shape) -> Config:
    """Make a cluster in `directory` and return its configuration. Raises Refused (ClusterExists, BadConfig,
    FolderNotEmpty)."""
    directory = directory.resolve()  # the roles that prepare their folders run in it
    if (directory / FILE_NAME).exists():
        raise Refused("ClusterExists", f"{directory / FILE_NAME} exists already; a cluster is made once")
    directory.mkdir(parents=True, exist_ok=True)
    _refuse_leftovers(directory, shape)
    config = _plan(directory, shape)
    reason = invalid(config)
    if reason is not None:
        raise Refused("BadConfig", reason)
    draft = directory / f".{FILE_NAME}.draft"
    draft.write_text(dump(config))
    _make_keys(directory, config, shape)
    try:
        for node in config.nodes:
            if not isinstance(node, ApiConfig):
                _prepare(draft, node.name, role_of(node))
    except BaseException:
        for name in _node_folders(shape):
            shutil.rmtree(config.path(name), ignore_errors=True)
        draft.unlink()
        raise
    _sync(draft)
    draft.rename(directory / FILE_NAME)
    _sync(directory)
    return load(directory / FILE_NAME)


def _refuse_leftovers(directory: Path, shape: Shape) -> None:
    """Data without a configuration is somebody's: never made anew over."""
    for name in _node_folders(shape):
        if (directory / name).exists():
            raise Refused(
                "FolderNotEmpty",
                f"{directory / name} is there but no {FILE_NAME}; restore that file, or move the folder away",
            )


def _node_folders(shape: Shape) -> Iterator[str]:
    yield from (f"meta-{n}" for n in range(1, shape.members + 1))
    yield from (f"chunk-{n}" for n in range(1, shape.chunkds + 1))


def _plan(directory: Path, shape: Shape) -> Config:
    cluster_id = secrets.token_hex(16)
    names = list(_node_folders(shape))
    if shape.transport == "unix":
        folder = socket_folder(directory, cluster_id)
        listens = {name: f"unix:{folder}/{name}.sock" for name in names}
    else:
        listens = {name: f"tcp:127.0.0.1:{port}" for name, port in zip(names, _free_ports(len(names)), strict=True)}
    return Config(
        format=FORMAT,
        cluster_id=cluster_id,
        copies=min(3, shape.chunkds),
        member=tuple(
            MemberConfig(
                name=f"meta-{n}",
                slot=n,
                incarnation=secrets.token_hex(16),
                listen=listens[f"meta-{n}"],
                directory=f"meta-{n}",
            )
            for n in range(1, shape.members + 1)
        ),
        chunkd=tuple(
            ChunkdConfig(
                name=f"chunk-{n}",
                disk_id=secrets.token_hex(16),
                listen=listens[f"chunk-{n}"],
                directory=f"chunk-{n}",
                zone=f"zone-{n}",  # one machine: the copies' only separation is the daemon
            )
            for n in range(1, shape.chunkds + 1)
        ),
        api=tuple(
            ApiConfig(
                name=f"api-{n}",
                object_listen=_join(shape.listen, shape.port),
                operator_listen=_join("127.0.0.1", shape.admin_port),
                insecure_listen=shape.insecure_listen,
            )
            for n in range(1, shape.apis + 1)
        ),
        identity=Identity(),
        base=str(directory.resolve()),
    )


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def socket_folder(directory: Path, cluster_id: str) -> Path:
    """A 0700 folder for Unix sockets whose paths are short enough: `run` of the cluster, or one in /tmp."""
    own = directory.resolve() / "run"
    if len(str(own).encode()) + _SOCKET_NAME_BYTES <= UNIX_PATH_BYTES_MAX:
        return own
    root = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(root, f"trilith-{os.getuid()}-{cluster_id[:12]}")


def ensure_private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter. Raises Refused (UnsafeFolder) for another's or an open one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise Refused("UnsafeFolder", f"{folder} is not a folder of this user")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        folder.chmod(0o700)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [int(held.getsockname()[1]) for held in sockets]


def _make_keys(directory: Path, config: Config, shape: Shape) -> None:
    credentials = config.path(config.identity.credentials)
    if not credentials.exists():
        identity.make_credentials(credentials)
    if shape.transport == "tcp":
        folder = config.path(config.identity.tls)
        identity.make_ca(folder, config.cluster_id)
        for node in config.nodes:
            identity.make_node_certificate(folder, node.name)


def _prepare(draft: Path, name: str, role: str) -> None:
    command = role_command(role, draft, name, "--prepare")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=draft.parent)  # noqa: S603
    if done.returncode != 0:
        raise Refused("PrepareFailed", f"{name} could not be prepared: {done.stderr.strip() or done.stdout.strip()}")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
