"""A member's folder as an operator's command deals with it: held, set aside, and made for a successor. All blocking.

Rules: nothing is deleted; a successor's folder is made wholly or not at all, and for one incarnation only once.
"""

import fcntl
import os
import shutil
from pathlib import Path

import msgspec

from cluster.config import Config, MemberConfig
from cluster.errors import Refused
from metaraft.files import sync_directory
from metaraft.journal_disk import Disk
from metaraft.journal_segments import incarnation_in
from metaraft.members.notes import note_made, was_made
from metaraft.server import prepare

_LOCK = Path("journal", "lock")


class Held:
    """The lock of a member's journal, taken in its process's place."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> "Held | None":
        """None: a process has it."""
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return cls(-1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def incarnation_of(folder: Path) -> str:
    """Whose folder it is; empty if none can be read."""
    try:
        return incarnation_in(Disk(), folder / "journal")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def set_aside(folder: Path) -> Path | None:
    """Give a folder a name that says whose it was, which is returned. None: there is no folder."""
    if not folder.exists():
        return None
    old = incarnation_of(folder) or "empty"
    aside = folder.with_name(f"{folder.name}.retired-{old[:12]}")
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"{folder.name}.retired-{old[:12]}-{number}")
    folder.rename(aside)
    sync_directory(aside.parent)
    return aside


def prepare_successor(config: Config, node: MemberConfig, incarnation: str, *, listen: str) -> None:
    """Make a successor's folder, wholly or not at all. Raises Refused (MemberExists, MadeBefore), OSError."""
    folder = config.path(node.directory)
    if folder.exists():
        if incarnation_of(folder) == incarnation:
            return
        raise Refused("MemberExists", f"{folder} is there already, of incarnation {incarnation_of(folder) or 'none'}")
    if was_made(config, node, incarnation):
        raise Refused(
            "MadeBefore",
            f"a folder of incarnation {incarnation} was made here before and is lost, and with it what it promised; "
            f"`trilith member replace {node.name} --anew` chooses another",
        )
    new = folder.with_name(folder.name + ".successor")
    shutil.rmtree(new, ignore_errors=True)
    prepare(config, msgspec.structs.replace(node, directory=str(new)), incarnation=incarnation, listen=listen)
    note_made(config, node, incarnation)
    new.rename(folder)
    sync_directory(folder.parent)
