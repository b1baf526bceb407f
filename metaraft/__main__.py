"""`python -P -m metaraft --config FILE --node NAME [--prepare [--snapshot FILE] | --check]`: one metadata member.

Exit codes: 0 ended by SIGTERM or SIGINT (or the member is prepared), 70 our own failure, 74 journal or database
failed or cannot be trusted, or differ from the other members', 75 a copy of the database was fetched and is installed
at the next start, 78 wrong configuration or folder (also: a folder without a journal). What it logs last says what to
do.
"""

import argparse
import contextlib
import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import trio

from cluster.config import FILE_NAME, Config, MemberConfig, load
from cluster.errors import Corrupt, Refused, Unavailable
from cluster.exits import RoleExit
from cluster.identity import load_identity
from cluster.log import configure, get_logger
from cluster.process import tell_ready
from metaraft.applier import DiskFailed, failing_disk
from metaraft.backup.restore import prepare_from
from metaraft.comparing import Differs
from metaraft.condemned import ROT, condemn
from metaraft.core import LostEntries
from metaraft.crashes import look_into_crash, note_crash
from metaraft.machine import UnknownMeaning
from metaraft.seating import Retired, first_seats
from metaraft.server import Member, prepare, store_directory
from metaraft.snapshot_install import BeginAnew
from metaraft.store import Store

DRAIN_S = 2.0
"""How long commands under way may take when the member is asked to end (chosen)."""

LOST = frozenset({"NoJournal", "NoStore"})
"""Refusals that a lost folder causes, as well as one that was never made."""

_log = get_logger("metaraft")


def main() -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metaraft", description="One metadata member of a Trilith cluster.")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="cluster.toml")
    parser.add_argument("--node", required=True, metavar="NAME", help="the member's name in it")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--prepare", action="store_true", help="make the member's journal and database and end")
    instead.add_argument("--check", action="store_true", help="read all rows of the member's database and end")
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="with --prepare: of the rows of this snapshot")
    options = parser.parse_args()
    if options.snapshot is not None and not options.prepare:
        parser.error("--snapshot goes with --prepare")
    configure("metaraft", options.node)
    try:
        config = load(options.config)
        node = config.role(options.node)
        if not isinstance(node, MemberConfig):
            raise Refused("WrongRole", f"{options.node} is not a metadata member in {options.config}")
        if options.prepare:
            with failing_disk():
                _prepare(options.snapshot, config, node)
        elif options.check:
            with failing_disk():
                check(config, node)
        else:
            folder = config.path(node.directory)
            checking = [sys.executable, "-P", "-m", "metaraft", *sys.argv[1:], "--check"]
            with failing_disk():
                code = look_into_crash(folder, store_directory(config, node), checking, _start_again(node.name))
            if code != RoleExit.DONE:
                return code
            note_crash(folder)
            trio.run(run, node, config)
    except Exception as error:  # noqa: BLE001 - the process's edge: each error becomes an exit code and a line
        return _explain(error, options.node)
    return RoleExit.DONE


def _prepare(snapshot: Path | None, config: Config, node: MemberConfig) -> None:
    made = Path(config.base, FILE_NAME)
    if made.exists():  # while the cluster is made, its file has another name
        raise Refused(
            "ClusterExists",
            f"the cluster of {made} is made, and its members with it: one that is lost comes back as a new "
            f"incarnation, by `trilith member replace {node.name}`",
        )
    if snapshot is None:
        prepare(config, node)
    else:
        prepare_from(snapshot, config, node)


def check(config: Config, node: MemberConfig) -> None:
    """Read all rows of a member that does not run; a database that is found to be wrong is condemned.

    Blocking, and slow. Raises Refused (NoStore, StoreInUse, WrongStore), Corrupt, OSError.
    """
    directory = store_directory(config, node)
    try:
        store = Store.open(
            directory, cluster_id=config.cluster_id, limits=config.limits, first_seats=first_seats(config)
        )
        with contextlib.closing(store):
            walked = store.walk()
    except Corrupt as error:
        if error.code in ROT:
            condemn(directory, str(error))
        raise
    _log.info("checked", rows=walked.rows, applied=walked.applied)


async def run(node: MemberConfig, config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    me = load_identity(config, node.name)
    with failing_disk():
        member = await trio.to_thread.run_sync(Member, config, node, me)
    gc.freeze()  # what lives as long as the process is not looked at again
    gc.set_threshold(20_000, 20, 50)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                listening = await nursery.start(member.run)
                _log.info("ready", listen=str(listening), slot=node.slot, applied=member.store.applied)
                tell_ready()
                async for number in signals:
                    _log.info("ending", signal=signal.Signals(number).name)
                    break
                await member.drain(DRAIN_S)
                nursery.cancel_scope.cancel()
    finally:
        member.close()


def _explain(error: Exception, name: str) -> int:
    leaves = list(_leaves(error))
    reason = "; ".join(str(leaf) for leaf in leaves)
    if any(isinstance(leaf, Retired) for leaf in leaves):
        _log.critical("retired", reason=f"{reason}. If {name} is to come back: `trilith member replace {name}`")
        return RoleExit.CONFIG
    if any(isinstance(leaf, Differs) for leaf in leaves):
        _log.critical("member_differs", reason=f"{reason}. {_replace(name)}")
        return RoleExit.DISK
    if any(isinstance(leaf, LostEntries) for leaf in leaves):
        _log.critical("entries_lost", reason=f"{reason}. {_replace(name)}")
        return RoleExit.DISK
    if any(isinstance(leaf, DiskFailed) for leaf in leaves):
        rotten = any(isinstance(leaf.__cause__, Corrupt) for leaf in leaves)
        _log.critical("disk_failed", reason=f"{reason}. {_replace(name) if rotten else _start_again(name)}")
        return RoleExit.DISK
    if all(isinstance(leaf, BeginAnew) for leaf in leaves):
        _log.info("ending", reason=str(leaves[0]))
        return RoleExit.AGAIN
    if any(isinstance(leaf, UnknownMeaning) for leaf in leaves):
        _log.critical("log_not_understood", reason=f"{leaves[0]}; this member needs a newer program")
        return RoleExit.CONFIG
    if all(isinstance(leaf, Unavailable) for leaf in leaves):  # a disk without room for the start
        _log.error("not_started", reason=reason)
        return RoleExit.INTERNAL
    if all(isinstance(leaf, Refused) for leaf in leaves):
        for leaf in leaves:
            code = getattr(leaf, "code", "")
            _log.error("refused", code=code, reason=f"{leaf}. {_lost(name)}" if code in LOST else str(leaf))
        return RoleExit.CONFIG
    _log.critical("failed", exc_info=error)
    return RoleExit.INTERNAL


def _replace(name: str) -> str:
    return (
        "This member must not vote or serve with what it has: keep its folder for inspection, check the disk, then "
        f"`trilith member replace {name}`"
    )


def _start_again(name: str) -> str:
    return f"Check the disk and start {name} again; if it cannot be trusted, `trilith member replace {name}`"


def _lost(name: str) -> str:
    return f"If it was there before, it is lost, and with it what {name} promised: `trilith member replace {name}`"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


if __name__ == "__main__":
    sys.exit(main())
