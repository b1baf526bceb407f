"""Room is made ahead without touching what is there; a file system that cannot is let be, and is not written to."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from cluster.limits import MIB, Limits
from metaraft import files
from metaraft.files import allocate, write_file
from metaraft.store import DATA_FILE, Store
from tests.metaraft.full_disk import files_of_at_most
from tests.metaraft.stores import CLUSTER, new_store


def test_room_is_made_around_what_is_there(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"what is there")
        file.flush()
        assert allocate(file.fileno(), 0, MIB)
        assert os.fstat(file.fileno()).st_size == MIB
        assert os.pread(file.fileno(), 15, 0) == b"what is there\0\0"


def test_a_call_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="descriptor") as failed:
        allocate(file.fileno(), 0, MIB)
    assert failed.value.errno == errno.EBADF


class _Unable:
    """A file system that answers fallocate(2) with these errors, the last one for ever. (0: with success.)"""

    def __init__(self, *codes: int) -> None:
        self.asked = 0
        self._codes = list(codes)

    def fallocate(self, *_: object) -> int:
        """Fails as fallocate(2) does there."""
        self.asked += 1
        code = self._codes.pop(0) if len(self._codes) > 1 else self._codes[0]
        ctypes.set_errno(code)
        return -1 if code else 0


def test_a_call_that_a_signal_interrupts_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = _Unable(errno.EINTR, errno.EINTR, 0)
    monkeypatch.setattr(files, "_libc", interrupted)
    assert allocate(0, 0, MIB)
    assert interrupted.asked == 3


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_store_whose_disk_or_quota_is_full_asks_for_room_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    new_store(tmp_path / "s").close()
    store = Store.open(tmp_path / "s", cluster_id=CLUSTER, limits=Limits(map_bytes=64 * MIB, room_bytes=MIB))
    full = _Unable(code)
    monkeypatch.setattr(files, "_libc", full)
    store.make_room()
    store.make_room()
    assert full.asked == 2
    store.close()


def test_a_store_whose_file_system_cannot_allocate_is_not_written_to_and_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_store(tmp_path / "s").close()
    store = Store.open(tmp_path / "s", cluster_id=CLUSTER, limits=Limits(map_bytes=64 * MIB, room_bytes=MIB))
    before = (tmp_path / "s" / DATA_FILE).stat()
    unable = _Unable(errno.EOPNOTSUPP)
    monkeypatch.setattr(files, "_libc", unable)
    store.make_room()
    store.make_room()
    after = (tmp_path / "s" / DATA_FILE).stat()
    assert (after.st_size, after.st_mtime_ns, unable.asked) == (before.st_size, before.st_mtime_ns, 1)
    store.close()


def test_a_file_is_written_wholly_or_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "note"
    write_file(file, b"first")
    write_file(file, b"second")
    assert file.read_bytes() == b"second"
    with files_of_at_most(3), pytest.raises(OSError, match="File too large"):
        write_file(file, b"third")
    assert file.read_bytes() == b"second"
