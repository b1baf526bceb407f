"""What a restored cluster remembers of the one before it: `restored.json`, beside the configuration.

Its disks are those that the old metadata knows: a folder is adopted only if its disk is one of them, for nothing refers
to any other.
"""

import os
from pathlib import Path

import msgspec

from cluster.config import (
    FILE_NAME,
    ChunkdConfig,
    Config,
    UnixAddress,
    address,
    dump,
    invalid,
)
from cluster.errors import UNDECODABLE, Refused
from cluster.ports import free_ports

RESTORED_FILE = "restored.json"


class OldDisk(msgspec.Struct, frozen=True):
    """A disk as the old metadata knows it; its id is 32 hex digits."""

    disk_id: str
    node: str
    zone: str
    weight: int
    state: str


class Snapshot(msgspec.Struct, frozen=True):
    """Which cluster the metadata is of, and at which place of its log."""

    cluster_id: str
    index: int
    term: int
    revision: int
    state_time_ms: int


class Restored(msgspec.Struct, frozen=True):
    """The whole file."""

    snapshot: Snapshot
    disks: tuple[OldDisk, ...]

    def disk(self, disk_id: str) -> OldDisk:
        """A disk by its id. Raises Refused (UnknownDisk)."""
        for disk in self.disks:
            if disk.disk_id == disk_id:
                return disk
        known = ", ".join(f"{disk.disk_id} ({disk.node})" for disk in self.disks) or "none"
        raise Refused("UnknownDisk", f"the restored metadata knows no disk {disk_id}; it knows {known}")


def write_restored(folder: Path, facts: Restored) -> None:
    """Write the file, whole or not at all."""
    _replace(folder / RESTORED_FILE, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def read_restored(folder: Path) -> Restored:
    """Read it. Raises Refused (NotRestored)."""
    file = folder / RESTORED_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Restored)
    except FileNotFoundError:
        raise Refused("NotRestored", f"there is no {file}: this cluster was not restored from a snapshot") from None
    except UNDECODABLE as error:
        raise Refused("NotRestored", f"{file} cannot be read: {error}") from error


def place_disk(config: Config, disk: OldDisk, folder: Path, name: str | None, sockets: str) -> Config:
    """The configuration with a chunk daemon for the disk in `folder`; one that is there for it is moved there.

    Its Unix socket, if it has one, lies in `sockets`. Raises Refused (NameTaken, BadConfig).
    """
    base = Path(config.base)
    where = str(folder.relative_to(base)) if folder.is_relative_to(base) else str(folder)
    others = tuple(chunkd for chunkd in config.chunkd if chunkd.disk_id != disk.disk_id)
    if len(others) < len(config.chunkd):
        chunkds = tuple(
            msgspec.structs.replace(chunkd, directory=where, name=name or chunkd.name)
            if chunkd.disk_id == disk.disk_id
            else chunkd
            for chunkd in config.chunkd
        )
    else:
        name = name or disk.node
        if isinstance(address(config.member[0].listen, config.base), UnixAddress):
            listen = f"unix:{sockets}/{name}.sock"
        else:
            listen = f"tcp:127.0.0.1:{free_ports(1)[0]}"
        made = ChunkdConfig(
            name=name, disk_id=disk.disk_id, listen=listen, directory=where, zone=disk.zone, weight=disk.weight
        )
        chunkds = (*config.chunkd, made)
    wanted = msgspec.structs.replace(config, chunkd=chunkds)
    reason = invalid(wanted)
    if reason is not None:
        raise Refused("BadConfig", f"{reason}; --name gives the daemon another name")
    return wanted


def write_config(config: Config) -> None:
    """Put a changed configuration in place of its file, whole or not at all."""
    _replace(Path(config.base, FILE_NAME), dump(config).encode())


def _replace(file: Path, data: bytes) -> None:
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
