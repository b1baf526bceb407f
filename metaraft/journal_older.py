"""Entries that are in memory no more, read from the segments that hold them, their checksums verified.

Of the older segments one file is open at a time: that of the entry read last. The journal's own lock is held by who
calls. What cannot be read raises OSError; what is not what was written, Corrupt (JournalRot).
"""

from collections.abc import Mapping

from cluster.limits import KIB
from metaraft.journal_disk import Disk
from metaraft.journal_records import RECORD_BYTES, Entry, RecordKind
from metaraft.journal_segments import Segment, rot
from metaraft.journal_table import Table

_ENTRY_KINDS = (RecordKind.ENTRY, RecordKind.RESET)
_READ_BYTES_MIN, _READ_BYTES_MAX = 4 * KIB, 256 * KIB


class Older:
    """Reads entries of a log: `table` and `segments` (by sequence) are the journal's, and followed as they change."""

    def __init__(self, disk: Disk, table: Table, segments: Mapping[int, Segment]) -> None:
        self._disk = disk
        self._table = table
        self._segments = segments
        self._open: tuple[int, int] | None = None  # (sequence, descriptor)

    def read(self, index: int, stop: int, budget: int) -> list[Entry]:
        """Entries from `index` on, of one segment and one read; at least one, no more than the read brought."""
        sequence, position = self._table.locate(index)
        segment = self._segments[sequence]
        window = self._window(sequence, segment, position, budget)
        found: list[Entry] = []
        for at_index, at in self._table.positions_from(index, stop):
            record = segment.codec.decode(window, at - position, at)
            if record is None and found:
                break  # behind the window; if it is bad, it will be the first of the next read
            if record is None or record.kind not in _ENTRY_KINDS or record.index != at_index:
                raise rot(segment.path, at, f"entry {at_index} is not there any more")
            found.append(Entry(record.index, record.term, bytes(record.data)))
        return found

    def forget_dropped(self) -> None:
        """Segments were dropped: close the file if it is of one of them."""
        if self._open is not None and self._open[0] not in self._segments:
            self.close()

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._disk.close(self._open[1])
            self._open = None

    def _window(self, sequence: int, segment: Segment, position: int, budget: int) -> memoryview:
        """What lies at `position`: the whole record there, and about `budget` bytes of those behind it."""
        fd = self._descriptor(sequence, segment)
        wanted = max(_READ_BYTES_MIN, min(_READ_BYTES_MAX, budget + RECORD_BYTES))
        window = memoryview(self._disk.read(fd, wanted, position))
        length = segment.codec.claimed_bytes(window, 0, position) if len(window) >= RECORD_BYTES else None
        if length is not None and length > len(window):
            window = memoryview(self._disk.read(fd, length, position))
        return window

    def _descriptor(self, sequence: int, segment: Segment) -> int:
        if segment.fd is not None:
            return segment.fd
        if self._open is None or self._open[0] != sequence:
            self.close()
            self._open = (sequence, self._disk.open(segment.path))
        return self._open[1]
