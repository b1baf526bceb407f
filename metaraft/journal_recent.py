"""The newest entries of the log, in memory, bounded by bytes. Pure."""

from metaraft.journal_records import Entry


class Recent:
    """Entries from some index on to the newest, without gaps.

    The oldest are let go when all have over `bytes_max` of data and overhead, but never one that is not settled, that
    is, on the disk: it can be read nowhere else.
    """

    OVERHEAD_BYTES = 200
    """Memory of an entry beside its data (measured with sys.getsizeof: tuple, two ints, bytes head, dict slot)."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: dict[int, Entry] = {}
        self._oldest = 0
        self._settled = 0

    def get(self, index: int) -> Entry | None:
        """The entry, if it is here."""
        return self._entries.get(index)

    def remember(self, entry: Entry) -> None:
        """Adds the newest entry."""
        if not self._entries:
            self._oldest = entry.index
        assert entry.index == self._oldest + len(self._entries)
        self._entries[entry.index] = entry
        self._bytes += len(entry.data) + self.OVERHEAD_BYTES
        self._trim()

    def settle(self, index: int) -> None:
        """Entries up to `index` are on the disk and may be let go."""
        self._settled = index
        self._trim()

    def truncate_from(self, index: int) -> None:
        """Lets go of the entries from `index` on, which are void."""
        self._settled = min(self._settled, index - 1)
        newest = self._oldest + len(self._entries) - 1
        for at in range(max(index, self._oldest), newest + 1):
            self._drop(at)

    def reset(self, entry: Entry) -> None:
        """Lets go of all entries, which are void, and goes on with this one."""
        self._entries.clear()
        self._bytes = 0
        self.remember(entry)

    def forget_below(self, index: int) -> None:
        """Lets go of the entries below `index`, which were cut."""
        while self._entries and self._oldest < index:
            self._drop_oldest()

    def _trim(self) -> None:
        while self._bytes > self._bytes_max and self._entries and self._oldest <= self._settled:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(self._oldest)
        self._oldest += 1

    def _drop(self, index: int) -> None:
        self._bytes -= len(self._entries.pop(index).data) + self.OVERHEAD_BYTES
