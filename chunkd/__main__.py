"""`python -P -m chunkd --config FILE --node NAME [--prepare]`: one chunk daemon.

Exit codes: 0 ended by SIGTERM or SIGINT (or the disk is prepared), 70 our own failure, 74 the disk cannot be read,
78 wrong configuration or folder (also: a folder without its disk id, an unmounted disk).
"""

import argparse
import ctypes
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import trio

from chunkd.folder import prepare
from chunkd.health import Health
from chunkd.server import ChunkServer
from chunkd.store import Store
from chunkd.wire import DiskState
from cluster.config import ChunkdConfig, Config, load
from cluster.errors import Refused
from cluster.exits import RoleExit
from cluster.identity import load_identity
from cluster.limits import MIB
from cluster.log import configure, get_logger
from cluster.process import tell_ready

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

_log = get_logger("chunkd")


def main() -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chunkd", description="One chunk daemon of a Trilith cluster.")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="cluster.toml")
    parser.add_argument("--node", required=True, metavar="NAME", help="the chunk daemon's name in it")
    parser.add_argument("--prepare", action="store_true", help="make the disk's folder and end; it must be empty")
    options = parser.parse_args()
    configure("chunkd", options.node)
    try:
        config = load(options.config)
        node = config.role(options.node)
        if not isinstance(node, ChunkdConfig):
            raise Refused("WrongRole", f"{options.node} is not a chunk daemon in {options.config}")
        if options.prepare:
            prepare(config.path(node.directory), config.cluster_id, node.disk_id)
        else:
            keep_memory()
            trio.run(run, node, config)
    except Exception as error:  # noqa: BLE001 - the process's edge: each error becomes an exit code and a line
        return _explain(error)
    return RoleExit.DONE


async def run(node: ChunkdConfig, config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    me = load_identity(config, node.name)
    store = await trio.to_thread.run_sync(open_store, node, config)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                server = ChunkServer(store, node, config, me)
                listening = await nursery.start(server.run)
                state, reason, total, free = store.state()
                _log.info(
                    "ready",
                    listen=str(listening),
                    disk=node.disk_id,
                    state=state,
                    reason=reason,
                    chunks=store.count,
                    bytes_total=total,
                    bytes_free=free,
                )
                tell_ready()
                async for number in signals:
                    _log.info("ending", signal=signal.Signals(number).name)
                    break
                await server.drain()
                nursery.cancel_scope.cancel()
    finally:
        store.close()


def open_store(node: ChunkdConfig, config: Config) -> Store:
    """The node's disk. Raises as Store does."""

    def changed(state: DiskState, reason: str) -> None:
        _log.error("disk_state", state=state, reason=reason)

    return Store(
        config.path(node.directory),
        cluster_id=config.cluster_id,
        disk_id=node.disk_id,
        limits=config.limits,
        timings=config.timings,
        health=Health(changed),
    )


def keep_memory() -> None:
    """Let malloc keep big buffers: pages that come and go cost a fault per 4 KiB (up to ten times the copy)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only
        for option, value in ((_M_MMAP_THRESHOLD, 512 * MIB), (_M_TRIM_THRESHOLD, 64 * MIB), (_M_TOP_PAD, 4 * MIB)):
            mallopt(option, value)


def _explain(error: Exception) -> int:
    leaves = list(_leaves(error))
    if all(isinstance(leaf, Refused) for leaf in leaves):
        for leaf in leaves:
            _log.error("refused", code=getattr(leaf, "code", ""), reason=str(leaf))
        return RoleExit.CONFIG
    if all(isinstance(leaf, OSError) for leaf in leaves):
        for leaf in leaves:
            _log.error("disk_unreadable", reason=str(leaf))
        return RoleExit.DISK
    _log.error("failed", exc_info=error)
    return RoleExit.INTERNAL


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


if __name__ == "__main__":
    sys.exit(main())
