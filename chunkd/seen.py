"""What garbage collection must not overtake: the highest `seen` revision each name was put or renewed with.

A writer names the revision it had read (`seen`) with every put and renew. The metadata refuses a commit with an
acknowledgement whose `seen` is below the space's horizon, so a name may be deleted under horizon z only if every
acknowledgement for it had `seen < z`. The values are kept in memory. After a start they are not known, and the
cluster's present revision stands in for all of them: it is not below any revision that a writer had read before.
It must have been read after this process started, which the caller shows by naming the process's `boot`; a `seen`
that arrives in a put shows nothing of the kind. Until then nothing is deleted.
"""

import threading

from cluster.errors import Refused, Unavailable

type Name = tuple[int, bytes]
"""Space and chunk id."""

NAMES_MAX = 1_000_000
"""Names kept one by one (about 150 bytes each); over it the highest of them stands in for all."""


class Seen:
    """Highest `seen` per name; safe among threads."""

    def __init__(self, boot: bytes, names_max: int = NAMES_MAX) -> None:
        self.boot = boot
        self._names_max = names_max
        self._guard = threading.Lock()
        self._names: dict[Name, int] = {}
        self._floors: dict[int, int] = {}
        self._told: set[int] = set()

    def note(self, name: Name, seen: int) -> None:
        """A put or renew of a name with this `seen` is about to be acknowledged."""
        with self._guard:
            if seen > self._names.get(name, -1):
                self._names[name] = seen
            if len(self._names) > self._names_max:
                for (space, _), value in self._names.items():
                    self._floors[space] = max(self._floors.get(space, 0), value)
                self._names.clear()

    def present(self, space: int, boot: bytes, revision: int) -> None:
        """The cluster's revision, read by somebody who had got `boot` from this process before.

        Raises Refused (StaleBoot) for another process's boot.
        """
        if boot != self.boot:
            raise Refused(
                "StaleBoot", "the daemon was restarted since this boot id was given; ask for its status again"
            )
        with self._guard:
            if space not in self._told:
                self._told.add(space)
                self._floors[space] = max(self._floors.get(space, 0), revision)

    def of(self, name: Name) -> int:
        """A revision that no acknowledgement for this name is above. Raises Unavailable (RevisionUnknown)."""
        with self._guard:
            if name[0] not in self._told:
                raise Unavailable(
                    "RevisionUnknown",
                    f"this daemon was not told the present revision of space {name[0]} since it started",
                )
            return max(self._names.get(name, 0), self._floors[name[0]])

    def drop(self, name: Name) -> None:
        """The name was deleted."""
        with self._guard:
            self._names.pop(name, None)
