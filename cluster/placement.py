"""Placement: which disks a chunk goes to, in order of preference. Pure.

Weighted rendezvous hashing: each disk draws a number from (chunk, disk), and a disk of twice the weight wins twice as
often. Everybody computes the same order; a disk that comes or goes moves only the chunks that it wins or held. Disks
of distinct failure zones come first: the best of each zone, then each zone's second, and so on.

Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998); Schindelhauer and Schomaker,
"Weighted distributed hash tables" (2005) for the logarithmic method.
"""

from collections.abc import Iterable
from hashlib import blake2b
from math import log
from typing import Protocol

_PERSON = b"trilith place v1"
_SCALE = 2.0**53


class Disk(Protocol):
    """What placement needs to know of a disk. A weight of 0 takes no chunks."""

    @property
    def disk_id(self) -> bytes:
        """Its identity, up to 64 bytes."""

    @property
    def zone(self) -> str:
        """Its failure zone."""

    @property
    def weight(self) -> int:
        """Its share, relative to others'."""


def score(chunk_id: bytes, disk: Disk) -> float:
    """The disk's draw for a chunk: the higher, the better; 0 for a disk without weight."""
    if disk.weight <= 0:
        return 0.0
    digest = blake2b(chunk_id, key=disk.disk_id, digest_size=8, person=_PERSON).digest()
    draw = ((int.from_bytes(digest) >> 11) + 0.5) / _SCALE  # in (0, 1), all 53 bits of a float
    return -disk.weight / log(draw)


def place[D: Disk](chunk_id: bytes, disks: Iterable[D]) -> list[D]:
    """The disks with weight, best first, distinct zones before second disks of a zone."""
    ranked = sorted(
        ((score(chunk_id, disk), disk) for disk in disks if disk.weight > 0),
        key=lambda item: (-item[0], item[1].disk_id),
    )
    seen: dict[str, int] = {}
    rounds: list[tuple[int, D]] = []
    for _, disk in ranked:
        rank = seen.get(disk.zone, 0)
        seen[disk.zone] = rank + 1
        rounds.append((rank, disk))
    rounds.sort(key=lambda item: item[0])  # stable: by score within each round
    return [disk for _, disk in rounds]
