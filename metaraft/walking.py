"""The background walk: every row is read again, found by its key, and counted into the set hash, in small pieces.

Rules:
* A piece is one short read transaction, so a walk of hours pins no page of the database and holds up nobody. Between
  pieces it sleeps `REST` times as long as the piece took.
* The sum stays exact while writes go on. Each commit tells which rows it changed and by how much the set hash; a change
  below the place that the walk has reached is added to its sum, and so is one up to the end of the piece that was under
  way. So at the end the sum is the set hash of the rows as they are then, whenever each was read.
* What it finds ends the member: a row that is not what its checksum says, one that its key does not lead to, a sum that
  is not the set hash kept. The last is the only way to notice a row that was altered with a right checksum, or lost.
"""

import threading
import time
from collections.abc import Callable, Sequence

import lmdb
import trio

from cluster.errors import Corrupt
from metaraft.applier import failing_disk
from metaraft.lmdb_rows import checked_rows, errors
from metaraft.rows import SET_HASH_MODULUS, Kind, row_hash

PIECE_S = 0.001
"""Length of a piece: some hundred rows, about what one commit takes (chosen)."""

REST = 19
"""A piece's length times this is slept after it: a twentieth of one core (chosen)."""

_LOOK_EVERY = 16  # rows between looks at the clock

type Change = tuple[bytes, int]
"""Key of a row that was changed, and by how much the set hash."""


class Tally:
    """The sum of a walk that goes on while rows change. Pure."""

    def __init__(self) -> None:
        self.place = b""
        """All rows below it are counted."""
        self.rows = 0
        self._sum = 0
        self._meanwhile: list[Change] | None = None

    @property
    def set_hash(self) -> int:
        """Of the rows that are counted, as they are now."""
        return self._sum % SET_HASH_MODULUS

    def begin_piece(self) -> None:
        """Rows from `place` on are read as they are now."""
        self._meanwhile = []

    def changed(self, changes: Sequence[Change]) -> None:
        """A transaction was committed."""
        if self._meanwhile is not None:
            self._meanwhile += changes
        else:
            self._sum += sum(by for key, by in changes if key < self.place)

    def end_piece(self, place: bytes, rows: int, total: int) -> None:
        """The rows up to `place` were so many, with this sum, as they were when the piece began."""
        assert self._meanwhile is not None, "a piece ends that was begun"
        meanwhile, self._meanwhile = self._meanwhile, None
        self.place = place
        self.rows += rows
        self._sum += total
        self.changed(meanwhile)


class Walk:
    """The walks over one database. `commit` is called by who writes, `piece` by one thread beside it."""

    def __init__(self, env: lmdb.Environment, path: object, index: int, set_hash: int) -> None:
        self._env = env
        self._path = path
        self._lock = threading.Lock()  # held while a transaction becomes visible, or a piece begins or ends
        self._index = index
        self._set_hash = set_hash
        self._tally = Tally()
        self.rounds = 0
        """How many walks came to their end."""

    @property
    def rows(self) -> int:
        """How many rows the present walk has read."""
        return self._tally.rows

    def commit(self, commit: Callable[[], None], changes: Sequence[Change], index: int, set_hash: int) -> None:
        """Commit a transaction that leads to `index` and `set_hash` by these changes. Blocking."""
        with self._lock:
            commit()
            self._index, self._set_hash = index, set_hash
            self._tally.changed(changes)

    def piece(self, seconds: float) -> bool:
        """Go on for so long; says whether this walk came to its end. Blocking.

        Raises Corrupt (RowRot, StoreRot, SetHashWrong), OSError.
        """
        until = time.perf_counter() + seconds
        with errors(self._path):
            with self._lock:
                txn = self._env.begin()
                self._tally.begin_piece()
            with txn:
                place, rows, total = _read(txn, self._tally.place, until)
        with self._lock:
            self._tally.end_piece(place or b"\xff", rows, total)
            if place is not None:
                return False
            if self._tally.set_hash != self._set_hash:
                raise _wrong(self._index, self._tally.set_hash, self._set_hash)
            self._tally = Tally()
            self.rounds += 1
            return True


def _read(txn: "lmdb.Transaction[bytes]", place: bytes, until: float) -> tuple[bytes | None, int, int]:
    """Read rows from `place` on: the place to go on at (None: there are no more), how many they were, their sum."""
    rows = total = 0
    for key, stored, _ in checked_rows(txn, place):
        if key[0] != Kind.LOCAL:
            total += row_hash(key, stored)
        rows += 1
        if rows % _LOOK_EVERY == 0 and time.perf_counter() >= until:
            return key + b"\0", rows, total
    return None, rows, total


def _wrong(index: int, found: int, kept: int) -> Corrupt:
    return Corrupt(
        "SetHashWrong",
        f"the rows at index {index} have the set hash {found.to_bytes(16, 'big').hex()}, "
        f"not {kept.to_bytes(16, 'big').hex()}, which is kept",
    )


async def keep_walking(walk: Walk, every_s: float, done: Callable[[], None]) -> None:
    """Walk for ever, beginning a walk each `every_s`; `done` is called after each. Raises DiskFailed."""
    thread = trio.CapacityLimiter(1)
    while True:
        began = trio.current_time()
        whole = False
        while not whole:
            step = trio.current_time()
            with failing_disk():
                whole = await trio.to_thread.run_sync(walk.piece, PIECE_S, limiter=thread)
            await trio.sleep(REST * (trio.current_time() - step))
        done()
        await trio.sleep_until(began + every_s)
