"""A disk in memory that loses at a power cut what was not synced, tears writes, and fails on demand.

Each file has what the page cache shows and what the platters hold; writes between are pending. A power cut keeps any of
the pending writes, in pieces, and any of the pending changes of names. An fdatasync that fails drops the pending writes
for good while the cache goes on showing them, as Linux does. Source: 'Can Applications Recover from fsync Failures?'
(ATC 2020); 'All File Systems Are Not Created Equal' (OSDI 2014).
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from metaraft.journal_disk import Disk

type Keep = Callable[[int], int]
"""How many of so many pending bytes of one write survive the power cut, from its start."""


class _File:
    def __init__(self) -> None:
        self.cache = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, data), or (size, None) for a change of size

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.cache, offset, data)
        self.pending.append((offset, data))

    def copy(self) -> "_File":
        other = _File()
        other.cache, other.durable, other.pending = bytearray(self.cache), bytearray(self.durable), list(self.pending)
        return other

    def after_power_cut(self, keep: Keep) -> "_File":
        other = _File()
        other.durable[:] = self.durable
        for offset, data in self.pending:
            kept = keep(1 if data is None else len(data))
            if kept:
                _apply(other.durable, offset, None if data is None else data[:kept])
        other.cache[:] = other.durable
        return other

    def tear(self, sector_bytes: int) -> None:
        pieces: list[tuple[int, bytes | None]] = []
        for offset, data in self.pending:
            if data is None:
                pieces.append((offset, None))
                continue
            begin = 0
            while begin < len(data):
                end = min(len(data), begin + sector_bytes - (offset + begin) % sector_bytes)
                pieces.append((offset + begin, data[begin:end]))
                begin = end
        self.pending = pieces

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending = []


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class MemoryDisk(Disk):
    """The disk. `on_call` is told each call that changes something before it happens, and may raise OSError."""

    def __init__(self) -> None:
        self.names_cached: dict[Path, _File] = {}
        self.names_durable: dict[Path, _File] = {}
        self.names_pending: list[tuple[str, Path, Path]] = []
        self.calls: list[str] = []
        self.on_call: Callable[[str], None] = lambda name: None
        self.write_bytes_max = 1 << 30
        self._open: dict[int, _File] = {}
        self._locks: dict[int, Path] = {}
        self._last_fd = 2
        self._randoms = 0

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.on_call(name)

    def _descriptor(self) -> int:
        self._last_fd += 1
        return self._last_fd

    def make_directory(self, directory: Path) -> None:
        self._call("make_directory")

    def names(self, directory: Path) -> list[str]:
        return [path.name for path in self.names_cached if path.parent == directory]

    def lock(self, path: Path) -> int:
        if path in self._locks.values():
            raise BlockingIOError(f"{path} is locked")
        fd = self._descriptor()
        self._locks[fd] = path
        return fd

    def open(self, path: Path) -> int:
        if path not in self.names_cached:
            raise FileNotFoundError(path)
        fd = self._descriptor()
        self._open[fd] = self.names_cached[path]
        return fd

    def create(self, path: Path) -> int:
        self._call("create")
        self._rename_pending("link", path, path)
        self.names_cached[path] = _File()
        return self.open(path)

    def close(self, fd: int) -> None:
        if self._locks.pop(fd, None) is None:
            del self._open[fd]

    def size(self, fd: int) -> int:
        return len(self._open[fd].cache)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        self.on_call("read")
        return bytes(self._open[fd].cache[offset : offset + length])

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        self._call("write")
        some = bytes(data[: self.write_bytes_max])
        self._open[fd].change(offset, some)
        return len(some)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        self._call("allocate")
        if offset + length > len(self._open[fd].cache):
            self._open[fd].change(offset + length, None)

    def free(self, directory: Path) -> int:
        """Never short when it is asked: the disk may be full a moment later."""
        return 1 << 40

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        self._open[fd].change(size, None)

    def fdatasync(self, fd: int) -> None:
        try:
            self._call("fdatasync")
        except OSError:
            self._open[fd].pending = []
            raise
        self._open[fd].sync()

    def fsync(self, fd: int) -> None:
        self.fdatasync(fd)

    def sync_directory(self, directory: Path) -> None:
        self._call("sync_directory")
        elsewhere = {path: file for path, file in self.names_durable.items() if path.parent != directory}
        here = {path: file for path, file in self.names_cached.items() if path.parent == directory}
        self.names_durable = elsewhere | here
        self.names_pending = [change for change in self.names_pending if change[1].parent != directory]

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        self._rename_pending("rename", source, target)
        self.names_cached[target] = self.names_cached.pop(source)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self._rename_pending("unlink", path, path)
        del self.names_cached[path]

    def random_bytes(self, length: int) -> bytes:
        self._randoms += 1
        return (0x9E3779B97F4A7C15 * self._randoms % 2**64).to_bytes(8, "little")[:length]

    def _rename_pending(self, kind: str, source: Path, target: Path) -> None:
        self.names_pending.append((kind, source, target))

    # Ends of the world

    def tear(self, sector_bytes: int) -> None:
        """Let a power cut keep or lose each sector of a pending write apart from the others."""
        for file in {id(file): file for file in (*self.names_cached.values(), *self.names_durable.values())}.values():
            file.tear(sector_bytes)

    def kill(self) -> "MemoryDisk":
        """The process dies, the machine goes on: the page cache stays as it is."""
        return self.copy()

    def power_cut(self, keep: Keep, names_kept: Collection[int] = ()) -> "MemoryDisk":
        """The machine dies: of the pending writes `keep` says what survives, of the pending changes of names those
        numbered in `names_kept` do. What is there afterwards is durable."""
        other = MemoryDisk()
        other._randoms = self._randoms
        files = {id(file): file for file in (*self.names_cached.values(), *self.names_durable.values())}
        created = dict(self.names_cached)
        names = dict(self.names_durable)
        for kind, source, target in (self.names_pending[at] for at in sorted(names_kept)):
            match kind:
                case "link":
                    names[target] = created.get(target) or _File()
                case "rename":
                    names.pop(source, None)
                    names[target] = created.get(target) or _File()
                case _:
                    names.pop(target, None)
        survivors = {at: file.after_power_cut(keep) for at, file in files.items()}
        other.names_cached = {path: survivors[id(file)] for path, file in names.items() if id(file) in survivors}
        other.names_durable = dict(other.names_cached)
        return other

    def holds(self, path: Path) -> bool:
        """Whether there is such a file."""
        return path in self.names_cached

    def turn(self, path: Path, bit: int) -> None:
        """Rot: a bit of a file turns, on the platters and so in what is read of them."""
        file = self.names_cached[path]
        for content in (file.cache, file.durable):
            content[bit // 8] ^= 1 << bit % 8

    def copy(self) -> "MemoryDisk":
        """The same disk, apart from this one; nothing is open on it."""
        other = MemoryDisk()
        files = {id(file): file.copy() for file in (*self.names_cached.values(), *self.names_durable.values())}
        other.names_cached = {path: files[id(file)] for path, file in self.names_cached.items()}
        other.names_durable = {path: files[id(file)] for path, file in self.names_durable.items()}
        other.names_pending = list(self.names_pending)
        other._randoms = self._randoms
        return other

    def pending_writes(self) -> list[int]:
        """Lengths of the pending writes, in the order in which `power_cut` asks for them (1: a change of size)."""
        lengths: list[int] = []

        def note(length: int) -> int:
            lengths.append(length)
            return 0

        self.power_cut(note)
        return lengths


def cuts(disk: MemoryDisk) -> Iterator[MemoryDisk]:
    """Disks after power cuts: the pending bytes torn at each byte, each write alone lost, each alone kept."""
    lengths, names = disk.pending_writes(), len(disk.names_pending)

    def keeping(kept: list[int]) -> Keep:
        left = iter(kept)
        return lambda length: next(left)

    alone = [{at} for at in range(names) if names > 1]
    for names_kept in (*alone, *(range(kept) for kept in range(names + 1))):
        yield disk.power_cut(keeping([0] * len(lengths)), names_kept)
        yield disk.power_cut(keeping(lengths), names_kept)
        if len(names_kept) < names:
            continue
        for torn, length in enumerate(lengths):
            for byte in range(1, length + 1):
                yield disk.power_cut(keeping([*lengths[:torn], byte, *[0] * (len(lengths) - torn - 1)]), names_kept)
        for one in range(len(lengths)):
            lost = [0 if at == one else length for at, length in enumerate(lengths)]
            kept = [length if at == one else 0 for at, length in enumerate(lengths)]
            yield disk.power_cut(keeping(lost), names_kept)
            yield disk.power_cut(keeping(kept), names_kept)
