"""The journal of a member: Raft's log, term and vote, on disk before anything that rests on them leaves.

`add`, `truncate_from` and `set_term` only change memory. `sync` writes everything new with one write and one fdatasync
and returns when it is durable: it blocks, belongs in a worker thread, and what is added meanwhile belongs to the next
one. An operation that the disk failed is never tried again; the journal is failed for good and every later call
raises `JournalFailed`. Formats are in `journal_records`, files in `journal_segments`.

Memory is bounded: eight bytes per entry, the newest entries up to `limits.journal_cache_bytes`, and what is not synced
yet. Older entries are read from their segments (`journal_older`).

All methods may be called from any thread. `_state` guards memory; it is never held while anything is written or synced,
but while older entries are read from their segments, and while a full segment's disk is asked for its room. `_io` is
held by the one call that writes.

Source: Ongaro, 'Consensus: Bridging Theory and Practice', 3.8 and 5.1; 'Can Applications Recover from fsync Failures?'
(ATC 2020) for never trying an fsync again.
"""

import errno
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from cluster.errors import Refused
from cluster.limits import GIB, Limits
from metaraft.journal_disk import Disk, write_all
from metaraft.journal_older import Older
from metaraft.journal_recent import Recent
from metaraft.journal_records import DATA_BYTES_MAX, HEADER_BYTES, RECORD_BYTES, Codec, Entry, RecordKind
from metaraft.journal_segments import (
    ALLOCATE_BYTES,
    Owner,
    Recovered,
    Segment,
    begin_segment,
    encode_vote,
    extend,
    incarnation_in,
    recover,
    seal,
    sequences,
    write_segment,
)
from metaraft.room import Room, may_take

__all__ = ["Entry", "Journal", "JournalFailed"]

type Data = bytes
"""Bytes, under a name that `Journal.bytes` does not hide."""

_LOCK_NAME = "lock"
_PENDING_BYTES_MAX = 2 * GIB  # a record's way back to its batch's start is 32 bits


class JournalFailed(OSError):
    """The disk failed the journal: what was not synced may or may not be on it, and nothing more will be."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one sync writes: `pieces` at `position` of `segment`, and then, if that is full, its successor."""

    segment: Segment
    position: int
    pieces: list[bytes]
    changes: int
    successor: tuple[Segment, bytes] | None


class Journal:
    """One member's journal. Made once by `create`; `open` takes it for this process, `close` gives it back."""

    @classmethod
    def create(cls, directory: Path, *, cluster_id: str, slot: int, incarnation: str, disk: Disk | None = None) -> None:
        """Makes the journal of a new member and syncs it: entry 1 of term 0, no vote. Blocking.

        Raises Refused (JournalExists, JournalInUse), OSError. A call that died halfway may be repeated.
        """
        disk = disk or Disk()
        disk.make_directory(directory)
        lock = _take_lock(disk, directory)
        try:
            if sequences(disk, directory):
                raise Refused("JournalExists", f"{directory} holds a journal already; a new one would forget its votes")
            owner = Owner(cluster_id, slot, incarnation)
            segment, data = begin_segment(
                disk, directory, owner, sequence=1, first_index=1, previous_end=0, head=_first_records
            )
            fd, _, _ = write_segment(disk, segment.path, iter((data,)), 0)
            disk.close(fd)
            disk.sync_directory(directory.parent)
        finally:
            disk.close(lock)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        cluster_id: str,
        slot: int,
        limits: Limits,
        incarnation: str | None = None,
        disk: Disk | None = None,
    ) -> Self:
        """Reads the journal back; all that is in it then is durable. Blocking. `incarnation`: whose it must be, if that
        is known.

        Raises Refused (NoJournal, ForeignJournal, JournalFormat, JournalInUse), Corrupt (JournalRot: what was synced
        is not there any more, the member must not start), Unavailable (NoSpace: try again), JournalFailed.
        """
        disk = disk or Disk()
        try:
            lock = _take_lock(disk, directory)
        except FileNotFoundError as error:
            raise Refused("NoJournal", f"there is no folder {directory}") from error
        try:
            owner = Owner(cluster_id, slot, incarnation or incarnation_in(disk, directory))
            recent = Recent(limits.journal_cache_bytes)
            room = min(ALLOCATE_BYTES, limits.journal_segment_bytes)
            recovered = recover(disk, directory, owner, room, recent)
            return cls(disk, directory, owner, limits, recovered, recent, lock)
        except OSError as error:
            disk.close(lock)
            raise JournalFailed(error.errno, f"journal {directory} could not be opened: {error}") from error
        except BaseException:
            disk.close(lock)
            raise

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        owner: Owner,
        limits: Limits,
        recovered: Recovered,
        recent: Recent,
        lock: int,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._owner = owner
        self._limits = limits
        self._lock = lock
        self._state = threading.Lock()
        self._io = threading.Lock()
        self._failed: OSError | None = None
        self._term = recovered.term
        self._voted_for = recovered.voted_for
        self._table = recovered.table
        self._recent = recent
        self._segments = {segment.header.sequence: segment for segment in recovered.segments}
        self._active = recovered.segments[-1]
        self._tail = self._active.end  # where the next record goes in the active segment
        self._synced = self._tail  # where the pending batch begins: all below is synced when it is written
        self._pending: list[Data] = []
        self._changes = self._durable_changes = 0
        self._durable_index = self._handed_index = self._table.next_index - 1
        self._recent.settle(self._durable_index)
        self._marked = True  # nothing was written since the last mark
        self._older = Older(disk, self._table, self._segments)

    # What is in it

    @property
    def incarnation(self) -> str:
        """Which life of its slot's member this is: made with the journal, and never changed."""
        return self._owner.incarnation

    @property
    def term(self) -> int:
        """The current term (maybe not synced yet)."""
        return self._term

    @property
    def voted_for(self) -> int | None:
        """The slot that got this member's vote in the current term."""
        return self._voted_for

    @property
    def first_index(self) -> int:
        """Index of the oldest entry; there is always one."""
        return self._table.first_index

    @property
    def last_index(self) -> int:
        """Index of the newest entry."""
        return self._table.next_index - 1

    @property
    def room(self) -> Room:
        """The space behind the last record. No statement while a sync is under way that begins a segment."""
        return Room(self._active.allocated - self._tail, self._room)

    @property
    def dirty(self) -> bool:
        """Something was added that is not known to be durable; a sync that is under way does not count yet."""
        return self._changes != self._durable_changes

    @property
    def bytes(self) -> int:
        """Size of the segments kept, void records included."""
        with self._state:
            return sum(segment.end for segment in self._segments.values()) + self._tail - self._active.end

    def tail_from(self, bytes_min: int) -> int:
        """The index to `cut` below so that the newest segments are left, whole, that have `bytes_min` together."""
        with self._state:
            size = self._tail - self._active.end
            for span in reversed(self._table.spans):
                size += self._segments[span.sequence].end
                if size >= bytes_min:
                    return span.first
            return self._table.first_index

    def term_at(self, index: int) -> int | None:
        """Term of an entry; None if it is not in the log."""
        with self._state:
            return self._table.term_at(index)

    def entry(self, index: int) -> Entry:
        """One entry. IndexError if it is not in the log; Corrupt (JournalRot), JournalFailed from older ones."""
        return self.entries(index, index + 1, 0)[0]

    def entries(self, start: int, stop: int, bytes_max: int) -> list[Entry]:
        """Entries `start` to `stop - 1`, or to the last, as many as have `bytes_max` bytes of data together, and at
        least one. IndexError if `start` is not in the log; Corrupt (JournalRot), JournalFailed from older ones."""
        found: list[Entry] = []
        with self._state:
            self._check()
            stop = min(stop, self._table.next_index)
            if not self._table.first_index <= start < stop:
                raise IndexError(f"entries {start} to {stop - 1}: the log is {self.first_index} to {self.last_index}")
            budget, index = bytes_max, start
            while index < stop:
                entry = self._recent.get(index)
                for next_entry in (entry,) if entry is not None else self._read_older(index, stop, budget):
                    budget -= len(next_entry.data)
                    if budget < 0 and found:
                        return found
                    found.append(next_entry)
                    index += 1
        return found

    def _read_older(self, index: int, stop: int, budget: int) -> list[Entry]:
        try:
            return self._older.read(index, stop, budget)
        except OSError as error:
            self._fail(error)

    # Changes, in memory

    def add(self, index: int, term: int, data: Data) -> None:
        """Adds the next entry. AssertionError: it does not follow the last one."""
        assert len(data) <= DATA_BYTES_MAX
        with self._state:
            assert index == self._table.next_index, f"entry {index} does not follow {self._table.next_index - 1}"
            assert term >= self._table.last_term, f"entry {index}: term {term} follows {self._table.last_term}"
            self._table.append(index, term, self._record(RecordKind.ENTRY, index, term, data))
            self._recent.remember(Entry(index, term, data))

    def truncate_from(self, index: int) -> None:
        """Makes the entries from `index` on void. The first entry of the log cannot be: AssertionError."""
        with self._state:
            assert self._table.first_index < index, f"entry {index} or one before it is committed, and cannot be void"
            if index >= self._table.next_index:
                return
            self._record(RecordKind.TRUNCATE, index, 0)
            self._table.truncate_from(index)
            self._recent.truncate_from(index)
            self._durable_index = min(self._durable_index, index - 1)
            self._handed_index = min(self._handed_index, index - 1)

    def reset(self, index: int, term: int) -> None:
        """Makes all entries void and begins the log anew with entry `index`: its term is known, its data is empty, and
        like every first entry it counts as committed. Term and vote stay.

        For a database that holds all up to `index`. Raises Refused (NotBeyondLog) unless that is beyond the last entry:
        what this member has acknowledged is never forgotten.
        """
        with self._state:
            if index < self._table.next_index:
                last = self._table.next_index - 1
                raise Refused("NotBeyondLog", f"the log goes up to entry {last} and cannot begin anew at {index}")
            position = self._record(RecordKind.RESET, index, term)
            self._table.reset(index, term, position)
            self._recent.reset(Entry(index, term, b""))

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Sets term and vote. Terms do not run back, and a vote stands for its term: AssertionError."""
        with self._state:
            if (term, voted_for) == (self._term, self._voted_for):
                return
            assert term > self._term or (term == self._term and self._voted_for is None), (
                f"term {term}, vote {voted_for} cannot follow term {self._term}, vote {self._voted_for}"
            )
            self._record(RecordKind.VOTE, 0 if voted_for is None else voted_for + 1, term)
            self._term, self._voted_for = term, voted_for

    def _record(self, kind: RecordKind, index: int, term: int, data: Data = b"") -> int:
        """Puts a record into the pending batch and returns its position."""
        self._check()
        position = self._tail
        assert position - self._synced < _PENDING_BYTES_MAX, "far too much was added without a sync"
        self._pending.append(self._active.codec.encode(kind, position, self._synced, index, term, data))
        if data:
            self._pending.append(data)
        self._tail = position + RECORD_BYTES + len(data)
        if kind != RecordKind.MARK:
            self._changes += 1
        return position

    # To the disk

    def sync(self) -> None:
        """Returns when everything added before the call is durable. Blocking. Raises JournalFailed."""
        with self._io:
            with self._state:
                self._check()
                batch = self._hand_over()
            if batch is not None:
                self._land(batch)

    def mark_idle(self) -> None:
        """Writes and syncs the mark that vouches for the last batch, if nothing has been added since. Blocking.

        Until then rot in the last batch cannot be told from a torn tail. Raises JournalFailed.
        """
        with self._io:
            with self._state:
                self._check()
                if self._pending or self._marked:
                    return
                self._record(RecordKind.MARK, 0, 0)
                batch = self._hand_over()
                self._marked = True
            if batch is not None:
                self._land(batch)

    def make_room(self, bytes_min: int = 0) -> bool:
        """Allocates space ahead (see `room`), so that there are `bytes_min`, and says whether there are. Blocking.

        Raises JournalFailed; a disk that is full is no failure, for nothing is written."""
        with self._io:
            with self._state:
                self._check()
                segment, room = self._active, self.room
            lacking = bytes_min - room.left
            if lacking <= 0 and not room.wanted:
                return True
            try:
                return extend(self._disk, segment, max(lacking, room.piece)) or lacking <= 0
            except OSError as error:
                self._fail(error)

    def cut(self, below_index: int, segments_max: int | None = None) -> bool:
        """Drops the oldest segments that hold no entry from `below_index` on, never the last entry; `segments_max` of
        them, and says whether there are more. Blocking.

        Nothing is lost of term, vote and truncations, wherever it is interrupted. Raises JournalFailed.
        """
        with self._io:
            with self._state:
                self._check()
                all_of_them = self._table.droppable(below_index, self._durable_index)
                count = all_of_them if segments_max is None else min(all_of_them, segments_max)
                dropped = [self._segments.pop(sequence) for sequence in self._table.drop_oldest(count)]
                self._recent.forget_below(self._table.first_index)
                self._older.forget_dropped()
            try:
                for segment in dropped:  # one after the other: a gap would look like a lost segment
                    self._disk.unlink(segment.path)
                    self._disk.sync_directory(self._directory)
            except OSError as error:
                self._fail(error)
        return count < all_of_them

    def close(self) -> None:
        """Gives the journal back. What was not synced is lost, as in a crash; later calls raise JournalFailed."""
        with self._io, self._state:
            if self._lock < 0:
                return
            self._failed = self._failed or OSError(errno.EBADF, "it was closed")
            self._older.close()
            for segment in self._segments.values():
                if segment.fd is not None:
                    self._disk.close(segment.fd)
            self._disk.close(self._lock)
            self._lock = -1

    def _land(self, batch: _Batch) -> None:
        try:
            self._write(batch)
        except OSError as error:
            self._fail(error)
        with self._state:
            self._durable_changes = batch.changes
            self._durable_index = self._handed_index
            self._recent.settle(self._durable_index)

    def _hand_over(self) -> _Batch | None:
        """Takes the pending batch. If it fills the segment, what is added from now on belongs to a new one."""
        if not self._pending:
            return None
        segment, position, pieces = self._active, self._synced, self._pending
        self._pending, self._synced, self._handed_index = [], self._tail, self._table.next_index - 1
        self._marked = False
        successor = None
        if self._tail >= self._limits.journal_segment_bytes and self._room_for_successor():
            successor = self._begin_successor()
            self._marked = True  # that there is a successor vouches for all of the old segment
        else:
            segment.end = self._tail
        return _Batch(segment, position, pieces, self._changes, successor)

    def _room_for_successor(self) -> bool:
        """On a disk that is full the segment grows beyond its size, into what `make_room` has allocated: a successor
        that cannot be made would end the member, where growing commands are refused until there is room again."""
        try:
            return may_take(self._disk.free(self._directory), self._room)
        except OSError as error:
            self._fail(error)

    def _begin_successor(self) -> tuple[Segment, Data]:
        term, voted_for = self._term, self._voted_for
        self._active.end = self._tail
        sequence = self._active.header.sequence + 1
        segment, data = begin_segment(
            self._disk,
            self._directory,
            self._owner,
            sequence=sequence,
            first_index=self._table.next_index,
            previous_end=self._tail,
            head=lambda codec: _head_vote(codec, term, voted_for),
        )
        self._table.begin_segment(sequence)
        self._segments[sequence] = self._active = segment
        self._tail = self._synced = segment.end
        return segment, data

    def _write(self, batch: _Batch) -> None:
        """Writes and syncs the batch, and then, if the segment is full, its successor and the seal."""
        disk, segment, fd = self._disk, batch.segment, batch.segment.fd
        assert fd is not None
        data = b"".join(batch.pieces)
        end = batch.position + len(data)
        if end > segment.allocated:
            room = end - segment.allocated + self._room
            disk.allocate(fd, segment.allocated, room)
            segment.allocated += room
        write_all(disk, fd, data, batch.position)
        disk.fdatasync(fd)
        if batch.successor is None:
            return
        successor, head = batch.successor
        successor.fd, _, successor.allocated = write_segment(disk, successor.path, iter((head,)), self._room)
        seal(disk, segment, fd)
        with self._state:  # not while an entry is being read through it
            segment.fd = None
        disk.close(fd)

    @property
    def _room(self) -> int:
        return min(ALLOCATE_BYTES, self._limits.journal_segment_bytes)

    def _check(self) -> None:
        if self._failed is not None:
            raise JournalFailed(self._failed.errno, f"journal {self._directory} has failed: {self._failed}")

    def _fail(self, error: OSError) -> NoReturn:
        self._failed = self._failed or error
        raise JournalFailed(error.errno, f"journal {self._directory} has failed for good: {error}") from error


def _take_lock(disk: Disk, directory: Path) -> int:
    try:
        return disk.lock(directory / _LOCK_NAME)
    except BlockingIOError as error:
        raise Refused("JournalInUse", f"{directory} is in use by another process") from error


def _head_vote(codec: Codec, term: int, voted_for: int | None) -> bytes:
    """Term and vote at the head of each segment: what an older one said of them may be dropped with it."""
    return encode_vote(codec, HEADER_BYTES, HEADER_BYTES, term, voted_for)


def _first_records(codec: Codec) -> bytes:
    """Term 0, no vote, and the empty entry 1 of term 0 that a log begins with."""
    vote = _head_vote(codec, 0, None)
    return vote + codec.encode(RecordKind.ENTRY, HEADER_BYTES + len(vote), HEADER_BYTES, 1, 0)
