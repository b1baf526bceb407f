"""A disk that records what is asked of it, fails on demand, and can lose its power.

What `FaultyFiles.cut_power` leaves is what a disk may leave: bytes that were not synced are cut short, renames whose
folder was not synced are undone (or not: both are legal, the test says which).
"""

import os
from collections.abc import Buffer, Callable, Sequence
from pathlib import Path
from typing import override

from chunkd.files import Files


class PowerCut(BaseException):
    """The machine is off: nothing catches this."""


class FaultyFiles(Files):
    """`calls` is the record: (call, file name or folder name)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, Path], OSError | None] = lambda call, path: None
        self.cut_at: int | None = None
        self.free: int | None = None
        self._paths: dict[int, Path] = {}
        self._dirty: set[int] = set()  # inodes
        self._renamed: list[tuple[Path, Path, bytes | None]] = []  # and what had the target's name before
        self._dead = False

    def cut_power(self, *, lose_renames: bool) -> None:
        """Leave on the disk what was synced, and of the rest as little as is legal."""
        self._dead = True
        if lose_renames:
            for source, target, replaced in reversed(self._renamed):
                if target.exists() and source.parent.exists():
                    os.rename(target, source)
                    if replaced is not None:
                        target.write_bytes(replaced)
        root = Path(os.path.commonpath(list(self._paths.values()))) if self._paths else None
        for path in sorted(root.rglob("*")) if root is not None and root.is_dir() else []:
            if path.is_file() and path.stat().st_ino in self._dirty:
                os.truncate(path, path.stat().st_size // 2)

    def _call(self, call: str, path: Path) -> None:
        if self._dead or (self.cut_at is not None and len(self.calls) >= self.cut_at):
            self._dead = True
            raise PowerCut
        self.calls.append((call, path.name))
        error = self.fault(call, path)
        if error is not None:
            raise error

    @override
    def create(self, path: Path) -> int:
        self._call("create", path)
        fd = super().create(path)
        self._paths[fd] = path
        self._dirty.add(os.fstat(fd).st_ino)
        return fd

    @override
    def open(self, path: Path) -> int:
        self._call("open", path)
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    @override
    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._call("write", self._paths[fd])
        self._dirty.add(os.fstat(fd).st_ino)
        return super().write(fd, buffers, offset)

    @override
    def read(self, fd: int, view: memoryview, offset: int) -> int:
        self._call("read", self._paths[fd])
        return super().read(fd, view, offset)

    @override
    def read_nowait(self, fd: int, view: memoryview, offset: int) -> int:
        self._call("read_nowait", self._paths[fd])
        return super().read_nowait(fd, view, offset)

    @override
    def sync_data(self, fd: int) -> None:
        self._call("sync_data", self._paths[fd])
        super().sync_data(fd)
        self._dirty.discard(os.fstat(fd).st_ino)

    @override
    def sync_folder(self, path: Path) -> None:
        self._call("sync_folder", path)
        self._renamed = [renamed for renamed in self._renamed if renamed[1].parent != path]

    @override
    def sync_all(self, path: Path) -> None:
        self._call("sync_all", path)
        self._renamed.clear()
        self._dirty.clear()

    @override
    def rename(self, source: Path, target: Path) -> None:
        self._call("rename", target)
        replaced = target.read_bytes() if target.is_file() else None
        super().rename(source, target)
        self._renamed.append((source, target, replaced))

    @override
    def unlink(self, path: Path) -> None:
        self._call("unlink", path)
        super().unlink(path)

    @override
    def space(self, path: Path) -> tuple[int, int]:
        self._call("space", path)
        total, free = super().space(path)
        return total, free if self.free is None else self.free
