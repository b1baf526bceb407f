"""Making a cluster: its configuration, keys and prepared folders (`trilith init`, and the first `trilith up`).

A draft of the configuration is on disk before anything that it names, and is renamed into place when all of that is
there. So an interrupted `init` leaves no half cluster that a later `up` would take for one: a draft that is found
says which folders never belonged to a cluster, and they are made anew. Journals are made here and nowhere else: a
member without one never votes.
"""

import os
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import batched
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
    StewardConfig,
    dump,
    invalid,
    load,
)
from cluster.errors import Refused
from cluster.limits import UNIX_PATH_BYTES_MAX
from cluster.ports import check_exposure, free_ports, join_listen
from cluster.process import end_with_parent
from cluster.restored import RESTORED_FILE, Restored, write_restored
from cluster.supervisor import RUN_NAME, reason_in, role_command, role_of

STEWARD_NAME = "steward-1"
"""The one steward of a new cluster."""

_DRAFT_NAME = f".{FILE_NAME}.draft"
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


@dataclass(frozen=True)
class Origin:
    """What a restored cluster begins with in place of nothing: a verified snapshot of the old one's metadata, facts
    about it to be kept, and the old one's key files, if the new one is to go on with them."""

    snapshot: Path
    facts: Restored
    cluster_key: Path | None = None
    credentials: Path | None = None


def create(directory: Path, shape: Shape, origin: Origin | None = None) -> Config:
    """Make a cluster in `directory` and return its configuration. Only one caller at a time (see `locked`).

    Raises Refused (ClusterExists, BadConfig, BadFolder, FolderNotEmpty, InsecureListen, PrepareFailed; with an origin
    also NoKeys, NoClusterKey, KeyDiffers).
    """
    directory = directory.resolve()  # the roles that prepare their folders run in it
    refuse_unspeakable(directory)
    if (directory / FILE_NAME).exists():
        raise Refused("ClusterExists", f"{directory / FILE_NAME} exists already; a cluster is made once")
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / _DRAFT_NAME
    _clear_interrupted(draft)
    _refuse_leftovers(directory, shape)
    config = _plan(directory, shape, 0 if origin is None else len(origin.facts.disks))
    for api in config.api:
        check_exposure(api, api.object_listen)
    reason = invalid(config)
    if reason is not None:
        raise Refused("BadConfig", reason)
    _write_draft(draft, dump(config))
    try:
        if origin is not None:
            _bring_keys(config, origin)
            write_restored(directory, origin.facts)
        _make_keys(config, shape)
        _prepare_all(draft, config, origin)
    except BaseException:
        _clear_interrupted(draft)
        raise
    _sync(directory)
    draft.rename(directory / FILE_NAME)
    _sync(directory)
    return load(directory / FILE_NAME)


def refuse_unspeakable(directory: Path) -> None:
    """Raises Refused (BadFolder) for a path that no configuration, which is UTF-8, can hold."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        raise Refused("BadFolder", f"the path {os.fsencode(directory)!r} is not UTF-8; name another folder") from None


def _write_draft(draft: Path, text: str) -> None:
    """Whole or not at all, and there for good: it alone tells a half-made folder from somebody's data."""
    written = draft.with_suffix(".new")
    written.write_text(text, encoding="utf-8")
    _sync(written)
    written.rename(draft)
    _sync(draft.parent)


def _clear_interrupted(draft: Path) -> None:
    """Remove the folders of a cluster that was never finished, what it remembered of another, and its draft, last."""
    if not draft.exists():
        return
    (draft.parent / RESTORED_FILE).unlink(missing_ok=True)
    for node in load(draft).nodes:
        if isinstance(node, MemberConfig | ChunkdConfig):
            shutil.rmtree(draft.parent / node.directory, ignore_errors=True)
    draft.unlink()


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


def _plan(directory: Path, shape: Shape, old_disks: int) -> Config:
    cluster_id = secrets.token_hex(16)
    names = list(_node_folders(shape))
    if shape.transport == "unix":
        folder = socket_folder(directory, cluster_id)
        listens = {name: f"unix:{folder}/{name}.sock" for name in names}
    else:
        listens = {name: f"tcp:127.0.0.1:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)}
    return Config(
        format=FORMAT,
        cluster_id=cluster_id,
        copies=max(1, min(3, shape.chunkds + old_disks)),
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
                object_listen=join_listen(shape.listen, shape.port),
                operator_listen=join_listen("127.0.0.1", shape.admin_port),
                insecure_listen=shape.insecure_listen,
            )
            for n in range(1, shape.apis + 1)
        ),
        steward=(StewardConfig(name=STEWARD_NAME),),
        identity=Identity(),
        base=str(directory),
    )


def socket_folder(directory: Path, cluster_id: str) -> str:
    """Where Unix sockets lie: `run` (beside the configuration, so that the folder can be moved), or for a long path a
    short one of this cluster's own."""
    own = directory / RUN_NAME
    if len(str(own).encode()) + _SOCKET_NAME_BYTES <= UNIX_PATH_BYTES_MAX:
        return RUN_NAME
    return str(Path(tempfile.gettempdir(), f"trilith-{os.getuid()}-{cluster_id[:12]}"))


def ensure_private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter. Raises Refused (UnsafeFolder) for another's or an open one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise Refused("UnsafeFolder", f"{folder} is not a folder of this user")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        folder.chmod(0o700)


def _bring_keys(config: Config, origin: Origin) -> None:
    if origin.credentials is not None:
        identity.bring_credentials(origin.credentials, config.path(config.identity.credentials))
    if origin.cluster_key is not None:
        identity.bring_cluster_key(origin.cluster_key, config.path(config.identity.cluster_key))


def _make_keys(config: Config, shape: Shape) -> None:
    credentials = config.path(config.identity.credentials)
    if not credentials.exists():
        identity.make_credentials(credentials)
    have_cluster_key(config)
    if shape.transport == "tcp":
        folder = config.path(config.identity.tls)
        identity.make_ca(folder, config.cluster_id)
        for node in config.nodes:
            identity.make_node_certificate(folder, node.name)


def have_cluster_key(config: Config) -> bool:
    """Make the cluster key if its file is missing; whether it was made. A folder that is older than users has none."""
    path = config.path(config.identity.cluster_key)
    if path.exists():
        return False
    identity.make_cluster_key(path)
    return True


def _prepare_all(draft: Path, config: Config, origin: Origin | None) -> None:
    """Let each role make its folder, as many at once as there are cores. Raises Refused (PrepareFailed)."""
    nodes = [node for node in config.nodes if isinstance(node, MemberConfig | ChunkdConfig)]
    tie = end_with_parent()
    for batch in batched(nodes, os.cpu_count() or 1, strict=False):
        with ExitStack() as stack:
            started = []
            for node in batch:
                command = role_command(role_of(node), draft, node.name, "--prepare")
                if origin is not None and isinstance(node, MemberConfig):
                    command += ["--snapshot", str(origin.snapshot.resolve())]
                process = subprocess.Popen(  # noqa: S603 - our own modules
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    preexec_fn=tie,  # noqa: PLW1509 - one prctl, looked up before the fork
                )
                started.append((node.name, stack.enter_context(process)))
            for name, process in started:
                said, _ = process.communicate()
                if process.returncode != 0:
                    raise Refused("PrepareFailed", f"{name} could not be prepared: {reason_in(said)}")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
