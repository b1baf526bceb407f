"""A file that one process at a time writes, held by flock(2) as long as its descriptor is open.

The holder may rename or remove the file: who then gets the lock on what had the name begins another file.
"""

import fcntl
import os
from pathlib import Path


def lock_file(path: Path) -> int:
    """A descriptor of the file of that name, made if it is not there, locked. Raises BlockingIOError, OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_named(path, descriptor):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was taken away between the opening and the lock


def is_named(path: Path, descriptor: int) -> bool:
    """Whether it is this open file that has the name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
