"""`bucket/key` names on the command line, and the files that keys become.

A key is any text: only the first slash divides. When keys become files below a folder, one that would leave the
folder, or that no file can be called, is refused and never bent into another name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click

from cluster.errors import Refused


@dataclass(frozen=True)
class Name:
    """A bucket, with a key or a prefix of keys (may be empty), and a version of that key, if it is not the current one.

    Raises Refused (InvalidKey) for what is not UTF-8.
    """

    bucket: str
    key: str
    version: str | None = None

    def __post_init__(self) -> None:
        text = f"{self}{self.version or ''}"
        try:
            text.encode()
        except UnicodeEncodeError:
            shown = text.encode("utf-8", "surrogateescape")
            raise Refused("InvalidKey", f"{shown!r} is not UTF-8, and keys are") from None

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


def parse(text: str) -> Name:
    """Split `bucket/key` at the first slash. Raises click.UsageError."""
    bucket, _, key = text.removeprefix("trilith://").removeprefix("s3://").partition("/")
    if not bucket:
        raise click.UsageError(f"{text!r} names no bucket; write BUCKET/KEY")
    return Name(bucket, key)


def with_key(text: str, version: str | None = None) -> Name:
    """A name that must have a key, of a version of it. Raises click.UsageError."""
    name = parse(text)
    if not name.key:
        raise click.UsageError(f"{text!r} names no key; write BUCKET/KEY")
    return Name(name.bucket, name.key, version)


def target_for(name: Name, source: str) -> Name:
    """`bucket/` or `bucket/folder/` as a target takes the source's last name."""
    if name.key and not name.key.endswith("/"):
        return name
    last = source.rstrip("/").rpartition("/")[2]
    if last in ("", "-", ".", ".."):
        raise click.UsageError(f"{name} names no key, and the source has no name to take")
    return Name(name.bucket, name.key + last)


def as_folder(prefix: str) -> str:
    """A prefix below which names go: empty, or ending in a slash."""
    return prefix + "/" if prefix and not prefix.endswith("/") else prefix


def relative_to(prefix: str, key: str) -> str:
    """What a key found under `prefix` is called below a target: all behind the prefix's last slash, as `cp -r` does."""
    return key[prefix.rfind("/") + 1 :]


def file_for(folder: Path, key: str, prefix: str) -> Path:
    """The file below `folder` for a key found under `prefix`. Raises Refused (UnsafeKey)."""
    parts = relative_to(prefix, key).split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        raise Refused(
            "UnsafeKey", f"key {key!r} cannot be a file below {folder}; get it by itself: trilith get BUCKET/KEY FILE"
        )
    return folder.joinpath(*parts)


def refuse_file_and_folder(files: Iterable[Path]) -> None:
    """Raises Refused (UnsafeKey) where one file would have to be the folder of another (keys `a` and `a/b`)."""
    names = {PurePosixPath(file) for file in files}
    for name in names:
        for parent in name.parents:
            if parent in names:
                raise Refused(
                    "UnsafeKey", f"{parent} would be a file and the folder of {name}; get one of them by itself"
                )
