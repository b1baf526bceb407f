"""The database of one member: the rows in LMDB, the state machine over them, and the answers from them.

Rules:
* One write transaction for all entries of one `apply`, with the applied index, the set hash and the state time in
  it; entries at or below the applied index are skipped. It ends in the thread in which it began.
* The journal is the point of durability. LMDB runs with `metasync=False`: a power cut may take its last transactions
  (never its integrity), and the journal has them until `sync` said that they are here.
* Engine 1 of py-lmdb (`lib_version=1`): keys up to 1,978 bytes. The map has a fixed size; that is address space.
* Readers never wait for the writer: an answer is one read transaction, from beginning to end without an await.
* On a disk that is full `execute` or `commit` raises OSError (`metaraft.files.FULL`) and nothing of it is there: LMDB
  writes pages that nobody refers to before the one that does. It can be tried again when there is room.
* After another error there nothing more is applied: the process ends, and the next one applies it all.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import lmdb
import msgspec

from cluster.errors import Corrupt, Refused
from cluster.limits import Limits
from metaraft import answering, machine
from metaraft.applier import LogEntry
from metaraft.comparing import POINT_MS, POINTS_TOLD, Point
from metaraft.condemned import refuse_condemned
from metaraft.core_membership import CHANGE, NOBODY, Membership, is_batch
from metaraft.files import FULL, allocate, free_bytes, sync_directory
from metaraft.lmdb_rows import LmdbReader, LmdbRows, checked_rows, errors, translated
from metaraft.machine import Machine
from metaraft.room import Room, may_take
from metaraft.rows import MEMBERSHIP_KEY, SCHEMA, SET_HASH_MODULUS, Kind, Reader, Rows, row_hash
from metaraft.walking import Walk

DATA_FILE = "data.mdb"
LMDB_MAJOR = 1
_NO_END = 1 << 62

_FORMAT_KEY = bytes([Kind.LOCAL]) + b"format"
_APPLIED_KEY = bytes([Kind.LOCAL]) + b"applied"


class _Format(msgspec.Struct, frozen=True, array_like=True):
    schema: int
    cluster_id: str


class _Applied(msgspec.Struct, frozen=True, array_like=True):
    index: int
    set_hash: bytes
    term: int = 0


class StoreFacts(msgspec.Struct, frozen=True):
    """What a member can say about its store. `set_hash` is hexadecimal; equal among members at equal `applied`."""

    applied: int
    state_time_ms: int
    revision: int
    level: int
    set_hash: str
    rows: int
    used_bytes: int


class Walked(msgspec.Struct, frozen=True):
    """What a walk over all rows found: how many there are, and their set hash at `applied`."""

    applied: int
    rows: int
    set_hash: str


ORIGIN_INDEX = 2
"""The entry that a store made of an `Origin` begins behind: no log has what is in it, so none may begin at entry 1, as
that of a member does which is made of nothing. Such a member is too far behind, and fetches a copy."""


class Origin(NamedTuple):
    """What a new store is made of in place of nothing: a copy of the database of cluster `cluster_id`, which `lay`
    writes to a path, and whose rows `begin` makes those of a new cluster."""

    cluster_id: str
    lay: Callable[[Path], None]
    begin: Callable[[Rows], None]


class Stored(msgspec.Struct, frozen=True):
    """What a database says of itself: whose it is, the last entry applied to it (`index`, `term`), its set hash."""

    cluster_id: str
    index: int
    term: int
    set_hash: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_format = msgspec.msgpack.Decoder(_Format).decode
_decode_applied = msgspec.msgpack.Decoder(_Applied).decode


class _Open(NamedTuple):
    """A write transaction, its rows, and the last entry in it."""

    txn: "lmdb.Transaction[bytes]"
    rows: LmdbRows
    applied: int
    points: list[Point]


class _Bound:
    """The rows that the machine holds on to: those of the transaction that is under way."""

    def __init__(self, rows: LmdbRows) -> None:
        self.bind(rows)

    def bind(self, rows: LmdbRows) -> None:
        """Stand for the rows of another transaction."""
        self.get = rows.get
        self.first = rows.first
        self.scan = rows.scan
        self.put = rows.put
        self.insert = rows.insert
        self.delete = rows.delete


class Store:
    """An open store. One process has it at a time; `apply` and `sync` are each called by one thread at a time."""

    _open: "_Open | None" = None  # executed and not committed yet

    def __init__(
        self, directory: Path, env: lmdb.Environment, lock: int, limits: Limits, first_seats: Membership
    ) -> None:
        self._directory = directory
        self._first_seats = first_seats
        self._env = env
        self._lock = lock
        self._scan_rows_max = max(1, limits.scan_rows_max)
        self._room_bytes = limits.room_bytes
        found = (directory / DATA_FILE).stat()
        # What an earlier process has allocated is still there, if the file has no hole.
        self._room_end = found.st_size if found.st_blocks * 512 >= found.st_size else 0
        applied = self._begin_anew()
        self.applied = applied.index
        """Index of the last entry whose effects are visible to readers."""
        self.points: tuple[Point, ...] = ()
        """The newest points, to be compared with those of other members."""
        self._set_hash = int.from_bytes(applied.set_hash, "big")
        self.background = Walk(env, directory, self.applied, self._set_hash)
        """The walk that goes on while entries are applied."""
        self._publish()

    def _begin_anew(self) -> "_Applied":
        """Make the machine of the rows as they were committed last."""
        with errors(self._directory), self._env.begin(write=True) as txn:
            rows = LmdbRows(txn, 0)
            applied = _applied(rows)
            self._bound = _Bound(rows)
            self._machine = Machine(self._bound)
        self._second = self._machine.state_time_ms // POINT_MS
        self._failed = False
        return applied

    @contextlib.contextmanager
    def _applying(self) -> Iterator[None]:
        """After a failure in here nothing is applied any more, but where the disk was full."""
        self._failed = True
        try:
            with errors(self._directory):
                yield
        except OSError as error:
            if error.errno in FULL:
                self._begin_anew()
            raise

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        cluster_id: str,
        limits: Limits | None = None,
        origin: Origin | None = None,
        first_seats: Membership = NOBODY,
    ) -> None:
        """Make an empty store, or one of the rows of `origin`, which stands for the entries up to `ORIGIN_INDEX`, with
        the seats of a new cluster, if it is a member's.

        Raises Refused (StoreExists; WrongStore of the origin), Corrupt; after a crash in here nothing is there yet.
        """
        if directory.exists() and any(directory.iterdir()):
            raise Refused("StoreExists", f"{directory} is not empty; a store is made once")
        new = directory.with_name(directory.name + ".new")
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700, parents=True)
        if origin is not None:
            origin.lay(new / DATA_FILE)
        with contextlib.closing(_environment(new, limits or Limits(), create=origin is None)) as env:
            with errors(new), env.begin(write=True) as txn:
                rows = _found(txn, new, origin)
                if first_seats != NOBODY:
                    rows.put(MEMBERSHIP_KEY, _encode(first_seats))
                rows.note(_FORMAT_KEY, _encode(_Format(SCHEMA, cluster_id)))
                _note_applied(rows, 0 if origin is None else ORIGIN_INDEX, 0)
            env.sync(True)
        sync_directory(new)
        new.replace(directory)
        sync_directory(directory.parent)

    @classmethod
    def open(
        cls, directory: Path, *, cluster_id: str, limits: Limits | None = None, first_seats: Membership = NOBODY
    ) -> Self:
        """Open what `create` made. `first_seats` are those of a store that is older than the row of the seats.

        Raises Refused (NoStore, StoreInUse, WrongStore), Corrupt (RowRot, StoreRot), OSError.
        """
        if not (directory / DATA_FILE).is_file():
            raise Refused("NoStore", f"{directory} holds no store; only the making of a cluster or member makes one")
        refuse_condemned(directory)
        if (directory / DATA_FILE).stat().st_size == 0:  # LMDB would make an empty database of it
            raise Corrupt("StoreRot", f"the database {directory / DATA_FILE} is empty")
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Refused("StoreInUse", f"another process has the store in {directory} open") from None
        env = None
        try:
            env = _environment(directory, limits or Limits(), create=False)
            _fill(directory, env)
            with errors(directory), env.begin() as txn:
                _check_format(LmdbReader(txn), directory, cluster_id)
            return cls(directory, env, lock, limits or Limits(), first_seats)
        except BaseException:
            if env is not None:
                env.close()
            os.close(lock)
            raise

    def close(self) -> None:
        """Let the files go. Nothing is synced by this, and nothing committed."""
        self._env.close()
        os.close(self._lock)

    def apply(self, entries: Sequence[LogEntry]) -> list[list[bytes]]:
        """`execute` and `commit`."""
        results = self.execute(entries)
        self.commit()
        return results

    def execute(self, entries: Sequence[LogEntry]) -> list[list[bytes]]:
        """Begin a transaction with these committed entries in it: per entry the encoded results of its envelopes.

        Blocking. Readers see nothing of it before `commit`, which must follow in the same thread. Entries at or below
        `applied` are skipped (no results); the others follow it without a gap. Raises UnknownMeaning, Corrupt (RowRot,
        StoreRot), OSError: the store is then failed, and the process must end, unless the disk was full.
        """
        if self._failed:
            raise OSError("the store failed before, and applies nothing more")
        results: list[list[bytes]] = []
        points: list[Point] = []
        applied, term = self.applied, 0
        with self._applying():
            txn = self._env.begin(write=True)
            try:
                rows = LmdbRows(txn, self._set_hash)
                self._bound.bind(rows)
                for entry in entries:
                    if entry.index <= applied:
                        results.append([])
                        continue
                    assert entry.index == applied + 1, "entries are applied in order, without a gap"
                    applied, term = entry.index, entry.term
                    if entry.data[:1] == CHANGE:
                        self._machine.change_members(applied, entry.data, self._first_seats)
                    results.append(self._machine.apply(entry.data) if is_batch(entry.data) else [])
                    if (second := self._machine.state_time_ms // POINT_MS) != self._second:
                        self._second = second
                        self._machine.flush()
                        points.append(Point(applied, _hash_bytes(rows.set_hash)))
                if applied != self.applied:
                    self._machine.flush()
                    _note_applied(rows, applied, term)
            except BaseException:
                txn.abort()
                raise
        self._open = _Open(txn, rows, applied, points)
        return results

    def commit(self) -> None:
        """Commit what `execute` began. Blocking. Raises Corrupt (StoreRot), OSError: as `execute`."""
        assert self._open is not None, "something was executed"
        done, self._open = self._open, None
        with self._applying():
            self.background.commit(done.txn.commit, done.rows.changes, done.applied, done.rows.set_hash)
        self._set_hash = done.rows.set_hash
        self.points = (*self.points, *done.points)[-POINTS_TOLD:]
        self._publish()
        self.applied = done.applied
        self._failed = False

    def _publish(self) -> None:
        self.state_time_ms = self._machine.state_time_ms
        self.level = self._machine.level
        self.revision = self._machine.revision()

    @property
    def membership(self) -> Membership:
        """The seats as of `applied`."""
        with self.reader() as rows:
            return machine.membership(rows) or self._first_seats

    def answer(self, ask: bytes) -> bytes:
        """The encoded `Answer` to an encoded `Ask`, from one read transaction. Never waits for `apply`.

        Raises Refused (BadQuery), Corrupt (RowRot, StoreRot), OSError.
        """
        try:
            with self._env.begin() as txn:
                return answering.answer(LmdbReader(txn), ask, self._scan_rows_max)
        except lmdb.Error as error:
            raise translated(error, self._directory) from error

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """The rows as they are now, for as long as the context is open; it must be short."""
        with errors(self._directory), self._env.begin() as txn:
            yield LmdbReader(txn)

    def sync(self) -> int:
        """Make all that is applied durable; the index up to which it is. Blocking. Raises OSError."""
        applied = self.applied
        with errors(self._directory):
            self._env.sync(True)
        return applied

    @property
    def room(self) -> Room:
        """The space allocated behind the last page; what the disk has free where none can be allocated."""
        if self._room_end == _NO_END:
            return Room(free_bytes(self._directory), self._room_bytes)
        return Room(self._room_end - self._used_bytes(), self._room_bytes)

    def _used_bytes(self) -> int:
        with errors(self._directory):
            return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def make_room(self) -> None:
        """Allocate space behind the last page (see `room`): what is applied then does not fail when others fill the
        disk. Blocking. Raises OSError; a disk that is full is no failure, nor is a file system that cannot do it."""
        if not self.room.wanted or not may_take(free_bytes(self._directory), self._room_bytes):
            return
        used = self._used_bytes()
        file = os.open(self._directory / DATA_FILE, os.O_RDWR | os.O_CLOEXEC)
        try:
            can = allocate(file, used, self._room_bytes)
            self._room_end = used + self._room_bytes if can else _NO_END
        except OSError as error:
            if error.errno not in FULL:
                raise
        finally:
            os.close(file)

    def facts(self) -> StoreFacts:
        """How the store stands. Cheap."""
        with errors(self._directory):
            stat = self._env.stat()
            info = self._env.info()
        return StoreFacts(
            applied=self.applied,
            state_time_ms=self.state_time_ms,
            revision=self.revision,
            level=self.level,
            set_hash=_hash_bytes(self._set_hash).hex(),
            rows=stat["entries"],
            used_bytes=(info["last_pgno"] + 1) * stat["psize"],
        )

    def walk(self) -> Walked:
        """`walk_rows` of what is applied. Blocking, and slow. Raises Corrupt (RowRot, StoreRot, SetHashWrong)."""
        with errors(self._directory), self._env.begin() as txn:
            return walk_rows(txn)

    def copy_into(self, descriptor: int) -> Stored:
        """Write a compact copy of the database into a file or pipe, and say what it holds. Blocking; others may apply
        and answer meanwhile. Raises Corrupt (StoreRot), OSError."""
        with errors(self._directory), self._env.begin() as txn:
            stored = read_stored(LmdbReader(txn), self._directory)
            self._env.copyfd(descriptor, compact=True, txn=txn)
        return stored


def walk_rows(txn: "lmdb.Transaction[bytes]") -> Walked:
    """Read every row, and compare the set hash with the one kept: rows that are lost are seen by that alone.

    Raises Corrupt (RowRot, StoreRot, SetHashWrong).
    """
    total = count = 0
    applied = _applied(LmdbReader(txn))
    for key, stored, _ in checked_rows(txn):
        if key[0] != Kind.LOCAL:
            count += 1
            total += row_hash(key, stored)
    found = _hash_bytes(total % SET_HASH_MODULUS)
    if found != applied.set_hash:
        message = f"the rows at index {applied.index} have the set hash {found.hex()}, not {applied.set_hash.hex()}"
        raise Corrupt("SetHashWrong", message)
    return Walked(applied.index, count, found.hex())


def _environment(directory: Path, limits: Limits, *, create: bool) -> lmdb.Environment:
    with errors(directory):
        return lmdb.open(
            str(directory),
            map_size=limits.map_bytes,
            metasync=False,
            mode=0o600,
            create=create,
            max_spare_txns=4,
            lib_version=LMDB_MAJOR,
        )


def _found(txn: "lmdb.Transaction[bytes]", directory: Path, origin: Origin | None) -> LmdbRows:
    """The rows that a new store begins with."""
    if origin is None:
        rows = LmdbRows(txn, 0)
        machine.found(rows)
        return rows
    _check_format(LmdbReader(txn), directory, origin.cluster_id)
    rows = LmdbRows(txn, int.from_bytes(_applied(LmdbReader(txn)).set_hash, "big"))
    origin.begin(rows)
    return rows


def read_stored(rows: Reader, name: object) -> Stored:
    """What the rows of a database say of it. Raises Refused (WrongStore), Corrupt (RowRot)."""
    known = _read_format(rows, name)
    applied = _applied(rows)
    return Stored(known.cluster_id, applied.index, applied.term, applied.set_hash)


def _fill(directory: Path, env: lmdb.Environment) -> None:
    """Make the file as long as it says that it is. To read the map behind its end would kill the process; of zeros
    LMDB says that they are no page. (A file of a healthy store may lack its last pages, if nothing is in them.)"""
    with errors(directory):
        pages, page_bytes = env.info()["last_pgno"] + 1, env.stat()["psize"]
    if (directory / DATA_FILE).stat().st_size < pages * page_bytes:
        os.truncate(directory / DATA_FILE, pages * page_bytes)


def _check_format(rows: Reader, directory: Path, cluster_id: str) -> None:
    known = _read_format(rows, directory)
    if known.cluster_id != cluster_id:
        raise Refused("WrongStore", f"the store in {directory} is of cluster {known.cluster_id}, not {cluster_id}")


def _read_format(rows: Reader, name: object) -> _Format:
    row = rows.get(_FORMAT_KEY)
    if row is None:
        raise Refused("WrongStore", f"{name} holds no store of this program")
    known = _decode_format(row)
    if known.schema != SCHEMA:
        raise Refused("WrongStore", f"the store in {name} has schema {known.schema}; this program reads {SCHEMA}")
    return known


def _applied(rows: Reader) -> _Applied:
    row = rows.get(_APPLIED_KEY)
    if row is None:
        raise Corrupt("RowRot", "the row of the applied index is not there")
    return _decode_applied(row)


def _note_applied(rows: LmdbRows, index: int, term: int) -> None:
    rows.note(_APPLIED_KEY, _encode(_Applied(index, _hash_bytes(rows.set_hash), term)))


def _hash_bytes(set_hash: int) -> bytes:
    return set_hash.to_bytes(16, "big")
