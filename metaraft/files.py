"""What a member asks of the operating system for its database and notes. (The journal has `journal_disk`.)

Every function blocks and raises OSError as the call does. Source: man 2 fallocate, fsync, rename.
"""

import ctypes
import errno
import os
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Codes of a disk that is full, or is so for this user."""

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)


def allocate(descriptor: int, offset: int, length: int) -> bool:
    """Make room for bytes [offset, offset + length), which keep what is in them; says whether the file system can.

    Not `os.posix_fallocate`: where the file system cannot, glibc writes a byte into every block, and so over what
    another thread writes there meanwhile.
    """
    code = errno.EINTR
    while code == errno.EINTR:
        if _libc.fallocate(descriptor, 0, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0:
            return True
        code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


def free_bytes(directory: Path) -> int:
    """Bytes that may still be written where the folder is."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def write_file(file: Path, content: bytes) -> None:
    """Give a file this content, wholly or not at all; it is on the disk when this returns."""
    new = file.with_name(file.name + ".new")
    with new.open("wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    new.rename(file)
    sync_directory(file.parent)


def sync_directory(directory: Path) -> None:
    """Return when the names in the folder are on the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_libc = ctypes.CDLL(None, use_errno=True)
