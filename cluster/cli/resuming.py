"""What is known of a file's upload that was interrupted, kept in a file of its own until the upload is done.

It lies under `$XDG_STATE_HOME/trilith/uploads/` (XDG Base Directory Specification; `~/.local/state` by default), one
for each endpoint, bucket, key and file. It is locked while it is open, so two processes never work on one upload. What
cannot be read as one is none: the upload then begins anew.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from cluster.cli.names import Name
from cluster.errors import UNDECODABLE, Refused
from cluster.locked_file import lock_file

_BYTES_MAX = 1 << 20


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An upload under way, and the file as it was when it began. `headers` are what the object will have."""

    endpoint: str
    bucket: str
    key: str
    file: str
    headers: dict[str, str]
    size: int
    mtime_ns: int
    upload_id: str
    part_bytes: Annotated[int, msgspec.Meta(gt=0)]


class Kept:
    """The state of one file's upload, for this process alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> State | None:
        """What is kept, None if nothing is."""
        raw = os.pread(self._descriptor, _BYTES_MAX, 0)
        try:
            return msgspec.json.decode(raw, type=State)
        except UNDECODABLE:
            return None

    def write(self, state: State) -> None:
        """Keep it; it is on the disk when this returns."""
        self.clear()
        os.pwrite(self._descriptor, msgspec.json.encode(state), 0)
        os.fsync(self._descriptor)

    def clear(self) -> None:
        """Keep nothing."""
        os.ftruncate(self._descriptor, 0)


def folder() -> Path:
    """Where states are kept."""
    base = os.environ.get("XDG_STATE_HOME", "")  # a relative one is to be ignored, the specification says
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "trilith" / "uploads"


@contextlib.contextmanager
def kept(endpoint: str, target: Name, file: Path) -> Iterator[Kept]:
    """The state of the upload of `file` to `target`. Raises Refused (UploadUnderWay) if another process has it, OSError
    where nothing can be kept."""
    facts = (endpoint, target.bucket, target.key, os.fsencode(os.path.realpath(file)))
    name = hashlib.sha256(msgspec.msgpack.encode(facts)).hexdigest()[:32]
    path = folder() / f"{name}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = _lock(path, f"{file} is being stored as {target} by another process, which holds {path}")
    try:
        yield Kept(descriptor)
    finally:
        if os.fstat(descriptor).st_size == 0:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        os.close(descriptor)


def _lock(path: Path, busy: str) -> int:
    try:
        return lock_file(path)
    except BlockingIOError:
        raise Refused("UploadUnderWay", busy) from None
