"""The rows in memory, in order: the twin of the LMDB store, for tests and for the simulator.

It keeps the same set hash, so that twin and store can be compared by one number.
"""

import bisect
from collections.abc import Iterator

from metaraft.rows import SET_HASH_MODULUS, Kind, row_hash, seal


class MemoryRows:
    """An ordered map of bytes to bytes behind `metaraft.rows.Rows`."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self.set_hash = 0

    def __len__(self) -> int:
        return len(self._keys)

    def copy(self) -> "MemoryRows":
        """An independent copy."""
        other = MemoryRows()
        other._values = dict(self._values)
        other._keys = list(self._keys)
        other.set_hash = self.set_hash
        return other

    def items(self) -> list[tuple[bytes, bytes]]:
        """All rows in order."""
        return [(key, self._values[key]) for key in self._keys]

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._values.get(key)

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """The first row of [start, stop), or None."""
        place = bisect.bisect_left(self._keys, start)
        if place == len(self._keys) or self._keys[place] >= stop:
            return None
        return self._keys[place], self._values[self._keys[place]]

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows of [start, stop) in order."""
        place = bisect.bisect_left(self._keys, start)
        while place < len(self._keys) and self._keys[place] < stop:
            yield self._keys[place], self._values[self._keys[place]]
            place += 1

    def put(self, key: bytes, value: bytes) -> None:
        """Write, over what is there."""
        if key in self._values:
            self._note(key, -1)
        else:
            bisect.insort(self._keys, key)
        self._values[key] = value
        self._note(key, 1)

    def insert(self, key: bytes, value: bytes) -> None:
        """Write a row that is known not to be there."""
        assert key not in self._values, "an inserted row is new"
        self.put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove a row that is known to be there."""
        self._note(key, -1)
        del self._values[key]
        del self._keys[bisect.bisect_left(self._keys, key)]

    def _note(self, key: bytes, sign: int) -> None:
        if key[0] != Kind.LOCAL:
            term = row_hash(key, seal(key, self._values[key]))
            self.set_hash = (self.set_hash + sign * term) % SET_HASH_MODULUS
