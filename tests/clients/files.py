"""Files and folders that clients are given, and what is found in a folder afterwards."""

import hashlib
import os
from pathlib import Path

from tests.clients.scenarios.steps import MIB, content

GIB = 1024 * MIB

TREE = {"a.txt": 10, "empty": 0, "folder/b c+d.bin": 100_000, "folder/deep/ключ 鍵.bin": 9 * MIB, "z=&?#%20": 3}
"""Names and sizes that are known to be difficult; one is cut into parts, and into chunks."""


def plant(folder: Path) -> Path:
    """Make the files of TREE in a folder."""
    for number, (name, size) in enumerate(TREE.items()):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(size, number))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def large_file(file: Path, size: int = GIB) -> Path:
    """A file of random bytes, new each time: none of its chunks is stored yet."""
    with file.open("wb") as opened:
        for _ in range(size // (16 * MIB)):
            opened.write(os.urandom(16 * MIB))
    return file


def digest(file: Path) -> str:
    """A file's SHA-256, read piece by piece."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
