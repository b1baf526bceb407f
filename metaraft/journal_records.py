"""The journal's file format: segment headers and records, as pure functions on bytes.

A segment is a header of 512 bytes and then records without gaps. Behind the last record the file may go on with
zeros, which were allocated in advance. All numbers are little-endian; positions are 64-bit offsets in the file.

    record = crc32c u32 | tag and kind u32 | data length u32 | back u32 | position u64 | index u64 | term u64 | data

* The checksum covers all that follows it, and begins with the segment's salt; so does the tag. A record says at which
  position it lies. So no bytes that a client stored, and no record of another place, can pass for a record here.
* `position - back` is what was known to be synced when the record's batch was written: each record vouches for all
  that lies below that offset. A bad record below it is therefore rot, and one that nothing vouches for a torn tail.
  (A power cut may leave any subset of the pages of the last batch: a valid record of the *same* batch behind a bad
  one proves nothing, and one of a later batch proves rot.)

Source: the write-ahead logs of etcd (`server/storage/wal`) and RocksDB (wiki, 'Write Ahead Log File Format');
'Protocol-Aware Recovery for Consensus-Based Storage' (FAST 2018) for telling rot from a crash.
"""

import enum
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from awscrt.checksums import crc32c

FORMAT = 1
"""Version of everything on this page; a journal of another one is refused."""

HEADER_BYTES = 512
RECORD_BYTES = 40
"""Length of a record without its data."""

DATA_BYTES_MAX = 1 << 30
"""Largest data of one entry; far above `limits.entry_bytes_max`."""

_WINDOW_BYTES = 1 << 20
_MAGIC = b"TRILJRNL"
_HEADER = struct.Struct("<8sIIQQQ8sHH")
_NAMES_BYTES_MAX = HEADER_BYTES - _HEADER.size - 4
_U32 = struct.Struct("<I")
_REST = struct.Struct("<IIIQQQ")
_RECORD = struct.Struct("<IIIIQQQ")

type Read = Callable[[int, int], bytes]
"""Reads (length, offset) of a file; shorter only at its end."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the Raft log."""

    index: int
    term: int
    data: bytes


class RecordKind(enum.IntEnum):
    """What a record says.

    ENTRY: the entry (index, term, data). TRUNCATE: entries from `index` on are void. VOTE: `term` is current and
    `index - 1` is the slot voted for in it (index 0: none). MARK: nothing but that all below it is synced. SEAL: the
    segment ends here and the next one, of sequence `index`, exists. RESET: what was before is void; the log begins anew
    with the entry (index, term), whose data is not known here.
    """

    ENTRY = 1
    TRUNCATE = 2
    VOTE = 3
    MARK = 4
    SEAL = 5
    RESET = 6


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record that was read and whose checksum is right. `synced`: all below this offset was synced before it."""

    kind: int
    position: int
    synced: int
    index: int
    term: int
    data: memoryview
    end: int


class Codec(NamedTuple):
    """Writes and reads the records of one segment: `tag` (24 bits) and `seed` come from its salt."""

    tag: int
    seed: int

    def encode(self, kind: int, position: int, synced: int, index: int, term: int, data: bytes = b"") -> bytes:
        """The record's first RECORD_BYTES; `data` follows them in the file."""
        rest = _REST.pack(self.tag << 8 | kind, len(data), position - synced, position, index, term)
        checksum = crc32c(rest, self.seed)
        return _U32.pack(crc32c(data, checksum) if data else checksum) + rest

    def claimed_bytes(self, window: memoryview, at: int, position: int) -> int | None:
        """Length of the record that seems to begin at window[at:], or None if none does. Its checksum is not looked at
        yet; the window must hold RECORD_BYTES from `at` on."""
        tag: int
        length: int
        _, tag, length, _, claimed, _, _ = _RECORD.unpack_from(window, at)
        if tag >> 8 != self.tag or claimed != position or length > DATA_BYTES_MAX:
            return None
        return RECORD_BYTES + length

    def decode(self, window: memoryview, at: int, position: int) -> Record | None:
        """The record at window[at:], or None if it is not whole or not right. `data` is a view into the window."""
        if at + RECORD_BYTES > len(window):
            return None
        checksum, tag, length, back, claimed, index, term = _RECORD.unpack_from(window, at)
        end = at + RECORD_BYTES + length
        if tag >> 8 != self.tag or claimed != position or end > len(window):
            return None
        if crc32c(window[at + 4 : end], self.seed) != checksum:
            return None
        return Record(
            tag & 0xFF, position, position - back, index, term, window[at + RECORD_BYTES : end], position + end - at
        )

    def walk(self, read: Read, start: int, stop: int) -> Iterator[Record]:
        """Records from `start` on, to the first one that is bad or not wholly below `stop`. Memory is bounded by the
        window and the largest record; a record's data is valid until the next one is asked for."""
        position, base, window = start, start, memoryview(b"")
        while position + RECORD_BYTES <= stop:
            if position - base + RECORD_BYTES > len(window):
                base, window = position, memoryview(read(min(_WINDOW_BYTES, stop - position), position))
                if len(window) < RECORD_BYTES:
                    return
            length = self.claimed_bytes(window, position - base, position)
            if length is None or position + length > stop:
                return
            if position - base + length > len(window):
                base, window = position, memoryview(read(min(max(_WINDOW_BYTES, length), stop - position), position))
            record = self.decode(window, position - base, position)
            if record is None:
                return
            yield record
            position += length

    def vouched(self, read: Read, bad: int, stop: int) -> Record | None:
        """A valid record behind `bad` that proves the bytes at `bad` were synced once; None if there is none."""
        needle = _U32.pack(self.tag << 8)[1:]
        base = bad
        while base + RECORD_BYTES <= stop:
            raw = read(min(_WINDOW_BYTES, stop - base), base)
            window = memoryview(raw)
            hit = raw.find(needle)
            while hit >= 0:
                at = hit - 5  # the tag's bytes lie behind the checksum and the kind
                if at >= 0 and at + RECORD_BYTES <= len(window):
                    record = self._vouching(read, window, at, base + at, bad)
                    if record is not None:
                        return record
                hit = raw.find(needle, hit + 1)
            if len(raw) < _WINDOW_BYTES:
                return None
            base += _WINDOW_BYTES - RECORD_BYTES
        return None

    def _vouching(self, read: Read, window: memoryview, at: int, position: int, bad: int) -> Record | None:
        length = self.claimed_bytes(window, at, position)
        if length is None:
            return None
        if at + length > len(window):
            window, at = memoryview(read(length, position)), 0
        record = self.decode(window, at, position)
        return record if record is not None and record.synced > bad else None


@dataclass(frozen=True, slots=True)
class Header:
    """Head of a segment: whose it is and how it continues the one before it.

    `first_index` is the index of the entry that would have been added next when the segment was begun, and
    `previous_end` the offset at which the records of the segment before it end (0 in the first).
    """

    cluster_id: str
    slot: int
    incarnation: str
    sequence: int
    first_index: int
    previous_end: int
    salt: bytes

    @property
    def codec(self) -> Codec:
        """Codec of the segment's records."""
        return Codec(0x800000 | int.from_bytes(self.salt[:3], "little"), crc32c(self.salt))

    def encode(self) -> bytes:
        """HEADER_BYTES bytes, the last four a checksum. Names must fit: ValueError."""
        cluster_id, incarnation = self.cluster_id.encode(), self.incarnation.encode()
        names = cluster_id + incarnation
        if len(names) > _NAMES_BYTES_MAX:
            raise ValueError(f"cluster id and incarnation have {len(names)} bytes; at most {_NAMES_BYTES_MAX} fit")
        fixed = _HEADER.pack(
            _MAGIC,
            FORMAT,
            self.slot,
            self.sequence,
            self.first_index,
            self.previous_end,
            self.salt,
            len(cluster_id),
            len(incarnation),
        )
        body = (fixed + names).ljust(HEADER_BYTES - 4, b"\0")
        return body + _U32.pack(crc32c(body))


def decode_header(data: bytes) -> Header | int | None:
    """The header; the format version if that is not ours; None if the bytes are no whole and right header."""
    if len(data) != HEADER_BYTES or _U32.unpack_from(data, HEADER_BYTES - 4)[0] != crc32c(data[:-4]):
        return None
    magic, version, slot, sequence, first_index, previous_end, salt, id_bytes, name_bytes = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return None
    if version != FORMAT:
        return int(version)
    start = _HEADER.size
    cluster_id = data[start : start + id_bytes].decode()
    incarnation = data[start + id_bytes : start + id_bytes + name_bytes].decode()
    return Header(cluster_id, slot, incarnation, sequence, first_index, previous_end, salt)
