"""Runs of the store in a process of its own: `write DIRECTORY SEED` applies until it is killed; `flip DIRECTORY SEED
COUNT` reads the store again and again with one bit of its file flipped; `sync DIRECTORY` applies, and syncs between
two lines that it prints.

Each trial of `flip` is a forked process, because a damaged file may take the process with it. It must end in an error,
by a signal that a member's next start looks into, or with exactly the rows of some index that was applied; a row that
differs from all of those is a wrong row.
"""

import contextlib
import itertools
import os
import shutil
import sys
from pathlib import Path
from random import Random

from cluster.errors import Corrupt
from metaraft.crashes import FAULTS
from metaraft.rows import Kind
from metaraft.store import DATA_FILE
from tests.metaraft.stores import Twin, new_store, open_store, run

HARMLESS, NOTICED, WRONG, DIED = 0, 10, 20, 30


def write(directory: Path, seed: int) -> None:
    """Apply entries for ever; print the index after each transaction."""
    store = open_store(directory)
    entries = itertools.dropwhile(lambda entry: entry.index <= store.applied, run(seed))
    while True:
        store.apply(list(itertools.islice(entries, 3)))
        print(store.applied, flush=True)  # noqa: T201  # the parent reads it


def sync(directory: Path) -> None:
    """Print `syncing`, sync, and print `synced`."""
    with contextlib.closing(new_store(directory)) as store:
        store.apply(list(itertools.islice(run(1), 3)))
        print("syncing", flush=True)  # noqa: T201  # who traces it sees it
        store.sync()
        print("synced", flush=True)  # noqa: T201


def flip(directory: Path, seed: int, count: int) -> None:
    """Print how many flipped bits were harmless, noticed, and wrong, and how many took the process with them."""
    store, twin = new_store(directory), Twin()
    ever: dict[bytes, set[bytes]] = {}
    states = {twin.set_hash}
    for entry in itertools.islice(run(seed), 150):
        store.apply([entry])
        twin.apply(entry)
        states.add(twin.set_hash)
        for key, value in twin.rows.items():
            ever.setdefault(key, set()).add(value)
    store.close()
    random = Random(seed)
    file = directory / DATA_FILE
    good = file.read_bytes()
    results = {HARMLESS: 0, NOTICED: 0, WRONG: 0, DIED: 0}
    for _ in range(count):
        bit = random.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        trial = directory.with_name("trial")
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        (trial / DATA_FILE).write_bytes(bad)
        pid = os.fork()
        if pid == 0:
            os._exit(_try(trial, ever, states))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        results[DIED if -code in FAULTS else code] += 1
    print(*results.values())  # noqa: T201  # the parent reads it


def _try(trial: Path, ever: dict[bytes, set[bytes]], states: set[str]) -> int:
    try:
        store = open_store(trial)
        with store.reader() as rows:
            for key, value in rows.scan(bytes([Kind.STATE]), b"\xff"):
                if value not in ever.get(key, ()):
                    return WRONG
        return HARMLESS if store.walk().set_hash in states else WRONG
    except (Corrupt, OSError):
        return NOTICED


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "sync":
        sync(Path(sys.argv[2]))
    else:
        flip(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
