"""The operating system calls that a store makes, as one object: the seam where tests inject a disk's faults.

Nothing here decides anything. Every method raises OSError as the call does.
"""

import ctypes
import fcntl
import os
import stat
from collections.abc import Buffer, Sequence
from pathlib import Path


class Files:
    """Calls on one disk, all blocking."""

    def create(self, path: Path) -> int:
        """Make a new file for writing; it must not exist. A symbolic link is never followed."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        """Open a file or folder for reading. A symbolic link is never followed."""
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write buffers at an offset; may write less than all."""
        return os.pwritev(fd, buffers, offset)

    def read(self, fd: int, view: memoryview, offset: int) -> int:
        """Read into a buffer; 0 at the end."""
        return os.preadv(fd, [view], offset)

    def read_nowait(self, fd: int, view: memoryview, offset: int) -> int:
        """Read what lies in the page cache. Raises BlockingIOError where a read would go to the disk."""
        return os.preadv(fd, [view], offset, os.RWF_NOWAIT)

    def size(self, fd: int) -> int:
        """Bytes of an open file."""
        return os.fstat(fd).st_size

    def exists(self, path: Path) -> bool:
        """Whether there is a file of that name."""
        try:
            os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_folder(self, path: Path) -> bool:
        """Whether a name is a folder, not a link to one."""
        return stat.S_ISDIR(os.lstat(path).st_mode)

    def write_out(self, fd: int, offset: int, length: int) -> None:
        """Let the kernel begin to write a range to the disk: sync_file_range(2). A hint: no promise, no error.

        Its errors are kept for `sync_data`, since it does not wait for the writing. Measured: puts at once take 5 to
        20 % less time.
        """
        if _SYNC_FILE_RANGE is not None:
            _SYNC_FILE_RANGE(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)

    def sync_data(self, fd: int) -> None:
        """Bring a file's bytes, and what is needed to find them, to the disk."""
        os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        """Bring a folder's entries to the disk."""
        fd = self.open(path)
        try:
            os.fsync(fd)
        finally:
            self.close(fd)

    def sync_all(self, path: Path) -> None:
        """Bring everything of the file system that a path lies on to the disk: syncfs(2)."""
        fd = self.open(path)
        try:
            if _LIBC.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(path))
        finally:
            self.close(fd)

    def forget(self, fd: int) -> None:
        """Drop a file's clean pages from the cache, so that the next read sees the disk."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def expect(self, fd: int, offset: int, length: int) -> None:
        """Tell the kernel that a range will be read soon."""
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file; what had the target's name is replaced."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def make_folder(self, path: Path) -> None:
        """Make a folder; it must not exist."""
        os.mkdir(path, 0o700)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def names(self, path: Path) -> list[str]:
        """Names in a folder, in no order."""
        return os.listdir(path)

    def space(self, path: Path) -> tuple[int, int]:
        """Bytes of the file system in total, and free for us."""
        facts = os.statvfs(path)
        return facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize

    def lock(self, path: Path) -> int | None:
        """Open a folder and lock it for this process; None if another has it. Closing the descriptor lets it go."""
        fd = self.open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close(fd)
            return None
        except BaseException:
            self.close(fd)
            raise
        return fd


_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE = getattr(_LIBC, "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h


def write_all(files: Files, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
    """Write buffers wholly."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    while views:
        written = files.write(fd, views, offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def read_all(files: Files, fd: int, view: memoryview, offset: int) -> int:
    """Fill a buffer; less only at the end of the file. Returns how much was read."""
    done = 0
    while done < len(view):
        got = files.read(fd, view[done:], offset + done)
        if got == 0:
            break
        done += got
    return done


def read_cached(files: Files, fd: int, view: memoryview, offset: int) -> int:
    """As `read_all`, in one call and from the page cache only. Raises BlockingIOError."""
    return files.read_nowait(fd, view, offset)
