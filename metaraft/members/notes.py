"""What is noted on disk of replacements, beside a member's folder, so that it outlives the folder.

Rules:
* `FOLDER.replacing` is there while a replacement is under way: whose slot it is, and which incarnation gets it.
* `FOLDER.made` names each incarnation that a folder was made for here, before the folder had its name. It stays: an
  incarnation is one life of a disk, and whoever was made once and is lost may have voted.
* A note is on the disk when the call returns, wholly or not at all.
* One command at a time reads and writes them: it holds `FOLDER.replacing.lock`, which stays, for as long as it runs.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cluster.config import Config, MemberConfig
from cluster.errors import UNDECODABLE, Corrupt, Refused
from metaraft.files import sync_directory, write_file

PLAN_SUFFIX = ".replacing"
LOCK_SUFFIX = ".replacing.lock"
MADE_SUFFIX = ".made"


class Plan(msgspec.Struct, frozen=True):
    """A replacement under way: whose slot it is, and who gets it."""

    slot: int
    successor: str
    address: str = ""
    elsewhere: bool = False


@contextlib.contextmanager
def sole_command(config: Config, node: MemberConfig) -> Iterator[None]:
    """Keep every other command from a member's folder and notes. Raises Refused (ReplacementUnderWay), OSError."""
    file = _beside(config, node, LOCK_SUFFIX)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                "ReplacementUnderWay", f"another command replaces {node.name} here; let it end, and repeat this"
            ) from None
        yield


def note_file(config: Config, node: MemberConfig) -> Path:
    """Where a replacement under way is noted."""
    return _beside(config, node, PLAN_SUFFIX)


def noted(config: Config, node: MemberConfig) -> Plan | None:
    """The replacement that is under way. Raises Corrupt (BadNote)."""
    file = note_file(config, node)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except UNDECODABLE as error:
        raise Corrupt("BadNote", f"{file} is no note of a replacement: {error}; remove it and begin anew") from error


def make_note(config: Config, node: MemberConfig, *, address: str, elsewhere: bool) -> Plan:
    """Choose a successor, and note it; one that was noted before is none any more."""
    plan = Plan(node.slot, secrets.token_hex(16), address, elsewhere)
    file = note_file(config, node)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, msgspec.json.encode(plan))
    return plan


def forget_note(config: Config, node: MemberConfig, plan: Plan) -> None:
    """A replacement is over; another one that was noted meanwhile stays. Raises Corrupt (BadNote)."""
    if noted(config, node) == plan:
        note_file(config, node).unlink()


def was_made(config: Config, node: MemberConfig, incarnation: str) -> bool:
    """Whether a folder was, or was about to be, made here for this incarnation."""
    if incarnation == node.incarnation:  # with the cluster
        return True
    try:
        return incarnation.encode() in _beside(config, node, MADE_SUFFIX).read_bytes().split()
    except FileNotFoundError:
        return False


def note_made(config: Config, node: MemberConfig, incarnation: str) -> None:
    """Note that a folder is made here for this incarnation."""
    file = _beside(config, node, MADE_SUFFIX)
    with file.open("ab") as written:
        written.write(f"\n{incarnation}\n".encode())  # what was torn before it has a line of its own
        written.flush()
        os.fsync(written.fileno())
    sync_directory(file.parent)


def _beside(config: Config, node: MemberConfig, suffix: str) -> Path:
    folder = config.path(node.directory)
    return folder.with_name(folder.name + suffix)
