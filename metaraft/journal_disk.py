"""What the journal asks of the operating system: one small object, so that another disk can be put under it.

Tests put a disk there that fails, that records, or that loses at a crash what was not synced. Every method may raise
OSError; a write may be short. Source: man 2 pwrite, fdatasync, fallocate, flock.
"""

import fcntl
import os
from pathlib import Path


class Disk:
    """The real disk."""

    def make_directory(self, directory: Path) -> None:
        """Makes the folder (0700) unless it is there."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, directory: Path) -> list[str]:
        """Names in the folder; FileNotFoundError if there is no such folder."""
        return os.listdir(directory)

    def lock(self, path: Path) -> int:
        """Takes the lock file for this process and returns its descriptor, which holds the lock until it is closed.

        BlockingIOError: somebody else has it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def open(self, path: Path) -> int:
        """Opens a file that exists, to read and write."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def create(self, path: Path) -> int:
        """Makes an empty file (0600), also in place of one that is there."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def close(self, fd: int) -> None:
        """Closes a descriptor."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Bytes in the file, allocated zeros included."""
        return os.fstat(fd).st_size

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end of the file."""
        data = os.pread(fd, length, offset)
        while len(data) < length:
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        """Writes some of `data` at `offset` and says how much."""
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Makes room for bytes [offset, offset + length), which then read as zeros."""
        os.posix_fallocate(fd, offset, length)

    def free(self, directory: Path) -> int:
        """Bytes that may still be written where the folder is."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def truncate(self, fd: int, size: int) -> None:
        """Cuts the file to `size` bytes."""
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        """Returns when the file's bytes and its size are on the disk."""
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Returns when the file's bytes and all its attributes are on the disk."""
        os.fsync(fd)

    def sync_directory(self, directory: Path) -> None:
        """Returns when the names in the folder are on the disk."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name in its folder, in place of a file that has it."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Removes a name."""
        path.unlink()

    def random_bytes(self, length: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(length)


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Writes all of `data`, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        written = disk.write(fd, view, offset)
        if written <= 0:
            raise OSError(f"write of {len(view)} bytes at offset {offset} wrote nothing")
        view, offset = view[written:], offset + written
