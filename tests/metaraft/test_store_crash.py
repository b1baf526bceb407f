"""What the store is after kill -9, and after rot: right, or an error, and never wrong rows; and that a sync is one."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from metaraft.store import DATA_FILE
from tests.metaraft.stores import Twin, faults_of_file, new_store, open_store, run

pytestmark = pytest.mark.probe

CHILD = [sys.executable, "-m", "tests.metaraft.store_child"]


def test_a_killed_writer_leaves_a_whole_store_with_all_it_had_said(tmp_path: Path) -> None:
    seed, random = 31, Random(31)
    directory = tmp_path / "s"
    new_store(directory).close()
    twin, entries = Twin(), run(seed)
    for _ in range(5):
        with subprocess.Popen([*CHILD, "write", str(directory), str(seed)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = 0
            for _ in range(random.randrange(2, 40)):
                said = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
        assert faults_of_file(directory) == []
        store = open_store(directory)
        assert store.applied >= said > 0
        while twin.applied < store.applied:
            twin.apply(next(entries))
        assert store.walk().set_hash == twin.set_hash == store.facts().set_hash
        store.close()


def test_what_is_said_to_be_synced_has_reached_the_kernel_as_a_sync_of_the_file(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    assert strace is not None, "this test needs strace: apt-get install strace"
    trace = tmp_path / "trace"
    tracing = [strace, "-f", "-y", "--trace=write,fsync,fdatasync,msync", "-o", str(trace)]
    subprocess.run([*tracing, *CHILD, "sync", str(tmp_path / "s")], stdout=subprocess.DEVNULL, check=True, timeout=300)
    _, _, after = trace.read_text().partition('"syncing')
    between, said, _ = after.partition('"synced')
    assert said
    assert re.search(rf"\b(fsync|fdatasync)\(\d+<[^>]*/{DATA_FILE}>\) += 0\n", between), between


def test_a_flipped_bit_is_noticed_or_does_no_harm(tmp_path: Path) -> None:
    done = subprocess.run(
        [*CHILD, "flip", str(tmp_path / "s"), "7", "300"], stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    harmless, noticed, wrong, died = map(int, done.stdout.split())
    assert wrong == 0
    assert harmless + noticed + died == 300
    assert died <= noticed // 10
    assert noticed > 20, "not all of the file is free pages"
